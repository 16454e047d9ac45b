//! Compiles the kernels for the CPU and launches them there.
//!
//! A compiled library is kept in the tests' build folder and found again by a hash of its sources.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use candle_core::{Result, bail};
use libloading::Library;
use sha2::{Digest, Sha256};

use super::buffer;

const KERNELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/nn/cuda/kernels/kernels.cu");
const HEADER: &str = include_str!("cuda_on_host.h");

/// The header defines the handlers of the bounds and alignment checks, so no sanitizer library is
/// linked. Multiply–adds are not fused unless a kernel does it explicitly.
const FLAGS: &str = "-std=c++17 -O2 -w -fPIC -fno-strict-aliasing -ffp-contract=off \
                     -fsanitize=alignment,bounds -DVLORA_EMULATE";

/// The order of threads between sync points, and of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
    /// Blocks and all threads of a block, in an order drawn from this seed.
    Permuted(u64),
}

thread_local! {
    static ORDER: Cell<Order> = const { Cell::new(Order::Ascending) };
}

/// Runs `work` with this order for the thread's launches. A kernel whose results differ between two
/// orders lacks a `__syncthreads`.
pub fn with_order<R>(order: Order, work: impl FnOnce() -> R) -> R {
    struct Restore(Order);
    impl Drop for Restore {
        fn drop(&mut self) {
            ORDER.set(self.0);
        }
    }
    let _restore = Restore(ORDER.replace(order));
    work()
}

/// Launches a kernel of `kernels.cu` that is named by an `EXPORT`. `args` point to the arguments' values,
/// as in `cuLaunchKernel`. `shared` is in bytes.
pub fn launch(
    kernel: &str,
    grid: [u32; 3],
    block: [u32; 3],
    shared: usize,
    args: &mut [*mut c_void],
) -> Result<()> {
    static EMULATOR: OnceLock<std::result::Result<Emulator, String>> = OnceLock::new();
    match EMULATOR.get_or_init(|| Emulator::compile(Path::new(KERNELS))) {
        Ok(emulator) => emulator.launch(kernel, grid, block, shared, args),
        Err(reason) => bail!("{reason}"),
    }
}

/// Must match the struct of this name in the header.
#[repr(C)]
struct Launch {
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u64,
    seed: u64,
    order: u32,
    arguments: u32,
    message: *mut c_char,
    message_capacity: u64,
}

type Entry = unsafe extern "C" fn(*const Launch, *mut *mut c_void) -> c_int;

/// The kernels of one source file, compiled and loaded.
pub struct Emulator {
    library: Library,
}

impl Emulator {
    /// Compiles a source file, or loads the library of an earlier compilation. Included files must be in
    /// the same folder.
    pub fn compile(source: &Path) -> std::result::Result<Self, String> {
        let path = library(source).map_err(|error| format!("{}: {error}", source.display()))??;
        // SAFETY: the library was built from the header and kernels, which do nothing when loaded.
        let library = unsafe { Library::new(&path) }
            .map_err(|error| format!("cannot load {}: {error}", path.display()))?;
        Ok(Self { library })
    }

    pub fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: usize,
        args: &mut [*mut c_void],
    ) -> Result<()> {
        // SAFETY: EXPORT defines functions of this type under this name.
        let entry = unsafe { self.library.get::<Entry>(format!("emulate_{kernel}")) };
        let Ok(entry) = entry else { bail!("kernel {kernel}: no EXPORT names it") };
        let (order, seed) = match ORDER.get() {
            Order::Ascending => (0, 0),
            Order::Descending => (1, 0),
            Order::Permuted(seed) => (2, seed),
        };
        let mut message = [0u8; 1024];
        let launch = Launch {
            grid,
            block,
            shared_bytes: shared as u64,
            seed,
            order,
            arguments: args.len() as u32,
            message: message.as_mut_ptr().cast(),
            message_capacity: message.len() as u64,
        };
        // SAFETY: the caller gives the kernel's arguments. Their number is checked.
        let status = unsafe { entry(&launch, args.as_mut_ptr()) };
        if status != 0 {
            let message = CStr::from_bytes_until_nul(&message).unwrap_or_default();
            bail!("kernel {kernel}: {}", message.to_string_lossy());
        }
        buffer::check(kernel)
    }
}

/// The compiled library's path.
fn library(source: &Path) -> std::io::Result<std::result::Result<PathBuf, String>> {
    let folder = source.parent().unwrap_or(Path::new("."));
    let mut flags: Vec<&str> = FLAGS.split_whitespace().collect();
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") {
        flags.push("-mfma");
    }
    let mut hash = Sha256::new();
    hash.update(HEADER);
    hash.update(flags.join(" "));
    let mut sources = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()?;
    sources.sort();
    for path in sources.iter().filter(|path| path.is_file()) {
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(fs::read(path)?);
    }
    let hash: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let executable = std::env::current_exe()?;
    // Next to `deps`, which has the tests' executable.
    let built = executable.ancestors().nth(2).unwrap_or(folder).join("emulation");
    let path = built.join(format!("{hash}.so"));
    if path.exists() {
        return Ok(Ok(path));
    }
    fs::create_dir_all(&built)?;
    let scratch = tempfile::tempdir_in(&built)?;
    let (object, shared) = (scratch.path().join("object"), scratch.path().join("library"));
    let header = scratch.path().join("cuda_on_host.h");
    fs::write(&header, HEADER)?;
    // Two steps, since linking with the flags of the checks would need the sanitizer library.
    let steps = [
        Command::new("c++")
            .args(flags)
            .args(["-x", "c++", "-include"])
            .arg(&header)
            .arg("-c")
            .arg(source)
            .arg("-o")
            .arg(&object)
            .output(),
        Command::new("c++").arg("-shared").arg(&object).arg("-o").arg(&shared).output(),
    ];
    for output in steps {
        let output = match output {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Err("CUDA kernels are tested by compiling them for this machine with `c++`, which is \
                               not here: install a C++ compiler (g++)"
                    .to_owned()));
            }
            Err(error) => return Err(error),
        };
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Ok(Err(format!("{} does not compile:\n{errors}", source.display())));
        }
    }
    // Another process may have put the same library there in the meantime.
    fs::rename(&shared, &path)?;
    Ok(Ok(path))
}

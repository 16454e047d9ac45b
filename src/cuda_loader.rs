//! Loads the CUDA libraries when a GPU is needed, not when the program starts. So a program that is built
//! for GPUs runs on any machine, and reports in a sentence why it finds no GPU.
//!
//! candle links cudarc against the libraries, so the program would need them at its start. Instead the
//! program defines its own function under each name that the compiled crates refer to ([`names`]): a
//! jump to an address that [`load`] gets from the library. The linker finds these functions first and
//! leaves out the libraries. Until an address is known, the jump leads to [`missing`].
//!
//! ```text
//! cuInit:   jmp *address          table:  address of ↓, then of libcuda's cuInit; pointer to "cuInit"
//!           lea "cuInit", %rdi
//!           jmp missing
//! ```

use std::env;
use std::error::Error;
use std::ffi::{CStr, c_char, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use cudarc::driver::{DriverError, result, sys};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the `cuda` feature is for Linux on x86-64");

/// The environment variable with the folders to search first, separated by colons.
pub const FOLDERS_VARIABLE: &str = "VLORA_CUDA_LIBRARIES";

/// The folders to search after the loader's path and `$CUDA_HOME`.
const USUAL_FOLDERS: [&str; 2] = ["/usr/local/cuda/lib64", "/usr/local/nvidia/lib64"];

/// Why no GPU can be used, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// There is no driver, or it sees no GPU. The program can compute on the CPU.
    #[error("{0}")]
    NoGpu(String),
    /// There may be a GPU, but the program cannot use it.
    #[error("{0}")]
    Broken(String),
}

/// A function's entry in its table. The assembler code below writes this layout.
#[repr(C)]
struct Entry {
    address: AtomicPtr<c_void>,
    name: *const c_char,
}

// SAFETY: the name points to a constant.
unsafe impl Sync for Entry {}

impl Entry {
    fn name(&self) -> &'static CStr {
        // SAFETY: a constant that the assembler code ends with a zero.
        unsafe { CStr::from_ptr(self.name) }
    }
}

/// Defines the functions. Each library that is loaded gets a module with its table of addresses. The
/// functions of libraries that are left out always call `missing` or `nothing`.
macro_rules! trampolines {
    (
        loaded { $($library:ident: $($name:ident)+;)+ }
        left_out { $($target:ident: $($left_out:ident)+;)+ }
    ) => {
        std::arch::global_asm!(
            ".macro vlora_late name, target",
            r#".section .rodata.vlora_late, "a", @progbits"#,
            r#"700: .asciz "\name""#,
            r#".section .text.vlora_late, "ax", @progbits"#,
            r".globl \name",
            // Hidden from other libraries: libcublas must find libcublasLt's own functions.
            r".hidden \name",
            r".type \name, @function",
            r"\name: jmpq *701f(%rip)",
            // Calls `target` with the name as its argument.
            "702: leaq 700b(%rip), %rdi",
            r"jmp \target",
            r".size \name, . - \name",
            r#".section .data.vlora_late, "aw", @progbits"#,
            "701: .quad 702b, 700b",
            ".endm",
            r#".section .data.vlora_late, "aw", @progbits"#,
            ".balign 8",
            $(
                concat!(".globl vlora_late_", stringify!($library)),
                concat!(".hidden vlora_late_", stringify!($library)),
                concat!("vlora_late_", stringify!($library), ":"),
                $(concat!("vlora_late ", stringify!($name), ", {missing}"),)+
            )+
            $($(concat!("vlora_late ", stringify!($left_out), ", {", stringify!($target), "}"),)+)+
            ".purgem vlora_late",
            ".text",
            missing = sym super::missing,
            nothing = sym super::nothing,
            options(att_syntax),
        );
        $(
            pub(super) mod $library {
                use super::super::Entry;

                unsafe extern "C" {
                    #[link_name = concat!("vlora_late_", stringify!($library))]
                    safe static TABLE: [Entry; [$(stringify!($name)),+].len()];
                }

                pub fn table() -> &'static [Entry] {
                    &TABLE
                }
            }
        )+
    };
}

mod names;

/// Keeps the functions in every program that is linked with this crate, even if it does not call
/// [`load`]. Otherwise a program that uses candle would be linked against the libraries.
#[used]
static KEPT: fn() -> &'static [Entry] = names::driver::table;

/// Called in place of a function that no loaded library has.
extern "C" fn missing(name: *const c_char) -> ! {
    // SAFETY: a constant of the assembler code.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let why = match STATE.get() {
        None => {
            "was called before the CUDA libraries were loaded, which is a fault of this program"
        }
        Some(_) => {
            "is in none of the CUDA libraries that were loaded: they are too old, or it belongs \
                    to a library that this program does not use"
        }
    };
    crate::terminal::eprint_line(&format!("error: CUDA's function {name} {why}"));
    std::process::exit(1)
}

/// Called in place of functions of the CUDA runtime that some of candle's kernels call at the program's
/// start to register themselves. Only quantised models need those kernels. This program has no such models
/// and no CUDA runtime.
extern "C" fn nothing(_name: *const c_char) -> *mut c_void {
    std::ptr::null_mut()
}

/// A library: its name, the names of its file (newest version first), and its table.
struct CudaLibrary {
    name: &'static str,
    files: &'static [&'static str],
    table: fn() -> &'static [Entry],
}

const DRIVER: CudaLibrary =
    CudaLibrary { name: "libcuda", files: &["libcuda.so.1"], table: names::driver::table };

/// In the order of their dependencies.
const LIBRARIES: [CudaLibrary; 3] = [
    CudaLibrary {
        name: "libcublasLt",
        files: &["libcublasLt.so.13", "libcublasLt.so.12"],
        table: names::cublaslt::table,
    },
    CudaLibrary {
        name: "libcublas",
        files: &["libcublas.so.13", "libcublas.so.12"],
        table: names::cublas::table,
    },
    CudaLibrary { name: "libcurand", files: &["libcurand.so.10"], table: names::curand::table },
];

static STATE: OnceLock<Result<usize, Unavailable>> = OnceLock::new();

/// Loads the driver, starts it, and loads the other libraries. Returns the number of GPUs, at least one.
/// Only the first call does the work. No CUDA function may be called before this, or after an error.
pub fn load() -> Result<usize, &'static Unavailable> {
    STATE.get_or_init(load_all).as_ref().copied()
}

fn load_all() -> Result<usize, Unavailable> {
    let folders = Folders::of_environment();
    match folders.open(&DRIVER) {
        Ok(library) => fill(&library, DRIVER.table),
        Err(None) => {
            return Err(Unavailable::NoGpu(format!(
                "no NVIDIA driver was found ({}): install the driver, or compute with `--device cpu`",
                DRIVER.files[0]
            )));
        }
        Err(Some(reason)) => {
            return Err(Unavailable::Broken(format!("the NVIDIA driver does not load: {reason}")));
        }
    }
    let devices = start_driver()?;
    for wanted in &LIBRARIES {
        let library = folders.open(wanted).map_err(|reason| {
            Unavailable::Broken(match reason {
                Some(reason) => format!("{} does not load: {reason}", wanted.name),
                None => format!(
                    "{} was not found ({}, looked for {}): {FOLDERS_VARIABLE}=FOLDER:FOLDER says \
                     where the CUDA libraries are, and `--device cpu` does without them",
                    wanted.name,
                    wanted.files.join(" or "),
                    folders.described(),
                ),
            })
        })?;
        fill(&library, wanted.table);
    }
    Ok(devices)
}

/// Starts the driver and checks its version. Returns the number of GPUs.
fn start_driver() -> Result<usize, Unavailable> {
    let failed = |function: &str, error: DriverError| {
        let name = error.error_name().map_or("an unknown error".into(), CStr::to_string_lossy);
        match error.0 {
            sys::CUresult::CUDA_ERROR_NO_DEVICE => Unavailable::NoGpu(format!(
                "the NVIDIA driver finds no GPU ({function}: {name}): see whether `nvidia-smi` lists \
                 one and CUDA_VISIBLE_DEVICES leaves it visible, or compute with `--device cpu`"
            )),
            _ => Unavailable::Broken(format!(
                "the NVIDIA driver does not start ({function}: {name}): see whether `nvidia-smi` \
                 works, or compute with `--device cpu`"
            )),
        }
    };
    result::init().map_err(|e| failed("cuInit", e))?;
    let mut version = 0;
    // SAFETY: writes to the number that it is given.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .map_err(|e| failed("cuDriverGetVersion", e))?;
    let needed = sys::CUDA_VERSION;
    if u32::try_from(version).unwrap_or(0) < needed {
        let shown = |v: u32| format!("{}.{}", v / 1000, v % 1000 / 10);
        return Err(Unavailable::Broken(format!(
            "the NVIDIA driver is too old: it is for CUDA {}, and this program needs {} or newer; \
             update the driver, or compute with `--device cpu`",
            shown(version.unsigned_abs()),
            shown(needed),
        )));
    }
    match result::device::get_count().map_err(|e| failed("cuDeviceGetCount", e))? {
        0 => Err(failed("cuDeviceGetCount", DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE))),
        count => Ok(usize::try_from(count).unwrap_or(0)),
    }
}

/// Fills a table with the library's addresses. Functions that an older library lacks still call
/// [`missing`].
fn fill(library: &Library, table: fn() -> &'static [Entry]) {
    for entry in table() {
        // SAFETY: the address is only jumped to, with the arguments of the function's declaration.
        if let Ok(address) = unsafe { library.get::<*mut c_void>(entry.name()) } {
            entry.address.store(address.into_raw(), Ordering::Release);
        }
    }
}

/// The folders to search for libraries.
struct Folders {
    named: Vec<PathBuf>,
    usual: Vec<PathBuf>,
}

impl Folders {
    fn of_environment() -> Folders {
        let named = env::var_os(FOLDERS_VARIABLE).unwrap_or_default();
        let named = env::split_paths(&named).filter(|path| !path.as_os_str().is_empty());
        let mut usual = Vec::new();
        if let Some(home) = env::var_os("CUDA_HOME").filter(|home| !home.is_empty()) {
            usual.extend(["lib64", "lib"].map(|folder| Path::new(&home).join(folder)));
        }
        usual.extend(USUAL_FOLDERS.map(PathBuf::from));
        Folders { named: named.collect(), usual }
    }

    /// Opens a library. A newer version in any folder is preferred to an older one. The error is the
    /// reason why an existing file does not load, or None if there is no file.
    fn open(&self, wanted: &CudaLibrary) -> Result<ManuallyDrop<Library>, Option<String>> {
        let mut reason = None;
        for file in wanted.files {
            let named = self.named.iter().map(|folder| folder.join(file));
            let usual = self.usual.iter().map(|folder| folder.join(file));
            // A name without a folder is searched on the loader's path.
            for path in named.chain([PathBuf::from(file)]).chain(usual) {
                // SAFETY: NVIDIA's libraries may be loaded at any time.
                match unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) } {
                    // It stays open while the program runs, since its addresses are in use.
                    Ok(library) => return Ok(ManuallyDrop::new(library)),
                    Err(error) => {
                        // The source has the loader's message; the error itself only says that it failed.
                        let text =
                            error.source().map_or_else(|| error.to_string(), ToString::to_string);
                        if !text.contains(&format!("{}: cannot open shared object", path.display()))
                        {
                            reason = Some(text);
                        }
                    }
                }
            }
        }
        Err(reason)
    }

    fn described(&self) -> String {
        let shown = |paths: &[PathBuf]| {
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        };
        let named = if self.named.is_empty() {
            String::new()
        } else {
            format!("in {}, ", shown(&self.named))
        };
        format!("{named}on the loader's path, in {}", shown(&self.usual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The assembler code writes the tables that Rust reads: as many entries, each with a name and an
    /// address.
    #[test]
    fn every_function_has_an_entry() {
        for (table, first, last) in [
            (names::driver::table(), c"cuArray3DCreate_v2", c"cuWaitExternalSemaphoresAsync"),
            (names::curand::table(), c"curandCreateGenerator", c"curandSetStream"),
        ] {
            let all: Vec<&CStr> = table.iter().map(Entry::name).collect();
            assert!(all.is_sorted() && all.first() == Some(&first) && all.last() == Some(&last));
            assert!(table.iter().all(|entry| !entry.address.load(Ordering::Acquire).is_null()));
        }
    }
}

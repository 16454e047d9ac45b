//! The CUDA libraries, loaded when a GPU is asked for and not when the program starts: a program that
//! is built for GPUs then runs on any machine, and says in a sentence why it finds no GPU.
//!
//! candle links cudarc against the libraries, whose names would stand in the program as needed at its
//! start. So the program has a function of its own under each name that the compiled crates refer to
//! ([`names`]): one jump to an address that [`load`] takes from the library. The linker finds these
//! first and leaves the libraries out. Until an address is known the jump ends in [`missing`].
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

/// Folders to look in before any other, separated by colons.
pub const FOLDERS_VARIABLE: &str = "VLORA_CUDA_LIBRARIES";

/// Where libraries are looked for after the loader's path and `$CUDA_HOME`.
const USUAL_FOLDERS: [&str; 2] = ["/usr/local/cuda/lib64", "/usr/local/nvidia/lib64"];

/// Why there is no GPU to compute on, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// No driver, or it sees no GPU: this machine computes on its processor.
    #[error("{0}")]
    NoGpu(String),
    /// There may be a GPU, and something keeps the program from it.
    #[error("{0}")]
    Broken(String),
}

/// A function's place in its table. Its layout is that which the assembler below writes.
#[repr(C)]
struct Entry {
    address: AtomicPtr<c_void>,
    name: *const c_char,
}

// SAFETY: the name points to a constant.
unsafe impl Sync for Entry {}

impl Entry {
    fn name(&self) -> &'static CStr {
        // SAFETY: written by the assembler with a zero at its end, and constant.
        unsafe { CStr::from_ptr(self.name) }
    }
}

/// Defines the functions: of libraries that are loaded, each with a module for its table of addresses,
/// and of others, with what their functions do for good (`missing` or `nothing`).
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
            // Not for other libraries to find: libcublas must get libcublasLt's own functions.
            r".hidden \name",
            r".type \name, @function",
            r"\name: jmpq *701f(%rip)",
            // An entry for `target`, as a function with the name for its argument.
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

/// Keeps the functions in every program that is linked with this crate, whether or not it calls
/// [`load`]: another that uses candle would be linked against the libraries.
#[used]
static KEPT: fn() -> &'static [Entry] = names::driver::table;

/// Where a function is called that no library gave.
extern "C" fn missing(name: *const c_char) -> ! {
    // SAFETY: the assembler's own constant.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let why = match STATE.get() {
        None => {
            "was called before the CUDA libraries were loaded, which is a fault of this program"
        }
        Some(_) => {
            "is in none of the CUDA libraries that were loaded: they are too old, or it is of a \
                    library that this program does without"
        }
    };
    crate::terminal::eprint_line(&format!("error: CUDA's function {name} {why}"));
    std::process::exit(1)
}

/// Stands for what the CUDA runtime's parts of candle's kernels call as the program starts, to announce
/// themselves. Only quantised models need those kernels; this program has none, and no CUDA runtime.
extern "C" fn nothing(_name: *const c_char) -> *mut c_void {
    std::ptr::null_mut()
}

/// A library and its file's names, the newest first.
struct Wanted {
    name: &'static str,
    files: &'static [&'static str],
    table: fn() -> &'static [Entry],
}

const DRIVER: Wanted =
    Wanted { name: "libcuda", files: &["libcuda.so.1"], table: names::driver::table };

/// In the order in which they need each other.
const LIBRARIES: [Wanted; 3] = [
    Wanted {
        name: "libcublasLt",
        files: &["libcublasLt.so.13", "libcublasLt.so.12"],
        table: names::cublaslt::table,
    },
    Wanted {
        name: "libcublas",
        files: &["libcublas.so.13", "libcublas.so.12"],
        table: names::cublas::table,
    },
    Wanted { name: "libcurand", files: &["libcurand.so.10"], table: names::curand::table },
];

static STATE: OnceLock<Result<usize, Unavailable>> = OnceLock::new();

/// Loads the driver, starts it, and loads the other libraries; the number of GPUs, at least one. Only
/// the first call does anything. Nothing of CUDA may be called before, and nothing after an error.
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

/// What the driver must be and have.
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
    // SAFETY: writes the number that it is given.
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

/// Gives a table the library's addresses. What an older library lacks keeps ending in [`missing`].
fn fill(library: &Library, table: fn() -> &'static [Entry]) {
    for entry in table() {
        // SAFETY: the address is only ever jumped to, with the arguments of the function's declaration.
        if let Ok(address) = unsafe { library.get::<*mut c_void>(entry.name()) } {
            entry.address.store(address.into_raw(), Ordering::Release);
        }
    }
}

/// Where libraries are looked for.
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

    /// A newer version anywhere before an older one. An error is the reason why a file that is there
    /// does not load, or nothing where there is none.
    fn open(&self, wanted: &Wanted) -> Result<ManuallyDrop<Library>, Option<String>> {
        let mut reason = None;
        for file in wanted.files {
            let named = self.named.iter().map(|folder| folder.join(file));
            let usual = self.usual.iter().map(|folder| folder.join(file));
            // A name alone goes by the loader's path.
            for path in named.chain([PathBuf::from(file)]).chain(usual) {
                // SAFETY: NVIDIA's libraries may be loaded at any time.
                match unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) } {
                    // Open for as long as the program runs: its addresses are in use.
                    Ok(library) => return Ok(ManuallyDrop::new(library)),
                    Err(error) => {
                        // The loader's own words; the error itself only says that it failed.
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

    /// The assembler's tables are those that Rust reads: as many entries, each with a name and a place
    /// to jump to.
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

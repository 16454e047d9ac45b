//! What a program built for GPUs says on machines that cannot compute on one: the real binary beside
//! libraries of this test's own, which have the CUDA libraries' names and say what they are told to.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::common::program::{Ran, command};

/// A driver: what `cuInit` returns, its CUDA version and its number of GPUs.
const DRIVER: &str = r#"
int cuInit(unsigned flags) { return INIT; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuGetErrorName(int error, const char **name) {
    *name = error == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH";
    return 0;
}
"#;

fn library(folder: &Path, file: &str, source: &str, defined: &[String]) {
    let path = folder.join("source.c");
    fs::write(&path, source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-w", "-shared", "-fPIC", "-o"]).arg(folder.join(file)).args(defined);
    assert!(compiler.arg(&path).status().unwrap().success(), "cc makes no {file}");
}

fn driver(init: i32, version: i32, count: i32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let defined = [("INIT", init), ("VERSION", version), ("COUNT", count)];
    let defined = defined.map(|(name, value)| format!("-D{name}={value}"));
    library(folder.path(), "libcuda.so.1", DRIVER, &defined);
    folder
}

/// The libraries beside the driver, without any function.
fn with_libraries(folder: TempDir) -> TempDir {
    for file in ["libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10"] {
        library(folder.path(), file, "", &[]);
    }
    folder
}

/// Exit code and standard error of a step on the device.
fn step(libraries: &str, device: &str) -> (i32, String) {
    let spec = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/quickstart.yaml");
    let mut command = command(Path::new("/"));
    command
        .env_remove("CUDA_HOME")
        .env_remove("LD_LIBRARY_PATH")
        .env("VLORA_CUDA_LIBRARIES", libraries)
        .args(["bench", spec, "--synthetic", "--arm", "baseline", "--steps", "1", "--warmup", "0"])
        .args(["--device", device]);
    let Ran { code, err, .. } = Ran::of(command.output().unwrap());
    assert!(!err.contains("panicked"), "{err}");
    (code, err)
}

fn told(folder: &TempDir, device: &str) -> (i32, String) {
    step(folder.path().to_str().unwrap(), device)
}

/// Whether the loader finds the file without being told where.
fn on_the_loaders_path(file: &str) -> bool {
    let cache = ["/sbin/ldconfig", "ldconfig"].iter().find_map(|ldconfig| {
        let listed = Command::new(ldconfig).arg("-p").output().ok()?;
        Some(String::from_utf8_lossy(&listed.stdout).contains(file))
    });
    let usual = ["/usr/local/cuda/lib64", "/usr/local/nvidia/lib64"];
    cache.unwrap_or(false) || usual.iter().any(|folder| Path::new(folder).join(file).exists())
}

#[test]
fn no_driver_is_one_sentence_and_auto_takes_the_cpu() {
    if on_the_loaders_path("libcuda.so.1") {
        return;
    }
    let expected = "error: --device cuda: no NVIDIA driver was found (libcuda.so.1): install the \
                    driver, or compute with `--device cpu`\n";
    assert_eq!(step("", "cuda"), (1, expected.to_string()));
    assert_eq!(step("", "auto"), (0, String::new()));
}

#[test]
fn a_driver_without_a_gpu_is_named_and_auto_takes_the_cpu() {
    for folder in [driver(100, 13000, 0), driver(0, 13000, 0)] {
        let (code, said) = told(&folder, "cuda:0");
        assert_eq!(code, 1, "{said}");
        assert!(
            said.starts_with("error: --device cuda:0: the NVIDIA driver finds no GPU (cu"),
            "{said}"
        );
        assert!(said.contains("CUDA_ERROR_NO_DEVICE") && said.lines().count() == 1, "{said}");
        assert_eq!(told(&folder, "auto"), (0, String::new()));
    }
}

#[test]
fn a_driver_that_does_not_start_is_named_and_auto_says_so() {
    let folder = driver(803, 13000, 1);
    let sentence = "the NVIDIA driver does not start (cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH): see \
                    whether `nvidia-smi` works, or compute with `--device cpu`\n";
    assert_eq!(told(&folder, "cuda"), (1, format!("error: --device cuda: {sentence}")));
    assert_eq!(told(&folder, "auto"), (0, format!("note: computing on the CPU: {sentence}")));
}

#[test]
fn a_driver_that_is_too_old_is_told_what_is_needed() {
    let (code, said) = told(&driver(0, 12040, 1), "cuda");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("too old: it is for CUDA 12.4, and this program needs 1"), "{said}");
}

#[test]
fn a_library_that_is_missing_is_named_with_the_places() {
    if on_the_loaders_path("libcublasLt.so") {
        return;
    }
    let folder = driver(0, 19000, 1);
    let (code, said) = told(&folder, "cuda");
    assert_eq!(code, 1, "{said}");
    let places = format!(
        "libcublasLt was not found (libcublasLt.so.13 or libcublasLt.so.12, looked for in {}, on the \
         loader's path, in /usr/local/cuda/lib64, /usr/local/nvidia/lib64): VLORA_CUDA_LIBRARIES=",
        folder.path().display()
    );
    assert!(said.contains(&places), "{said}");
    // One that is there and no library is another matter.
    fs::write(folder.path().join("libcublasLt.so.13"), "not really").unwrap();
    let (_, said) = told(&folder, "cuda");
    assert!(
        said.contains("libcublasLt does not load: ") && said.contains("file too short"),
        "{said}"
    );
}

#[test]
fn a_gpu_that_is_not_there_is_told_how_many_are() {
    let folder = with_libraries(driver(0, 19000, 2));
    let (code, said) = told(&folder, "cuda:2");
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("found:    `cuda:2`"), "{said}");
    assert!(said.contains("2 GPUs, `cuda:0` to `cuda:1`"), "{said}");
    assert!(told(&with_libraries(driver(0, 19000, 1)), "cuda:1").1.contains("one GPU, `cuda:0`"));
}

/// Where a library is older than its name says, the program ends as soon as it needs the function.
#[test]
fn a_function_that_is_missing_ends_the_program_with_its_name() {
    let (code, said) = told(&with_libraries(driver(0, 19000, 1)), "cuda");
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with("error: CUDA's function cu") && said.contains("too old"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

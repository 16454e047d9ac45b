//! With the `cuda` feature, compiles the program's own GPU kernels: to machine code for Hopper, and
//! to PTX, which the driver compiles for any other GPU. Without the feature it does nothing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const KERNELS: &str = "src/nn/cuda/kernels";
const SOURCE: &str = "src/nn/cuda/kernels/kernels.cu";
/// The oldest architecture with bf16 tensor cores.
const OLDEST: u32 = 80;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return ExitCode::SUCCESS;
    }
    println!("cargo::rerun-if-changed={KERNELS}");
    for variable in ["CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

/// Writes OUT_DIR/kernels.fatbin.
fn compile() -> Result<(), String> {
    let nvcc = nvcc();
    let out =
        PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this with cargo")?)
            .join("kernels.fatbin");
    let done = Command::new(&nvcc)
        .args(["-fatbin", "-O3", "-std=c++17", "-lineinfo"])
        .arg(format!("-gencode=arch=compute_{0},code=compute_{0}", architecture()?))
        .arg("-gencode=arch=compute_90,code=sm_90")
        .arg("-o")
        .arg(&out)
        .arg(SOURCE)
        .output()
        .map_err(|e| {
            format!(
                "the `cuda` feature needs nvcc, and {} does not start ({e}): \
                 `eval \"$(scripts/cuda_toolkit.sh --env)\"` gets it and sets CUDA_HOME",
                nvcc.display()
            )
        })?;
    let said = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        // cargo shows one message per line.
        return Err(said.trim().replace('\n', "\ncargo::error="));
    }
    for line in said.lines().filter(|line| line.contains("warning")) {
        println!("cargo::warning={line}");
    }
    Ok(())
}

/// The nvcc in CUDA_HOME, else the one on the path.
fn nvcc() -> PathBuf {
    env::var_os("CUDA_HOME")
        .map(|home| Path::new(&home).join("bin/nvcc"))
        .filter(|nvcc| nvcc.exists())
        .unwrap_or_else(|| "nvcc".into())
}

/// CUDA_COMPUTE_CAP, which candle's kernels also follow, but at least [`OLDEST`]. The letter in
/// `90a` is dropped, since it would restrict the kernels to that architecture.
fn architecture() -> Result<u32, String> {
    let Ok(text) = env::var("CUDA_COMPUTE_CAP") else { return Ok(OLDEST) };
    match text.trim_end_matches(['a', 'f']).parse::<u32>() {
        Ok(number) => Ok(number.max(OLDEST)),
        Err(_) => Err(format!("CUDA_COMPUTE_CAP is `{text}`; expected a number such as 80 or 90")),
    }
}

//! Runs CUDA kernels on the CPU, so that tests need no GPU. The kernels' own sources are compiled for the
//! host. `cuda_on_host.h` is included first and replaces CUDA's headers.

mod buffer;
mod launch;
mod tensors;
#[cfg(test)]
mod tests;

pub use launch::{Order, with_order};
pub use tensors::{address, counters, empty, emulated, is_on, multiply, run, time, times};

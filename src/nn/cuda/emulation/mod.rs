//! Runs CUDA kernels on the CPU, so that tests need no GPU: the kernels' own sources, compiled for
//! the host with `cuda_on_host.h` included before anything else, in the place of CUDA's headers.

mod buffer;
mod launch;
mod tensors;
#[cfg(test)]
mod tests;

pub use launch::{Order, with_order};
pub use tensors::{address, counters, empty, emulated, is_on, multiply, run, time, times};

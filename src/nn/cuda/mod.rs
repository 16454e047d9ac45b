//! The operations on NVIDIA GPUs: kernels, and what calls them.
//!
//! `kernels/` holds CUDA sources, compiled by nvcc when the program is built with its feature `cuda`
//! and for the GPU that is there by its driver. The rest is compiled in every build and, in tests,
//! computes without a GPU: the same kernels then run on the CPU ([`emulation`]), and matrix products are
//! multiplied out from what cuBLASLt would have been given.
//!
//! Activations are float32 or bf16; parameters, their gradients, moments, and sums over many values are
//! float32. Nothing here waits for the GPU, and every sum has one order, so that the same input on
//! the same GPU gives the same bits.
//!
//! Launches are not captured in a CUDA graph. A graph would save the time between launches. It needs
//! the same addresses in every step, while candle allocates at each operation. And neither its memory
//! nor its run can be examined without a GPU. So launches are few instead (a block of a dense model: 12
//! products and 18 kernels a step), they are queued many steps ahead, and `vlora bench` reports how long
//! queueing takes and how long the program then waits for the GPU.

// A build without a GPU backend leaves all of this unused.
#![cfg_attr(not(any(test, feature = "cuda")), allow(dead_code, unused_variables))]

mod attention;
mod backend;
mod counters;
mod cross_entropy;
#[cfg(feature = "cuda")]
mod cublas;
mod elementwise;
mod embedding;
#[cfg(test)]
mod emulation;
#[cfg(feature = "cuda")]
mod gpu;
mod launch;
mod layer_norm;
mod linear;
pub mod optimizer;
mod product;
#[cfg(feature = "cuda")]
mod readback;
#[cfg(test)]
mod tests;

pub use attention::{self_attention, takes_heads};
pub use backend::CudaBackend;
#[cfg(any(test, feature = "cuda"))]
pub use counters::by_name;
pub use counters::{Counters, KernelTime};
pub use cross_entropy::cross_entropy;
pub use elementwise::{add_product, dropout, gelu, mean_tokens};
pub use embedding::{Batch, batch_of, embedding, patches, with_positions};
#[cfg(test)]
pub use emulation::{
    counters as emulated_counters, emulated, time as time_emulated, times as emulated_times,
};
#[cfg(feature = "cuda")]
pub use gpu::{
    configure, copied, counters, free_bytes, kernel_times, peak_bytes, reset_peak, time_kernels,
};
pub use layer_norm::{layer_norm, takes_rows_of};
pub use linear::linear;
pub use product::{Matrix, Product};
#[cfg(feature = "cuda")]
pub use readback::Copied;

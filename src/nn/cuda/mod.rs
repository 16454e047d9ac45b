//! The operations on NVIDIA GPUs: kernels, and the code that launches them.
//!
//! `kernels/` holds CUDA sources. nvcc compiles them when the program is built with its feature `cuda`;
//! on GPUs other than Hopper the driver finishes the compilation. The rest is compiled in every build. In
//! tests it computes without a GPU: the same kernels run on the CPU ([`emulation`]), and matrix products
//! are computed from the arguments that cuBLASLt would get.
//!
//! Activations are float32 or bf16. Parameters, their gradients, moments, and sums over many values are
//! float32. Nothing here waits for the GPU. Every sum has a fixed order, so the same input on the same
//! GPU gives the same bits.
//!
//! Launches are not captured in a CUDA graph, which would save the time between launches. A graph needs
//! the same addresses in every step, but candle allocates at each operation. Also, a graph cannot be
//! tested without a GPU. Instead there are few launches (12 products and 18 kernels per step for a block
//! of a dense model), and they are queued many steps ahead. `vlora bench` reports how long queueing takes
//! and how long the program waits for the GPU.

// In a build without a GPU backend all of this is unused.
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
    configure, counters, free_bytes, kernel_times, peak_bytes, queue_copy, reset_peak, time_kernels,
};
pub use layer_norm::{layer_norm, takes_rows_of};
pub use linear::linear;
pub use product::{Matrix, Product};
#[cfg(feature = "cuda")]
pub use readback::QueuedCopy;

//! The operations on NVIDIA GPUs: kernels, and what calls them.
//!
//! `kernels/` holds CUDA sources, compiled by nvcc when the program is built with its feature `cuda`
//! and for the GPU at hand by its driver. The rest is compiled in every build and, in tests,
//! computes without a GPU: the same kernels then run on the CPU ([`emulation`]), and matrix products are
//! multiplied out from what cuBLASLt would have been given.
//!
//! Activations are float32 or bf16; parameters, their gradients, moments, and sums over many values are
//! float32. Nothing here waits for the GPU, and every sum has one order, so that the same input on
//! the same GPU gives the same bits.

// A build that has no machine gives nothing to one.
#![cfg_attr(not(any(test, feature = "cuda")), allow(dead_code, unused_variables))]

mod attention;
mod cross_entropy;
mod elementwise;
mod embedding;
#[cfg(test)]
mod emulation;
#[cfg(feature = "cuda")]
mod gpu;
mod layer_norm;
mod linear;
mod machine;
pub mod optimizer;
mod product;
#[cfg(test)]
mod tests;

pub use attention::self_attention;
pub use cross_entropy::cross_entropy;
pub use elementwise::{add_product, dropout, gelu, mean_tokens};
pub use embedding::{Batch, batch_of, embedding, patches, with_positions};
#[cfg(test)]
pub use emulation::emulated;
#[cfg(feature = "cuda")]
pub use gpu::{configure, counters, free_bytes, peak_bytes, reset_peak};
pub use layer_norm::layer_norm;
pub use machine::Machine;
pub use product::{Matrix, Product};

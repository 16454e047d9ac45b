//! Fused float32 operations on slices, on the CPU. Forward and backward pass each go over memory once.
//!
//! Loops are plain Rust, compiled for several instruction sets; `pulp` chooses at run time. Threads
//! share work in blocks of fixed size, and the blocks' sums are added in order. So results do not depend
//! on the number of threads. Results of products do depend on the processor: the kernels of the crate
//! `gemm` and those in `thin` use fused multiply–adds, and sum in as many lanes as a vector has.

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod examples;
pub mod gelu;
pub mod layer_norm;
pub mod linear;
pub mod packing;
pub mod pooling;
mod product;
mod rate;
mod thin;

pub use super::slices::{takes, tensor, with_all, with_values, with_values_mut};
pub use rate::product_rate;
pub use thin::thin_cost_in_tenths;

//! Fused float32 operations on the CPU, forward and backward in one pass over memory each, on
//! slices.
//!
//! Loops are plain Rust, compiled for several instruction sets and chosen at run time (`pulp`).
//! Work is divided among threads by blocks of fixed size whose sums are added in their order, so
//! the bits do not depend on the number of threads. They do on the processor where products are
//! involved: the `gemm` crate's kernels, and those in `thin`, fuse multiply–adds and sum in as many
//! lanes as its vectors have.

pub mod activation;
pub mod adamw;
pub mod attention;
mod blocks;
pub mod cross_entropy;
pub mod dropout;
mod elementwise;
pub mod embedding;
pub mod gelu;
pub mod layer_norm;
pub mod linear;
mod memory;
pub mod packing;
pub mod pooling;
mod product;
mod rate;
mod thin;

pub use memory::{takes, tensor, with_all, with_values, with_values_mut};
pub use rate::product_rate;

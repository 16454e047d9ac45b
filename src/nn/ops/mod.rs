//! The differentiable operations that models are made of.
//!
//! Each operation checks its inputs' shapes and then dispatches once to a backend ([`super::backend`]).
//! To add an operation, write its descriptor in `descriptors` if it has options, its checks and gradient
//! here, and one file in each backend that has a kernel for it.

mod activation;
mod add_product;
mod add_scaled;
mod attention;
mod checks;
mod crops;
mod cross_entropy;
mod dropout;
mod embedding;
mod layer_norm;
mod linear;
mod patches;
mod reduce;
mod sequences;
#[cfg(test)]
mod tests;
mod valid_tokens;

pub use activation::{gelu, relu, silu, tanh};
pub use add_product::add_product;
pub use add_scaled::add_scaled;
pub use attention::{attention, self_attention};
pub use crops::Cropper;
pub use cross_entropy::cross_entropy;
pub use dropout::dropout;
pub use embedding::{add_positions, embed_tokens, embedding};
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use patches::embed_patches;
pub use reduce::{first_tokens, mean, mean_tokens, mean_valid_tokens, scale, sum};
pub use sequences::{append_tokens, select_sequences};
pub use valid_tokens::valid_tokens;

pub use super::descriptors::{Dropout, Epilogue, Gelu, Mask, Weights};

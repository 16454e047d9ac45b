//! Vertical LoRA: weights that are dense or a low-rank increment on another layer's weight.
//!
//! Layers come in *compounds* of `compound_size`. The first layer of a compound is dense. In
//! each further layer l, every target matrix is
//!
//! `W_l = sg(W_ref) + (alpha / rank) · B_lᵀ A_l`, A_l: \[rank, in\], B_l: \[rank, out\],
//!
//! where W_ref is the compound's first layer (`reference: base`, as the authors' code
//! `vlora` 0.1.2 has it) or the layer before (`previous`, as the paper's text has it), and sg
//! stops the gradient (`detach: true`, as the authors' code has it). Biases, norms and
//! embeddings stay ordinary, a set a layer.

mod compound;
mod count;
mod linear;

pub use compound::Compounds;
pub use count::{Count, LayerCount, transformer_layer};
pub use linear::{Linear, Weight};

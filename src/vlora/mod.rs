//! Vertical LoRA: weights that are dense or a low-rank increment on another layer's weight.
//!
//! Layers come in *compounds* of `compound_size`. The first layer of a compound is dense. In
//! each further layer l, every target matrix is
//!
//! `W_l = sg(W_ref) + (alpha / rank) · B_lᵀ A_l`, A_l: \[rank, in\], B_l: \[rank, out\],
//!
//! where W_ref is the compound's first layer (`reference: base`, as the authors' code
//! `vlora` 0.1.2 has it) or the layer before (`previous`, as the paper's text has it), and sg
//! stops the gradient (`detach: true`, as the authors' code has it). A vector that is a target
//! (a bias, a norm's scale) gets an additive vector, zero at the start. Everything else stays
//! ordinary, a set a layer.
//!
//! LoRA on top freezes all of this and adds `(alpha / rank) · Bᵀ A` to single layers.

mod compound;
mod convert;
mod count;
mod linear;
mod spectrum;
mod svd;
mod weight;
mod work;

pub use compound::Compounds;
pub use convert::compress;
pub use count::{LayerCount, WeightParts, transformer_layer};
pub use linear::{Linear, Lora, Vector};
pub use spectrum::{random_spectrum, spectra};
pub use svd::{Svd, singular_values};
pub use weight::{Delta, Weight};
pub use work::Work;

use crate::nn::Trained;
use crate::spec::{LoraSpec, ParameterGroup};

/// Which parameters a run trains, by name: all, or under LoRA its factors and the groups named.
pub fn trained(lora: Option<&LoraSpec>) -> Trained {
    let Some(lora) = lora else { return Box::new(|_| true) };
    let groups = lora.also_train.clone();
    Box::new(move |name| is_lora(name) || group(name).is_some_and(|group| groups.contains(&group)))
}

/// Whether a parameter is a part of an increment.
pub fn is_increment(name: &str) -> bool {
    [".A", ".B", ".delta"].iter().any(|end| name.ends_with(end))
}

/// Whether a parameter is one of LoRA's factors.
pub fn is_lora(name: &str) -> bool {
    name.ends_with(".lora_A") || name.ends_with(".lora_B")
}

/// The group that a parameter belongs to; None for matrices, tokens and positions.
pub fn group(name: &str) -> Option<ParameterGroup> {
    if name.starts_with("head.") {
        Some(ParameterGroup::Head)
    } else if name.contains("norm") {
        Some(ParameterGroup::Norms)
    } else if name.ends_with(".bias") || name.ends_with(".bias.A") {
        Some(ParameterGroup::Biases)
    } else {
        None
    }
}

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

mod convert;
mod layer_map;
mod layer_spectra;
mod linear;
mod stack;
mod svd;
mod usage;
mod weight;
mod work;

pub use convert::{compress, materialise};
pub use layer_map::{Increment, LayerMap};
pub use layer_spectra::{TargetLayers, random_spectrum, spectra};
pub use linear::{Linear, Lora, Vector};
pub use stack::StackBuilder;
pub use svd::{Svd, singular_values};
pub use usage::{Leaf, LinearUsage};
pub use weight::{Delta, Weight};
pub use work::Work;
#[cfg(test)]
pub use work::{Terms, cheapest};

use crate::nn::{Kind, Part, Role, Trained};
use crate::spec::{LoraSpec, ParameterGroup};

/// Which parameters a run trains: all, or under LoRA its factors and the groups named.
pub fn trained(lora: Option<&LoraSpec>) -> Trained {
    let Some(lora) = lora else { return Box::new(|_| true) };
    let groups = lora.also_train.clone();
    Box::new(move |role| {
        role.kind == Kind::Lora || group(role).is_some_and(|group| groups.contains(&group))
    })
}

/// The group that a spec knows a parameter by; None for the matrices of layers and the embedding.
fn group(role: Role) -> Option<ParameterGroup> {
    match (role.part, role.kind) {
        (Part::Head, _) => Some(ParameterGroup::Head),
        (_, Kind::Norm) => Some(ParameterGroup::Norms),
        (_, Kind::Bias) => Some(ParameterGroup::Biases),
        (Part::Embedding, _) => Some(ParameterGroup::Embeddings),
        (_, Kind::Matrix | Kind::Table | Kind::Token | Kind::Lora) => None,
    }
}

/// Whether a parameter is a part of an increment, by the names that [`StackBuilder`] gives.
pub fn is_increment(name: &str) -> bool {
    [".A", ".B", ".delta"].iter().any(|end| name.ends_with(end))
}

/// Whether a parameter is one of LoRA's factors, by the names that [`StackBuilder`] gives.
pub fn is_lora(name: &str) -> bool {
    name.ends_with(".lora_A") || name.ends_with(".lora_B")
}

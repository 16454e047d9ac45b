//! Vertical LoRA: a weight is dense, or a low-rank increment on another layer's weight.
//!
//! Layers come in *compounds* of `compound_size`. The first layer of a compound is dense. In
//! each further layer l, every target matrix is
//!
//! `W_l = sg(W_ref) + (alpha / rank) · B_lᵀ A_l`, A_l: \[rank, in\], B_l: \[rank, out\],
//!
//! W_ref is the weight of the compound's first layer (`reference: base`, as in the authors' code
//! `vlora` 0.1.2) or of the layer before (`previous`, as in the paper's text). sg stops the gradient
//! (`detach: true`, as in the authors' code). A vector that is a target (a bias, a norm's scale) gets
//! an additive vector that starts at zero. Every other parameter belongs to its layer alone.
//!
//! LoRA can be put on top: it freezes all of this and adds `(alpha / rank) · Bᵀ A` to single layers.

mod convert;
mod layer_map;
mod layer_spectra;
mod linear;
mod stack;
mod svd;
mod usage;
mod weight;
mod work;

pub use convert::{Compression, compress, merge};
pub use layer_map::{Increment, LayerMap};
pub use layer_spectra::{TargetLayers, random_spectrum, spectra};
pub use linear::{Linear, Lora, Vector};
pub use stack::StackBuilder;
pub use svd::{Svd, singular_values};
pub use usage::{Leaf, LinearUsage};
pub use weight::{Delta, Weight};
pub use work::MultiplyAdds;
#[cfg(test)]
pub use work::{Terms, cheapest};

use crate::nn::{Kind, Part, Role, Trained};
use crate::spec::{LoraSpec, ParameterGroup, RunSpec};

/// Which parameters a run trains.
pub fn trained_in(run: &RunSpec) -> Trained {
    match run.training.trains() {
        true => trained(run.lora.as_ref()),
        false => Box::new(|_| false),
    }
}

/// Which parameters training trains: all of them, or with LoRA its factors and the groups it names.
pub fn trained(lora: Option<&LoraSpec>) -> Trained {
    let Some(lora) = lora else { return Box::new(|_| true) };
    let groups = lora.also_train.clone();
    Box::new(move |role| {
        role.kind == Kind::Lora || group(role).is_some_and(|group| groups.contains(&group))
    })
}

/// The group that a spec calls a parameter by. None for the matrices of layers and pooler, and for
/// LoRA's factors.
fn group(role: Role) -> Option<ParameterGroup> {
    match (role.part, role.kind) {
        (Part::Head, _) => Some(ParameterGroup::Head),
        (_, Kind::Norm) => Some(ParameterGroup::Norms),
        (_, Kind::Bias) => Some(ParameterGroup::Biases),
        (Part::Embedding, _) => Some(ParameterGroup::Embeddings),
        (_, Kind::Matrix | Kind::Increment | Kind::Table | Kind::Token | Kind::Lora) => None,
    }
}

/// Whether a parameter is part of an increment, judged by the names that [`StackBuilder`] gives.
pub fn is_increment(name: &str) -> bool {
    [".A", ".B", ".delta"].iter().any(|end| name.ends_with(end))
}

/// Whether a parameter is a LoRA factor, judged by the names that [`StackBuilder`] gives.
pub fn is_lora(name: &str) -> bool {
    name.ends_with(".lora_A") || name.ends_with(".lora_B")
}

//! `lora`: LoRA on top of frozen weights.

use serde::{Deserialize, Serialize};

use super::Target;

/// LoRA (arXiv 2106.09685): `W + (alpha / rank) · Bᵀ A` on a frozen W; B starts at zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSpec {
    pub rank: usize,
    /// The product is scaled by `alpha / rank`.
    #[serde(default = "eight")]
    pub alpha: f64,
    /// Dropout rate of A's input.
    #[serde(default)]
    pub dropout: f64,
    /// Weight matrices of every layer that get a pair of A and B. If a spec names none, resolving sets every
    /// matrix.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// Parameters that are trained besides A and B.
    #[serde(default)]
    pub also_train: Vec<ParameterGroup>,
}

impl LoraSpec {
    /// Whether norms or biases, and so perhaps increments on them, are trained.
    pub fn trains_vectors(&self) -> bool {
        let vectors = [ParameterGroup::Norms, ParameterGroup::Biases];
        self.also_train.iter().any(|group| vectors.contains(group))
    }
}

fn eight() -> f64 {
    8.0
}

/// Parameters that LoRA may train, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterGroup {
    /// The classifier.
    Head,
    /// Scales and shifts of the layer norms.
    Norms,
    /// Biases of linear layers, the head's aside.
    Biases,
    /// Patch, token and position embeddings and the class token, without biases and norms.
    Embeddings,
}

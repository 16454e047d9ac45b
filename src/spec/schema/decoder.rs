//! `model` of the architecture `decoder`: its sizes.

use serde::{Deserialize, Serialize};

use super::{Architecture, LayerWeight, MlpActivation, Stack};

/// A Transformer decoder for language models as GPT-2, pre-norm, with learned positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderSpec {
    /// Always [`Architecture::Decoder`]; reading a run sees to it.
    pub architecture: Architecture,
    /// Vocabulary size: rows of the token embedding, and the model's outputs.
    pub vocabulary: usize,
    /// Context length: the most tokens that the model sees, and rows of the position embedding.
    #[serde(default = "positions")]
    pub positions: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Number of Transformer layers.
    pub depth: usize,
    pub heads: usize,
    /// MLP hidden width over `dim`.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    /// Whether linear layers have biases and norms have shifts.
    #[serde(default = "yes")]
    pub bias: bool,
    /// Whether the output layer's matrix is the token embedding.
    #[serde(default = "yes")]
    pub tied: bool,
    /// The function within the MLP.
    #[serde(default = "activation")]
    pub activation: MlpActivation,
    /// ε of the layer norms.
    #[serde(default = "norm_eps")]
    pub norm_eps: f64,
    /// Dropout rate after the embedding, attention and MLP.
    #[serde(default = "dropout")]
    pub dropout: f64,
    /// Dropout rate of the attention weights.
    #[serde(default = "dropout")]
    pub attention_dropout: f64,
}

fn positions() -> usize {
    1024
}
fn four() -> f64 {
    4.0
}
fn yes() -> bool {
    true
}
fn activation() -> MlpActivation {
    MlpActivation::GeluTanh
}
fn norm_eps() -> f64 {
    1e-5
}
fn dropout() -> f64 {
    0.1
}

impl DecoderSpec {
    /// MLP hidden width; a whole number, since validation asks for one.
    pub fn hidden(&self) -> usize {
        (self.mlp_ratio * self.dim as f64).round() as usize
    }

    /// The model's layers, by GPT-2's names.
    pub fn stacks(&self) -> Vec<Stack> {
        let (dim, hidden) = (self.dim, self.hidden());
        let matrices = [
            ("attn.c_attn", 3 * dim, dim),
            ("attn.c_proj", dim, dim),
            ("mlp.c_fc", hidden, dim),
            ("mlp.c_proj", dim, hidden),
        ];
        let norms = ["ln_1", "ln_2"].map(|name| LayerWeight::norm(name, dim, self.bias));
        let linears = LayerWeight::linears(&matrices, self.bias);
        let weights = linears.into_iter().chain(norms.into_iter().flatten()).collect();
        vec![Stack { name: "decoder", prefix: "h", depth: self.depth, weights }]
    }
}

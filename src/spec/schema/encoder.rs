//! `model` of the architecture `encoder`: its sizes.

use serde::{Deserialize, Serialize};

use super::{Architecture, LayerWeight, Stack};

/// A Transformer encoder for texts as BERT (arXiv 1810.04805), post-norm, with learned positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSpec {
    /// Always [`Architecture::Encoder`]; reading a run sees to it.
    pub architecture: Architecture,
    /// Vocabulary size: rows of the token embedding.
    pub vocabulary: usize,
    /// Maximum sequence length: rows of the position embedding.
    #[serde(default = "positions")]
    pub positions: usize,
    /// Number of token types (segments), BERT's `type_vocab_size`; 0 for none.
    #[serde(default = "two")]
    pub token_types: usize,
    pub classes: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Number of Transformer layers.
    pub depth: usize,
    pub heads: usize,
    /// MLP hidden width over `dim`.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    #[serde(default)]
    pub pool: TextPool,
    /// ε of the layer norms.
    #[serde(default = "norm_eps")]
    pub norm_eps: f64,
    /// Dropout rate after the embedding, after attention and MLP, and before the classifier.
    #[serde(default = "dropout")]
    pub dropout: f64,
    /// Dropout rate of the attention weights.
    #[serde(default = "dropout")]
    pub attention_dropout: f64,
    /// The function within the MLP.
    #[serde(default)]
    pub activation: MlpActivation,
}

fn positions() -> usize {
    512
}
fn two() -> usize {
    2
}
fn four() -> f64 {
    4.0
}
fn norm_eps() -> f64 {
    1e-12
}
fn dropout() -> f64 {
    0.1
}

/// What the classifier takes of the last layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextPool {
    /// The first token, through a linear layer and tanh, as BERT has it.
    #[default]
    Pooler,
    /// The first token.
    ClassToken,
    /// The mean over the tokens without padding.
    Mean,
}

/// The activation function of an MLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MlpActivation {
    /// The exact one, with the error function.
    #[default]
    Gelu,
    /// Approximated by tanh, as in GPT-2.
    GeluTanh,
    Relu,
    /// x · σ(x), also called swish.
    Silu,
}

impl EncoderSpec {
    /// MLP hidden width; a whole number, since validation asks for one.
    pub fn hidden(&self) -> usize {
        (self.mlp_ratio * self.dim as f64).round() as usize
    }

    /// The model's layers, by the names of Hugging Face's BERT.
    pub fn stacks(&self) -> Vec<Stack> {
        let (dim, hidden) = (self.dim, self.hidden());
        let matrices = [
            ("attention.self.query", dim, dim),
            ("attention.self.key", dim, dim),
            ("attention.self.value", dim, dim),
            ("attention.output.dense", dim, dim),
            ("intermediate.dense", hidden, dim),
            ("output.dense", dim, hidden),
        ];
        let norms = ["attention.output.LayerNorm", "output.LayerNorm"];
        let norms = norms.map(|name| LayerWeight::norm(name, dim, true)).into_iter().flatten();
        let weights = LayerWeight::linears(&matrices, true).into_iter().chain(norms).collect();
        vec![Stack { name: "encoder", prefix: "encoder.layer", depth: self.depth, weights }]
    }
}

//! `model` of the architecture `encoder-decoder`: its sizes.

use serde::{Deserialize, Serialize};

use super::{Architecture, LayerWeight, MlpActivation, Stack};

/// A Transformer with an encoder and a decoder (arXiv 1706.03762), as `torch.nn.Transformer` with
/// embeddings, positions and an output layer around it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderDecoderSpec {
    /// Always [`Architecture::EncoderDecoder`]; reading a run sees to it.
    pub architecture: Architecture,
    /// Tokens of the source language: rows of its embedding.
    pub source_vocabulary: usize,
    /// Tokens of the target language: rows of its embedding, and the model's outputs.
    pub target_vocabulary: usize,
    /// The most tokens of a sentence, special ones included.
    #[serde(default = "positions")]
    pub positions: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Number of layers of the encoder, and of the decoder if `decoder_depth` is not given.
    pub depth: usize,
    /// Number of layers of the decoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder_depth: Option<usize>,
    pub heads: usize,
    /// MLP hidden width over `dim`.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    /// Where a layer's norms stand.
    #[serde(default)]
    pub norm: NormPlacement,
    /// Which stacks end with a norm.
    #[serde(default)]
    pub final_norm: FinalNorm,
    #[serde(default)]
    pub position_embedding: PositionKind,
    /// Whether both languages have one embedding.
    #[serde(default)]
    pub shared_embedding: bool,
    /// Whether the output layer's matrix is the embedding of the target language.
    #[serde(default = "yes")]
    pub tied: bool,
    /// Whether the output layer has a bias.
    #[serde(default)]
    pub output_bias: bool,
    /// Whether embeddings are multiplied by √dim before positions are added.
    #[serde(default = "yes")]
    pub scale_embedding: bool,
    /// How token embeddings and learned positions start.
    #[serde(default)]
    pub embedding_init: EmbeddingInit,
    /// How the projections to queries, keys and values start.
    #[serde(default)]
    pub attention_init: AttentionInit,
    /// The function within the MLP.
    #[serde(default = "relu")]
    pub activation: MlpActivation,
    /// ε of the layer norms.
    #[serde(default = "norm_eps")]
    pub norm_eps: f64,
    /// Dropout rate after the embeddings, attention and MLP.
    #[serde(default = "dropout")]
    pub dropout: f64,
    /// Dropout rate of the attention weights.
    #[serde(default = "dropout")]
    pub attention_dropout: f64,
    /// Dropout rate after the MLP's activation.
    #[serde(default = "dropout")]
    pub activation_dropout: f64,
}

/// Where the norms of a layer stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormPlacement {
    /// Behind each sum: `norm(x + f(x))` (arXiv 1706.03762).
    #[default]
    Post,
    /// In front of each function: `x + f(norm(x))`.
    Pre,
}

/// Which stacks end with a norm of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinalNorm {
    /// `torch.nn.Transformer`.
    #[default]
    Both,
    /// The authors' Transformer.
    Decoder,
    None,
}

/// How a token's position enters the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PositionKind {
    /// Sines and cosines of fixed wavelengths (arXiv 1706.03762, section 3.5).
    #[default]
    Sinusoidal,
    /// The same values, all sines in front of all cosines (Marian).
    SinusoidalHalves,
    /// A table for each language.
    Learned,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmbeddingInit {
    /// Normal with standard deviation 1/√dim.
    #[default]
    Normal,
    /// Xavier-uniform, as if the table were the matrix of a linear layer.
    XavierUniform,
}

/// How the projections to queries, keys and values start: Xavier-uniform in any case, by another size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionInit {
    /// As one matrix \[3 · dim, dim\] (`torch.nn.MultiheadAttention`).
    #[default]
    Packed,
    /// As three matrices \[dim, dim\], whose values are √2 times as large.
    Separate,
}

fn positions() -> usize {
    256
}
fn four() -> f64 {
    4.0
}
fn yes() -> bool {
    true
}
fn relu() -> MlpActivation {
    MlpActivation::Relu
}
fn norm_eps() -> f64 {
    1e-5
}
fn dropout() -> f64 {
    0.1
}

impl EncoderDecoderSpec {
    /// MLP hidden width; a whole number, since validation asks for one.
    pub fn hidden(&self) -> usize {
        (self.mlp_ratio * self.dim as f64).round() as usize
    }

    /// Number of layers of the decoder.
    pub fn decoder_depth(&self) -> usize {
        self.decoder_depth.unwrap_or(self.depth)
    }

    /// Encoder and decoder, by PyTorch's names. The packed matrix of cross-attention is three here,
    /// since queries have another input than keys and values.
    pub fn stacks(&self) -> Vec<Stack> {
        EncoderDecoderSpec::stacks_of(self.dim, self.hidden(), [self.depth, self.decoder_depth()])
    }

    /// The same, of this width with an MLP of this hidden width. `depths` are those of encoder and decoder.
    pub fn stacks_of(dim: usize, hidden: usize, depths: [usize; 2]) -> Vec<Stack> {
        let [encoder_depth, decoder_depth] = depths;
        let attention = [("self_attn.in_proj", 3 * dim, dim), ("self_attn.out_proj", dim, dim)];
        let cross = [
            ("multihead_attn.query", dim, dim),
            ("multihead_attn.key", dim, dim),
            ("multihead_attn.value", dim, dim),
            ("multihead_attn.out_proj", dim, dim),
        ];
        let mlp = [("linear1", hidden, dim), ("linear2", dim, hidden)];
        let weights = |matrices: &[(&str, usize, usize)], norms: &[&str]| {
            let norms = norms.iter().flat_map(|name| LayerWeight::norm(name, dim, true));
            LayerWeight::linears(matrices, true).into_iter().chain(norms).collect()
        };
        let decoder: Vec<_> = attention.into_iter().chain(cross).chain(mlp).collect();
        vec![
            Stack {
                name: "encoder",
                prefix: "encoder.layers",
                depth: encoder_depth,
                weights: weights(&[attention, mlp].concat(), &["norm1", "norm2"]),
            },
            Stack {
                name: "decoder",
                prefix: "decoder.layers",
                depth: decoder_depth,
                weights: weights(&decoder, &["norm1", "norm2", "norm3"]),
            },
        ]
    }
}

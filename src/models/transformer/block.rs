//! A pre-norm layer, as in Vision Transformers and GPT-2.

use candle_core::Result;

use super::attention::{KvCache, PackedSelfAttention, Sizes};
use super::mlp::{Activation, Mlp};
use super::norm::Norm;
use super::residual::ResidualLinear;
use crate::models::operations::Operation;
use crate::nn::ops;
use crate::nn::{Init, Mode, ParameterBuilder, Variable};
use crate::vlora::StackBuilder;

/// `x ← x + dropout(attention(norm1(x)))`, then `x ← x + dropout(mlp(norm2(x)))`, or with
/// [`norm_in_stream`](BlockSizes::norm_in_stream) `x ← norm2(x)`, `x ← x + dropout(mlp(x))`. Stochastic depth
/// drops the branches of some examples.
#[derive(Debug)]
pub struct PreNormBlock {
    norm1: Norm,
    attention: PackedSelfAttention,
    norm2: Norm,
    mlp: Mlp,
    norm_in_stream: bool,
}

/// The names of a layer's parts.
#[derive(Clone, Copy, Debug)]
pub struct BlockNames {
    norm1: &'static str,
    attention: &'static str,
    qkv: &'static str,
    proj: &'static str,
    norm2: &'static str,
    fc1: &'static str,
    fc2: &'static str,
}

impl BlockNames {
    pub const TIMM: BlockNames = BlockNames {
        norm1: "norm1",
        attention: "attn",
        qkv: "attn.qkv",
        proj: "attn.proj",
        norm2: "norm2",
        fc1: "mlp.fc1",
        fc2: "mlp.fc2",
    };

    pub const GPT2: BlockNames = BlockNames {
        norm1: "ln_1",
        attention: "attn",
        qkv: "attn.c_attn",
        proj: "attn.c_proj",
        norm2: "ln_2",
        fc1: "mlp.c_fc",
        fc2: "mlp.c_proj",
    };
}

/// Settings of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockSizes {
    /// Width of the residual stream.
    pub dim: usize,
    pub heads: usize,
    pub norm_eps: f64,
    pub activation: Activation,
    /// Whether a token attends only to itself and to those before it.
    pub causal: bool,
    /// Dropout rate of the outputs of attention and MLP (timm's `proj_drop`).
    pub dropout: f64,
    /// Dropout rate of the attention weights (timm's `attn_drop`).
    pub attention_dropout: f64,
    /// Dropout rate after the MLP's activation (fairseq's `activation_dropout`).
    pub activation_dropout: f64,
    /// How often training leaves out attention or MLP for an example.
    pub drop_path_rate: f64,
    /// Whether the second norm is in the residual stream: `x ← norm2(x)`, then `x ← x + mlp(x)`.
    pub norm_in_stream: bool,
    /// How linear weights start.
    pub init: Init,
    /// How those start whose results are added to the residual stream.
    pub residual_init: Init,
}

impl PreNormBlock {
    /// Builds layer `layer` of a stack.
    pub fn new(
        stack: &mut StackBuilder,
        parameters: &mut dyn ParameterBuilder,
        layer: usize,
        names: &BlockNames,
        sizes: BlockSizes,
    ) -> Result<PreNormBlock> {
        let norm = (sizes.dim, sizes.norm_eps);
        let norm1 = Norm::of_layer(stack, parameters, layer, names.norm1, norm)?;
        let norm2 = Norm::of_layer(stack, parameters, layer, names.norm2, norm)?;
        let prefix = stack.layer_name(layer);
        let mut linear = |name: &str, init| stack.linear(parameters, layer, name, init);
        let residual = |name: &str, linear| {
            let name = format!("{prefix}.{name}");
            ResidualLinear {
                linear,
                dropout: sizes.dropout,
                drop_path_rate: sizes.drop_path_rate,
                name,
            }
        };
        // The order of the parameters is that in which they are built.
        let qkv = linear(names.qkv, sizes.init)?;
        let proj = linear(names.proj, sizes.residual_init)?;
        let fc1 = linear(names.fc1, sizes.init)?;
        let fc2 = linear(names.fc2, sizes.residual_init)?;
        let attention = PackedSelfAttention {
            heads: sizes.heads,
            qkv,
            proj: residual(names.proj, proj),
            causal: sizes.causal,
            dropout: sizes.attention_dropout,
            name: format!("{prefix}.{}", names.attention),
        };
        let fc2 = residual(names.fc2, fc2);
        let activation_dropout =
            Some((sizes.activation_dropout, format!("{prefix}.{}", names.fc1)));
        let mlp = Mlp { fc1, activation: sizes.activation, activation_dropout, fc2 };
        let norm_in_stream = sizes.norm_in_stream;
        Ok(PreNormBlock { norm1, attention, norm2, mlp, norm_in_stream })
    }

    /// The second half: the MLP and what is around it.
    fn mlp(&self, x: &Variable, mode: Mode) -> Result<Variable> {
        let normed = self.norm2.forward(x)?;
        self.mlp.forward(&normed, if self.norm_in_stream { &normed } else { x }, mode)
    }

    /// \[batch, tokens, dim\] → the first `needed` tokens, \[batch, needed, dim\].
    pub fn forward(&self, x: &Variable, needed: usize, mode: Mode) -> Result<Variable> {
        let mixed = self.attention.heads(&self.norm1.forward(x)?, needed, None, mode)?;
        let x = ops::first_tokens(x, needed)?;
        let x = self.attention.proj.forward(&mixed, &x, mode)?;
        self.mlp(&x, mode)
    }

    /// The result for new tokens at the end of sequences, in evaluation: \[batch, new, dim\] → \[batch,
    /// new, dim\]. `cache` has the keys and values of the tokens before, and takes the new ones.
    pub fn next(&self, x: &Variable, cache: &mut KvCache) -> Result<Variable> {
        let mode = Mode::Evaluation;
        let mixed = self.attention.next(&self.norm1.forward(x)?, cache)?;
        let x = self.attention.proj.forward(&mixed, x, mode)?;
        self.mlp(&x, mode)
    }

    /// The operations of [`forward`](Self::forward), in order.
    pub fn operations(&self, sizes: Sizes, dim: usize) -> Result<Vec<Operation>> {
        let Sizes { batch, tokens, queries } = sizes;
        let rows = batch * queries;
        let mut operations = vec![self.norm1.operation(batch * tokens)];
        operations.extend(self.attention.operations(sizes)?);
        if queries < tokens {
            operations.push(Operation::FirstTokens { batch, tokens, kept: queries, width: dim });
        }
        operations.extend(self.attention.proj.operations(rows)?);
        operations.push(self.norm2.operation(rows));
        operations.extend(self.mlp.operations(rows)?);
        Ok(operations)
    }
}

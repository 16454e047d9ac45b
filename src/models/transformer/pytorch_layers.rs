//! The layers of an encoder and of a decoder, as `torch.nn.TransformerEncoderLayer` and
//! `TransformerDecoderLayer` compute them.

use candle_core::{Result, Tensor};

use super::attention::{Attention, KvCache, PackedSelfAttention, Sizes};
use super::mlp::{Activation, Mlp};
use super::norm::Norm;
use super::placed_norm::PlacedNorm;
use super::residual::ResidualLinear;
use crate::models::operations::Operation;
use crate::nn::ops::Mask;
use crate::nn::{Init, Mode, ParameterBuilder, Variable};
use crate::spec::NormPlacement;
use crate::vlora::StackBuilder;

/// Settings of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerSizes {
    /// Width of the residual stream.
    pub dim: usize,
    /// Width within the MLP.
    pub hidden: usize,
    pub heads: usize,
    pub norm: NormPlacement,
    pub norm_eps: f64,
    pub activation: Activation,
    /// Dropout rate of the outputs of attention and MLP (timm's `proj_drop`).
    pub dropout: f64,
    /// Dropout rate of the attention weights (timm's `attn_drop`).
    pub attention_dropout: f64,
    /// Dropout rate after the MLP's activation (fairseq's `activation_dropout`).
    pub activation_dropout: f64,
    /// How the matrices of queries, keys and values start.
    pub attention_init: Init,
}

/// Builds the parts of one layer.
struct Parts<'a, 'b> {
    stack: &'a mut StackBuilder<'b>,
    parameters: &'a mut dyn ParameterBuilder,
    layer: usize,
    sizes: LayerSizes,
}

impl Parts<'_, '_> {
    /// The name of a part within the model.
    fn full(&self, part: &str) -> String {
        format!("{}.{part}", self.stack.layer_name(self.layer))
    }

    /// The end of a branch, `sides` (output, input).
    fn residual(&mut self, name: &str, (output, input): (usize, usize)) -> Result<ResidualLinear> {
        let init = Init::XavierUniform { fan_in: input, fan_out: output };
        let linear = self.stack.linear(self.parameters, self.layer, name, init)?;
        Ok(ResidualLinear {
            linear,
            dropout: self.sizes.dropout,
            drop_path_rate: 0.0,
            name: self.full(name),
        })
    }

    fn self_attention(&mut self, causal: bool) -> Result<PackedSelfAttention> {
        let LayerSizes { dim, heads, attention_dropout, attention_init, .. } = self.sizes;
        let name = "self_attn.in_proj";
        let qkv = self.stack.linear(self.parameters, self.layer, name, attention_init)?;
        let proj = self.residual("self_attn.out_proj", (dim, dim))?;
        let name = self.full("self_attn");
        Ok(PackedSelfAttention { heads, qkv, proj, causal, dropout: attention_dropout, name })
    }

    fn cross_attention(&mut self) -> Result<Attention> {
        let LayerSizes { dim, heads, attention_dropout, attention_init, .. } = self.sizes;
        let mut linear =
            |name: &str| self.stack.linear(self.parameters, self.layer, name, attention_init);
        let query = linear("multihead_attn.query")?;
        let (key, value) = (linear("multihead_attn.key")?, linear("multihead_attn.value")?);
        let output = self.residual("multihead_attn.out_proj", (dim, dim))?;
        let name = self.full("multihead_attn");
        Ok(Attention { heads, query, key, value, output, dropout: attention_dropout, name })
    }

    fn mlp(&mut self) -> Result<Mlp> {
        let LayerSizes { dim, hidden, activation, activation_dropout, .. } = self.sizes;
        let init = Init::XavierUniform { fan_in: dim, fan_out: hidden };
        let fc1 = self.stack.linear(self.parameters, self.layer, "linear1", init)?;
        let activation_dropout = Some((activation_dropout, self.full("linear1")));
        let fc2 = self.residual("linear2", (dim, hidden))?;
        Ok(Mlp { fc1, activation, activation_dropout, fc2 })
    }

    fn norm(&mut self, name: &str) -> Result<PlacedNorm> {
        let LayerSizes { dim, norm, norm_eps, .. } = self.sizes;
        let size = (dim, norm_eps);
        let built = Norm::of_layer(self.stack, self.parameters, self.layer, name, size)?;
        Ok(PlacedNorm { norm: built, placement: norm })
    }
}

/// Self-attention and MLP, each with a norm and a sum.
#[derive(Debug)]
pub struct EncoderLayer {
    attention: PackedSelfAttention,
    norm1: PlacedNorm,
    mlp: Mlp,
    norm2: PlacedNorm,
}

impl EncoderLayer {
    /// Builds layer `layer` of a stack.
    pub fn new(
        stack: &mut StackBuilder,
        parameters: &mut dyn ParameterBuilder,
        layer: usize,
        sizes: LayerSizes,
    ) -> Result<EncoderLayer> {
        let mut parts = Parts { stack, parameters, layer, sizes };
        Ok(EncoderLayer {
            attention: parts.self_attention(false)?,
            norm1: parts.norm("norm1")?,
            mlp: parts.mlp()?,
            norm2: parts.norm("norm2")?,
        })
    }

    /// \[batch, tokens, dim\] → the same. Tokens beyond a sequence's length are padding: no token attends
    /// to them, and their results have no meaning.
    pub fn forward(&self, x: &Variable, lengths: &[usize], mode: Mode) -> Result<Variable> {
        let tokens = x.tensor().dim(1)?;
        let x = self.norm1.around(x, |x, residual| {
            let mixed = self.attention.heads(x, tokens, Some(lengths), mode)?;
            self.attention.proj.forward(&mixed, residual, mode)
        })?;
        self.norm2.around(&x, |x, residual| self.mlp.forward(x, residual, mode))
    }

    /// The operations of [`forward`](Self::forward) in training, in order.
    pub fn operations(&self, batch: usize, tokens: usize) -> Result<Vec<Operation>> {
        let rows = batch * tokens;
        let sizes = Sizes { batch, tokens, queries: tokens };
        let mut attention = self.attention.operations(sizes)?.to_vec();
        attention.extend(self.attention.proj.operations(rows)?);
        let mut operations = self.norm1.operations(rows, attention);
        operations.extend(self.norm2.operations(rows, self.mlp.operations(rows)?));
        Ok(operations)
    }
}

/// Causal self-attention, attention to the encoder's result, and MLP, each with a norm and a sum.
#[derive(Debug)]
pub struct DecoderLayer {
    attention: PackedSelfAttention,
    norm1: PlacedNorm,
    cross: Attention,
    norm2: PlacedNorm,
    mlp: Mlp,
    norm3: PlacedNorm,
}

impl DecoderLayer {
    /// Builds layer `layer` of a stack.
    pub fn new(
        stack: &mut StackBuilder,
        parameters: &mut dyn ParameterBuilder,
        layer: usize,
        sizes: LayerSizes,
    ) -> Result<DecoderLayer> {
        let mut parts = Parts { stack, parameters, layer, sizes };
        Ok(DecoderLayer {
            attention: parts.self_attention(true)?,
            norm1: parts.norm("norm1")?,
            cross: parts.cross_attention()?,
            norm2: parts.norm("norm2")?,
            mlp: parts.mlp()?,
            norm3: parts.norm("norm3")?,
        })
    }

    /// \[batch, tokens, dim\] → the same. `memory` \[batch, source tokens, dim\] is the encoder's result.
    /// `lengths` and `source_lengths` say which tokens are no padding.
    pub fn forward(
        &self,
        x: &Variable,
        lengths: &[usize],
        memory: &Variable,
        source_lengths: &[usize],
        mode: Mode,
    ) -> Result<Variable> {
        let tokens = x.tensor().dim(1)?;
        let x = self.norm1.around(x, |x, residual| {
            let mixed = self.attention.heads(x, tokens, Some(lengths), mode)?;
            self.attention.proj.forward(&mixed, residual, mode)
        })?;
        let mask = of_source(source_lengths);
        let x = self.norm2.around(&x, |x, residual| {
            let mixed = self.cross.heads(x, memory, &mask, mode)?;
            self.cross.output.forward(&mixed, residual, mode)
        })?;
        self.norm3.around(&x, |x, residual| self.mlp.forward(x, residual, mode))
    }

    /// The keys and values of the encoder's result, for [`next`](Self::next).
    pub fn keys_and_values(&self, memory: &Variable) -> Result<[Tensor; 2]> {
        self.cross.keys_and_values(memory)
    }

    /// The result for new tokens at the end of sequences, in evaluation: \[sequences, new, dim\] → the same.
    /// `cache` has the keys and values of the tokens before, and takes the new ones. `memory` has those of
    /// the sources. Each source has equally many sequences, which follow one another.
    pub fn next(
        &self,
        x: &Variable,
        cache: &mut KvCache,
        memory: [&Tensor; 2],
        source_lengths: &[usize],
    ) -> Result<Variable> {
        let mode = Mode::Evaluation;
        let x = self.norm1.around(x, |x, residual| {
            let mixed = self.attention.next(x, cache)?;
            self.attention.proj.forward(&mixed, residual, mode)
        })?;
        let mask = of_source(source_lengths);
        let x = self.norm2.around(&x, |x, residual| {
            let mixed = self.cross.attend(x, memory, &mask)?;
            self.cross.output.forward(&mixed, residual, mode)
        })?;
        self.norm3.around(&x, |x, residual| self.mlp.forward(x, residual, mode))
    }

    /// The operations of [`forward`](Self::forward) in training, in order, with sources of
    /// `source_tokens` tokens.
    pub fn operations(
        &self,
        batch: usize,
        tokens: usize,
        source_tokens: usize,
    ) -> Result<Vec<Operation>> {
        let rows = batch * tokens;
        let sizes = Sizes { batch, tokens, queries: tokens };
        let mut attention = self.attention.operations(sizes)?.to_vec();
        attention.extend(self.attention.proj.operations(rows)?);
        let sizes = Sizes { batch, tokens: source_tokens, queries: tokens };
        let mut cross = self.cross.operations(sizes)?.to_vec();
        cross.extend(self.cross.output.operations(rows)?);
        let mut operations = self.norm1.operations(rows, attention);
        operations.extend(self.norm2.operations(rows, cross));
        operations.extend(self.norm3.operations(rows, self.mlp.operations(rows)?));
        Ok(operations)
    }
}

/// The mask of cross-attention: padding of the source is not attended to.
fn of_source(lengths: &[usize]) -> Mask {
    Mask { lengths: Some(lengths.to_vec()), ..Mask::default() }
}

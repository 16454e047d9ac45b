//! A pre-norm layer, as in Vision Transformers.

use candle_core::Result;

use super::attention::{PackedSelfAttention, Sizes};
use super::mlp::Mlp;
use super::norm::Norm;
use crate::models::operations::{Linear as LinearOperation, Operation};
use crate::nn::ops::{self, Epilogue};
use crate::nn::{Init, Mode, ParameterBuilder, Variable};
use crate::vlora::StackBuilder;

/// `x ← x + attention(norm1(x))`, then `x ← x + mlp(norm2(x))`.
#[derive(Debug)]
pub struct PreNormBlock {
    norm1: Norm,
    attention: PackedSelfAttention,
    norm2: Norm,
    mlp: Mlp,
}

/// Settings of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockSizes {
    /// Width of the residual stream.
    pub dim: usize,
    pub heads: usize,
    pub norm_eps: f64,
}

impl PreNormBlock {
    /// Builds layer `layer` of a stack with timm's names. Linear weights start as `init`.
    pub fn new(
        stack: &mut StackBuilder,
        parameters: &mut dyn ParameterBuilder,
        layer: usize,
        sizes: BlockSizes,
        init: Init,
    ) -> Result<PreNormBlock> {
        let BlockSizes { dim, heads, norm_eps } = sizes;
        let norm1 = Norm::of_layer(stack, parameters, layer, "norm1", (dim, norm_eps))?;
        let norm2 = Norm::of_layer(stack, parameters, layer, "norm2", (dim, norm_eps))?;
        let mut linear = |name: &str| stack.linear(parameters, layer, name, init);
        let attention =
            PackedSelfAttention { heads, qkv: linear("attn.qkv")?, proj: linear("attn.proj")? };
        let mlp = Mlp { fc1: linear("mlp.fc1")?, fc2: linear("mlp.fc2")? };
        Ok(PreNormBlock { norm1, attention, norm2, mlp })
    }

    /// \[batch, tokens, dim\] → the first `needed` tokens, \[batch, needed, dim\].
    pub fn forward(&self, x: &Variable, needed: usize, mode: Mode) -> Result<Variable> {
        let mixed = self.attention.heads(&self.norm1.forward(x)?, needed, mode)?;
        let x = ops::first_tokens(x, needed)?;
        let x = self.attention.proj.forward(&mixed, Epilogue::Add(&x), mode)?;
        self.mlp.forward(&self.norm2.forward(&x)?, &x, mode)
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
        operations.push(Operation::Linear(LinearOperation::of(&self.attention.proj, rows)?));
        operations.push(self.norm2.operation(rows));
        operations.extend(self.mlp.operations(rows)?);
        Ok(operations)
    }
}

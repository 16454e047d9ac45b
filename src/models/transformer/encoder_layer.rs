//! A post-norm layer, as in BERT (arXiv 1810.04805).

use candle_core::Result;

use super::attention::{Attention, Sizes};
use super::mlp::Activation;
use super::norm::Norm;
use super::residual::ResidualLinear;
use crate::models::operations::Operation;
use crate::nn::ops::{self, Mask};
use crate::nn::{Init, Mode, ParameterBuilder, Variable};
use crate::vlora::{Linear, StackBuilder};

/// `x ← norm(x + dropout(attention(x)))`, then `x ← norm(x + dropout(mlp(x)))`.
#[derive(Debug)]
pub struct PostNormLayer {
    attention: Attention,
    norm1: Norm,
    intermediate: Linear,
    activation: Activation,
    output: ResidualLinear,
    norm2: Norm,
}

/// Settings of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PostNormSizes {
    /// Width of the residual stream.
    pub dim: usize,
    pub heads: usize,
    pub norm_eps: f64,
    pub activation: Activation,
    pub dropout: f64,
    pub attention_dropout: f64,
}

impl PostNormLayer {
    /// Builds layer `layer` of a stack with the names of Hugging Face's BERT. Linear weights start as
    /// `init`.
    pub fn new(
        stack: &mut StackBuilder,
        parameters: &mut dyn ParameterBuilder,
        layer: usize,
        sizes: PostNormSizes,
        init: Init,
    ) -> Result<PostNormLayer> {
        let norm = (sizes.dim, sizes.norm_eps);
        let name = stack.layer_name(layer);
        let mut linear = |name: &str| stack.linear(parameters, layer, name, init);
        let dropout = sizes.dropout;
        let residual = |linear, part: &str| {
            let name = format!("{name}.{part}");
            ResidualLinear { linear, dropout, drop_path_rate: 0.0, name }
        };
        let attention = Attention {
            heads: sizes.heads,
            query: linear("attention.self.query")?,
            key: linear("attention.self.key")?,
            value: linear("attention.self.value")?,
            output: residual(linear("attention.output.dense")?, "attention.output"),
            dropout: sizes.attention_dropout,
            name: format!("{name}.attention.self"),
        };
        let intermediate = linear("intermediate.dense")?;
        let output = residual(linear("output.dense")?, "output");
        let norm1 = "attention.output.LayerNorm";
        Ok(PostNormLayer {
            attention,
            norm1: Norm::of_layer(stack, parameters, layer, norm1, norm)?,
            intermediate,
            activation: sizes.activation,
            output,
            norm2: Norm::of_layer(stack, parameters, layer, "output.LayerNorm", norm)?,
        })
    }

    /// \[batch, tokens, dim\] → the first `needed` tokens, \[batch, needed, dim\]. Tokens beyond a
    /// sequence's length are padding: no token attends to them, and their results have no meaning.
    pub fn forward(
        &self,
        x: &Variable,
        lengths: &[usize],
        needed: usize,
        mode: Mode,
    ) -> Result<Variable> {
        let (_, tokens, _) = x.tensor().dims3()?;
        let mask = match needed == tokens {
            true => Mask::padded(lengths),
            false => Mask { lengths: Some(lengths.to_vec()), ..Mask::default() },
        };
        let first = ops::first_tokens(x, needed)?;
        let mixed = self.attention.heads(&first, x, &mask, mode)?;
        let x = self.attention.output.forward(&mixed, &first, mode)?;
        let x = self.norm1.forward(&x)?;
        let hidden = self.activation.after(&self.intermediate, &x, mode)?;
        let x = self.output.forward(&hidden, &x, mode)?;
        self.norm2.forward(&x)
    }

    /// The operations of [`forward`](Self::forward) in training, in order.
    pub fn operations(&self, sizes: Sizes, dim: usize) -> Result<Vec<Operation>> {
        let Sizes { batch, tokens, queries } = sizes;
        let rows = batch * queries;
        let mut operations = Vec::new();
        if queries < tokens {
            operations.push(Operation::FirstTokens { batch, tokens, kept: queries, width: dim });
        }
        operations.extend(self.attention.operations(sizes)?);
        operations.extend(self.attention.output.operations(rows)?);
        operations.push(self.norm1.operation(rows));
        operations.extend(self.activation.operations(&self.intermediate, rows)?);
        operations.extend(self.output.operations(rows)?);
        operations.push(self.norm2.operation(rows));
        Ok(operations)
    }
}

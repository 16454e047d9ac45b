//! Layer normalisation with its scale and shift.

use candle_core::Result;

use crate::models::operations::{LayerNorm, Operation};
use crate::nn::ops;
use crate::nn::{Init, ParameterBuilder, Variable};
use crate::vlora::{StackBuilder, Vector};

/// A layer norm whose scale and shift may be shared or have increments.
#[derive(Debug)]
pub struct Norm {
    weight: Vector,
    /// The shift; None if the norm has none.
    bias: Option<Vector>,
    width: usize,
    eps: f64,
}

impl Norm {
    pub fn new(weight: Vector, bias: Option<Vector>, width: usize, eps: f64) -> Norm {
        Norm { weight, bias, width, eps }
    }

    /// Builds the norm `name` of a stack's layer. Whether it has a shift is in the stack's weights. `width`
    /// and `eps` are as in [`Norm::new`].
    pub fn of_layer(
        stack: &mut StackBuilder,
        parameters: &mut dyn ParameterBuilder,
        layer: usize,
        name: &str,
        (width, eps): (usize, f64),
    ) -> Result<Norm> {
        let shift = format!("{name}.bias");
        let weight = stack.vector(parameters, layer, &format!("{name}.weight"), Init::Ones)?;
        let bias = match stack.has(&shift) {
            true => Some(stack.vector(parameters, layer, &shift, Init::Zeros)?),
            false => None,
        };
        Ok(Norm::new(weight, bias, width, eps))
    }

    /// Normalises over the last axis of x \[…, width\].
    pub fn forward(&self, x: &Variable) -> Result<Variable> {
        let weight = self.weight.value()?;
        let bias = match &self.bias {
            Some(bias) => bias.value()?,
            None => Variable::constant(weight.tensor().zeros_like()?),
        };
        ops::layer_norm(x, &weight, &bias, self.eps)
    }

    pub fn operation(&self, rows: usize) -> Operation {
        let bias = self.bias.iter().flat_map(Vector::leaves);
        let leaves = self.weight.leaves().into_iter().chain(bias).collect();
        Operation::LayerNorm(LayerNorm { rows, width: self.width, leaves })
    }
}

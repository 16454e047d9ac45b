//! Layer normalisation with its scale and shift.

use candle_core::Result;

use crate::models::operations::{LayerNorm, Operation};
use crate::nn::ops;
use crate::nn::{Init, ParameterBuilder, Variable};
use crate::vlora::{StackBuilder, Vector};

#[derive(Debug)]
pub struct Norm {
    weight: Vector,
    bias: Vector,
    width: usize,
    eps: f64,
}

impl Norm {
    pub fn new(weight: Vector, bias: Vector, width: usize, eps: f64) -> Norm {
        Norm { weight, bias, width, eps }
    }

    /// Builds the norm `name` of a stack's layer. `width` and `eps` are as in [`Norm::new`].
    pub fn of_layer(
        stack: &mut StackBuilder,
        parameters: &mut dyn ParameterBuilder,
        layer: usize,
        name: &str,
        (width, eps): (usize, f64),
    ) -> Result<Norm> {
        let mut part =
            |part: &str, init| stack.vector(parameters, layer, &format!("{name}.{part}"), init);
        let (weight, bias) = (part("weight", Init::Ones)?, part("bias", Init::Zeros)?);
        Ok(Norm::new(weight, bias, width, eps))
    }

    /// Normalises over the last axis of x \[…, width\].
    pub fn forward(&self, x: &Variable) -> Result<Variable> {
        ops::layer_norm(x, &self.weight.value()?, &self.bias.value()?, self.eps)
    }

    pub fn operation(&self, rows: usize) -> Operation {
        let leaves = self.weight.leaves().into_iter().chain(self.bias.leaves()).collect();
        Operation::LayerNorm(LayerNorm { rows, width: self.width, leaves })
    }
}

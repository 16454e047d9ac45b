//! The multi-layer perceptron of a layer: two linear layers with an activation between them.

use candle_core::Result;

use crate::models::operations::{Linear as LinearOperation, Operation};
use crate::nn::ops::{self, Epilogue};
use crate::nn::{Mode, Variable};
use crate::vlora::Linear;

/// The function between the two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The exact GELU, with the error function.
    Gelu,
    Relu,
}

impl Activation {
    /// `activation(linear(x))`.
    pub fn after(self, linear: &Linear, x: &Variable, mode: Mode) -> Result<Variable> {
        match self {
            Activation::Gelu => linear.forward(x, Epilogue::Gelu, mode),
            Activation::Relu => ops::relu(&linear.forward(x, Epilogue::None, mode)?),
        }
    }

    /// The operations of [`after`](Self::after) on `rows` rows.
    pub fn operations(self, linear: &Linear, rows: usize) -> Result<Vec<Operation>> {
        let linear = LinearOperation::of(linear, rows)?;
        Ok(match self {
            Activation::Gelu => vec![Operation::Linear(LinearOperation { gelu: true, ..linear })],
            Activation::Relu => {
                let width = linear.usage.sides.0;
                vec![Operation::Linear(linear), Operation::Activation { rows, width }]
            }
        })
    }
}

/// `fc2(gelu(fc1(x)))`.
#[derive(Debug)]
pub struct Mlp {
    pub fc1: Linear,
    pub fc2: Linear,
}

impl Mlp {
    /// `residual + fc2(gelu(fc1(x)))`, x and `residual` \[…, dim\].
    pub fn forward(&self, x: &Variable, residual: &Variable, mode: Mode) -> Result<Variable> {
        let hidden = Activation::Gelu.after(&self.fc1, x, mode)?;
        self.fc2.forward(&hidden, Epilogue::Add(residual), mode)
    }

    /// The operations of [`forward`](Self::forward) on `rows` rows.
    pub fn operations(&self, rows: usize) -> Result<Vec<Operation>> {
        let mut operations = Activation::Gelu.operations(&self.fc1, rows)?;
        operations.push(Operation::Linear(LinearOperation::of(&self.fc2, rows)?));
        Ok(operations)
    }
}

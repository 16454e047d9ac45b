//! The multi-layer perceptron of a layer: two linear layers with an activation between them.

use candle_core::Result;

use super::residual::ResidualLinear;
use crate::models::operations::{Linear as LinearOperation, Operation};
use crate::nn::ops::{self, Epilogue, Gelu};
use crate::nn::{Mode, Variable};
use crate::spec::MlpActivation;
use crate::vlora::Linear;

/// The function between the two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Gelu(Gelu),
    Relu,
    Silu,
}

impl From<MlpActivation> for Activation {
    fn from(activation: MlpActivation) -> Activation {
        match activation {
            MlpActivation::Gelu => Activation::Gelu(Gelu::Exact),
            MlpActivation::GeluTanh => Activation::Gelu(Gelu::Tanh),
            MlpActivation::Relu => Activation::Relu,
            MlpActivation::Silu => Activation::Silu,
        }
    }
}

impl Activation {
    /// `activation(linear(x))`.
    pub fn after(self, linear: &Linear, x: &Variable, mode: Mode) -> Result<Variable> {
        match self {
            Activation::Gelu(form) => linear.forward(x, Epilogue::Gelu(form), mode),
            Activation::Relu => ops::relu(&linear.forward(x, Epilogue::None, mode)?),
            Activation::Silu => ops::silu(&linear.forward(x, Epilogue::None, mode)?),
        }
    }

    /// The operations of [`after`](Self::after) on `rows` rows.
    pub fn operations(self, linear: &Linear, rows: usize) -> Result<Vec<Operation>> {
        let linear = LinearOperation::of(linear, rows)?;
        Ok(match self {
            Activation::Gelu(_) => {
                vec![Operation::Linear(LinearOperation { gelu: true, ..linear })]
            }
            Activation::Relu | Activation::Silu => {
                let width = linear.usage.sides.0;
                vec![Operation::Linear(linear), Operation::Activation { rows, width }]
            }
        })
    }
}

/// `fc2(dropout(activation(fc1(x))))`.
#[derive(Debug)]
pub struct Mlp {
    pub fc1: Linear,
    pub activation: Activation,
    /// The share of hidden values that training drops, and the name that seeds its masks.
    pub activation_dropout: Option<(f64, String)>,
    pub fc2: ResidualLinear,
}

impl Mlp {
    /// `residual + dropout(fc2(activation(fc1(x))))`, x and `residual` \[…, dim\].
    pub fn forward(&self, x: &Variable, residual: &Variable, mode: Mode) -> Result<Variable> {
        let hidden = self.activation.after(&self.fc1, x, mode)?;
        let dropped = self.activation_dropout.as_ref();
        let hidden = match dropped.and_then(|(share, name)| mode.dropout(*share, name)) {
            Some(dropout) => ops::dropout(&hidden, &dropout)?,
            None => hidden,
        };
        self.fc2.forward(&hidden, residual, mode)
    }

    /// The operations of [`forward`](Self::forward) on `rows` rows.
    pub fn operations(&self, rows: usize) -> Result<Vec<Operation>> {
        let mut operations = self.activation.operations(&self.fc1, rows)?;
        if self.activation_dropout.as_ref().is_some_and(|(share, _)| *share > 0.0) {
            let width = LinearOperation::of(&self.fc1, rows)?.usage.sides.0;
            operations.push(Operation::Dropout { rows, width });
        }
        operations.extend(self.fc2.operations(rows)?);
        Ok(operations)
    }
}

//! The end of a branch: what a layer adds to the residual stream.

use candle_core::Result;

use crate::models::operations::{Linear as LinearOperation, Operation};
use crate::nn::ops::{self, Epilogue};
use crate::nn::{Mode, Variable};
use crate::vlora::Linear;

/// `residual + dropout(linear(x))`.
#[derive(Debug)]
pub struct ResidualLinear {
    pub linear: Linear,
    /// Share of the linear layer's values that training drops.
    pub dropout: f64,
    /// The layer's name, which seeds its dropout masks.
    pub name: String,
}

impl ResidualLinear {
    /// x \[…, in\] and `residual` \[…, out\] → \[…, out\].
    pub fn forward(&self, x: &Variable, residual: &Variable, mode: Mode) -> Result<Variable> {
        match mode.dropout(self.dropout, &self.name) {
            None => self.linear.forward(x, Epilogue::Add(residual), mode),
            Some(dropout) => {
                let y = ops::dropout(&self.linear.forward(x, Epilogue::None, mode)?, &dropout)?;
                ops::sum(&[residual, &y])
            }
        }
    }

    /// The operations of [`forward`](Self::forward) in training on `rows` rows.
    pub fn operations(&self, rows: usize) -> Result<Vec<Operation>> {
        let linear = LinearOperation::of(&self.linear, rows)?;
        let width = linear.usage.sides.0;
        let dropped = (self.dropout > 0.0).then_some(Operation::Dropout { rows, width });
        Ok([Operation::Linear(linear)].into_iter().chain(dropped).collect())
    }
}

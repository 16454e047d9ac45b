//! The end of a branch: what a layer adds to the residual stream.

use candle_core::Result;

use crate::models::operations::{Linear as LinearOperation, Operation};
use crate::nn::ops::{self, Epilogue};
use crate::nn::{Mode, Variable};
use crate::vlora::Linear;

/// `residual + dropout(linear(x))`, without the second part for some examples.
#[derive(Debug)]
pub struct ResidualLinear {
    pub linear: Linear,
    /// Dropout rate of the linear layer's output.
    pub dropout: f64,
    /// How often training leaves out the layer's values for an example (stochastic depth).
    pub drop_path_rate: f64,
    /// The layer's name, which seeds what is dropped.
    pub name: String,
}

impl ResidualLinear {
    /// x \[…, in\] and `residual` \[…, out\] → \[…, out\].
    pub fn forward(&self, x: &Variable, residual: &Variable, mode: Mode) -> Result<Variable> {
        let dropout = mode.dropout(self.dropout, &self.name);
        let factors = mode.drop_path(self.drop_path_rate, x.dims()[0], &self.name);
        if dropout.is_none() && factors.is_none() {
            return self.linear.forward(x, Epilogue::Add(residual), mode);
        }
        let y = self.linear.forward(x, Epilogue::None, mode)?;
        let y = match dropout {
            Some(dropout) => ops::dropout(&y, &dropout)?,
            None => y,
        };
        match factors {
            Some(factors) => ops::add_scaled(residual, &y, &factors),
            None => ops::sum(&[residual, &y]),
        }
    }

    /// The operations of [`forward`](Self::forward) in training on `rows` rows.
    pub fn operations(&self, rows: usize) -> Result<Vec<Operation>> {
        let linear = LinearOperation::of(&self.linear, rows)?;
        let width = linear.usage.sides.0;
        let drops = self.dropout > 0.0 || self.drop_path_rate > 0.0;
        let dropped = drops.then_some(Operation::Dropout { rows, width });
        Ok([Operation::Linear(linear)].into_iter().chain(dropped).collect())
    }
}

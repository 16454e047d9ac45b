//! A layer's norm, behind the sum of a branch and its input or in front of the branch.

use candle_core::Result;

use super::norm::Norm;
use crate::models::operations::Operation;
use crate::nn::Variable;
use crate::spec::NormPlacement;

/// The norm of a branch of a layer.
#[derive(Debug)]
pub struct PlacedNorm {
    pub norm: Norm,
    pub placement: NormPlacement,
}

impl PlacedNorm {
    /// A branch with its norm and its sum. `branch` gets what it computes on and what it adds its result to.
    pub fn around(
        &self,
        x: &Variable,
        branch: impl FnOnce(&Variable, &Variable) -> Result<Variable>,
    ) -> Result<Variable> {
        match self.placement {
            NormPlacement::Pre => branch(&self.norm.forward(x)?, x),
            NormPlacement::Post => self.norm.forward(&branch(x, x)?),
        }
    }

    /// The operations of [`around`](Self::around) on `rows` rows.
    pub fn operations(&self, rows: usize, mut branch: Vec<Operation>) -> Vec<Operation> {
        let at = match self.placement {
            NormPlacement::Pre => 0,
            NormPlacement::Post => branch.len(),
        };
        branch.insert(at, self.norm.operation(rows));
        branch
    }
}

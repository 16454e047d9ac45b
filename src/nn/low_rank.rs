//! A low-rank matrix, held as its factors.

use candle_core::{Result, Tensor};

use super::graph::Variable;

/// `scale · bᵀ a` with a \[rank, in\] and b \[rank, out\].
#[derive(Clone, Debug)]
pub struct LowRank {
    pub a: Variable,
    pub b: Variable,
    pub scale: f64,
}

impl LowRank {
    /// Whether either factor gets a gradient.
    pub fn requires_grad(&self) -> bool {
        self.a.requires_grad() || self.b.requires_grad()
    }

    pub fn rank(&self) -> Result<usize> {
        self.a.tensor().dim(0)
    }

    /// The same factors as constants, which get no gradient.
    pub fn detach(&self) -> LowRank {
        LowRank { a: self.a.detach(), b: self.b.detach(), scale: self.scale }
    }

    /// The matrix `scale · bᵀ a`, \[out, in\].
    pub fn product(&self) -> Result<Tensor> {
        (self.b.tensor() * self.scale)?.t()?.matmul(self.a.tensor())
    }
}

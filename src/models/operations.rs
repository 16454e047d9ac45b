//! The operations that a model computes on a batch. FLOPs and memory are sums over them.

use candle_core::Result;

use crate::vlora::{self, Leaf, LinearUsage, MultiplyAdds};

/// An operation of a forward pass: its sizes, and its parameters that get gradients.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    Linear(Linear),
    /// Several linear layers with the same input: queries, keys and values.
    Projections(Vec<Linear>),
    LayerNorm(LayerNorm),
    Attention(Attention),
    /// Selects the first `kept` tokens of each sequence.
    FirstTokens {
        batch: usize,
        tokens: usize,
        kept: usize,
        width: usize,
    },
    /// The mean of each sequence's tokens.
    MeanTokens {
        batch: usize,
        tokens: usize,
        width: usize,
    },
    /// Looks up rows of a table and adds them to those of an earlier table.
    Lookup {
        rows: usize,
        width: usize,
        leaves: Vec<Leaf>,
    },
    /// Adds positions to `rows` rows of patches or tokens, and puts the class token in front.
    AddPositions {
        rows: usize,
        width: usize,
        leaves: Vec<Leaf>,
    },
    /// An element-wise function that is not fused into another operation.
    Activation {
        rows: usize,
        width: usize,
    },
    Dropout {
        rows: usize,
        width: usize,
    },
    /// The loss of each row.
    CrossEntropy {
        rows: usize,
        classes: usize,
    },
}

/// `x Wᵀ + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    pub rows: usize,
    pub usage: LinearUsage,
    /// GELU follows.
    pub gelu: bool,
    /// x is made of data, so its gradient is not needed.
    pub input_is_data: bool,
}

impl Linear {
    /// A layer without activation, applied to `rows` rows.
    pub fn of(layer: &vlora::Linear, rows: usize) -> Result<Linear> {
        Ok(Linear { rows, usage: LinearUsage::of(layer)?, gelu: false, input_is_data: false })
    }
}

/// Layer normalisation over the last axis.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    pub rows: usize,
    pub width: usize,
    /// The leaves of scale and shift.
    pub leaves: Vec<Leaf>,
}

/// Attention of the first `queries` tokens of each sequence to all of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    pub batch: usize,
    pub tokens: usize,
    pub queries: usize,
    pub heads: usize,
    /// Values per head.
    pub head_size: usize,
    /// Queries, keys and values are in one tensor.
    pub packed: bool,
    /// Query i sees only the tokens 0..=i.
    pub causal: bool,
    /// Attention weights have dropout.
    pub dropped: bool,
}

impl Attention {
    /// The pairs of a query and a token that it sees, in one sequence. A causal mask leaves about half of
    /// them.
    fn pairs(&self) -> usize {
        match self.causal {
            true => self.queries * (self.queries + 1) / 2,
            false => self.queries * self.tokens,
        }
    }
}

impl Operation {
    /// The parameters that get a gradient from this operation.
    pub fn leaves(&self) -> Vec<Leaf> {
        match self {
            Operation::Linear(linear) => {
                linear.usage.weight.iter().chain(&linear.usage.bias).copied().collect()
            }
            Operation::Projections(all) => {
                let each = all.iter().map(|l| l.usage.weight.iter().chain(&l.usage.bias));
                each.flatten().copied().collect()
            }
            Operation::LayerNorm(LayerNorm { leaves, .. })
            | Operation::Lookup { leaves, .. }
            | Operation::AddPositions { leaves, .. } => leaves.clone(),
            Operation::Attention(_)
            | Operation::Activation { .. }
            | Operation::Dropout { .. }
            | Operation::FirstTokens { .. }
            | Operation::MeanTokens { .. }
            | Operation::CrossEntropy { .. } => Vec::new(),
        }
    }

    /// The multiply–adds of its matrix products. They include the input's gradient, unless the input
    /// is data.
    pub fn work(&self) -> MultiplyAdds {
        match self {
            Operation::Linear(linear) if linear.input_is_data => {
                let (output, input) = linear.usage.sides;
                let forward = linear.rows as u128 * output as u128 * input as u128;
                let trained = linear.usage.matrix_is_trained();
                MultiplyAdds { forward, backward: if trained { forward } else { 0 } }
            }
            Operation::Linear(linear) => linear.usage.work(linear.rows),
            Operation::Projections(all) => {
                let mut sum = MultiplyAdds::default();
                all.iter().for_each(|linear| sum += linear.usage.work(linear.rows));
                sum
            }
            Operation::Attention(a) => {
                // q kᵀ and weights · v; each has two gradients.
                let all = [a.batch, a.pairs(), a.heads, a.head_size];
                let product: u128 = all.into_iter().map(|n| n as u128).product();
                MultiplyAdds { forward: 2 * product, backward: 4 * product }
            }
            Operation::LayerNorm(_)
            | Operation::Lookup { .. }
            | Operation::Activation { .. }
            | Operation::Dropout { .. }
            | Operation::FirstTokens { .. }
            | Operation::MeanTokens { .. }
            | Operation::AddPositions { .. }
            | Operation::CrossEntropy { .. } => MultiplyAdds::default(),
        }
    }
}

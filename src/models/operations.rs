//! What a model computes on a batch, operation by operation. FLOPs and memory are sums over these.

use candle_core::Result;

use crate::vlora::{self, Leaf, LinearUsage, Work};

/// An operation of a forward pass, with its sizes and the parameters that it trains.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    Linear(Linear),
    /// Several linear layers of one input: queries, keys and values.
    Projections(Vec<Linear>),
    LayerNorm(LayerNorm),
    Attention(Attention),
    /// The first `kept` of each sequence's tokens.
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
    /// Rows of a table by number, added to those of a table before.
    Lookup {
        rows: usize,
        width: usize,
        leaves: Vec<Leaf>,
    },
    /// What stands in every sequence, and positions, are put to `rows` rows of patches or words.
    AddPositions {
        rows: usize,
        width: usize,
        leaves: Vec<Leaf>,
    },
    /// A function of each value that is an operation of its own.
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
    /// x is made of data, so that nobody asks for its gradient.
    pub of_data: bool,
}

impl Linear {
    /// A layer on `rows` rows, without an activation.
    pub fn of(layer: &vlora::Linear, rows: usize) -> Result<Linear> {
        Ok(Linear { rows, usage: LinearUsage::of(layer)?, gelu: false, of_data: false })
    }
}

/// Over the last axis.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    pub rows: usize,
    pub width: usize,
    /// The scale's and the shift's.
    pub leaves: Vec<Leaf>,
}

/// Of the first `queries` tokens of each sequence to all of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    pub batch: usize,
    pub tokens: usize,
    pub queries: usize,
    pub heads: usize,
    /// Values of a head.
    pub head_size: usize,
    /// Queries, keys and values are one matrix.
    pub packed: bool,
    /// Some of its weights are dropped.
    pub dropped: bool,
}

impl Operation {
    /// The parameters that get a gradient here.
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

    /// The multiply–adds of its matrix products. Its input is taken to need a gradient where it is
    /// not made of data.
    pub fn work(&self) -> Work {
        match self {
            Operation::Linear(linear) if linear.of_data => {
                let (output, input) = linear.usage.sides;
                let forward = linear.rows as u128 * output as u128 * input as u128;
                let trained = linear.usage.matrix_is_trained();
                Work { forward, backward: if trained { forward } else { 0 } }
            }
            Operation::Linear(linear) => linear.usage.work(linear.rows),
            Operation::Projections(all) => {
                let mut sum = Work::default();
                all.iter().for_each(|linear| sum += linear.usage.work(linear.rows));
                sum
            }
            Operation::Attention(a) => {
                // q kᵀ and weights · v, each with two gradients.
                let all = [a.batch, a.queries, a.tokens, a.heads, a.head_size];
                let product: u128 = all.into_iter().map(|n| n as u128).product();
                Work { forward: 2 * product, backward: 4 * product }
            }
            Operation::LayerNorm(_)
            | Operation::Lookup { .. }
            | Operation::Activation { .. }
            | Operation::Dropout { .. }
            | Operation::FirstTokens { .. }
            | Operation::MeanTokens { .. }
            | Operation::AddPositions { .. }
            | Operation::CrossEntropy { .. } => Work::default(),
        }
    }
}

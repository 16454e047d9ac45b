//! What a linear layer and a vector take of memory and work, read off the weights that a model holds.

use candle_core::Result;

use super::linear::{Linear, Vector};
use super::weight::Weight;
use super::work::{Terms, Work, cheapest};
use crate::nn::Variable;

/// A parameter that gets a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Of its own, in all places where a model has it.
    pub number: u64,
    pub values: u64,
}

/// Those of some parameters that get a gradient.
fn leaves<'a>(parameters: impl Iterator<Item = &'a Variable>) -> Vec<Leaf> {
    let leaf =
        |p: &Variable| Some(Leaf { number: p.number()?, values: p.tensor().elem_count() as u64 });
    parameters.filter_map(leaf).collect()
}

impl Vector {
    /// The parameters that get a gradient through it.
    pub fn leaves(&self) -> Vec<Leaf> {
        leaves(self.parameters().iter())
    }
}

/// A linear layer as an operation takes it: its parts, and which of them get a gradient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinearUsage {
    /// (output, input).
    pub sides: (usize, usize),
    terms: Terms,
    /// Low-rank products on the matrix.
    pub products: usize,
    /// The matrix is a sum, made for the length of a pass.
    pub summed: bool,
    /// Parameters of the weight and of LoRA that get a gradient.
    pub weight: Vec<Leaf>,
    /// Those of the bias.
    pub bias: Vec<Leaf>,
    /// Rank of LoRA's pair where it stands apart from the weight.
    pub apart: Option<usize>,
}

impl LinearUsage {
    /// Of a layer as training uses it.
    pub fn of(layer: &Linear) -> Result<LinearUsage> {
        let of = |weight: &Weight| -> Result<LinearUsage> {
            Ok(LinearUsage {
                sides: weight.sides()?,
                terms: weight.terms()?,
                products: weight.products(),
                summed: weight.is_sum(),
                weight: leaves(weight.parameters()),
                bias: layer.bias.leaves(),
                apart: None,
            })
        };
        match &layer.lora {
            Some(lora) if lora.dropout > 0.0 => {
                let mut usage = of(&layer.weight)?;
                usage.weight.extend(leaves([&lora.pair.a, &lora.pair.b].into_iter()));
                usage.apart = Some(lora.pair.rank()?);
                Ok(usage)
            }
            _ => of(&layer.merged()),
        }
    }

    /// Multiply–adds for `rows` rows of input, whose gradient is asked for.
    pub fn work(&self, rows: usize) -> Work {
        let mut work = cheapest(rows, self.sides, self.terms).1;
        if let Some(rank) = self.apart {
            // Two thin products forward, four backward.
            let pair = rows as u128 * rank as u128 * (self.sides.0 + self.sides.1) as u128;
            work += Work { forward: pair, backward: 2 * pair };
        }
        work
    }

    /// Whether the matrix's gradient is computed for `rows` rows of input, be it to be projected.
    pub fn has_dense_gradient(&self, rows: usize) -> bool {
        let projects = cheapest(rows, self.sides, self.terms).0 && self.terms.trained_rank > 0;
        self.terms.matrix_trained || projects
    }

    /// Whether the matrix itself, or a part of it, gets a gradient.
    pub fn matrix_is_trained(&self) -> bool {
        self.terms.matrix_trained
    }

    /// Ranks, added up, of the products that get gradients.
    pub fn trained_rank(&self) -> usize {
        self.terms.trained_rank
    }
}

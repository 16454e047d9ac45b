//! What a linear layer and a vector need of memory and work, read from the weights that a model
//! holds.

use candle_core::Result;

use super::linear::{Linear, Vector};
use super::weight::Weight;
use super::work::{MultiplyAdds, Terms, cheapest};
use crate::nn::Variable;

/// A parameter that gets a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Identifies the parameter; the same wherever the model uses it.
    pub id: u64,
    /// Number of its values.
    pub values: u64,
}

/// Those of `parameters` that get a gradient.
fn leaves<'a>(parameters: impl Iterator<Item = &'a Variable>) -> Vec<Leaf> {
    let leaf = |p: &Variable| Some(Leaf { id: p.id()?, values: p.tensor().elem_count() as u64 });
    parameters.filter_map(leaf).collect()
}

impl Vector {
    /// The parameters that get a gradient through it.
    pub fn leaves(&self) -> Vec<Leaf> {
        leaves(self.parameters().iter())
    }
}

/// A linear layer as an operation uses it: its parts, and which of them get a gradient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinearUsage {
    /// (output, input).
    pub sides: (usize, usize),
    terms: Terms,
    /// Low-rank products on the matrix.
    pub products: usize,
    /// The matrix is a sum, which is computed anew in each pass.
    pub summed: bool,
    /// Parameters of the weight and of LoRA that get a gradient.
    pub weight: Vec<Leaf>,
    /// Parameters of the bias that get a gradient.
    pub bias: Vec<Leaf>,
    /// LoRA's rank if its dropout keeps it from being folded into the weight.
    pub separate_lora_rank: Option<usize>,
}

impl LinearUsage {
    /// The usage of a layer in training.
    pub fn of(layer: &Linear) -> Result<LinearUsage> {
        let of = |weight: &Weight| -> Result<LinearUsage> {
            Ok(LinearUsage {
                sides: weight.sides()?,
                terms: weight.terms()?,
                products: weight.products(),
                summed: weight.is_sum(),
                weight: leaves(weight.parameters()),
                bias: layer.bias.iter().flat_map(Vector::leaves).collect(),
                separate_lora_rank: None,
            })
        };
        match &layer.lora {
            Some(lora) if lora.dropout > 0.0 => {
                let mut usage = of(&layer.weight)?;
                usage.weight.extend(leaves([&lora.pair.a, &lora.pair.b].into_iter()));
                usage.separate_lora_rank = Some(lora.pair.rank()?);
                Ok(usage)
            }
            _ => of(&layer.merged()),
        }
    }

    /// Multiply–adds for `rows` rows of input, including the input's gradient.
    pub fn work(&self, rows: usize) -> MultiplyAdds {
        let mut work = cheapest(rows, self.sides, self.terms).1;
        if let Some(rank) = self.separate_lora_rank {
            // Two thin products forward, four backward.
            let pair = rows as u128 * rank as u128 * (self.sides.0 + self.sides.1) as u128;
            work += MultiplyAdds { forward: pair, backward: 2 * pair };
        }
        work
    }

    /// Whether the whole matrix's gradient is computed for `rows` rows of input: because the matrix is
    /// trained, or to project it to the factors.
    pub fn has_dense_gradient(&self, rows: usize) -> bool {
        let projects = cheapest(rows, self.sides, self.terms).0 && self.terms.trained_rank > 0;
        self.terms.matrix_trained || projects
    }

    /// Whether the matrix, or a part of its sum, gets a gradient.
    pub fn matrix_is_trained(&self) -> bool {
        self.terms.matrix_trained
    }

    /// Sum of the ranks of the products that get gradients.
    pub fn trained_rank(&self) -> usize {
        self.terms.trained_rank
    }

    /// Sum of the ranks of all products.
    pub fn rank(&self) -> usize {
        self.terms.constant_rank + self.terms.trained_rank
    }
}

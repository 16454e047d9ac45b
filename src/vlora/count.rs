//! Parameters and multiply–adds of a Transformer layer in closed form, without building a model.

use super::work::{Terms, Work, cheapest};
use crate::spec::{Increment, Reference, RunSpec, Target, VloraSpec};

/// What one layer holds and costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerCount {
    /// Values of the matrices: dense, factors of increments, full increments.
    pub matrices: u64,
    /// Values of the linear layers' biases, or of their increments.
    pub biases: u64,
    /// The same of the norms.
    pub norms: u64,
    /// Values of LoRA's factors.
    pub lora: u64,
    /// Of the linear layers, for all rows of a batch, by the ways that [`cheapest`] chooses.
    pub work: Work,
}

impl std::ops::AddAssign for LayerCount {
    fn add_assign(&mut self, other: LayerCount) {
        self.matrices += other.matrices;
        self.biases += other.biases;
        self.norms += other.norms;
        self.lora += other.lora;
        self.work += other.work;
    }
}

/// Block number `block` of a pre-norm Transformer, on a batch of `rows` tokens of which `read` are
/// read after it: only those have queries' results and go through the MLP.
pub fn transformer_layer(run: &RunSpec, block: usize, rows: usize, read: usize) -> LayerCount {
    let vlora = run.vlora.as_ref();
    let lora = run.lora.as_ref();
    let mut count = LayerCount::default();
    for target in Target::MATRICES {
        let (output, input) = run.model.target_shape(target);
        let full = output as u64 * input as u64;
        let thin = output as u64 + input as u64;
        count.matrices += match vlora.and_then(|v| v.increment(block, target)) {
            None | Some(Increment::Full) => full,
            Some(Increment::LowRank { rank, .. }) => rank as u64 * thin,
            Some(Increment::Shared | Increment::Vector) => 0,
        };
        let adapted = lora.filter(|l| l.targets.contains(&target));
        count.lora += adapted.map_or(0, |l| l.rank as u64 * thin);
        let rows = if target == Target::AttnQkv { rows } else { read };
        count.work += work(run, block, target, (output, input), rows);
    }
    for target in Target::VECTORS {
        let size = match vlora.and_then(|v| v.increment(block, target)) {
            Some(Increment::Shared) => 0,
            _ => run.model.target_shape(target).0 as u64,
        };
        match target {
            Target::Norm1Weight | Target::Norm1Bias | Target::Norm2Weight | Target::Norm2Bias => {
                count.norms += size;
            }
            _ => count.biases += size,
        }
    }
    count
}

/// A weight as an operation takes it: what of it gets a gradient, and what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightParts {
    pub(super) terms: Terms,
    /// Low-rank products on the matrix.
    pub products: usize,
    /// The matrix is a sum, made for the length of a pass.
    pub summed: bool,
    /// Parameters that get a gradient here: the block that holds them, and their values.
    pub reached: Vec<(usize, u64)>,
    /// Rank of LoRA's pair where it stands apart from the weight.
    pub apart: Option<usize>,
}

impl WeightParts {
    /// Of `target` in block `block`.
    pub fn of(run: &RunSpec, block: usize, target: Target) -> WeightParts {
        let (vlora, lora) = (run.vlora.as_ref(), run.lora.as_ref());
        let (output, input) = run.model.target_shape(target);
        let frozen = lora.is_some();
        let mut parts = WeightParts::default();
        let chain = vlora.map_or(vec![block], |v| references(v, block, target));
        for (place, layer) in chain.iter().enumerate() {
            // What is below the own increment is reached only where the gradient does not stop.
            let stops = vlora.is_some_and(|v| v.detach) && *layer != block;
            let trained = !frozen && !stops;
            match vlora.and_then(|v| v.increment(*layer, target)) {
                None | Some(Increment::Full) => {
                    parts.terms.matrix_trained |= trained;
                    parts.summed |= place > 0;
                    parts.reach(trained, *layer, output * input);
                }
                Some(Increment::LowRank { rank, .. }) => {
                    parts.terms.add(rank, trained);
                    parts.products += 1;
                    parts.reach(trained, *layer, rank * (output + input));
                }
                Some(Increment::Shared | Increment::Vector) => {}
            }
        }
        if let Some(lora) = lora.filter(|l| l.targets.contains(&target)) {
            parts.reach(true, block, lora.rank * (output + input));
            match lora.dropout == 0.0 {
                true => {
                    parts.terms.add(lora.rank, true);
                    parts.products += 1;
                }
                false => parts.apart = Some(lora.rank),
            }
        }
        parts
    }

    fn reach(&mut self, trained: bool, layer: usize, values: usize) {
        if trained {
            self.reached.push((layer, values as u64));
        }
    }

    /// Whether the matrix's gradient is computed for `rows` rows of input, be it to be projected.
    pub fn has_dense_gradient(&self, rows: usize, shape: (usize, usize)) -> bool {
        let projects = cheapest(rows, shape, self.terms).0 && self.terms.trained_rank > 0;
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

/// The blocks whose own weights a block's weight is the sum of, the dense one first.
fn references(v: &VloraSpec, block: usize, target: Target) -> Vec<usize> {
    if v.increment(block, target).is_none() {
        return vec![block];
    }
    let first = block - block % v.compound_size;
    match v.reference {
        Reference::Base => vec![first, block],
        Reference::Previous => (first..=block).collect(),
    }
}

fn work(run: &RunSpec, block: usize, target: Target, shape: (usize, usize), rows: usize) -> Work {
    let parts = WeightParts::of(run, block, target);
    let mut work = cheapest(rows, shape, parts.terms).1;
    if let Some(rank) = parts.apart {
        // Two thin products forward, four backward.
        let pair = rows as u128 * rank as u128 * (shape.0 + shape.1) as u128;
        work += Work { forward: pair, backward: 2 * pair };
    }
    work
}

impl Terms {
    /// Adds a product of this rank.
    fn add(&mut self, rank: usize, trained: bool) {
        match trained {
            true => self.trained_rank += rank,
            false => self.constant_rank += rank,
        }
    }
}

//! Parameters and multiply–adds of a Transformer layer in closed form, without building a model.

use super::work::{Terms, Work, cheapest};
use crate::spec::{Increment, LoraSpec, Reference, RunSpec, Target, VloraSpec};

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
        count.work += work(vlora, lora, block, target, (output, input), rows);
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

fn work(
    vlora: Option<&VloraSpec>,
    lora: Option<&LoraSpec>,
    block: usize,
    target: Target,
    shape: (usize, usize),
    rows: usize,
) -> Work {
    let frozen = lora.is_some();
    let mut terms = Terms { matrix_trained: !frozen, ..Terms::default() };
    if let Some((v, own)) = vlora.and_then(|v| Some((v, v.increment(block, target)?))) {
        // What is below the own increment is reached only where the gradient does not stop.
        let below = !frozen && !v.detach;
        terms.matrix_trained = below;
        let earlier = match v.reference {
            Reference::Base => 0,
            Reference::Previous => block % v.compound_size - 1,
        };
        match own {
            Increment::LowRank { rank, .. } => {
                terms.add(rank * earlier, below);
                terms.add(rank, !frozen);
            }
            Increment::Full => terms.matrix_trained = !frozen,
            Increment::Shared | Increment::Vector => {}
        }
    }
    let adapted = lora.filter(|l| l.targets.contains(&target));
    match adapted {
        Some(lora) if lora.dropout == 0.0 => terms.add(lora.rank, true),
        _ => {}
    }
    let mut work = cheapest(rows, shape, terms).1;
    if let Some(lora) = adapted.filter(|l| l.dropout > 0.0) {
        // Kept apart from the weight: two thin products forward, four backward.
        let pair = rows as u128 * lora.rank as u128 * (shape.0 + shape.1) as u128;
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

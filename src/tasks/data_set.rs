//! Data sets: examples by split, in batches.

use candle_core::Result;

use crate::random::{Purpose, Stream};

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Train,
    Validation,
    Test,
}

impl Split {
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }
}

/// Examples that go through the model together.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchPlan {
    /// Their places in the split.
    pub examples: Vec<usize>,
    /// Units of work that they hold.
    pub units: u64,
    /// What the batch counts for among the batches of a step and of an epoch. The loss of a step is
    /// the mean over its batches by this weight: their examples where each example counts alike,
    /// their tokens where each token does.
    pub weight: f64,
}

/// The examples of a task and the batches that they come in.
pub trait DataSet: Sync {
    /// Examples as the model takes them.
    type Batch: Send;

    /// Number of examples.
    fn len(&self, split: Split) -> usize;

    fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// The batches of an epoch (from 0), in the order in which training takes them. Every training
    /// example is in one of them, and each epoch has as many as [`DataSet::train_batches`] says.
    fn epoch(&self, epoch: usize) -> Vec<BatchPlan>;

    /// Batches of an epoch.
    fn train_batches(&self) -> usize;

    /// The batches of an evaluation on a split.
    fn evaluation(&self, split: Split) -> Vec<BatchPlan>;

    /// A batch of an epoch.
    fn train_batch(&self, epoch: usize, plan: &BatchPlan) -> Result<Self::Batch>;

    /// A batch of an evaluation.
    fn evaluation_batch(&self, split: Split, plan: &BatchPlan) -> Result<Self::Batch>;

    /// Bytes of examples that the device holds by now, beside the batches.
    fn held_bytes(&self) -> u64 {
        0
    }
}

/// Examples one after another in batches of this size, of which the last may be smaller. Each
/// example is a unit of work, and each counts alike.
pub fn batches_of(examples: &[usize], size: usize) -> Vec<BatchPlan> {
    let plan = |examples: &[usize]| BatchPlan {
        examples: examples.to_vec(),
        units: examples.len() as u64,
        weight: examples.len() as f64,
    };
    examples.chunks(size).map(plan).collect()
}

/// A random order of the `n` training examples, another for each epoch (from 0).
pub fn epoch_order(seed: u64, epoch: usize, n: usize) -> Vec<usize> {
    Stream::new(seed, Purpose::Order, &epoch.to_string()).permutation(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_example_in_its_order() {
        let order = epoch_order(3, 0, 10);
        let batches = batches_of(&order, 4);
        assert_eq!(batches.iter().map(|b| b.units).collect::<Vec<_>>(), [4, 4, 2]);
        assert!(batches.iter().all(|b| b.weight == b.examples.len() as f64));
        let joined: Vec<usize> = batches.into_iter().flat_map(|b| b.examples).collect();
        assert_eq!(joined, order);
        assert_eq!(batches_of(&[], 4), []);
    }
}

//! Data sets: the examples of each split, in batches.

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

/// The examples of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchPlan {
    /// Indices in the split.
    pub examples: Vec<usize>,
    /// Units of work in the batch, such as images or tokens.
    pub units: u64,
    /// Weight of the batch. The loss of a step is the weighted mean over its batches. The weight is
    /// the number of examples if all examples count equally, or of tokens if all tokens do.
    pub weight: f64,
}

/// The examples of a task and their batches.
pub trait DataSet: Sync {
    /// The model's input for a batch.
    type Batch: Send;

    /// Number of examples.
    fn len(&self, split: Split) -> usize;

    fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// The batches of an epoch (from 0), in the order of training. There are
    /// [`DataSet::batches_per_epoch`] of them. Unless a task draws its examples at random, each one is in
    /// exactly one batch.
    fn epoch(&self, epoch: usize) -> Vec<BatchPlan>;

    /// Number of batches in an epoch.
    fn batches_per_epoch(&self) -> usize;

    /// The batches for evaluating a split.
    fn evaluation(&self, split: Split) -> Vec<BatchPlan>;

    /// Makes a training batch of an epoch.
    fn train_batch(&self, epoch: usize, plan: &BatchPlan) -> Result<Self::Batch>;

    /// Makes a batch for an evaluation.
    fn evaluation_batch(&self, split: Split, plan: &BatchPlan) -> Result<Self::Batch>;

    /// Bytes of examples that the device holds now, without the batches.
    fn held_bytes(&self) -> u64 {
        0
    }
}

/// Divides examples into batches of `size`; the last may be smaller. Each example is one unit of
/// work and all count equally.
pub fn batches_of(examples: &[usize], size: usize) -> Vec<BatchPlan> {
    let plan = |examples: &[usize]| BatchPlan {
        examples: examples.to_vec(),
        units: examples.len() as u64,
        weight: examples.len() as f64,
    };
    examples.chunks(size).map(plan).collect()
}

/// A random order of `n` training examples, different for each epoch (from 0).
pub fn epoch_order(seed: u64, epoch: usize, n: usize) -> Vec<usize> {
    Stream::new(seed, Purpose::Order, &epoch.to_string()).permutation(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_contain_every_example_in_order() {
        let order = epoch_order(3, 0, 10);
        let batches = batches_of(&order, 4);
        assert_eq!(batches.iter().map(|b| b.units).collect::<Vec<_>>(), [4, 4, 2]);
        assert!(batches.iter().all(|b| b.weight == b.examples.len() as f64));
        let joined: Vec<usize> = batches.into_iter().flat_map(|b| b.examples).collect();
        assert_eq!(joined, order);
        assert_eq!(batches_of(&[], 4), []);
    }
}

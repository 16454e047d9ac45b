//! Datasets to batches: reading Parquet in the Hugging Face layout, decoding, normalising,
//! augmenting, ordering.

mod augment;
mod images;
mod parquet;

pub use augment::Augmenter;
pub use images::{ImageData, ImageSplit, ImageStatistics};

use crate::nn::{Purpose, Stream};

/// The order of the `n` training examples in an epoch (from 0).
pub fn epoch_order(seed: u64, epoch: usize, n: usize) -> Vec<usize> {
    Stream::new(seed, Purpose::Order, &epoch.to_string()).permutation(n)
}

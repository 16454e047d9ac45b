//! Datasets to batches: reading Parquet in the Hugging Face layout, decoding, normalising,
//! augmenting.

mod augment;
mod images;
mod layout;
mod parquet;

pub use augment::Augmenter;
pub use images::{ImageData, ImageSplit, ImageStatistics};
pub use layout::needed;

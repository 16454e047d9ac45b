//! Datasets of images with labels: decoding, resizing, normalising, augmenting.
//!
//! This module makes images of rows. The module above finds the files of each split. Decoded splits
//! are cached.

mod assemble;
mod augment;
mod batch;
mod cache;
mod convert;
mod dataset;
mod decode;
mod header;
mod jpeg;
mod mix;
mod noise;
mod operations;
#[cfg(test)]
mod oracle;
mod orientation;
mod pixels;
mod policy;
mod resize;
mod split;
mod statistics;

pub use augment::Augmenter;
pub use cache::cache_folder;
pub use convert::Changes;
pub use dataset::{ImageData, Treated};
pub use decode::Size;
pub use header::{Colours, Header, header};
pub use mix::Mixer;
pub use split::ImageSplit;
pub use statistics::ImageStatistics;

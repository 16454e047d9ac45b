//! Image classification: each image has one of several labels. The loss is cross-entropy, the
//! metric is accuracy.

mod batches;
mod data;
mod definition;
mod held_images;
mod notes;
mod open;
mod spec_lines;
mod start;
mod task;

pub use batches::{ImageBatch, ImageBatches};
pub use data::Data;
pub use definition::DEFINITION;
pub use task::ImageClassification;

//! Image classification: one image, one of several labels; cross-entropy to train, accuracy to
//! compare.

mod batches;
mod data;
mod definition;
mod held_images;
mod notes;
mod open;
mod spec_lines;
mod start;
mod task;

pub use batches::ImageBatches;
pub use data::Data;
pub use definition::DEFINITION;
pub use task::ImageClassification;

//! Text classification: each text, or pair of texts, has one of several labels. The loss is
//! cross-entropy. The primary metric is accuracy, next to macro-F1 and Matthews' correlation.

mod batches;
mod data;
mod definition;
mod metrics;
mod notes;
mod open;
mod spec_lines;
mod start;
mod task;

pub use data::Data;
pub use definition::DEFINITION;

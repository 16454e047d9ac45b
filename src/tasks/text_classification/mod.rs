//! Text classification: one text or a pair of texts, one of several labels; cross-entropy to train,
//! accuracy to compare, with macro-F1 and Matthews' correlation beside it.

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

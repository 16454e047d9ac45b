//! Language modelling: each token of a text is predicted from those before it. The loss is
//! cross-entropy, in nats a token. It is the primary metric, next to perplexity and bits per byte.

mod batches;
mod data;
mod definition;
mod generate;
mod notes;
mod open;
mod outcome;
mod spec_lines;
mod start;
mod task;

pub use data::Data;
pub use definition::DEFINITION;

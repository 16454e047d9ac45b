//! Texts: their tokens, and their order in training.

mod batches;
mod dataset;
mod split;
mod tokenizer;

pub use batches::batches;
pub use dataset::{Limits, TOKENIZER, TextData};
pub use split::TextSplit;
pub use tokenizer::{Encoded, Texts, Tokenizer};

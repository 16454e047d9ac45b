//! Texts: their tokens, and the order that they are trained in.

mod batches;
mod dataset;
mod split;
mod tokenizer;

pub use batches::batches;
pub use dataset::{Limits, TOKENIZER, TextData};
pub use split::TextSplit;
pub use tokenizer::{Encoded, Texts, Tokenizer};

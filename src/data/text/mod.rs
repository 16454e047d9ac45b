//! Texts: their tokens, and their order in training.

mod batches;
mod dataset;
mod found;
mod sentence_piece;
mod split;
mod tokenizer;
mod untruncated;

pub use batches::batches;
pub use dataset::{Limits, TextData, column_texts};
pub use found::{FoundTokenizer, TOKENIZER};
pub(super) use sentence_piece::{SentencePiece, WORD_BEGIN};
pub use split::TextSplit;
pub use tokenizer::{Encoded, Texts, Tokenizer};
pub(super) use tokenizer::{around, words};

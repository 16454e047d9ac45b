//! Sentence pairs: their tokens, and their order in training.

mod batches;
mod dataset;
mod pairs;
mod tokenizers;

pub use batches::batches;
pub use dataset::{PairSplit, Sizes, TranslationData};
pub use pairs::SentencePairs;
pub use tokenizers::{BEGIN, END, PADDING, PairTokenizers, SPECIAL_TOKENS, SentenceTokenizer};

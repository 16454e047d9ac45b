//! Sentence pairs: their tokens, and their order in training.

mod batches;
mod dataset;
mod dictionary;
mod pairs;
mod sizes;
mod tokenizers;
mod unigram;

pub use batches::batches;
pub use dataset::{PairSplit, TranslationData};
pub use dictionary::Dictionary;
pub use pairs::SentencePairs;
pub use sizes::Sizes;
pub use tokenizers::{BEGIN, END, PADDING, PairTokenizers, SPECIAL_TOKENS, SentenceTokenizer};

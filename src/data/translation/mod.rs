//! Sentence pairs: their tokens, and their order in training.

mod batches;
mod dataset;
mod dictionary;
mod marian;
mod pairs;
mod sizes;
mod special;
mod tokenizers;
mod unigram;

pub use batches::batches;
pub use dataset::{PairSplit, TranslationData};
pub use dictionary::Dictionary;
pub use marian::{MARIAN_FILES, MarianFolder, VOCABULARY, Vocabulary};
pub use pairs::SentencePairs;
pub use sizes::Sizes;
pub use special::{BOS, EOS, PAD, SPECIAL_TOKENS};
pub use tokenizers::{PairTokenizers, SentenceTokenizer};

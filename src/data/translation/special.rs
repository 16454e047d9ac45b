//! Special tokens of sentences.

/// The id of padding.
pub const PAD: u32 = 0;
/// The id of an unknown word.
pub const UNK: u32 = 1;
/// The id of the token in front of a sentence.
pub const BOS: u32 = 2;
/// The id of the token behind a sentence.
pub const EOS: u32 = 3;
/// Number of special tokens. They have the first ids.
pub const SPECIAL_TOKENS: usize = 4;

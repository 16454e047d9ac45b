//! Translation: a sentence in one language, the same in another.
//!
//! The model learns the next token of the translation from its source and the tokens before. Translations
//! are then found by [`decoding`] and compared with references by [`scoring`].

mod batches;
mod data;
mod decoding;
mod definition;
mod lines;
mod notes;
mod open;
mod outcome;
mod scoring;
mod spec_lines;
mod start;
mod task;

pub use data::Data;
pub use definition::DEFINITION;

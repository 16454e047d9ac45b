//! Running text: its documents, the tokens that they become, and the windows that these are cut into.

mod dataset;
mod documents;
mod vocabulary;
mod windows;

pub use dataset::{LanguageData, TextSize};
pub use documents::Document;
pub use vocabulary::{Tokens, Vocabulary};
pub use windows::{
    Window, contiguous_count, contiguous_starts, covering, random_starts, random_windows,
    train_count,
};

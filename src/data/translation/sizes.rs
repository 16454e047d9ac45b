//! The sizes of a model that tokens must fit.

use crate::spec::EncoderDecoderSpec;

/// The rows of the model's embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub source: usize,
    pub target: usize,
}

impl Sizes {
    pub fn of(model: &EncoderDecoderSpec) -> Sizes {
        Sizes { source: model.source_vocabulary, target: model.target_vocabulary }
    }
}

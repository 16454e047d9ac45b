//! The sentence pairs of a run.

use std::sync::Arc;

use crate::data::translation::{PairSplit, TranslationData};
use crate::spec::{EncoderDecoderSpec, RunSpec, TranslationDataSpec};
use crate::tasks::data_set::Split;

/// The data section of a run of this task. Reading a spec ensures that there is no other.
pub fn section(spec: &RunSpec) -> &TranslationDataSpec {
    match spec.data.as_translation() {
        Some(data) => data,
        None => unreachable!("the data section is read by its task"),
    }
}

/// The sizes of the model of a run of this task. Reading a spec ensures that there is no other.
pub fn model(spec: &RunSpec) -> &EncoderDecoderSpec {
    match spec.model.as_encoder_decoder() {
        Some(model) => model,
        None => unreachable!("the model's section is read by its architecture"),
    }
}

/// Sentence pairs by split, as tokens. Clones share them.
#[derive(Clone)]
pub struct Data(pub Arc<TranslationData>);

impl Data {
    pub fn split(&self, split: Split) -> &PairSplit {
        match split {
            Split::Train => &self.0.train,
            Split::Validation => &self.0.validation,
            Split::Test => &self.0.test,
        }
    }
}

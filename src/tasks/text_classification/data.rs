//! The texts of a run.

use std::sync::Arc;

use crate::data::text::{TextData, TextSplit};
use crate::spec::{EncoderSpec, RunSpec, TextDataSpec};
use crate::tasks::data_set::Split;

/// The data section of a run of this task. Reading a spec ensures that there is no other.
pub fn section(spec: &RunSpec) -> &TextDataSpec {
    match spec.data.as_text() {
        Some(data) => data,
        None => unreachable!("the data section is read by its task"),
    }
}

/// The sizes of the model of a run of this task. Reading a spec ensures that there is no other.
pub fn model(spec: &RunSpec) -> &EncoderSpec {
    match spec.model.as_encoder() {
        Some(model) => model,
        None => unreachable!("the model's section is read by its architecture"),
    }
}

/// Tokenised texts by split. Clones share them.
#[derive(Clone)]
pub struct Data(pub Arc<TextData>);

impl Data {
    pub fn split(&self, split: Split) -> &TextSplit {
        match split {
            Split::Train => &self.0.train,
            Split::Validation => &self.0.validation,
            Split::Test => &self.0.test,
        }
    }
}

//! Opens the texts of a run.

use std::sync::Arc;

use super::data::{Data, model, section};
use super::notes::start_notes;
use super::start::{Adjusted, settle};
use super::task::TextClassification;
use crate::checkpoints::{AdaptedWeights, Aligned, Checkpoint, Metadata, adapt, align};
use crate::data::UsedExamples;
use crate::data::text::{Limits, TextData, Tokenizer};
use crate::error::{Fault, Result};
use crate::hub::Hub;
use crate::models::names_from_seed;
use crate::results::TaskFields;
use crate::spec::{RunSpec, TextPool};
use crate::tasks::classification::CLASS_NAMES;
use crate::tasks::data_set::Split;
use crate::tasks::definition::{DataRecord, OpenTask, TaskData};
use crate::tasks::start::{Base, Fitted, Settled};
use crate::tasks::task::{Run, TaskVisitor};

impl TaskData for Data {
    fn len(&self, split: Split) -> usize {
        self.split(split).len()
    }

    fn train_units(&self) -> u64 {
        self.0.train.tokens()
    }

    fn batches_per_epoch(&self, spec: &RunSpec) -> usize {
        self.len(Split::Train).div_ceil(spec.training.batch_size)
    }

    fn sha256(&self) -> String {
        self.0.sha256()
    }

    fn used(&self) -> &UsedExamples {
        &self.0.used
    }

    fn record(&self) -> DataRecord {
        let files = self.0.files.iter().map(|(_, name, sha256)| (name.clone(), sha256.clone()));
        let tokenizer = self.0.tokenizer.as_ref();
        let task = TaskFields::default()
            .with(CLASS_NAMES, &self.0.class_names)
            .with("tokenizer", &self.0.tokenizer_name)
            .with_some("tokenizer_sha256", tokenizer.map(Tokenizer::sha256).as_ref())
            .with_some("tokenizer_tokens", tokenizer.map(Tokenizer::rows).as_ref());
        DataRecord { files: files.collect(), task, notes: self.0.notes.clone() }
    }

    fn tokenizer(&self) -> Option<&str> {
        self.0.tokenizer.as_ref().map(Tokenizer::json)
    }

    fn held_bytes(&self) -> u64 {
        0
    }

    fn fit(&self, checkpoint: &Checkpoint, spec: &RunSpec) -> Result<Fitted> {
        let adapted = adapt(checkpoint, spec, &self.0.class_names)?;
        let AdaptedWeights { values, kept, conversion, classes, .. } = adapted;
        let from_seed = names_from_seed(spec)?;
        let from_seed = Box::new(move |name: &str| from_seed.contains(name));
        let task = Adjusted { classes }.fields();
        Ok(Fitted { values, conversion, kept, task, from_seed })
    }

    fn adapt(&self, checkpoint: &Checkpoint, spec: &RunSpec) -> Result<(Checkpoint, TaskFields)> {
        let Aligned { checkpoint, classes, .. } = align(checkpoint, spec, &self.0.class_names)?;
        Ok((checkpoint, Adjusted { classes }.fields()))
    }

    fn evaluation_notes(&self, fields: &TaskFields) -> Vec<String> {
        let tokens = format!("texts by {}", self.0.tokenizer_name);
        [tokens].into_iter().chain(start_notes(fields, false)).collect()
    }

    fn metadata(&self) -> Metadata {
        Metadata { class_names: self.0.class_names.clone(), normalize: None }
    }
}

impl OpenTask for Data {
    fn open(spec: &RunSpec, hub: &Hub) -> Result<Data> {
        let beside = spec.start.as_ref().and_then(|start| start.checkpoint_name());
        let data = TextData::load(section(spec), limits(spec), beside.as_deref(), hub)?;
        check_first_token(&data, spec)?;
        Ok(Data(Arc::new(data)))
    }

    fn synthetic(spec: &RunSpec, train: usize, validation: usize) -> Result<Data> {
        let tokens = section(spec).max_tokens;
        Ok(Data(Arc::new(TextData::noise(limits(spec), tokens, train, validation))))
    }

    fn for_timing(&self, validation: usize) -> Data {
        let mut data = TextData::clone(&self.0);
        // Without validation examples, training examples give the same times.
        let timed = if data.validation.is_empty() { &data.train } else { &data.validation };
        data.validation = timed.first(validation);
        Data(Arc::new(data))
    }

    fn settle(&self, spec: &RunSpec, base: Option<Base<Data>>) -> Result<Settled> {
        settle(self, spec, base)
    }

    fn settled(&self, _: &RunSpec) -> Data {
        self.clone()
    }

    fn visit<W: TaskVisitor>(&self, run: Run, visitor: W) -> W::Output {
        let Run { spec, seed, device } = run;
        let task = TextClassification::new(self, spec, seed, device.clone());
        visitor.visit(&task, &TextClassification::blueprint(spec))
    }
}

/// The limits of the run's model.
fn limits(spec: &RunSpec) -> Limits {
    let model = model(spec);
    Limits { classes: model.classes, vocabulary: model.vocabulary, token_types: model.token_types }
}

/// Errors if the classifier reads the first token and the tokenizer puts no special token there.
fn check_first_token(data: &TextData, spec: &RunSpec) -> Result<()> {
    let Some(tokenizer) = &data.tokenizer else { return Ok(()) };
    if model(spec).pool == TextPool::Mean || tokenizer.begins_with_special() {
        return Ok(());
    }
    Err(Fault::new("the classifier reads the first token, and the tokenizer adds none to a text")
        .within("model.pool")
        .found(format!("{}, which begins texts without one", data.tokenizer_name))
        .expected("`mean`, or a tokenizer that begins each text with a special token, as BERT's")
        .into())
}

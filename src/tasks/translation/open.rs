//! Opens the sentence pairs of a run.

use std::sync::Arc;

use super::batches::batches_per_epoch;
use super::data::{Data, model, section};
use super::notes::decoding;
use super::outcome::Schemes;
use super::start::settle;
use super::task::Translation;
use crate::checkpoints::{AdaptedWeights, Aligned, Checkpoint, Metadata, adapt, align};
use crate::data::UsedExamples;
use crate::data::translation::{PairTokenizers, Sizes, TranslationData};
use crate::error::Result;
use crate::hub::Hub;
use crate::models::names_from_seed;
use crate::results::TaskFields;
use crate::spec::RunSpec;
use crate::tasks::data_set::Split;
use crate::tasks::definition::{DataRecord, OpenTask, TaskData};
use crate::tasks::start::{Base, Fitted, Settled};
use crate::tasks::task::{Run, TaskVisitor};

/// The field of [`TaskData::adapt`] that describes an evaluation.
const EVALUATION: &str = "evaluation";

impl TaskData for Data {
    fn len(&self, split: Split) -> usize {
        self.split(split).len()
    }

    fn train_units(&self) -> u64 {
        self.0.train.predictions()
    }

    fn batches_per_epoch(&self, spec: &RunSpec) -> usize {
        batches_per_epoch(self, spec.training.batch_size, section(spec).batch_tokens)
    }

    fn sha256(&self) -> String {
        self.0.sha256()
    }

    fn used(&self) -> &UsedExamples {
        &self.0.used
    }

    fn record(&self) -> DataRecord {
        let files = self.0.files.iter().map(|(_, name, sha256)| (name.clone(), sha256.clone()));
        let tokenizers = self.0.tokenizers.as_ref();
        let task = TaskFields::default()
            .with_some("tokenizer_sha256", tokenizers.map(PairTokenizers::sha256).as_ref())
            .with_some("source_tokens", tokenizers.map(|pair| pair.source.rows()).as_ref())
            .with_some("target_tokens", tokenizers.map(|pair| pair.target.rows()).as_ref());
        DataRecord { files: files.collect(), task, notes: self.0.notes.clone() }
    }

    fn tokenizer(&self) -> Option<&str> {
        self.0.tokenizers.as_ref().map(PairTokenizers::json)
    }

    fn held_bytes(&self) -> u64 {
        0
    }

    fn fit(&self, checkpoint: &Checkpoint, spec: &RunSpec) -> Result<Fitted> {
        let AdaptedWeights { values, kept, conversion, .. } = adapt(checkpoint, spec, &[])?;
        let from_seed = names_from_seed(spec)?;
        let from_seed = Box::new(move |name: &str| from_seed.contains(name));
        Ok(Fitted { values, conversion, kept, task: TaskFields::default(), from_seed })
    }

    fn adapt(&self, checkpoint: &Checkpoint, spec: &RunSpec) -> Result<(Checkpoint, TaskFields)> {
        let Aligned { checkpoint, .. } = align(checkpoint, spec, &[])?;
        let [(_, bleu), ..] = Schemes::of(spec).signatures();
        let text = format!("{}; BLEU {bleu}", decoding(spec));
        Ok((checkpoint, TaskFields::default().with(EVALUATION, &text)))
    }

    fn evaluation_notes(&self, fields: &TaskFields) -> Vec<String> {
        fields.get::<String>(EVALUATION).into_iter().collect()
    }

    fn metadata(&self) -> Metadata {
        Metadata::default()
    }
}

impl OpenTask for Data {
    fn open(spec: &RunSpec, hub: &Hub) -> Result<Data> {
        let data = TranslationData::load(section(spec), Sizes::of(model(spec)), hub)?;
        Ok(Data(Arc::new(data)))
    }

    fn synthetic(spec: &RunSpec, train: usize, validation: usize) -> Result<Data> {
        let (sizes, tokens) = (Sizes::of(model(spec)), section(spec).max_tokens);
        Ok(Data(Arc::new(TranslationData::noise(sizes, tokens, train, validation))))
    }

    fn for_timing(&self, validation: usize) -> Data {
        let mut data = TranslationData::clone(&self.0);
        // Without validation pairs, training pairs give the same times.
        let timed = if data.validation.is_empty() { &data.train } else { &data.validation };
        data.validation = Arc::new(timed.first(validation));
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
        let task = Translation::new(self, spec, seed, device.clone());
        visitor.visit(&task, &Translation::blueprint(spec))
    }
}

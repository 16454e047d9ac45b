//! Opens the text of a run.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::data::{Data, Windowing, model, section};
use super::notes::evaluation;
use super::outcome::TEST_TOKENS;
use super::start::settle;
use super::task::LanguageModelling;
use crate::checkpoints::{AdaptedWeights, Aligned, Checkpoint, Metadata, adapt, align};
use crate::data::UsedExamples;
use crate::data::language::{LanguageData, Vocabulary};
use crate::data::text::Tokenizer;
use crate::error::Result;
use crate::hub::Hub;
use crate::models::names_from_seed;
use crate::results::TaskFields;
use crate::spec::{RunSpec, hex};
use crate::tasks::data_set::Split;
use crate::tasks::definition::{DataRecord, OpenTask, TaskData};
use crate::tasks::start::{Base, Fitted, Settled};
use crate::tasks::task::{Run, TaskVisitor};

/// The provenance field with the sizes of the splits' texts.
const SIZES: [&str; 3] = ["train_text", "validation_text", "test_text"];
/// The field of [`TaskData::adapt`] that describes an evaluation.
const EVALUATION: &str = "evaluation";

impl TaskData for Data {
    fn len(&self, split: Split) -> usize {
        self.count(split)
    }

    fn train_units(&self) -> u64 {
        (self.count(Split::Train) * self.windowing.window) as u64
    }

    fn batches_per_epoch(&self, spec: &RunSpec) -> usize {
        self.windowing.batches_per_epoch(self.text.train.len(), spec.training.batch_size)
    }

    fn sha256(&self) -> String {
        self.text.sha256()
    }

    fn used(&self) -> &UsedExamples {
        &self.text.used
    }

    fn record(&self) -> DataRecord {
        let text = &self.text;
        let files = text.files.iter().map(|(_, name, sha256)| (name.clone(), sha256.clone()));
        let mut hash = Sha256::new();
        text.test.ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        let task = TaskFields::default()
            .with("tokenizer", &text.tokenizer_name)
            .with_some("tokenizer_sha256", text.tokenizer().map(Tokenizer::sha256).as_ref())
            .with_some("tokenizer_tokens", text.vocabulary.as_ref().map(Vocabulary::rows).as_ref())
            .with(TEST_TOKENS, &hex(&hash.finalize()));
        let sizes = SIZES.into_iter().zip(&text.sizes);
        let task = sizes.fold(task, |task, (name, size)| task.with(name, size));
        DataRecord { files: files.collect(), task, notes: text.notes.clone() }
    }

    fn tokenizer(&self) -> Option<&str> {
        self.text.tokenizer().map(Tokenizer::json)
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
        Ok((checkpoint, TaskFields::default().with(EVALUATION, &evaluation(spec))))
    }

    fn evaluation_notes(&self, fields: &TaskFields) -> Vec<String> {
        let tokens = format!("tokens by {}", self.text.tokenizer_name);
        [tokens].into_iter().chain(fields.get::<String>(EVALUATION)).collect()
    }

    fn metadata(&self) -> Metadata {
        Metadata::default()
    }
}

impl OpenTask for Data {
    fn open(spec: &RunSpec, hub: &Hub) -> Result<Data> {
        let beside = spec.start.as_ref().and_then(|start| start.checkpoint_name());
        let rows = model(spec).vocabulary;
        let data =
            Data::new(LanguageData::load(section(spec), rows, beside.as_deref(), hub)?, spec);
        data.check_windows()?;
        Ok(data)
    }

    fn synthetic(spec: &RunSpec, train: usize, validation: usize) -> Result<Data> {
        let Windowing { window, stride, .. } = Windowing::of(spec);
        // Contiguous windows leave one out.
        let tokens = |windows: usize| (windows + 1).saturating_mul(window) + 1;
        let other = validation.saturating_sub(1) * stride + window + 1;
        let text = LanguageData::noise(model(spec).vocabulary, tokens(train), other);
        let data = Data::new(text, spec);
        let windowing = Windowing { random: None, epoch_windows: None, ..data.windowing };
        Ok(Data { windowing, ..data })
    }

    fn for_timing(&self, validation: usize) -> Data {
        let mut data = self.clone();
        if data.text.validation.is_empty() {
            // Without validation, the training text gives the same times.
            let mut text = LanguageData::clone(&data.text);
            text.validation = text.train.clone();
            data.text = Arc::new(text);
        }
        data.most = Some(validation);
        data
    }

    fn settle(&self, spec: &RunSpec, base: Option<Base<Data>>) -> Result<Settled> {
        settle(self, spec, base)
    }

    fn settled(&self, spec: &RunSpec) -> Data {
        Data { windowing: Windowing::of(spec), ..self.clone() }
    }

    fn visit<W: TaskVisitor>(&self, run: Run, visitor: W) -> W::Output {
        let Run { spec, seed, device } = run;
        let task = LanguageModelling::new(self, spec, seed, device.clone());
        visitor.visit(&task, &LanguageModelling::blueprint(spec))
    }
}

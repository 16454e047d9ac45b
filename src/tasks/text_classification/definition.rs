//! Facts about text classification that need no data.

use super::data::{model, section};
use super::metrics::{MACRO_F1, MATTHEWS, macro_f1, matthews};
use super::notes;
use super::spec_lines::spec_lines;
use crate::data::text::TOKENIZER;
use crate::error::Result;
use crate::hub::{Kind, Source};
use crate::models::{Cost, cost};
use crate::results::{
    Assessment, Confusion, Evidence, Metric, Provenance, RunFolder, Setting, TaskFields, WorkUnit,
};
use crate::spec::{DataSpec, HUB_PREFIX, RunSpec, TextDataSpec, flatten};
use crate::tasks::classification::{ACCURACY, Outcome, accuracy, assess, confusion};
use crate::tasks::definition::{Definition, ModelFiles, random_lengths};
use crate::tasks::spec_lines::Dataset;

/// The metrics, the primary one first.
pub const METRICS: [Metric; 3] = [ACCURACY, MACRO_F1, MATTHEWS];
/// The functions that compute the metrics.
pub const SCORES: [fn(&[Outcome]) -> f64; 3] = [accuracy, macro_f1, matthews];

/// The definition.
pub const DEFINITION: Texts = Texts;

/// Text classification.
pub struct Texts;

impl Evidence for Texts {
    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn work_unit(&self) -> WorkUnit {
        WorkUnit { singular: "token", plural: "tokens" }
    }

    fn assess(&self, run: &RunFolder) -> Result<Assessment> {
        assess(run, &SCORES)
    }

    fn confusion(&self, run: &RunFolder) -> Result<Option<Confusion>> {
        confusion(run)
    }

    fn setting(&self, spec: &RunSpec, provenance: Option<&Provenance>) -> Setting {
        notes::setting(spec, provenance)
    }

    fn start_notes(&self, fields: &TaskFields, is_arm: bool) -> Vec<String> {
        notes::start_notes(fields, is_arm)
    }

    fn batch_note(&self, spec: &RunSpec) -> Option<String> {
        random_lengths(spec, section(spec).group_by_length)
    }

    fn memory_note(&self) -> &'static str {
        "tokenised texts included"
    }
}

impl Definition for Texts {
    /// The data section without its batches, the weights whose tokenizer is used if the section names none,
    /// and the model's fields that the texts must fit.
    fn data_key(&self, spec: &RunSpec) -> String {
        let data = TextDataSpec { group_by_length: true, ..section(spec).clone() };
        let (fields, m) = (flatten(&data), model(spec));
        let beside = spec.start.as_ref().and_then(|start| start.checkpoint_name());
        let limits = (m.classes, m.vocabulary, m.token_types);
        format!("{fields:?} {beside:?} {limits:?} {:?}", m.pool)
    }

    /// Texts are transferred batch by batch, so a device holds none.
    fn example_bytes(&self, _: &RunSpec) -> usize {
        0
    }

    fn cost(&self, spec: &RunSpec) -> Cost {
        // FLOPs for a token, as an average over a text of the maximum length.
        let tokens = self.tokens(spec);
        let cost = cost(spec);
        Cost {
            forward_flops: cost.forward_flops / tokens as f64,
            training_flops: cost.training_flops / tokens as f64,
            ..cost
        }
    }

    fn tokens(&self, spec: &RunSpec) -> usize {
        section(spec).max_tokens
    }

    fn batch_text(&self, spec: &RunSpec) -> String {
        format!("{} texts of up to {} tokens", spec.training.batch_size, self.tokens(spec))
    }

    fn synthetic_note(&self) -> &'static str {
        "synthetic texts and labels"
    }

    /// Which texts make a batch of training does not matter.
    fn evaluated_data(&self, data: &DataSpec) -> DataSpec {
        let mut data = data.clone();
        if let DataSpec::Text(section) = &mut data {
            section.group_by_length = true;
        }
        data
    }

    /// The tokenizer, if the spec names one on the Hub.
    fn model_files(&self, spec: &RunSpec) -> Result<Vec<ModelFiles>> {
        let hub = section(spec).tokenizer.as_ref().and_then(|tokenizer| tokenizer.hub.as_ref());
        let Some(name) = hub.map(|name| format!("{HUB_PREFIX}{name}")) else {
            return Ok(Vec::new());
        };
        let source = Source::of_hub(&name, Kind::Model)?;
        let files = |source| ModelFiles { source, paths: vec![TOKENIZER.to_string()] };
        Ok(source.map(files).into_iter().collect())
    }

    fn spec_lines(&self, dataset: &Dataset) -> Option<std::result::Result<String, String>> {
        spec_lines(dataset)
    }

    fn head_outputs(&self, spec: &RunSpec) -> Option<usize> {
        Some(model(spec).classes)
    }
}

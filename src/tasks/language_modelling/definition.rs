//! Facts about language modelling that need no data.

use super::data::{Windowing, model, section};
use super::generate::generate;
use super::notes;
use super::outcome::{METRICS, assess};
use super::spec_lines::spec_lines;
use crate::data::text::TOKENIZER;
use crate::error::Result;
use crate::hub::{Kind, Source};
use crate::models::{Cost, cost};
use crate::results::{
    Assessment, Evidence, Metric, Provenance, RunFolder, Setting, TaskFields, WorkUnit,
};
use crate::spec::{DataSpec, HUB_PREFIX, LanguageTokenizer, RunSpec, Windows, flatten};
use crate::tasks::definition::{Definition, ModelFiles};
use crate::tasks::generation::{Continuation, Generation};
use crate::tasks::spec_lines::Dataset;

/// The definition.
pub const DEFINITION: LanguageModelling = LanguageModelling;

/// Language modelling.
pub struct LanguageModelling;

impl Evidence for LanguageModelling {
    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn work_unit(&self) -> WorkUnit {
        WorkUnit { singular: "token", plural: "tokens" }
    }

    fn assess(&self, run: &RunFolder) -> Result<Assessment> {
        assess(run)
    }

    fn setting(&self, spec: &RunSpec, provenance: Option<&Provenance>) -> Setting {
        notes::setting(spec, provenance)
    }

    fn start_notes(&self, _: &TaskFields, _: bool) -> Vec<String> {
        Vec::new()
    }

    fn memory_note(&self) -> &'static str {
        "the text's tokens included"
    }
}

impl Definition for LanguageModelling {
    /// The data section, the weights whose tokenizer is used if the section names none, the model's tokens,
    /// and the windows.
    fn data_key(&self, spec: &RunSpec) -> String {
        let (fields, windowing) = (flatten(section(spec)), Windowing::of(spec));
        let beside = spec.start.as_ref().and_then(|start| start.checkpoint_name());
        format!("{fields:?} {beside:?} {} {windowing:?}", model(spec).vocabulary)
    }

    /// Tokens are transferred batch by batch, so a device holds none.
    fn example_bytes(&self, _: &RunSpec) -> usize {
        0
    }

    fn cost(&self, spec: &RunSpec) -> Cost {
        // FLOPs for a token, as an average over a window.
        let tokens = self.tokens(spec);
        let cost = cost(spec);
        Cost {
            forward_flops: cost.forward_flops / tokens as f64,
            training_flops: cost.training_flops / tokens as f64,
            ..cost
        }
    }

    fn tokens(&self, spec: &RunSpec) -> usize {
        Windowing::of(spec).window
    }

    fn batch_text(&self, spec: &RunSpec) -> String {
        format!("{} windows of {} tokens", spec.training.batch_size, self.tokens(spec))
    }

    fn synthetic_note(&self) -> &'static str {
        "synthetic tokens"
    }

    /// Which windows are trained on does not matter.
    fn evaluated_data(&self, data: &DataSpec) -> DataSpec {
        let mut data = data.clone();
        if let DataSpec::Language(section) = &mut data {
            (section.windows, section.epoch_windows) = (Windows::default(), None);
        }
        data
    }

    /// The tokenizer, if the spec names one on the Hub.
    fn model_files(&self, spec: &RunSpec) -> Result<Vec<ModelFiles>> {
        let Some(LanguageTokenizer::Pieces(tokenizer)) = &section(spec).tokenizer else {
            return Ok(Vec::new());
        };
        let Some(name) = tokenizer.hub.as_ref().map(|name| format!("{HUB_PREFIX}{name}")) else {
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
        Some(model(spec).vocabulary)
    }

    fn generate(&self, generation: &Generation) -> Result<Continuation> {
        generate(generation)
    }
}

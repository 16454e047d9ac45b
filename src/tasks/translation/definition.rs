//! Facts about translation that need no data.

use super::data::{model, section};
use super::lines::translate_lines;
use super::notes;
use super::outcome::{METRICS, assess, samples};
use super::spec_lines::spec_lines;
use crate::data::translation::MARIAN_FILES;
use crate::error::Result;
use crate::hub::{Kind, Source};
use crate::models::{Cost, cost};
use crate::results::{
    Assessment, Evidence, Metric, Provenance, RunFolder, Samples, Setting, TaskFields, WorkUnit,
};
use crate::spec::{DataSpec, DecodingSpec, HUB_PREFIX, RunSpec, flatten};
use crate::tasks::definition::{BatchSize, Definition, ModelFiles, random_lengths};
use crate::tasks::generation::{Lines, Translated};
use crate::tasks::spec_lines::Dataset;

/// The definition.
pub const DEFINITION: SentencePairs = SentencePairs;

/// Translation.
pub struct SentencePairs;

impl Evidence for SentencePairs {
    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    /// Predicted tokens, those of the target language.
    fn work_unit(&self) -> WorkUnit {
        WorkUnit { singular: "token", plural: "tokens" }
    }

    fn assess(&self, run: &RunFolder) -> Result<Assessment> {
        assess(run)
    }

    fn samples(&self, run: &RunFolder, most: usize) -> Result<Option<Samples>> {
        Ok(Some(samples(run, most)?))
    }

    fn setting(&self, spec: &RunSpec, provenance: Option<&Provenance>) -> Setting {
        notes::setting(spec, provenance)
    }

    fn start_notes(&self, _: &TaskFields, _: bool) -> Vec<String> {
        Vec::new()
    }

    fn batch_note(&self, spec: &RunSpec) -> Option<String> {
        let Some(tokens) = section(spec).batch_tokens else {
            return random_lengths(spec, section(spec).group_by_length);
        };
        let steps = match spec.training.accumulation {
            1 => String::new(),
            n => format!(", {n} a step"),
        };
        Some(format!("batches of at most {tokens} tokens a language{steps}"))
    }

    fn memory_note(&self) -> &'static str {
        "tokenised sentences included"
    }
}

impl Definition for SentencePairs {
    /// The data section without its decoding and batches, and the model's fields that the sentences must fit.
    fn data_key(&self, spec: &RunSpec) -> String {
        let data = crate::spec::TranslationDataSpec {
            decoding: DecodingSpec::default(),
            batch_tokens: None,
            group_by_length: true,
            ..section(spec).clone()
        };
        let m = model(spec);
        format!(
            "{:?} {} {} {}",
            flatten(&data),
            m.source_vocabulary,
            m.target_vocabulary,
            m.positions
        )
    }

    /// Sentences are transferred batch by batch, so a device holds none.
    fn example_bytes(&self, _: &RunSpec) -> usize {
        0
    }

    fn cost(&self, spec: &RunSpec) -> Cost {
        // FLOPs for a predicted token, as an average over a pair of the maximum lengths.
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

    fn validates_metric_always(&self, spec: &RunSpec) -> bool {
        section(spec).decoding.validate_every == 1
    }

    fn batch_text(&self, spec: &RunSpec) -> String {
        let tokens = self.tokens(spec);
        match section(spec).batch_tokens {
            Some(most) => format!("sentence pairs of {most} tokens a language"),
            None => {
                format!("{} sentence pairs of up to {tokens} tokens", spec.training.batch_size)
            }
        }
    }

    fn batch_size(&self, spec: &RunSpec) -> BatchSize {
        match section(spec).batch_tokens {
            None => BatchSize::Examples(spec.training.batch_size),
            Some(tokens) => BatchSize::Tokens(tokens),
        }
    }

    fn synthetic_note(&self) -> &'static str {
        "synthetic sentences"
    }

    /// Which pairs make a batch of training does not matter.
    fn evaluated_data(&self, data: &DataSpec) -> DataSpec {
        let mut data = data.clone();
        if let DataSpec::Translation(section) = &mut data {
            section.batch_tokens = None;
            section.group_by_length = true;
        }
        data
    }

    /// The tokenizers, if the spec names some on the Hub.
    fn model_files(&self, spec: &RunSpec) -> Result<Vec<ModelFiles>> {
        let Some(name) = &section(spec).tokenizer.hub else { return Ok(Vec::new()) };
        let source = Source::of_hub(&format!("{HUB_PREFIX}{name}"), Kind::Model)?;
        let paths = MARIAN_FILES.map(str::to_string).to_vec();
        Ok(source.map(|source| ModelFiles { source, paths }).into_iter().collect())
    }

    fn spec_lines(&self, dataset: &Dataset) -> Option<std::result::Result<String, String>> {
        spec_lines(dataset)
    }

    fn head_outputs(&self, spec: &RunSpec) -> Option<usize> {
        Some(model(spec).target_vocabulary)
    }

    fn translate(&self, lines: &Lines) -> Result<Translated> {
        translate_lines(lines)
    }
}

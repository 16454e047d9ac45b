//! Facts about image classification that need no data.

use super::data::section;
use super::notes;
use super::spec_lines::spec_lines;
use crate::error::Result;
use crate::models::Cost;
use crate::models::cost;
use crate::models::vit::tokens;
use crate::results::{
    Assessment, Confusion, Evidence, Metric, Provenance, RunFolder, Setting, TaskFields, WorkUnit,
};
use crate::spec::{DataSpec, RunSpec, flatten};
use crate::tasks::classification::{ACCURACY, Outcome, accuracy, assess, confusion};
use crate::tasks::definition::Definition;
use crate::tasks::spec_lines::Dataset;

/// The metrics, the primary one first.
pub const METRICS: [Metric; 1] = [ACCURACY];
/// The functions that compute the metrics.
pub const SCORES: [fn(&[Outcome]) -> f64; 1] = [accuracy];

/// The definition.
pub const DEFINITION: Images = Images;

/// Image classification.
pub struct Images;

impl Evidence for Images {
    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn work_unit(&self) -> WorkUnit {
        WorkUnit { singular: "image", plural: "images" }
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

    fn memory_note(&self) -> &'static str {
        "decoded images included where they are not mapped from the cache"
    }
}

impl Definition for Images {
    /// The data section, and the model's fields that the images must fit.
    fn data_key(&self, spec: &RunSpec) -> String {
        let fields = flatten(section(spec));
        let sizes = spec.model.as_vit().map(|m| (m.image_size, m.channels, m.classes));
        format!("{fields:?} {sizes:?}")
    }

    fn example_bytes(&self, spec: &RunSpec) -> usize {
        spec.model.as_vit().map_or(1, |m| m.channels * m.image_size.pow(2))
    }

    fn cost(&self, spec: &RunSpec) -> Cost {
        cost(spec)
    }

    fn tokens(&self, spec: &RunSpec) -> usize {
        spec.model.as_vit().map_or(0, tokens)
    }

    fn batch_text(&self, spec: &RunSpec) -> String {
        format!("{} images of {} tokens", spec.training.batch_size, self.tokens(spec))
    }

    fn synthetic_note(&self) -> &'static str {
        "synthetic images and labels"
    }

    fn evaluated_data(&self, data: &DataSpec) -> DataSpec {
        let mut data = data.clone();
        if let DataSpec::Images(images) = &mut data {
            images.augment = Default::default();
        }
        data
    }

    fn spec_lines(&self, dataset: &Dataset) -> Option<std::result::Result<String, String>> {
        spec_lines(dataset)
    }

    fn head_outputs(&self, spec: &RunSpec) -> Option<usize> {
        Some(spec.model.classes())
    }
}

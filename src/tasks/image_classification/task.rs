//! The loss and the predictions for a batch of images.

use candle_core::{Device, Result, Tensor};

use super::batches::ImageBatches;
use super::definition::{METRICS, SCORES};
use crate::data::ImageData;
use crate::models::vit::Vit;
use crate::nn::{Mode, StepKey, Variable};
use crate::results::{Metric, Scores};
use crate::spec::RunSpec;
use crate::tasks::blueprint::Blueprint;
use crate::tasks::classification::{Answers, Outcome, loss, scores};
use crate::tasks::data_set::{BatchPlan, Split};
use crate::tasks::task::Task;

pub struct ImageClassification<'a> {
    batches: ImageBatches<'a>,
    label_smoothing: f64,
}

impl<'a> ImageClassification<'a> {
    pub fn new(data: &'a ImageData, spec: &'a RunSpec, seed: u64, device: Device) -> Self {
        let batches = ImageBatches::new(data, spec, seed, device);
        ImageClassification { batches, label_smoothing: spec.training.label_smoothing }
    }

    /// The model of a run.
    pub fn blueprint(spec: &RunSpec) -> Blueprint<'_, Vit> {
        Blueprint::of_run(spec, Vit::of)
    }
}

impl<'a> Task for ImageClassification<'a> {
    type Data = ImageBatches<'a>;
    type Model = Vit;
    type Answers = Answers;
    type Outcome = Outcome;

    fn data(&self) -> &ImageBatches<'a> {
        &self.batches
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn loss(&self, model: &Vit, key: StepKey, batch: &(Tensor, Tensor)) -> Result<Variable> {
        let (images, labels) = batch;
        let logits = model.forward(images, Mode::Training(key))?;
        loss(&logits, labels, self.label_smoothing)
    }

    fn answer(&self, model: &Vit, batch: &(Tensor, Tensor)) -> Result<Answers> {
        let (images, labels) = batch;
        Answers::of(&model.forward(images, Mode::Evaluation)?, labels)
    }

    fn answers_by_layer(&self, model: &Vit, batch: &(Tensor, Tensor)) -> Result<Vec<Answers>> {
        let (images, labels) = batch;
        model.readouts(images)?.iter().map(|logits| Answers::of(logits, labels)).collect()
    }

    fn outcomes(
        &self,
        split: Split,
        batches: &[BatchPlan],
        answers: Vec<Answers>,
    ) -> Result<Vec<Outcome>> {
        Answers::outcomes(batches, &answers, self.batches.labels(split))
    }

    fn scores(&self, outcomes: &[Outcome]) -> Scores {
        scores(outcomes, &SCORES)
    }
}

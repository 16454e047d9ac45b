//! The loss and the predictions for a batch of images.

use candle_core::{Device, Result, Tensor};

use super::batches::{ImageBatch, ImageBatches};
use super::definition::{METRICS, SCORES};
use crate::data::ImageData;
use crate::models::vit::Vit;
use crate::nn::{Mode, StepKey, Variable, ops};
use crate::results::{Metric, Scores};
use crate::spec::RunSpec;
use crate::tasks::blueprint::Blueprint;
use crate::tasks::classification::{Outcome, Predictions, loss, scores};
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
    type Predictions = Predictions;
    type Outcome = Outcome;

    fn data(&self) -> &ImageBatches<'a> {
        &self.batches
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    /// With mixed images the mean of the losses on both labels, weighted by their shares.
    fn loss(&self, model: &Vit, key: StepKey, batch: &ImageBatch) -> Result<Variable> {
        let logits = model.forward(&batch.images, Mode::Training(key))?;
        let on = |labels: &Tensor| loss(&logits, labels, self.label_smoothing);
        match &batch.others {
            None => on(&batch.labels),
            Some((others, share)) => {
                let own_loss = ops::scale(&on(&batch.labels)?, *share)?;
                ops::sum(&[&own_loss, &ops::scale(&on(others)?, 1.0 - share)?])
            }
        }
    }

    fn predict(&self, model: &Vit, batch: &ImageBatch) -> Result<Predictions> {
        Predictions::of(&model.forward(&batch.images, Mode::Evaluation)?, &batch.labels)
    }

    fn predict_logit_lens(&self, model: &Vit, batch: &ImageBatch) -> Result<Vec<Predictions>> {
        let by_layer = model.logit_lens(&batch.images)?;
        by_layer.iter().map(|logits| Predictions::of(logits, &batch.labels)).collect()
    }

    fn outcomes(
        &self,
        split: Split,
        batches: &[BatchPlan],
        predictions: Vec<Predictions>,
    ) -> Result<Vec<Outcome>> {
        Predictions::outcomes(batches, &predictions, self.batches.labels(split))
    }

    fn scores(&self, outcomes: &[Outcome]) -> Scores {
        scores(outcomes, &SCORES)
    }
}

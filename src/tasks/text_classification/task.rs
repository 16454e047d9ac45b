//! The loss and the predictions for a batch of texts.

use candle_core::{Device, Result};

use super::batches::{TextBatch, TextBatches};
use super::data::Data;
use super::definition::{METRICS, SCORES};
use crate::models::encoder::Encoder;
use crate::nn::{Mode, StepKey, Variable};
use crate::results::{Metric, Scores};
use crate::spec::RunSpec;
use crate::tasks::blueprint::Blueprint;
use crate::tasks::classification::{Outcome, Predictions, loss, scores};
use crate::tasks::data_set::{BatchPlan, Split};
use crate::tasks::task::Task;

pub struct TextClassification<'a> {
    batches: TextBatches<'a>,
    label_smoothing: f64,
}

impl<'a> TextClassification<'a> {
    pub fn new(data: &'a Data, spec: &RunSpec, seed: u64, device: Device) -> Self {
        let batches = TextBatches::new(data, spec, seed, device);
        TextClassification { batches, label_smoothing: spec.training.label_smoothing }
    }

    /// The model of a run.
    pub fn blueprint(spec: &RunSpec) -> Blueprint<'_, Encoder> {
        Blueprint::of_run(spec, Encoder::of)
    }
}

impl<'a> Task for TextClassification<'a> {
    type Data = TextBatches<'a>;
    type Model = Encoder;
    type Predictions = Predictions;
    type Outcome = Outcome;

    fn data(&self) -> &TextBatches<'a> {
        &self.batches
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn loss(&self, model: &Encoder, key: StepKey, batch: &TextBatch) -> Result<Variable> {
        let logits = model.forward(&batch.texts, Mode::Training(key))?;
        loss(&logits, &batch.labels, self.label_smoothing)
    }

    fn predict(&self, model: &Encoder, batch: &TextBatch) -> Result<Predictions> {
        Predictions::of(&model.forward(&batch.texts, Mode::Evaluation)?, &batch.labels)
    }

    fn predict_logit_lens(&self, model: &Encoder, batch: &TextBatch) -> Result<Vec<Predictions>> {
        let logits = model.logit_lens(&batch.texts)?;
        logits.iter().map(|logits| Predictions::of(logits, &batch.labels)).collect()
    }

    fn outcomes(
        &self,
        split: Split,
        batches: &[BatchPlan],
        predictions: Vec<Predictions>,
    ) -> Result<Vec<Outcome>> {
        Predictions::outcomes(batches, &predictions, self.batches.split(split).labels())
    }

    fn scores(&self, outcomes: &[Outcome]) -> Scores {
        scores(outcomes, &SCORES)
    }
}

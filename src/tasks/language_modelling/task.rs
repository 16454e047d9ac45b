//! The loss of a batch of windows, and of each of their tokens.

use candle_core::{DType, Device, Result, Tensor};

use super::batches::{WindowBatch, WindowBatches};
use super::data::Data;
use super::outcome::{METRICS, Outcome, outcomes, scores};
use crate::models::decoder::Decoder;
use crate::nn::{Mode, StepKey, Variable, ops};
use crate::results::{Metric, Scores};
use crate::spec::RunSpec;
use crate::tasks::blueprint::Blueprint;
use crate::tasks::data_set::{BatchPlan, Split};
use crate::tasks::task::Task;

pub struct LanguageModelling<'a> {
    batches: WindowBatches<'a>,
    label_smoothing: f64,
}

impl<'a> LanguageModelling<'a> {
    pub fn new(data: &'a Data, spec: &RunSpec, seed: u64, device: Device) -> Self {
        let batches = WindowBatches::new(data, spec, seed, device);
        LanguageModelling { batches, label_smoothing: spec.training.label_smoothing }
    }

    /// The model of a run.
    pub fn blueprint(spec: &RunSpec) -> Blueprint<'_, Decoder> {
        Blueprint::of_run(spec, Decoder::of)
    }
}

/// The cross-entropy of every prediction of a batch, \[batch · tokens\] float32, on the device.
fn losses(logits: &Variable, batch: &WindowBatch) -> Result<Tensor> {
    ops::cross_entropy(logits, &batch.targets, 0.0)?.tensor().to_dtype(DType::F32)
}

impl<'a> Task for LanguageModelling<'a> {
    type Data = WindowBatches<'a>;
    type Model = Decoder;
    type Predictions = Tensor;
    type Outcome = Outcome;

    fn data(&self) -> &WindowBatches<'a> {
        &self.batches
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn loss(&self, model: &Decoder, key: StepKey, batch: &WindowBatch) -> Result<Variable> {
        let logits = model.forward(&batch.ids, Mode::Training(key))?;
        ops::mean(&ops::cross_entropy(&logits, &batch.targets, self.label_smoothing)?)
    }

    fn predict(&self, model: &Decoder, batch: &WindowBatch) -> Result<Tensor> {
        losses(&model.forward(&batch.ids, Mode::Evaluation)?, batch)
    }

    fn predict_logit_lens(&self, model: &Decoder, batch: &WindowBatch) -> Result<Vec<Tensor>> {
        model.logit_lens(&batch.ids, |logits| losses(logits, batch))
    }

    fn outcomes(
        &self,
        split: Split,
        batches: &[BatchPlan],
        predictions: Vec<Tensor>,
    ) -> Result<Vec<Outcome>> {
        let windows = self.batches.windows(split);
        let losses = Tensor::cat(&predictions, 0)?.to_vec1::<f32>()?;
        // Where the losses of each window begin.
        let mut begins = vec![0; windows.len()];
        let mut next = 0;
        for window in batches.iter().flat_map(|batch| &batch.examples) {
            begins[*window] = next;
            next += windows[*window].tokens();
        }
        let of = |window: usize| &losses[begins[window]..begins[window] + windows[window].tokens()];
        Ok(outcomes(windows, self.batches.ids(split), self.batches.bytes(split), of))
    }

    fn scores(&self, outcomes: &[Outcome]) -> Scores {
        scores(outcomes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::language::LanguageData;
    use crate::tasks::data_set::DataSet;

    fn spec(window: usize, stride: usize) -> RunSpec {
        let spec = serde_json::json!({
            "task": "language-modelling",
            "data": {"path": "x", "tokenizer": "bytes", "window": window, "stride": stride},
            "model": {"architecture": "decoder", "vocabulary": 11, "positions": 9, "dim": 8,
                "depth": 2, "heads": 2},
            "training": {"batch_size": 3},
        });
        serde_json::from_value(spec).unwrap()
    }

    /// −ln of the probability that a row of logits gives a token.
    fn surprise(logits: &[f32], token: u32) -> f64 {
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        sum.ln() - f64::from(logits[token as usize])
    }

    /// Each scored token by itself: the model sees the window up to the token before it, and nothing else.
    #[test]
    fn an_evaluation_equals_a_direct_computation() {
        for (tokens, window, stride) in [(24, 8, 8), (23, 8, 3), (23, 9, 1), (6, 8, 8)] {
            let spec = spec(window, stride);
            let data = Data::new(LanguageData::noise(11, 40, tokens), &spec);
            let task = LanguageModelling::new(&data, &spec, 0, Device::Cpu);
            let (_, model) = LanguageModelling::blueprint(&spec).train(3, &Device::Cpu).unwrap();
            let batches = task.data().evaluation(Split::Test);
            let answers = batches.iter().map(|plan| {
                let batch = task.data().evaluation_batch(Split::Test, plan)?;
                task.predict(&model, &batch)
            });
            let answers = answers.collect::<Result<Vec<_>>>().unwrap();
            let outcomes = task.outcomes(Split::Test, &batches, answers).unwrap();

            let (ids, windows) = (task.data().ids(Split::Test), task.data().windows(Split::Test));
            assert_eq!(outcomes.len(), windows.len());
            for (outcome, window) in outcomes.iter().zip(windows) {
                let direct = (window.first()..=window.end).map(|target| {
                    let input = Tensor::new(&ids[window.begin..target], &Device::Cpu).unwrap();
                    let input = input.unsqueeze(0).unwrap();
                    let logits = model.forward(&input, Mode::Evaluation).unwrap();
                    let rows: Vec<Vec<f32>> = logits.tensor().to_vec2().unwrap();
                    surprise(rows.last().unwrap(), ids[target])
                });
                let direct: f64 = direct.sum();
                assert!((outcome.loss - direct).abs() < 1e-4, "{window:?}: {outcome:?} {direct}");
            }
            let scored: usize = outcomes.iter().map(|outcome| outcome.tokens).sum();
            assert_eq!(scored, tokens - 1);
            let units: f64 = batches.iter().map(|plan| plan.weight).sum();
            assert_eq!(units, (tokens - 1) as f64);
        }
    }

    /// The target of each token is the one after it, and batches of random windows are whole.
    #[test]
    fn training_batches_hold_windows_and_what_follows() {
        let spec = spec(8, 8);
        let data = Data::new(LanguageData::noise(11, 100, 20), &spec);
        let task = LanguageModelling::new(&data, &spec, 5, Device::Cpu);
        // 12 windows fit into 100 tokens, and these into four batches of three.
        let (plans, ids) = (task.data().epoch(0), task.data().ids(Split::Train));
        assert_eq!((plans.len(), task.data().batches_per_epoch()), (4, 4));
        for plan in &plans {
            assert_eq!((plan.examples.len(), plan.units, plan.weight), (3, 24, 24.0));
            let batch = task.data().train_batch(0, plan).unwrap();
            let input: Vec<Vec<u32>> = batch.ids.to_vec2().unwrap();
            let targets: Vec<u32> = batch.targets.to_vec1().unwrap();
            for (row, begin) in plan.examples.iter().enumerate() {
                assert_eq!(input[row], ids[*begin..begin + 8]);
                assert_eq!(targets[8 * row..8 * row + 8], ids[begin + 1..begin + 9]);
            }
        }
    }
}

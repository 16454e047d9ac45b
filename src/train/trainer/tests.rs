//! The training loop on a task of one weight: resuming, the order of reports, selection.

use super::*;
use crate::nn::{Init, Kind, Role, Variable};
use crate::results::{Better, Scores};
use crate::spec::ScheduleKind;
use crate::tasks::{batches_of, epoch_order};

const METRICS: [Metric; 1] = [Metric {
    name: "error",
    unit: "",
    difference_unit: "",
    scale: 1.0,
    decimals: 1,
    better: Better::Lower,
}];

/// A task whose weight shrinks to zero. It can fail on purpose.
#[derive(Default)]
struct Shrinking {
    /// The loss is not finite from this step on.
    not_finite: Option<u64>,
    /// The batch with this example fails.
    no_batch: Option<usize>,
    /// The weight of a batch by its index. By default it is the batch's size.
    weight: Option<fn(usize) -> f64>,
    validation: bool,
}

const EXAMPLES: usize = 40;

impl DataSet for Shrinking {
    type Batch = usize;

    fn len(&self, split: Split) -> usize {
        match split {
            Split::Train => EXAMPLES,
            Split::Validation => usize::from(self.validation),
            Split::Test => 0,
        }
    }

    fn epoch(&self, epoch: usize) -> Vec<BatchPlan> {
        let mut batches = batches_of(&epoch_order(0, epoch, EXAMPLES), 2);
        if let Some(weight) = self.weight {
            for (i, batch) in batches.iter_mut().enumerate() {
                batch.weight = weight(i);
            }
        }
        batches
    }

    fn batches_per_epoch(&self) -> usize {
        EXAMPLES / 2
    }

    fn evaluation(&self, split: Split) -> Vec<BatchPlan> {
        batches_of(&(0..self.len(split)).collect::<Vec<_>>(), 2)
    }

    fn train_batch(&self, _: usize, plan: &BatchPlan) -> candle_core::Result<usize> {
        match self.no_batch.is_some_and(|example| plan.examples.contains(&example)) {
            true => candle_core::bail!("no such batch"),
            false => Ok(plan.examples[0]),
        }
    }

    fn evaluation_batch(&self, _: Split, _: &BatchPlan) -> candle_core::Result<usize> {
        Ok(0)
    }
}

impl Task for Shrinking {
    type Data = Shrinking;
    type Model = Variable;
    type Predictions = f64;
    type Outcome = f64;

    fn data(&self) -> &Shrinking {
        self
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn loss(&self, w: &Variable, key: StepKey, _: &usize) -> candle_core::Result<Variable> {
        let finite = self.not_finite.is_none_or(|step| key.step < step);
        let factor = if finite { 1.0 } else { f64::NAN };
        // Each batch of a step has a different loss.
        let factor = factor * (key.part + 1) as f64;
        Variable::composed(&[w], move |t| t[0].sqr()?.mean_all()? * factor)
    }

    /// The distance of the weight from a value that it passes on its way.
    fn predict(&self, w: &Variable, _: &usize) -> candle_core::Result<f64> {
        Ok((f64::from(w.tensor().to_vec1::<f32>()?[0]) - 0.955).abs())
    }

    fn predict_logit_lens(&self, w: &Variable, batch: &usize) -> candle_core::Result<Vec<f64>> {
        Ok(vec![self.predict(w, batch)?])
    }

    fn outcomes(
        &self,
        _: Split,
        _: &[BatchPlan],
        predictions: Vec<f64>,
    ) -> candle_core::Result<Vec<f64>> {
        Ok(predictions)
    }

    fn scores(&self, outcomes: &[f64]) -> Scores {
        Scores { loss: 0.0, metrics: outcomes.to_vec() }
    }
}

fn blueprint() -> Blueprint<'static, Variable> {
    Blueprint::new(|parameters| parameters.tensor("w", &[3], Init::Ones, Role::layer(Kind::Matrix)))
}

/// Trains an epoch with up to `pending` pending steps and stops after `most` steps. Returns the
/// steps, the error and the weight.
fn train(task: &Shrinking, pending: usize, most: usize) -> (Vec<Step>, Option<String>, Vec<f32>) {
    let spec = TrainingSpec { batch_size: 2, epochs: 1, ..TrainingSpec::default() };
    let blueprint = blueprint();
    let mut trainer = Trainer::new(task, &blueprint, &spec, 0, &Device::Cpu, None).unwrap();
    trainer.most_pending = pending;
    let mut steps = Vec::new();
    let ended = trainer.train_epoch(|step| {
        steps.push(Step { times: StepTimes::default(), ..step.clone() });
        if steps.len() < most { Flow::Continue } else { Flow::Pause }
    });
    let weight = trainer.store.get("w").unwrap().var.to_vec1().unwrap();
    (steps, ended.err().map(|e| e.to_string()), weight)
}

#[test]
fn pending_steps_are_reported_in_order() {
    let task = Shrinking::default();
    let (want, ended, weight) = train(&task, 0, usize::MAX);
    assert_eq!((want.len(), ended), (EXAMPLES / 2, None));
    for pending in [1, 2, 3, 7, 100] {
        let (steps, ended, end) = train(&task, pending, usize::MAX);
        assert_eq!((steps, ended, end), (want.clone(), None, weight.clone()), "{pending}");
        // After a pause only the steps are reported that were pending: they are done.
        let (steps, ended, _) = train(&task, pending, 5);
        assert!((5..=5 + pending).contains(&steps.len()), "{pending}: {}", steps.len());
        assert_eq!((&steps[..], ended), (&want[..steps.len()], None), "{pending}");
    }
}

#[test]
fn a_failure_is_reported_after_the_earlier_steps() {
    let order = epoch_order(0, 0, EXAMPLES);
    for pending in [0, 3, 100] {
        let task = Shrinking { not_finite: Some(9), ..Shrinking::default() };
        let (steps, ended, _) = train(&task, pending, usize::MAX);
        assert_eq!(steps.len(), 8, "{pending}");
        let ended = ended.unwrap();
        assert!(ended.contains("stopped being finite at step 9"), "{pending}: {ended}");
        let task = Shrinking { no_batch: Some(order[22]), ..Shrinking::default() };
        let (steps, ended, _) = train(&task, pending, usize::MAX);
        assert_eq!(steps.len(), 11, "{pending}");
        assert!(ended.unwrap().contains("no such batch"), "{pending}");
    }
}

/// A step's loss is the mean over its batches by their weights, and an epoch's loss is the mean over
/// its steps. The data set gives the weights.
#[test]
fn losses_are_means_weighted_by_the_batches_weights() {
    let task = Shrinking { weight: Some(|i| (i % 2 + 1) as f64), ..Shrinking::default() };
    let spec = TrainingSpec {
        batch_size: 2,
        accumulation: 2,
        epochs: 1,
        learning_rate: 1e-12,
        ..TrainingSpec::default()
    };
    let blueprint = blueprint();
    let mut trainer = Trainer::new(&task, &blueprint, &spec, 0, &Device::Cpu, None).unwrap();
    let mut steps = Vec::new();
    let mean = trainer.train_epoch(|step| {
        steps.push((step.record.loss, step.weight, step.examples, step.units));
        Flow::Continue
    });
    // Batches of weights 1 and 2 have losses 1 and 2 where the weight stays at 1.
    assert_eq!(steps.len(), 10);
    for (loss, weight, examples, units) in steps {
        assert!((loss - 5.0 / 3.0).abs() < 1e-6, "{loss}");
        assert_eq!((weight, examples, units), (3.0, 4, 4));
    }
    assert!((mean.unwrap().unwrap() - 5.0 / 3.0).abs() < 1e-6);
}

/// A training of two epochs that selects the best one.
fn two_epochs() -> (Shrinking, TrainingSpec) {
    let task = Shrinking {
        weight: Some(|i| (i % 3 + 1) as f64),
        validation: true,
        ..Shrinking::default()
    };
    let spec = TrainingSpec {
        batch_size: 2,
        accumulation: 3,
        epochs: 2,
        select: Select::Best,
        ..TrainingSpec::default()
    };
    (task, spec)
}

/// A state without its times, and the weights.
fn end(trainer: &Trainer<Shrinking>) -> (State, Vec<f32>, Vec<f32>) {
    let (training_seconds, evaluation_seconds) = (0.0, 0.0);
    let state = State { training_seconds, evaluation_seconds, ..trainer.state.clone() };
    let weight = trainer.store.get("w").unwrap().var.to_vec1().unwrap();
    let moment = trainer.optimizer.moments()["w"].1.to_vec1().unwrap();
    (state, weight, moment)
}

/// Paused after any steps, in validation too, and continued in the same process or from a
/// checkpoint, training ends as if it had not paused.
#[test]
fn a_paused_training_ends_bitwise_equal() {
    let (task, spec) = two_epochs();
    let blueprint = blueprint();
    let new = |pending| {
        let mut trainer = Trainer::new(&task, &blueprint, &spec, 0, &Device::Cpu, None).unwrap();
        trainer.most_pending = pending;
        trainer
    };
    let mut whole = new(0);
    let (mut steps, mut epochs) = (Vec::new(), Vec::new());
    while !whole.is_done() {
        let record = |step: &Step| {
            steps.push(step.record.clone());
            Flow::Continue
        };
        epochs.push(whole.epoch(record, &|| false).unwrap().unwrap());
    }
    assert_eq!((steps.len(), epochs.len()), (14, 2));
    for pending in [0, 3] {
        for every in 1..=14 {
            for from_checkpoint in [false, true] {
                let mut trainer = new(pending);
                let (mut again, mut records, mut validations) = (Vec::new(), Vec::new(), 0);
                while !trainer.is_done() {
                    let record = |step: &Step| {
                        again.push(step.record.clone());
                        if again.len() % every == 0 { Flow::Pause } else { Flow::Continue }
                    };
                    // Every other validation is stopped.
                    validations += 1;
                    let stopped = validations % 2 == 1;
                    let ended = trainer.epoch(record, &|| stopped).unwrap();
                    assert!(ended.is_none() || !stopped);
                    records.extend(ended);
                    if from_checkpoint {
                        let bytes = trainer.checkpoint().unwrap();
                        trainer = new(pending);
                        trainer.resume(Checkpoint::from_bytes(&bytes).unwrap()).unwrap();
                    }
                }
                let case = format!("{pending} {every} {from_checkpoint}");
                assert_eq!((&again, &records), (&steps, &epochs), "{case}");
                assert_eq!(end(&trainer), end(&whole), "{case}");
                assert_eq!(trainer.select().unwrap(), whole.state().best.unwrap().0);
            }
        }
    }
}

/// If a lower metric is better, the epoch with the lowest one is kept.
#[test]
fn the_best_epoch_is_the_best_in_the_metrics_direction() {
    let task = Shrinking { validation: true, ..Shrinking::default() };
    let spec = TrainingSpec {
        batch_size: 2,
        epochs: 6,
        weight_decay: 0.0,
        warmup_ratio: 0.0,
        min_learning_rate_ratio: 1.0,
        select: Select::Best,
        ..TrainingSpec::default()
    };
    let blueprint = blueprint();
    let mut trainer = Trainer::new(&task, &blueprint, &spec, 0, &Device::Cpu, None).unwrap();
    let mut errors = Vec::new();
    while !trainer.is_done() {
        let epoch = trainer.epoch(|_| Flow::Continue, &|| false).unwrap().unwrap();
        errors.push(epoch.validation_metric.unwrap());
    }
    let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
    let best = errors.iter().position(|error| *error == least).unwrap();
    assert!(0 < best && best + 1 < errors.len(), "the test shows nothing: {errors:?}");
    assert_eq!(trainer.select().unwrap(), best + 1);
}

/// The mean of the last epochs' weights is tested, also if training is paused and goes on from a
/// checkpoint between them.
#[test]
fn the_mean_of_the_last_epochs_is_selected() {
    let task = Shrinking::default();
    let spec =
        TrainingSpec { batch_size: 2, epochs: 5, average_last: Some(3), ..TrainingSpec::default() };
    let blueprint = blueprint();
    let new = || Trainer::new(&task, &blueprint, &spec, 0, &Device::Cpu, None).unwrap();
    let weight = |trainer: &Trainer<Shrinking>| -> Vec<f32> {
        trainer.store.get("w").unwrap().var.to_vec1().unwrap()
    };
    for from_checkpoint in [false, true] {
        let (mut trainer, mut weights) = (new(), Vec::new());
        while !trainer.is_done() {
            trainer.epoch(|_| Flow::Continue, &|| false).unwrap().unwrap();
            weights.push(weight(&trainer)[0]);
            if from_checkpoint {
                let bytes = trainer.checkpoint().unwrap();
                trainer = new();
                trainer.resume(Checkpoint::from_bytes(&bytes).unwrap()).unwrap();
            }
        }
        let mean = (weights[2] + weights[3] + weights[4]) / 3.0;
        assert!((mean - weights[4]).abs() > 1e-4, "the test shows nothing: {weights:?}");
        assert_eq!(trainer.select().unwrap(), 5);
        assert!((weight(&trainer)[0] - mean).abs() < 1e-6, "{} {mean}", weight(&trainer)[0]);
        // A test that was stopped begins again.
        let bytes = trainer.checkpoint().unwrap();
        let mut again = new();
        again.resume(Checkpoint::from_bytes(&bytes).unwrap()).unwrap();
        again.select().unwrap();
        assert_eq!(weight(&again), weight(&trainer));
    }
}

/// The rate falls when validation becomes no better, and a resumed training knows it.
#[test]
fn the_rate_falls_at_a_plateau() {
    let task = Shrinking { validation: true, ..Shrinking::default() };
    let spec = TrainingSpec {
        batch_size: 2,
        epochs: 6,
        weight_decay: 0.0,
        warmup_ratio: 0.0,
        schedule: ScheduleKind::Plateau,
        plateau_factor: Some(0.5),
        plateau_patience: Some(1),
        select: Select::Best,
        ..TrainingSpec::default()
    };
    let blueprint = blueprint();
    let new = || Trainer::new(&task, &blueprint, &spec, 0, &Device::Cpu, None).unwrap();
    let rates = |from_checkpoint: bool| {
        let (mut trainer, mut rates, mut errors) = (new(), Vec::new(), Vec::new());
        while !trainer.is_done() {
            let mut rate = 0.0;
            let on_step = |step: &Step| {
                rate = step.record.learning_rate;
                Flow::Continue
            };
            let epoch = trainer.epoch(on_step, &|| false).unwrap().unwrap();
            rates.push(rate / spec.learning_rate);
            errors.push(epoch.validation_metric.unwrap());
            if from_checkpoint {
                let bytes = trainer.checkpoint().unwrap();
                trainer = new();
                trainer.resume(Checkpoint::from_bytes(&bytes).unwrap()).unwrap();
            }
        }
        (rates, errors)
    };
    let (whole, errors) = rates(false);
    assert_eq!((&whole, &errors), (&rates(true).0, &rates(true).1));
    // The second epoch in a row that is no better lowers the rate of the next.
    let (mut want, mut factor, mut best, mut bad) = (Vec::new(), 1.0, f64::INFINITY, 0);
    for error in errors {
        want.push(factor);
        bad = if error < best * (1.0 - 1e-4) { 0 } else { bad + 1 };
        best = best.min(error);
        if bad > 1 {
            (factor, bad) = (factor * 0.5, 0);
        }
    }
    assert_eq!(whole, want);
    assert!(want.last().is_some_and(|last| *last < 1.0), "the test shows nothing: {want:?}");
}

/// The moving average of the weights is validated and tested, also where training goes on from a checkpoint
/// after each step, and where a test that was stopped begins again.
#[test]
fn the_moving_average_is_evaluated_and_selected() {
    let task = Shrinking { validation: true, ..Shrinking::default() };
    let blueprint = blueprint();
    for select in [Select::Last, Select::Best] {
        let spec = TrainingSpec {
            batch_size: 2,
            epochs: 6,
            weight_decay: 0.0,
            warmup_ratio: 0.0,
            min_learning_rate_ratio: 1.0,
            ema_decay: Some(0.9),
            select,
            ..TrainingSpec::default()
        };
        let new = || Trainer::new(&task, &blueprint, &spec, 0, &Device::Cpu, None).unwrap();
        let weight = |trainer: &Trainer<Shrinking>| -> f64 {
            f64::from(trainer.store.get("w").unwrap().var.to_vec1::<f32>().unwrap()[0])
        };
        let mut trainer = new();
        let (mut average, mut averages) = (weight(&trainer), Vec::new());
        while !trainer.is_done() {
            let epoch = trainer.epoch(|_| Flow::Pause, &|| false).unwrap();
            average = 0.9 * average + 0.1 * weight(&trainer);
            if let Some(epoch) = epoch {
                let error = (average - 0.955).abs();
                assert!((epoch.validation_metric.unwrap() - error).abs() < 1e-5);
                averages.push((error, average));
            }
            let bytes = trainer.checkpoint().unwrap();
            trainer = new();
            trainer.resume(Checkpoint::from_bytes(&bytes).unwrap()).unwrap();
        }
        assert!((weight(&trainer) - average).abs() > 1e-4, "the test shows nothing");
        let wanted = match select {
            Select::Last => average,
            _ => averages.iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1,
        };
        trainer.select().unwrap();
        assert!((weight(&trainer) - wanted).abs() < 1e-5, "{} {wanted}", weight(&trainer));
        let bytes = trainer.checkpoint().unwrap();
        let mut again = new();
        again.resume(Checkpoint::from_bytes(&bytes).unwrap()).unwrap();
        again.select().unwrap();
        assert_eq!(weight(&again), weight(&trainer));
    }
}

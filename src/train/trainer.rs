//! The training loop.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::{Device, Tensor};

use super::adamw::{AdamW, Scalar};
use super::audit::audit;
use super::checkpoint::{Checkpoint, EpochProgress, Journals, Load, State};
use super::error::TrainError;
use super::evaluate::evaluate_unless;
use super::length::TrainingLength;
use super::prefetch::{Prefetched, prefetch};
use super::schedule::Schedule;
use super::step::{PendingStep, PendingSteps, Step, StepTimes, lap};
use crate::nn::{Parameter, ParameterStore, StepKey};
use crate::results::{EpochRecord, Metric, StepRecord};
use crate::spec::{Select, TrainingSpec};
use crate::tasks::{BatchPlan, Blueprint, DataSet, Evaluation, Split, Task};

/// Weights that training starts from instead of random ones.
pub struct Start {
    pub values: BTreeMap<String, Tensor>,
    /// Says by name which parameters may be missing. These start from the seed.
    pub from_seed: Box<dyn Fn(&str) -> bool>,
}

/// Whether training goes on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Stop after this step. Training can continue from here, also from a checkpoint.
    Pause,
}

impl Flow {
    /// Pauses if either does.
    fn and(self, other: Flow) -> Flow {
        if self == Flow::Pause { self } else { other }
    }
}

/// Trains a model. Call [`Trainer::epoch`] until [`Trainer::is_done`].
pub struct Trainer<'a, T: Task> {
    task: &'a T,
    blueprint: &'a Blueprint<'a, T::Model>,
    spec: &'a TrainingSpec,
    seed: u64,
    store: ParameterStore,
    model: T::Model,
    optimizer: AdamW,
    length: TrainingLength,
    schedule: Schedule,
    state: State,
    best: BTreeMap<String, Tensor>,
    /// How many steps may be pending before their results are waited for.
    most_pending: usize,
}

/// The batch type of a task `T`.
type BatchOf<T> = <<T as Task>::Data as DataSet>::Batch;

impl<'a, T: Task> Trainer<'a, T> {
    /// Builds the model from `seed`, loads the weights of `start`, and audits the gradients.
    pub fn new(
        task: &'a T,
        blueprint: &'a Blueprint<'a, T::Model>,
        spec: &'a TrainingSpec,
        seed: u64,
        device: &Device,
        start: Option<&Start>,
    ) -> Result<Self, TrainError> {
        let (store, model) = blueprint.train(seed, device)?;
        if let Some(start) = start {
            store.load_except(&start.values, &start.from_seed).map_err(TrainError::Start)?;
        }
        let epoch = task.data().epoch(0);
        let Some(first) = epoch.first() else {
            let none = candle_core::Error::Msg("there are no training examples".into());
            return Err(TrainError::Tensor(none));
        };
        let batch = task.data().train_batch(0, first)?;
        let key = StepKey { seed, step: 0, part: 0 };
        audit(&store, || task.loss(&model, key, &batch))?.map_err(TrainError::Audit)?;
        let optimizer = AdamW::new(spec, &store)?;
        let length = TrainingLength::new(spec, task.data().train_batches());
        let schedule = Schedule::new(spec, length.steps);
        let state = State {
            epoch: 0,
            step: 0,
            progress: EpochProgress::default(),
            journals: None,
            best: None,
            training_seconds: 0.0,
            evaluation_seconds: 0.0,
            load: Load::default(),
        };
        Ok(Trainer {
            task,
            blueprint,
            spec,
            seed,
            store,
            model,
            optimizer,
            length,
            schedule,
            state,
            best: BTreeMap::new(),
            most_pending: PendingSteps::most(device.is_cpu()),
        })
    }

    /// Makes each step wait for its results before the next begins, so that steps can be timed.
    pub fn step_by_step(&mut self) {
        self.most_pending = 0;
    }

    /// Optimiser steps of the whole training, if it does not end early.
    pub fn steps(&self) -> usize {
        self.length.steps
    }

    /// Whether the last epoch is trained and validated.
    pub fn is_done(&self) -> bool {
        self.state.epoch >= self.length.epochs || self.is_out_of_patience()
    }

    /// Whether the validation metric has not become better for too many epochs.
    fn is_out_of_patience(&self) -> bool {
        match (self.spec.patience, self.state.best) {
            (Some(patience), Some((best, _))) => self.state.epoch >= best + patience,
            _ => false,
        }
    }

    /// Units of work of all steps so far.
    pub fn units(&self) -> u64 {
        let (data, all) = (self.task.data(), self.length.steps_per_epoch);
        let step = self.state.step as usize;
        let (epochs, rest) = (step / all.max(1), step % all.max(1));
        let units = |epoch: usize, steps: usize| -> u64 {
            let batches = data.epoch(epoch);
            batches.iter().take(steps * self.spec.accumulation).map(|batch| batch.units).sum()
        };
        // Each epoch has every example once.
        units(0, all) * epochs as u64 + units(epochs, rest)
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Who used the processors so far. Checkpoints contain it.
    pub fn load_mut(&mut self) -> &mut Load {
        &mut self.state.load
    }

    /// Sets what a checkpoint says of the files of records.
    pub fn set_journals(&mut self, journals: Journals) {
        self.state.journals = Some(journals);
    }

    pub fn store(&self) -> &ParameterStore {
        &self.store
    }

    /// The metric that `select: best` uses.
    fn metric(&self) -> Option<&'static Metric> {
        self.task.metrics().first()
    }

    /// Trains one epoch, or what is left of it, then validates if there are validation examples.
    /// `on_step` gets every step. None if it paused, or if `is_stopped` returned true in validation; the
    /// next call continues there, and gives the same as one call would have given.
    pub fn epoch(
        &mut self,
        on_step: impl FnMut(&Step) -> Flow,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<EpochRecord>, TrainError> {
        let Some(train_loss) = self.train_epoch(on_step)? else { return Ok(None) };
        let validation = match self.task.data().is_empty(Split::Validation) {
            true => None,
            false => match self.evaluate(Split::Validation, is_stopped)? {
                Some(evaluation) => Some(evaluation.scores),
                None => return Ok(None),
            },
        };
        self.end_epoch();
        let metric = validation.as_ref().map(|scores| scores.primary());
        if let Some(metric) = metric.filter(|_| self.spec.select == Select::Best)
            && self.is_best(metric)
        {
            self.state.best = Some((self.state.epoch, metric));
            self.best = self.store.snapshot()?;
        }
        Ok(Some(EpochRecord {
            epoch: self.state.epoch,
            step: self.state.step,
            train_loss,
            validation_loss: validation.map(|scores| scores.loss),
            validation_metric: metric,
        }))
    }

    /// Begins the next epoch after [`Trainer::train_epoch`].
    pub fn end_epoch(&mut self) {
        self.state.epoch += 1;
        self.state.progress = EpochProgress::default();
    }

    /// Whether a value of the primary metric is better than in every earlier epoch.
    fn is_best(&self, value: f64) -> bool {
        match (self.state.best, self.metric()) {
            (Some((_, best)), Some(metric)) => metric.is_better(value, best),
            _ => true,
        }
    }

    /// Trains what is left of the epoch, without validation. Returns the mean loss over the examples
    /// that were trained; None if `on_step` paused before its end.
    pub fn train_epoch(
        &mut self,
        mut on_step: impl FnMut(&Step) -> Flow,
    ) -> Result<Option<f64>, TrainError> {
        let started = Instant::now();
        let (data, epoch) = (self.task.data(), self.state.epoch);
        let batches = data.epoch(epoch);
        let whole = self.length.steps_per_epoch;
        let all = match self.is_done() {
            // Goes on past the end, as `vlora bench` does.
            true => whole,
            false => {
                let before = self.state.step as usize - self.state.progress.steps;
                whole.min(self.length.steps.saturating_sub(before))
            }
        };
        let place = |steps: usize| batches.len().min(steps * self.spec.accumulation);
        let batches = &batches[place(self.state.progress.steps)..place(all)];
        let make = |plan| data.train_batch(epoch, plan);
        let trained = prefetch(batches.iter(), make, |ready| {
            let mut pending = PendingSteps::new(self.most_pending);
            let mut flow = Flow::Continue;
            for step in batches.chunks(self.spec.accumulation) {
                let failure = self.begin_step(step, ready).map(|step| pending.push(step)).err();
                pending.finish_due(failure.is_some(), |step| {
                    self.end_step(step, &mut on_step).map(|after| flow = flow.and(after))
                })?;
                // Reported after the earlier steps, since their records show what led to it.
                failure.map_or(Ok(()), Err)?;
                if flow == Flow::Pause {
                    break;
                }
            }
            pending.finish_due(true, |step| self.end_step(step, &mut on_step).map(drop))
        });
        self.state.training_seconds += started.elapsed().as_secs_f64();
        trained?;
        let EpochProgress { steps, loss, weight } = self.state.progress;
        Ok((steps == all).then_some(loss / weight))
    }

    /// Finishes a step, adds it to the epoch's progress and reports it.
    fn end_step(
        &mut self,
        step: PendingStep,
        on_step: &mut impl FnMut(&Step) -> Flow,
    ) -> Result<Flow, TrainError> {
        let step = self.finish_step(step)?;
        let progress = &mut self.state.progress;
        progress.steps += 1;
        progress.loss += step.record.loss * step.weight;
        progress.weight += step.weight;
        Ok(on_step(&step))
    }

    /// Runs forward pass, backward pass and update of one optimiser step on the next batches of
    /// `ready`. The loss is the mean over the batches, weighted by [`BatchPlan::weight`].
    fn begin_step(
        &mut self,
        batches: &[BatchPlan],
        ready: &mut Prefetched<BatchOf<T>>,
    ) -> Result<PendingStep, TrainError> {
        let (mut times, mut clock) = (StepTimes::default(), Instant::now());
        let rate = self.schedule.rate(self.state.step as usize);
        self.state.step += 1;
        let weight: f64 = batches.iter().map(|batch| batch.weight).sum();
        let mut gradients: BTreeMap<String, Tensor> = BTreeMap::new();
        let mut losses = Vec::new();
        for (part, plan) in batches.iter().enumerate() {
            let key = StepKey { seed: self.seed, step: self.state.step, part };
            let share = plan.weight / weight;
            let batch = ready.take()?;
            times.wait += lap(&mut clock);
            let batch_loss = self.task.loss(&self.model, key, &batch)?;
            let loss = Scalar::of(batch_loss.tensor(), self.most_pending > 0)?;
            self.expect_finite("loss", &loss)?;
            losses.push((loss, share));
            times.forward += lap(&mut clock);
            let mut grads = batch_loss.backward(share)?;
            for p in self.store.trained() {
                let Some(g) = grads.remove(&p.value) else { continue };
                match gradients.get_mut(&p.name) {
                    Some(sum) => *sum = (&*sum + g)?,
                    None => drop(gradients.insert(p.name.clone(), g)),
                }
            }
            times.backward += lap(&mut clock);
        }
        let limit = self.spec.clip_norm;
        let norm = self.optimizer.update(&self.store, &gradients, rate, limit)?;
        self.expect_finite("gradient norm", &norm)?;
        times.optimizer = lap(&mut clock);
        let record = StepRecord {
            step: self.state.step,
            epoch: self.state.epoch + 1,
            loss: 0.0,
            learning_rate: rate,
            gradient_norm: 0.0,
        };
        let examples = batches.iter().map(|batch| batch.examples.len()).sum();
        let units = batches.iter().map(|batch| batch.units).sum();
        Ok(PendingStep { step: Step { record, examples, units, weight, times }, losses, norm })
    }

    /// Waits for the results of a step, which must be finite.
    fn finish_step(&self, step: PendingStep) -> Result<Step, TrainError> {
        let step = step.finish()?;
        let StepRecord { loss, gradient_norm, .. } = step.record;
        for (what, value) in [("loss", loss), ("gradient norm", gradient_norm)] {
            if !value.is_finite() {
                return Err(self.not_finite(what, value, step.record.step));
            }
        }
        Ok(step)
    }

    /// Checks a number of the current step, if it is known already.
    fn expect_finite(&self, what: &'static str, number: &Scalar) -> Result<(), TrainError> {
        match number {
            Scalar::Known(value) if !value.is_finite() => {
                Err(self.not_finite(what, *value, self.state.step))
            }
            _ => Ok(()),
        }
    }

    /// Evaluates the current weights on a split, without a graph. None if `is_stopped` returned true
    /// before the end.
    pub fn evaluate(
        &mut self,
        split: Split,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Evaluation<T::Outcome>>, TrainError> {
        let started = Instant::now();
        let model = self.blueprint.frozen(&self.store)?;
        let evaluation = evaluate_unless(self.task, &model, split, is_stopped)?;
        self.state.evaluation_seconds += started.elapsed().as_secs_f64();
        let Some(evaluation) = evaluation else { return Ok(None) };
        match evaluation.scores.loss.is_finite() {
            true => Ok(Some(evaluation)),
            false => {
                let what = match split {
                    Split::Train => "loss on the training split",
                    Split::Validation => "validation loss",
                    Split::Test => "test loss",
                };
                Err(self.not_finite(what, evaluation.scores.loss, self.state.step))
            }
        }
    }

    /// The error that `what` stopped being finite at this step.
    fn not_finite(&self, what: &'static str, value: f64, step: u64) -> TrainError {
        let rate = self.schedule.rate((step as usize).saturating_sub(1));
        TrainError::NotFinite { what, value, step, rate }
    }

    /// Loads the selected weights for the test: those of the last epoch, or of the best epoch on
    /// validation. Returns that epoch.
    pub fn select(&mut self) -> Result<usize, TrainError> {
        match self.state.best {
            Some((epoch, _)) if self.spec.select == Select::Best => {
                self.store.load(&self.best)?;
                Ok(epoch)
            }
            _ => Ok(self.state.epoch),
        }
    }

    /// The whole state as the content of a checkpoint file.
    pub fn checkpoint(&self) -> Result<Vec<u8>, TrainError> {
        let moments = |second: bool| {
            let pick = |(name, (m, v)): (&String, &(Tensor, Tensor))| {
                Ok((name.clone(), if second { v } else { m }.to_device(&Device::Cpu)?))
            };
            self.optimizer.moments().iter().map(pick).collect::<candle_core::Result<_>>()
        };
        let checkpoint = Checkpoint {
            state: self.state.clone(),
            model: self.store.snapshot()?,
            adam_m: moments(false)?,
            adam_v: moments(true)?,
            best: self.best.clone(),
        };
        Ok(checkpoint.to_bytes()?)
    }

    /// Resumes from a checkpoint of the same run.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<(), TrainError> {
        self.store.load(&checkpoint.model).map_err(TrainError::Checkpoint)?;
        let mut moments = BTreeMap::new();
        for p in self.store.trained() {
            let fits = |t: Option<&Tensor>| match t {
                Some(t) if t.shape() == p.var.shape() => t.to_device(self.store.device()),
                _ => candle_core::bail!(
                    "the moments of {} are missing or have a wrong shape",
                    p.name
                ),
            };
            let pair = fits(checkpoint.adam_m.get(&p.name))
                .and_then(|m| Ok((m, fits(checkpoint.adam_v.get(&p.name))?)));
            moments.insert(p.name.clone(), pair.map_err(TrainError::Checkpoint)?);
        }
        let fits = |p: &Parameter| {
            checkpoint.best.get(&p.name).is_some_and(|t| t.shape() == p.var.shape())
        };
        if checkpoint.state.best.is_some() && !self.store.parameters().iter().all(fits) {
            let error = candle_core::Error::Msg("the best epoch's weights do not fit".into());
            return Err(TrainError::Checkpoint(error));
        }
        self.optimizer.resume(&self.store, checkpoint.state.step, moments)?;
        self.best = checkpoint.best;
        self.state = checkpoint.state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Init, Kind, Role, Variable};
    use crate::results::{Better, Scores};
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

        fn train_batches(&self) -> usize {
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
        type Answers = f64;
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
        fn answer(&self, w: &Variable, _: &usize) -> candle_core::Result<f64> {
            Ok((f64::from(w.tensor().to_vec1::<f32>()?[0]) - 0.955).abs())
        }

        fn answers_by_layer(&self, w: &Variable, batch: &usize) -> candle_core::Result<Vec<f64>> {
            Ok(vec![self.answer(w, batch)?])
        }

        fn outcomes(
            &self,
            _: Split,
            _: &[BatchPlan],
            answers: Vec<f64>,
        ) -> candle_core::Result<Vec<f64>> {
            Ok(answers)
        }

        fn scores(&self, outcomes: &[f64]) -> Scores {
            Scores { loss: 0.0, metrics: outcomes.to_vec() }
        }
    }

    fn blueprint() -> Blueprint<'static, Variable> {
        Blueprint::new(|parameters| {
            parameters.tensor("w", &[3], Init::Ones, Role::layer(Kind::Matrix))
        })
    }

    /// Trains an epoch with up to `pending` pending steps and stops after `most` steps. Returns the
    /// steps, the error and the weight.
    fn train(
        task: &Shrinking,
        pending: usize,
        most: usize,
    ) -> (Vec<Step>, Option<String>, Vec<f32>) {
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
            let mut trainer =
                Trainer::new(&task, &blueprint, &spec, 0, &Device::Cpu, None).unwrap();
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
}

//! The training loop.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::{Device, Tensor};

use super::adamw::{AdamW, Scalar};
use super::audit::audit;
use super::average::{Sum, add, mean};
use super::checkpoint::{Checkpoint, EpochProgress, Journals, Load, State};
use super::error::TrainError;
use super::evaluate::{Detail, evaluate_unless};
use super::length::TrainingLength;
use super::moving_average::MovingAverage;
use super::plateau::Plateau;
use super::prefetch::{Prefetched, prefetch};
use super::schedule::Schedule;
use super::step::{PendingStep, PendingSteps, Step, StepTimes, lap};
use crate::nn::{Parameter, ParameterStore, StepKey};
use crate::results::{Better, EpochRecord, Metric, Scores, StepRecord};
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
    /// The sum of the weights that are averaged.
    sum: Sum,
    /// The moving average of the weights, if there is one: it is evaluated, and tested.
    ema: Option<MovingAverage>,
    /// Whether the parameters are the selected weights.
    is_selected: bool,
    /// How many steps may be pending before their results are waited for.
    most_pending: usize,
}

/// The batch type of a task `T`.
type BatchOf<T> = <<T as Task>::Data as DataSet>::Batch;

impl<'a, T: Task> Trainer<'a, T> {
    /// Builds the model from `seed`, loads the weights of `start`, and audits the gradients if there is any
    /// training.
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
        if spec.trains() {
            let epoch = task.data().epoch(0);
            let Some(first) = epoch.first() else {
                let none = candle_core::Error::Msg("there are no training examples".into());
                return Err(TrainError::Tensor(none));
            };
            let batch = task.data().train_batch(0, first)?;
            let key = StepKey { seed, step: 0, part: 0 };
            audit(&store, || task.loss(&model, key, &batch))?.map_err(TrainError::Audit)?;
        }
        let optimizer = AdamW::new(spec, &store)?;
        let ema = spec.ema_decay.map(|decay| MovingAverage::new(decay, blueprint, device, &store));
        let length = TrainingLength::new(spec, task.data().batches_per_epoch());
        let schedule = Schedule::new(spec, length.steps);
        let state = State {
            epoch: 0,
            step: 0,
            progress: EpochProgress::default(),
            journals: None,
            best: None,
            averaged: 0,
            plateau: Plateau::default(),
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
            sum: Sum::new(),
            ema: ema.transpose()?,
            is_selected: false,
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
        // Every epoch has the same number of units.
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
        let (epoch, epochs) = (self.state.epoch + 1, self.length.epochs);
        let detail = match self.task.validates_only_loss(epoch, epochs) {
            true => Detail::Loss,
            false => Detail::Metrics,
        };
        let validation = match self.task.data().is_empty(Split::Validation) {
            true => None,
            false => match self.evaluate_in(Split::Validation, detail, is_stopped)? {
                Some(evaluation) => Some(evaluation.scores),
                None => return Ok(None),
            },
        };
        self.end_epoch();
        let compared = validation.as_ref().and_then(|scores| self.compared(scores));
        if let Some((value, better)) = compared {
            self.state.plateau.update(value, better, self.spec);
            if self.spec.select.is_by_validation() && self.is_best(value, better) {
                self.state.best = Some((self.state.epoch, value));
                self.best = self.evaluated().snapshot()?;
            }
        }
        self.add_to_mean()?;
        let metric = validation.as_ref().and_then(|scores| scores.metrics.first().copied());
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

    /// The weights that are evaluated: those in training, their moving average, or the selected ones.
    fn evaluated(&self) -> &ParameterStore {
        match &self.ema {
            Some(ema) if !self.is_selected => ema.store(),
            _ => &self.store,
        }
    }

    /// What epochs are compared by: the metric with `select: best`, if it was measured, else the loss.
    fn compared(&self, scores: &Scores) -> Option<(f64, Better)> {
        match self.spec.select {
            Select::Best => Some((*scores.metrics.first()?, self.metric()?.better)),
            Select::Last | Select::BestLoss => Some((scores.loss, Better::Lower)),
        }
    }

    /// Whether a value is better than the best one of the earlier epochs.
    fn is_best(&self, value: f64, better: Better) -> bool {
        let Some((_, best)) = self.state.best else { return true };
        match better {
            Better::Higher => value > best,
            Better::Lower => value < best,
        }
    }

    /// Adds the weights to the mean, after one of the last `average_last` epochs.
    fn add_to_mean(&mut self) -> Result<(), TrainError> {
        let last = self.spec.average_last.unwrap_or(0);
        if self.state.epoch + last > self.length.epochs {
            add(&mut self.sum, &self.store)?;
            self.state.averaged += 1;
        }
        Ok(())
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
        let rate = self.rate(self.state.step as usize);
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
        if let Some(ema) = &self.ema {
            ema.update(&self.store)?;
        }
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

    /// The learning rate of a step, from 0, by what validation has shown so far.
    fn rate(&self, step: usize) -> f64 {
        self.schedule.rate(step, self.state.plateau.factor)
    }

    /// Evaluates the current weights on a split, without a graph. None if `is_stopped` returned true
    /// before the end.
    pub fn evaluate(
        &mut self,
        split: Split,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Evaluation<T::Outcome>>, TrainError> {
        self.evaluate_in(split, Detail::Metrics, is_stopped)
    }

    /// The same, which may measure only the loss.
    fn evaluate_in(
        &mut self,
        split: Split,
        detail: Detail,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Evaluation<T::Outcome>>, TrainError> {
        let started = Instant::now();
        let model = self.blueprint.frozen(self.evaluated())?;
        let evaluation = evaluate_unless(self.task, &model, split, detail, is_stopped)?;
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
        let rate = self.rate((step as usize).saturating_sub(1));
        TrainError::NotFinite { what, value, step, rate }
    }

    /// Loads the selected weights for the test: those of the last epoch, the mean of those of the last
    /// ones, or those of the best epoch on validation. A moving average counts in place of the weights.
    /// Returns the last or the best epoch. Training does not go on after it.
    pub fn select(&mut self) -> Result<usize, TrainError> {
        if let Some(ema) = &self.ema {
            self.store.load(&ema.store().snapshot()?)?;
        }
        self.is_selected = true;
        if self.state.averaged > 0 {
            self.store.load(&mean(&self.sum, self.state.averaged, &self.store)?)?;
        }
        match self.state.best {
            Some((epoch, _)) if self.spec.select.is_by_validation() => {
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
            sum: self.sum.clone(),
            ema: self.ema.as_ref().map_or(Ok(BTreeMap::new()), |ema| ema.store().snapshot())?,
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
        let fits = |weights: &BTreeMap<String, Tensor>| {
            let fits =
                |p: &Parameter| weights.get(&p.name).is_some_and(|t| t.shape() == p.var.shape());
            self.store.parameters().iter().all(fits)
        };
        let lacks_best = checkpoint.state.best.is_some() && !fits(&checkpoint.best);
        let lacks_sum = checkpoint.state.averaged > 0 && !fits(&checkpoint.sum);
        if lacks_best || lacks_sum {
            let error = candle_core::Error::Msg(
                "the weights of the best or the last epochs do not fit".into(),
            );
            return Err(TrainError::Checkpoint(error));
        }
        self.optimizer.resume(&self.store, checkpoint.state.step, moments)?;
        if let Some(ema) = &self.ema {
            ema.resume(&checkpoint.ema)?;
        }
        self.best = checkpoint.best;
        self.sum = checkpoint.sum;
        self.state = checkpoint.state;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

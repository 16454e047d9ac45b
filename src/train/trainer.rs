//! The training loop.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

use super::adamw::{AdamW, Scalar};
use super::audit::{AuditFault, audit};
use super::checkpoint::{Checkpoint, Load, State};
use super::schedule::Schedule;
use crate::error::plain;
use crate::nn::{Frozen, Parameter, ParameterStore, StepKey};
use crate::random::{Purpose, Stream};
use crate::spec::{Select, TrainingSpec};
use crate::tasks::{Batches, Evaluation, Split, Task, ahead};

/// Why training ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("{0}")]
    Audit(AuditFault),
    #[error(
        "the {what} stopped being finite at step {step} (learning rate {rate:e}): {value}\n  \
         help: a lower training.learning_rate, a longer training.warmup_ratio or \
         training.clip_norm may keep it finite"
    )]
    NotFinite { what: &'static str, value: f64, step: u64, rate: f64 },
    #[error("interrupted")]
    Interrupted,
    #[error("the checkpoint is damaged or of another run: {}", plain(.0))]
    Checkpoint(candle_core::Error),
    #[error("the weights to start from do not fit the model: {}", plain(.0))]
    Start(candle_core::Error),
    #[error("tensor operation failed: {}", plain(.0))]
    Tensor(#[from] candle_core::Error),
}

impl TrainError {
    /// What failed in the tensor library, if that is it.
    pub fn of_tensors(&self) -> Option<&candle_core::Error> {
        match self {
            TrainError::Checkpoint(e) | TrainError::Start(e) | TrainError::Tensor(e) => Some(e),
            TrainError::Audit(_) | TrainError::NotFinite { .. } | TrainError::Interrupted => None,
        }
    }
}

/// One optimiser step, as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// From 1.
    pub step: u64,
    /// From 1.
    pub epoch: usize,
    /// Mean over the step's examples, label smoothing included.
    pub loss: f64,
    pub learning_rate: f64,
    /// Before clipping.
    pub gradient_norm: f64,
    pub examples: usize,
    pub times: StepTimes,
}

/// What a step's time went into, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTimes {
    /// For batches that were not ready.
    pub wait: f64,
    pub forward: f64,
    /// Adding up the micro-batches' gradients included.
    pub backward: f64,
    /// Clipping included.
    pub optimizer: f64,
    /// For the device to finish what the others asked it for; on a GPU those ask alone.
    pub device: f64,
}

/// One epoch, as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochSummary {
    /// From 1.
    pub epoch: usize,
    /// Optimiser steps done by its end.
    pub step: u64,
    pub train_loss: f64,
    /// Of the validation split, where there is one.
    pub validation_loss: Option<f64>,
    pub validation_metric: Option<f64>,
}

/// Weights that training starts from instead of the seed's.
pub struct Start {
    pub values: BTreeMap<String, Tensor>,
    /// Says by name which parameters may be missing and start from the seed then.
    pub from_seed: Box<dyn Fn(&str) -> bool>,
}

/// A model being trained. Drive it with [`Trainer::epoch`] until [`Trainer::is_done`].
pub struct Trainer<'a, T: Task> {
    task: &'a T,
    spec: &'a TrainingSpec,
    seed: u64,
    store: ParameterStore,
    model: T::Model,
    optimizer: AdamW,
    schedule: Schedule,
    state: State,
    best: BTreeMap<String, Tensor>,
    /// Steps that may be under way before their results are waited for.
    ahead: usize,
}

/// On a GPU: enough for waits to cost nothing.
const AHEAD: usize = 32;
/// What is under way is looked at after so long, so that progress shows.
const LOOK: Duration = Duration::from_millis(500);

/// A step whose results the device may still be computing.
struct Asked {
    step: Step,
    /// Of each micro-batch, with its share of the step.
    losses: Vec<(Scalar, f64)>,
    norm: Scalar,
}

impl<'a, T: Task> Trainer<'a, T> {
    /// Builds the model from `seed`, puts the weights to `start` from in place, and audits its
    /// gradients.
    pub fn new(
        task: &'a T,
        spec: &'a TrainingSpec,
        seed: u64,
        device: &Device,
        start: Option<&Start>,
    ) -> Result<Self, TrainError> {
        let mut store = ParameterStore::training(seed, device.clone(), task.trained())
            .with_copies(task.activations());
        let model = task.model(&mut store)?;
        if let Some(start) = start {
            store.load_except(&start.values, &start.from_seed).map_err(TrainError::Start)?;
        }
        let first: Vec<usize> =
            epoch_order(seed, 0, task.train_len()).into_iter().take(spec.batch_size).collect();
        let key = StepKey { seed, step: 0, part: 0 };
        let batch = task.train_batch(0, &first)?;
        audit(&store, || task.loss(&model, key, &batch))?.map_err(TrainError::Audit)?;
        let optimizer = AdamW::new(spec, &store)?;
        let schedule = Schedule::new(spec, spec.epochs * steps_per_epoch(spec, task.train_len()));
        let state = State {
            epoch: 0,
            step: 0,
            best: None,
            training_seconds: 0.0,
            evaluation_seconds: 0.0,
            load: Load::default(),
        };
        Ok(Trainer {
            task,
            spec,
            seed,
            store,
            model,
            optimizer,
            schedule,
            state,
            best: BTreeMap::new(),
            ahead: if device.is_cpu() { 0 } else { AHEAD },
        })
    }

    /// Waits for the results of each step before the next, so that steps can be timed.
    pub fn step_by_step(&mut self) {
        self.ahead = 0;
    }

    pub fn is_done(&self) -> bool {
        self.state.epoch >= self.spec.epochs
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Who used the processors so far, which a checkpoint keeps.
    pub fn load_mut(&mut self) -> &mut Load {
        &mut self.state.load
    }

    pub fn store(&self) -> &ParameterStore {
        &self.store
    }

    /// Trains one epoch and validates, where there are examples for it. `on_step` sees every step
    /// and returns whether to go on.
    pub fn epoch(
        &mut self,
        on_step: impl FnMut(&Step) -> bool,
    ) -> Result<EpochSummary, TrainError> {
        let train_loss = self.train_epoch(on_step)?;
        let validation = match self.task.has_validation() {
            true => Some(self.evaluate(Split::Validation)?),
            false => None,
        };
        let metric = validation.as_ref().map(|v| v.metric);
        if let Some(metric) = metric.filter(|_| self.spec.select == Select::Best)
            && self.state.best.is_none_or(|(_, best)| metric > best)
        {
            self.state.best = Some((self.state.epoch, metric));
            self.best = self.store.snapshot()?;
        }
        Ok(EpochSummary {
            epoch: self.state.epoch,
            step: self.state.step,
            train_loss,
            validation_loss: validation.map(|v| v.loss),
            validation_metric: metric,
        })
    }

    /// The same without validation. Returns the mean loss over the epoch's examples.
    pub fn train_epoch(
        &mut self,
        mut on_step: impl FnMut(&Step) -> bool,
    ) -> Result<f64, TrainError> {
        let started = Instant::now();
        let (task, epoch, micro) = (self.task, self.state.epoch, self.spec.batch_size);
        let order = epoch_order(self.seed, epoch, task.train_len());
        let steps = order.chunks(micro * self.spec.accumulation);
        let parts = steps.clone().flat_map(|examples| examples.chunks(micro));
        let make = |examples: &[usize]| task.train_batch(epoch, examples);
        let total = ahead(parts, make, |batches| {
            let (mut total, mut under_way, mut looked) = (0.0, Vec::new(), Instant::now());
            let mut left = steps.len();
            for examples in steps {
                let asked = self.step(epoch, examples, batches);
                left -= 1;
                let failed = asked.map(|asked| under_way.push(asked)).err();
                let go_on = left > 0 && failed.is_none();
                if go_on && under_way.len() <= self.ahead && looked.elapsed() < LOOK {
                    continue;
                }
                // A result is waited for alone, so the last two steps keep the device busy meanwhile.
                let stay = if go_on { self.ahead.min(2) } else { 0 };
                let ready = under_way.len().saturating_sub(stay);
                for asked in under_way.drain(..ready) {
                    let step = self.finished(asked)?;
                    total += step.loss * step.examples as f64;
                    if !on_step(&step) {
                        return Err(TrainError::Interrupted);
                    }
                }
                // Told behind the steps before it, which are its evidence.
                failed.map_or(Ok(()), Err)?;
                looked = Instant::now();
            }
            Ok(total)
        })?;
        self.state.training_seconds += started.elapsed().as_secs_f64();
        self.state.epoch += 1;
        Ok(total / order.len() as f64)
    }

    /// One optimiser step over `examples`, in micro-batches of `batch_size`, which are the next of
    /// `batches`. The gradient is that of the mean over all of them, however they are divided.
    fn step(
        &mut self,
        epoch: usize,
        examples: &[usize],
        batches: &mut Batches<T::Batch>,
    ) -> Result<Asked, TrainError> {
        let (mut times, mut clock) = (StepTimes::default(), Instant::now());
        let rate = self.schedule.rate(self.state.step as usize);
        self.state.step += 1;
        let mut gradients: BTreeMap<String, Tensor> = BTreeMap::new();
        let mut losses = Vec::new();
        for (part, micro) in examples.chunks(self.spec.batch_size).enumerate() {
            let key = StepKey { seed: self.seed, step: self.state.step, part };
            let share = micro.len() as f64 / examples.len() as f64;
            let batch = batches.take()?;
            times.wait += lap(&mut clock);
            let micro_loss = self.task.loss(&self.model, key, &batch)?;
            let loss = Scalar::of(micro_loss.tensor(), self.ahead > 0)?;
            self.expect_finite("loss", &loss)?;
            losses.push((loss, share));
            times.forward += lap(&mut clock);
            let mut grads = micro_loss.backward(share)?;
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
        let step = Step {
            step: self.state.step,
            epoch: epoch + 1,
            loss: 0.0,
            learning_rate: rate,
            gradient_norm: 0.0,
            examples: examples.len(),
            times,
        };
        Ok(Asked { step, losses, norm })
    }

    /// A step with its results, which are waited for.
    fn finished(&self, asked: Asked) -> Result<Step, TrainError> {
        let mut clock = Instant::now();
        let Asked { mut step, losses, norm } = asked;
        for (loss, share) in losses {
            step.loss += loss.value()? * share;
        }
        step.gradient_norm = norm.value()?;
        step.times.device = lap(&mut clock);
        for (what, value) in [("loss", step.loss), ("gradient norm", step.gradient_norm)] {
            if !value.is_finite() {
                return Err(self.not_finite(what, value, step.step));
            }
        }
        Ok(step)
    }

    /// Of the step begun last, where the number is known already.
    fn expect_finite(&self, what: &'static str, number: &Scalar) -> Result<(), TrainError> {
        match number {
            Scalar::Known(value) if !value.is_finite() => {
                Err(self.not_finite(what, *value, self.state.step))
            }
            _ => Ok(()),
        }
    }

    /// Metrics on a split, without a graph, with the weights as they are.
    pub fn evaluate(&mut self, split: Split) -> Result<Evaluation, TrainError> {
        let started = Instant::now();
        let model = self.task.model(&mut Frozen(&self.store))?;
        let evaluation = self.task.evaluate(&model, split)?;
        self.state.evaluation_seconds += started.elapsed().as_secs_f64();
        match evaluation.loss.is_finite() {
            true => Ok(evaluation),
            false => {
                let what = match split {
                    Split::Validation => "validation loss",
                    Split::Test => "test loss",
                };
                Err(self.not_finite(what, evaluation.loss, self.state.step))
            }
        }
    }

    /// Something stopped being finite at this step.
    fn not_finite(&self, what: &'static str, value: f64, step: u64) -> TrainError {
        let rate = self.schedule.rate((step as usize).saturating_sub(1));
        TrainError::NotFinite { what, value, step, rate }
    }

    /// Puts the selected weights in place, for the test: those of the last epoch, or of the
    /// best on validation. Returns that epoch.
    pub fn select(&mut self) -> Result<usize, TrainError> {
        match self.state.best {
            Some((epoch, _)) if self.spec.select == Select::Best => {
                self.store.load(&self.best)?;
                Ok(epoch)
            }
            _ => Ok(self.state.epoch),
        }
    }

    /// The whole state, as a file's content.
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

    /// Goes on from a checkpoint of the same run.
    pub fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let checkpoint = Checkpoint::from_bytes(bytes).map_err(TrainError::Checkpoint)?;
        self.store.load(&checkpoint.model).map_err(TrainError::Checkpoint)?;
        let mut moments = BTreeMap::new();
        for p in self.store.trained() {
            let fits = |t: Option<&Tensor>| match t {
                Some(t) if t.shape() == p.var.shape() => t.to_device(self.store.device()),
                _ => candle_core::bail!("the moments of {} are missing or misshapen", p.name),
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

/// Seconds since `clock`, which starts again.
fn lap(clock: &mut Instant) -> f64 {
    let before = std::mem::replace(clock, Instant::now());
    clock.duration_since(before).as_secs_f64()
}

/// The order of the `n` training examples in an epoch (from 0).
pub fn epoch_order(seed: u64, epoch: usize, n: usize) -> Vec<usize> {
    Stream::new(seed, Purpose::Order, &epoch.to_string()).permutation(n)
}

/// Optimiser steps an epoch of `n` examples takes; the last may be smaller.
pub fn steps_per_epoch(spec: &TrainingSpec, n: usize) -> usize {
    n.div_ceil(spec.batch_size * spec.accumulation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Init, ParameterBuilder, Variable};

    /// A weight that goes to zero; from a step on its loss is not finite, or its batch fails.
    struct Shrinking {
        not_finite: Option<u64>,
        no_batch: Option<usize>,
    }

    const EXAMPLES: usize = 40;

    impl Task for Shrinking {
        type Model = Variable;
        type Batch = ();

        fn model(&self, source: &mut dyn ParameterBuilder) -> candle_core::Result<Variable> {
            source.tensor("w", &[3], Init::Ones, true)
        }

        fn train_len(&self) -> usize {
            EXAMPLES
        }

        fn train_batch(&self, _: usize, examples: &[usize]) -> candle_core::Result<()> {
            match self.no_batch.is_some_and(|example| examples.contains(&example)) {
                true => candle_core::bail!("no such batch"),
                false => Ok(()),
            }
        }

        fn loss(&self, model: &Variable, key: StepKey, (): &()) -> candle_core::Result<Variable> {
            let finite = self.not_finite.is_none_or(|step| key.step < step);
            let factor = if finite { 1.0 } else { f64::NAN };
            Variable::composed(&[model], move |t| t[0].sqr()?.mean_all()? * factor)
        }

        fn evaluate(&self, _: &Variable, _: Split) -> candle_core::Result<Evaluation> {
            Ok(Evaluation { loss: 0.0, metric: 0.0, outcomes: Vec::new() })
        }
    }

    /// Steps of an epoch with so many under way, up to `most`, how it ended, and the weight.
    fn train(task: &Shrinking, ahead: usize, most: usize) -> (Vec<Step>, Option<String>, Vec<f32>) {
        let spec = TrainingSpec { batch_size: 2, epochs: 1, ..TrainingSpec::default() };
        let mut trainer = Trainer::new(task, &spec, 0, &Device::Cpu, None).unwrap();
        trainer.ahead = ahead;
        let mut steps = Vec::new();
        let ended = trainer.train_epoch(|step| {
            steps.push(Step { times: StepTimes::default(), ..step.clone() });
            steps.len() < most
        });
        let weight = trainer.store.get("w").unwrap().var.to_vec1().unwrap();
        (steps, ended.err().map(|e| e.to_string()), weight)
    }

    #[test]
    fn steps_under_way_are_told_in_their_order() {
        let task = Shrinking { not_finite: None, no_batch: None };
        let (want, ended, weight) = train(&task, 0, usize::MAX);
        assert_eq!((want.len(), ended), (EXAMPLES / 2, None));
        for ahead in [1, 2, 3, 7, 100] {
            let (steps, ended, end) = train(&task, ahead, usize::MAX);
            assert_eq!((steps, ended, end), (want.clone(), None, weight.clone()), "{ahead}");
            // Stopped, it tells no more than was asked for.
            let (steps, ended, _) = train(&task, ahead, 5);
            assert_eq!(
                (&steps[..], ended.as_deref()),
                (&want[..5], Some("interrupted")),
                "{ahead}"
            );
        }
    }

    #[test]
    fn a_failure_is_told_behind_the_steps_before_it() {
        let order = epoch_order(0, 0, EXAMPLES);
        for ahead in [0, 3, 100] {
            let task = Shrinking { not_finite: Some(9), no_batch: None };
            let (steps, ended, _) = train(&task, ahead, usize::MAX);
            assert_eq!(steps.len(), 8, "{ahead}");
            let ended = ended.unwrap();
            assert!(ended.contains("stopped being finite at step 9"), "{ahead}: {ended}");
            let task = Shrinking { not_finite: None, no_batch: Some(order[22]) };
            let (steps, ended, _) = train(&task, ahead, usize::MAX);
            assert_eq!(steps.len(), 11, "{ahead}");
            assert!(ended.unwrap().contains("no such batch"), "{ahead}");
        }
    }
}

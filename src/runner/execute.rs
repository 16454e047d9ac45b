//! Trains and records the runs of a plan: one after another, or several at once on one device.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use candle_core::Device;
use sha2::{Digest, Sha256};

use super::device::device_name;
use super::load::Meter;
use super::memory;
use super::out_of_memory::{is_out_of_memory_of, reason};
use super::plan::{Plan, PlannedRun, PlannedVariant};
use super::precision::check_precision;
use super::provenance::provenance;
use super::queue::{Entry, Queue};
use super::start::{Ready, ready};
use crate::checkpoints::{Labels, to_bytes};
use crate::error::{Error, Result};
use crate::nn::configure;
use crate::results::{
    EpochRecord, ExperimentFolder, Failure, Provenance, RunFolder, RunResult, RunState,
    SCHEMA_VERSION, Session, SpecRecord, StartRecord, StepRecord, TestRecord, take_over,
};
use crate::spec::{Normalize, Precision, hex};
use crate::tasks::{Evaluation, ImageClassification, Split, Task, held_bytes};
use crate::train::{EpochSummary, Step, TrainError, Trainer};

/// Told of what happens, for display: by one worker at a time, but of several runs in turn.
pub trait Observer: Send {
    fn run_started(&mut self, _variant: &PlannedVariant, _run: &PlannedRun, _resumed_at: usize) {}
    fn step(&mut self, _run: &PlannedRun, _step: &Step) {}
    fn epoch(&mut self, _run: &PlannedRun, _epoch: &EpochSummary) {}
    fn run_ended(&mut self, _variant: &PlannedVariant, _run: &PlannedRun, _outcome: &Outcome) {}
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Finished(RunResult),
    /// Was finished before; nothing was done.
    AlreadyFinished(RunResult),
    /// Was taken over from the experiment in this folder, which had finished the same run.
    TakenOver(RunResult, PathBuf),
    Failed(String),
    /// Another process has it.
    Elsewhere,
}

/// Who trains the runs.
#[derive(Clone, Copy)]
pub struct Workers<'a> {
    /// How many runs are trained at once, at least 1. The results are the same for any number.
    pub jobs: usize,
    /// Makes the device that a worker computes on: each calls it once, so that on CUDA each has a
    /// stream of its own.
    pub device: &'a (dyn Fn() -> Result<Device> + Sync),
}

/// Brings every run of the plan to its end. A failed run does not stop the others; `stop`
/// does, after the current step of each, leaving a checkpoint of the last whole epoch. Outcomes come
/// in the order of seeds, then of [`in_order_of_start`](crate::spec::Experiment::in_order_of_start).
pub fn execute(
    plan: &Plan,
    folder: &ExperimentFolder,
    workers: Workers,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Vec<Outcome>> {
    folder.write_record(&plan.record())?;
    if !plan.experiment.source.is_empty() {
        folder.write_spec(&plan.experiment.source)?;
    }
    let runs = in_order(plan);
    let queue = Queue::new(entries(plan, &runs));
    let jobs = workers.jobs.clamp(1, runs.len().max(1));
    let outcomes = Mutex::new(vec![None; runs.len()]);
    let shared = Shared { plan, experiment: folder, jobs, stop, queue: &queue };
    let observer = Mutex::new(observer);
    let work = || {
        let worked = shared.work(&runs, &workers, &observer, &outcomes);
        // What stops one worker stops the others, after the step they are at.
        worked.inspect_err(|_| queue.halt())
    };
    let worked: Vec<Result<()>> = match jobs {
        1 => vec![work()],
        _ => thread::scope(|scope| {
            let spawn =
                |i| thread::Builder::new().name(format!("run {i}")).spawn_scoped(scope, work);
            let spawned: Vec<_> = (0..jobs).map(spawn).collect();
            let join = |thread: std::io::Result<thread::ScopedJoinHandle<_>>| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e)),
                Err(e) => {
                    queue.halt();
                    Err(Error::Failed(format!("a thread cannot be started: {e}")))
                }
            };
            spawned.into_iter().map(join).collect()
        }),
    };
    // An interrupt may be what another worker's error made of this one.
    let (interrupts, errors): (Vec<_>, Vec<_>) = worked
        .into_iter()
        .filter_map(Result::err)
        .partition(|error| matches!(error, Error::Interrupted));
    if let Some(error) = errors.into_iter().chain(interrupts).next() {
        return Err(error);
    }
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    // What another process had may be done by now.
    let settled = outcomes.into_iter().zip(&runs).map(|(outcome, (_, run))| match outcome {
        None | Some(Outcome::Elsewhere) => settle(&folder.run(&run.id)),
        Some(other) => other,
    });
    Ok(settled.collect())
}

type RunOfPlan<'a> = (&'a PlannedVariant, &'a PlannedRun);

/// Seeds outermost: a stopped experiment has whole comparisons, not whole arms.
fn in_order(plan: &Plan) -> Vec<RunOfPlan<'_>> {
    let order = plan.experiment.in_order_of_start();
    let of_seed = |seed: usize| {
        let variants = order.iter().map(|index| &plan.variants[*index]);
        variants.map(move |v| (v, &v.runs[seed])).collect::<Vec<_>>()
    };
    (0..plan.experiment.seeds.len()).flat_map(of_seed).collect()
}

/// Each run behind the one that it starts from.
fn entries(plan: &Plan, runs: &[RunOfPlan]) -> Vec<Entry> {
    let place = |(variant, run): RunOfPlan| {
        let same =
            |(v, r): &RunOfPlan| v.variant.label == variant.variant.label && r.seed == run.seed;
        runs.iter().position(same)
    };
    let entry = |(variant, run): &RunOfPlan| {
        let after = plan.started_from(variant, run).and_then(place);
        Entry { id: run.id.clone(), after }
    };
    runs.iter().map(entry).collect()
}

/// The outcome of a run that another process had.
fn settle(folder: &RunFolder) -> Outcome {
    match folder.state() {
        RunState::Finished => already_finished(folder),
        _ => Outcome::Elsewhere,
    }
}

fn already_finished(folder: &RunFolder) -> Outcome {
    match folder.read_json(RunFolder::RESULT) {
        Ok(result) => Outcome::AlreadyFinished(result),
        Err(damaged) => Outcome::Failed(damaged.to_string()),
    }
}

/// What workers share.
#[derive(Clone, Copy)]
struct Shared<'a> {
    plan: &'a Plan,
    experiment: &'a ExperimentFolder,
    /// Workers that there are.
    jobs: usize,
    stop: &'a AtomicBool,
    queue: &'a Queue,
}

/// The observer, in turns.
type Display<'a, 'b> = Mutex<&'a mut (dyn Observer + 'b)>;

impl Shared<'_> {
    /// A worker: takes runs until there are none.
    fn work(
        &self,
        runs: &[RunOfPlan],
        workers: &Workers,
        observer: &Display,
        outcomes: &Mutex<Vec<Option<Outcome>>>,
    ) -> Result<()> {
        let device = (workers.device)()?;
        check_precision(self.plan.variants.iter().map(|v| &v.variant), &device)?;
        while let Some(turn) = self.queue.next() {
            let (variant, run) = runs[turn.index];
            let folder = self.experiment.run(&run.id);
            let life = Life { shared: *self, variant, run, folder, device: &device };
            // Halted before the turn is over, so that nothing starts behind a run that was stopped.
            let outcome = life.live(observer).inspect_err(|_| self.queue.halt())?;
            show(observer, |o| o.run_ended(variant, run, &outcome));
            outcomes.lock().unwrap_or_else(PoisonError::into_inner)[turn.index] = Some(outcome);
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.queue.is_halted()
    }
}

fn show(observer: &Display, event: impl FnOnce(&mut dyn Observer)) {
    event(&mut **observer.lock().unwrap_or_else(PoisonError::into_inner));
}

/// One run from claim to record.
struct Life<'a> {
    shared: Shared<'a>,
    variant: &'a PlannedVariant,
    run: &'a PlannedRun,
    folder: RunFolder,
    device: &'a Device,
}

/// What ends a run early, told apart from what ends the program.
enum Ended {
    /// The run failed; its reason is recorded and the next run starts.
    Failed(String),
    /// The same, for a reason that training gives.
    Training(TrainError),
    Stopped(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Ended {
        Ended::Stopped(error)
    }
}

impl From<TrainError> for Ended {
    fn from(error: TrainError) -> Ended {
        match error {
            TrainError::Interrupted => Ended::Stopped(Error::Interrupted),
            other => Ended::Training(other),
        }
    }
}

impl Life<'_> {
    fn live(&self, observer: &Display) -> Result<Outcome> {
        if self.shared.is_stopped() {
            return Err(Error::Interrupted);
        }
        let Some(_lock) = self.folder.claim()? else { return Ok(Outcome::Elsewhere) };
        // Looked at again under the lock: another process may have finished it meanwhile.
        if self.folder.state() == RunState::Finished {
            self.folder.remove(RunFolder::CHECKPOINT)?;
            return Ok(already_finished(&self.folder));
        }
        if let Some(taken) = self.take_over()? {
            return Ok(taken);
        }
        self.folder.remove(RunFolder::FAILURE)?;
        // What the device has for the run, whatever the run then takes of it.
        let data = self.shared.plan.data(&self.variant.variant);
        let free =
            memory::free_bytes(self.device).map(|free| free.saturating_sub(held_bytes(data)));
        let reason = match self.train(observer) {
            Ok(Some(result)) => return Ok(Outcome::Finished(result)),
            Ok(None) => return Ok(Outcome::Elsewhere),
            Err(Ended::Stopped(error)) => return Err(error),
            Err(Ended::Failed(reason)) => reason,
            Err(Ended::Training(error)) => {
                let jobs = self.shared.jobs;
                reason(&error, &self.variant.variant.spec, free, jobs)
            }
        };
        let failure = Failure { schema: SCHEMA_VERSION, reason: reason.clone() };
        self.folder.write_json(RunFolder::FAILURE, &failure)?;
        Ok(Outcome::Failed(reason))
    }

    /// Takes the run of an experiment beside this one, where one has finished it.
    fn take_over(&self) -> Result<Option<Outcome>> {
        let id = &self.run.id;
        for experiment in self.shared.experiment.siblings() {
            if let Some(result) = take_over(id, &experiment.run(id), &self.folder)? {
                return Ok(Some(Outcome::TakenOver(result, experiment.path().to_path_buf())));
            }
        }
        Ok(None)
    }

    /// None where another process still has the run that this one starts from.
    fn train(&self, observer: &Display) -> std::result::Result<Option<RunResult>, Ended> {
        if self.is_alone() {
            memory::reset_peak_of(self.device);
        }
        let (spec, seed) = (&self.variant.variant.spec, self.run.seed);
        let data = self.shared.plan.data(&self.variant.variant);
        let record = SpecRecord {
            schema: SCHEMA_VERSION,
            id: self.run.id.clone(),
            seed,
            spec: spec.clone(),
        };
        self.folder.write_json(RunFolder::SPEC, &record)?;

        let Shared { plan, experiment, jobs, .. } = self.shared;
        let start = match ready(plan, experiment, self.variant, self.run)? {
            Ready::FromSeed => None,
            Ready::From(start, record) => {
                self.keep_start(&record)?;
                Some(start)
            }
            Ready::Elsewhere => return Ok(None),
            Ready::Failed(reason) => return Err(Ended::Failed(reason)),
        };
        configure(self.device, spec.precision == Precision::Tf32).map_err(TrainError::from)?;
        let task = ImageClassification::new(data, spec, seed, self.device.clone());
        let mut trainer = Trainer::new(&task, &spec.training, seed, self.device, start.as_deref())?;
        drop(start);
        let (steps, mut epochs) = self.resume(&mut trainer)?;
        let before = match epochs.is_empty() {
            true => Vec::new(),
            false => match self.folder.read_json::<Provenance>(RunFolder::PROVENANCE) {
                Ok(provenance) => provenance.sessions,
                Err(damaged) => return Err(Ended::Failed(damaged.to_string())),
            },
        };
        self.expect_device(&before)?;
        let provenance = Provenance {
            pixel_source: Some(self.variant.pixels),
            ..provenance(data, self.device, spec.precision, jobs, plan, before)
        };
        self.folder.write_json(RunFolder::PROVENANCE, &provenance)?;
        show(observer, |o| o.run_started(self.variant, self.run, epochs.len()));
        // What a run that was killed wrote behind its checkpoint is trained again.
        let mut steps = self.folder.grow_lines(RunFolder::STEPS, &steps)?;
        let mut meter = Meter::start();
        while !trainer.is_done() {
            let mut appended = Ok(());
            let epoch = trainer.epoch(|step| {
                appended = steps.append(&step_record(step));
                show(observer, |o| o.step(self.run, step));
                appended.is_ok() && !self.shared.is_stopped()
            });
            appended?;
            // Also where the epoch ended early: the steps that led to a failure are its evidence.
            steps.sync()?;
            let epoch = epoch?;
            let is_last = trainer.is_done();
            meter.look(trainer.load_mut(), is_last);
            epochs.push(epoch_record(&epoch));
            show(observer, |o| o.epoch(self.run, &epoch));
            self.folder.write_lines(RunFolder::EPOCHS, &epochs)?;
            // Last, so that a checkpoint never runs ahead of its records.
            self.folder.write(RunFolder::CHECKPOINT, &trainer.checkpoint()?)?;
        }
        self.finish(&mut trainer).map(Some)
    }

    /// A run that goes on elsewhere would not end in the bits that it would have ended in.
    fn expect_device(&self, before: &[Session]) -> std::result::Result<(), Ended> {
        let here = device_name(self.device);
        match before.last().filter(|session| session.device != here) {
            None => Ok(()),
            Some(session) => Err(Ended::Failed(format!(
                "{}: the run was begun on another device\n  found:    {here}\n  expected: {}\n  \
                 help:     go on there (`--device`), or remove the run's folder to train it again",
                self.folder.path().display(),
                session.device
            ))),
        }
    }

    /// Whether no other run is trained in this process meanwhile: memory is counted for all of it.
    fn is_alone(&self) -> bool {
        self.shared.jobs == 1
    }

    /// Records what the run starts from. One that goes on from its own checkpoint must have
    /// started from the same.
    fn keep_start(&self, record: &StartRecord) -> std::result::Result<(), Ended> {
        if self.folder.file(RunFolder::CHECKPOINT).exists() {
            let before: StartRecord = match self.folder.read_json(RunFolder::START) {
                Ok(before) => before,
                Err(damaged) => return Err(Ended::Failed(damaged.to_string())),
            };
            if before.sha256 != record.sha256 {
                return Err(Ended::Failed(format!(
                    "{}: the run cannot be resumed: it started from weights with SHA-256 {}, and \
                     {} now has {}\n  help: remove the run's folder to train it again",
                    self.folder.path().display(),
                    before.sha256,
                    record.from,
                    record.sha256
                )));
            }
        }
        self.folder.write_json(RunFolder::START, record)?;
        Ok(())
    }

    /// Takes up the checkpoint, if there is one, with the records up to it.
    fn resume<T: Task>(
        &self,
        trainer: &mut Trainer<T>,
    ) -> std::result::Result<(Vec<StepRecord>, Vec<EpochRecord>), Ended> {
        let path = self.folder.file(RunFolder::CHECKPOINT);
        if !path.exists() {
            return Ok((Vec::new(), Vec::new()));
        }
        let bytes = std::fs::read(&path).map_err(|e| Error::io("reading", &path, e))?;
        // A damaged run fails alone; the others go on.
        let damaged = |e: &dyn std::fmt::Display| {
            Ended::Failed(format!(
                "{}: the run cannot be resumed: {e}\n  help: remove the run's folder to train it \
                 again",
                path.display()
            ))
        };
        trainer.resume(&bytes).map_err(|e| match is_out_of_memory_of(&e) {
            true => Ended::Training(e),
            false => damaged(&e),
        })?;
        let state = trainer.state();
        let steps = self.folder.read_first_lines(RunFolder::STEPS, state.step);
        let epochs = self.folder.read_first_lines(RunFolder::EPOCHS, state.epoch as u64);
        Ok((steps.map_err(|e| damaged(&e))?, epochs.map_err(|e| damaged(&e))?))
    }

    /// Tests the selected weights, once, and records the result.
    fn finish<T: Task>(&self, trainer: &mut Trainer<T>) -> std::result::Result<RunResult, Ended> {
        let selected_epoch = trainer.select()?;
        let test = trainer.evaluate(Split::Test)?;
        self.folder.write_lines(RunFolder::TEST, &test_records(&test))?;
        let weights = trainer.store().snapshot().map_err(TrainError::from)?;
        let data = self.shared.plan.data(&self.variant.variant);
        let normalize =
            Normalize { mean: data.statistics.mean.clone(), std: data.statistics.std.clone() };
        let labels = Labels { class_names: data.class_names.clone(), normalize: Some(normalize) };
        let model = to_bytes(&self.variant.variant.spec, &weights, &labels)?;
        self.folder.write(RunFolder::MODEL, &model)?;
        let state = trainer.state();
        let spec = &self.variant.variant.spec;
        let examples = data.train.len() * spec.training.epochs;
        let result = RunResult {
            schema: SCHEMA_VERSION,
            metric_name: ImageClassification::METRIC.into(),
            test_metric: test.metric,
            test_loss: test.loss,
            selected_epoch,
            parameters: trainer.store().count() as u64,
            trained: trainer.store().trained_count() as u64,
            steps: state.step,
            training_seconds: state.training_seconds,
            evaluation_seconds: state.evaluation_seconds,
            throughput: examples as f64 / state.training_seconds,
            peak_bytes: if self.is_alone() { memory::peak_bytes_of(self.device) } else { None },
            model_sha256: hex(&Sha256::digest(&model)),
            other_programs: state.load.others(),
            other_vlora: state.load.siblings(),
        };
        self.folder.write_json(RunFolder::RESULT, &result)?;
        self.folder.remove(RunFolder::CHECKPOINT)?;
        Ok(result)
    }
}

fn step_record(s: &Step) -> StepRecord {
    StepRecord {
        step: s.step,
        epoch: s.epoch,
        loss: s.loss,
        learning_rate: s.learning_rate,
        gradient_norm: s.gradient_norm,
    }
}

fn epoch_record(e: &EpochSummary) -> EpochRecord {
    EpochRecord {
        epoch: e.epoch,
        step: e.step,
        train_loss: e.train_loss,
        validation_loss: e.validation_loss,
        validation_metric: e.validation_metric,
    }
}

/// The lines of `test.jsonl`.
pub(super) fn test_records(test: &Evaluation) -> Vec<TestRecord> {
    test.outcomes
        .iter()
        .enumerate()
        .map(|(example, o)| TestRecord {
            example,
            label: o.label,
            prediction: o.prediction,
            loss: o.loss,
        })
        .collect()
}

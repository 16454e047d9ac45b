//! Trains and records the runs of a plan, one after another.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use sha2::{Digest, Sha256};

use super::memory;
use super::plan::{Plan, PlannedRun, PlannedVariant};
use super::provenance::provenance;
use super::start::{Ready, ready};
use crate::error::{Error, Result};
use crate::models::checkpoint::{Labels, to_bytes};
use crate::results::{
    EpochRecord, ExperimentFolder, Failure, Provenance, RunFolder, RunResult, RunState,
    SCHEMA_VERSION, SpecRecord, StartRecord, StepRecord, TestRecord,
};
use crate::spec::{Normalize, hex};
use crate::tasks::{Evaluation, ImageClassification, Split, Task};
use crate::train::{EpochSummary, Step, TrainError, Trainer};

/// Told of what happens, for display.
pub trait Observer {
    fn run_started(&mut self, _variant: &PlannedVariant, _run: &PlannedRun, _resumed_at: usize) {}
    fn step(&mut self, _step: &Step) {}
    fn epoch(&mut self, _epoch: &EpochSummary) {}
    fn run_ended(&mut self, _variant: &PlannedVariant, _run: &PlannedRun, _outcome: &Outcome) {}
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Finished(RunResult),
    /// Was finished before; nothing was done.
    AlreadyFinished(RunResult),
    Failed(String),
    /// Another process has it.
    Elsewhere,
}

/// Brings every run of the plan to its end. A failed run does not stop the others; `stop`
/// does, after the current step, leaving a checkpoint of the last whole epoch.
pub fn execute(
    plan: &Plan,
    folder: &ExperimentFolder,
    device: &Device,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Vec<Outcome>> {
    folder.write_record(&plan.record())?;
    let mut outcomes = Vec::new();
    // Seeds outermost: a stopped experiment has whole comparisons, not whole arms.
    for s in 0..plan.experiment.seeds.len() {
        for index in plan.experiment.in_order_of_start() {
            let variant = &plan.variants[index];
            let run = &variant.runs[s];
            let life = Life {
                plan,
                experiment: folder,
                variant,
                run,
                folder: folder.run(&run.id),
                device,
                stop,
            };
            let outcome = life.live(observer)?;
            observer.run_ended(variant, run, &outcome);
            outcomes.push((life, outcome));
        }
    }
    // What another process had may be done by now.
    let settled = outcomes.into_iter().map(|(life, outcome)| match outcome {
        Outcome::Elsewhere if life.folder.state() == RunState::Finished => life.already_finished(),
        other => other,
    });
    Ok(settled.collect())
}

/// One run from claim to record.
struct Life<'a> {
    plan: &'a Plan,
    experiment: &'a ExperimentFolder,
    variant: &'a PlannedVariant,
    run: &'a PlannedRun,
    folder: RunFolder,
    device: &'a Device,
    stop: &'a AtomicBool,
}

/// What ends a run early, told apart from what ends the program.
enum Ended {
    /// The run failed; its reason is recorded and the next run starts.
    Failed(String),
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
            other => Ended::Failed(other.to_string()),
        }
    }
}

impl Life<'_> {
    fn live(&self, observer: &mut dyn Observer) -> Result<Outcome> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let Some(_lock) = self.folder.claim()? else { return Ok(Outcome::Elsewhere) };
        // Looked at again under the lock: another process may have finished it meanwhile.
        if self.folder.state() == RunState::Finished {
            self.folder.remove(RunFolder::CHECKPOINT)?;
            return Ok(self.already_finished());
        }
        self.folder.remove(RunFolder::FAILURE)?;
        match self.train(observer) {
            Ok(Some(result)) => Ok(Outcome::Finished(result)),
            Ok(None) => Ok(Outcome::Elsewhere),
            Err(Ended::Stopped(error)) => Err(error),
            Err(Ended::Failed(reason)) => {
                let failure = Failure { schema: SCHEMA_VERSION, reason: reason.clone() };
                self.folder.write_json(RunFolder::FAILURE, &failure)?;
                Ok(Outcome::Failed(reason))
            }
        }
    }

    fn already_finished(&self) -> Outcome {
        match self.folder.read_json(RunFolder::RESULT) {
            Ok(result) => Outcome::AlreadyFinished(result),
            Err(damaged) => Outcome::Failed(damaged.to_string()),
        }
    }

    /// None where another process still has the run that this one starts from.
    fn train(&self, observer: &mut dyn Observer) -> std::result::Result<Option<RunResult>, Ended> {
        memory::reset_peak();
        let (spec, seed) = (&self.variant.variant.spec, self.run.seed);
        let data = self.plan.data(&self.variant.variant);
        let record = SpecRecord {
            schema: SCHEMA_VERSION,
            id: self.run.id.clone(),
            seed,
            spec: spec.clone(),
        };
        self.folder.write_json(RunFolder::SPEC, &record)?;

        let start = match ready(self.plan, self.experiment, self.variant, self.run)? {
            Ready::FromSeed => None,
            Ready::From(start, record) => {
                self.keep_start(&record)?;
                Some(start)
            }
            Ready::Elsewhere => return Ok(None),
            Ready::Failed(reason) => return Err(Ended::Failed(reason)),
        };
        let task = ImageClassification::new(data, spec, seed, self.device.clone());
        let mut trainer = Trainer::new(&task, &spec.training, seed, self.device, start.as_deref())?;
        drop(start);
        let (mut steps, mut epochs) = self.resume(&mut trainer)?;
        let before = match epochs.is_empty() {
            true => Vec::new(),
            false => match self.folder.read_json::<Provenance>(RunFolder::PROVENANCE) {
                Ok(provenance) => provenance.sessions,
                Err(damaged) => return Err(Ended::Failed(damaged.to_string())),
            },
        };
        self.folder.write_json(RunFolder::PROVENANCE, &provenance(data, self.device, before))?;
        observer.run_started(self.variant, self.run, epochs.len());
        while !trainer.is_done() {
            let epoch = trainer.epoch(|step| {
                steps.push(step_record(step));
                observer.step(step);
                !self.stop.load(Ordering::Relaxed)
            });
            // Also where the epoch ended early: the steps that led to a failure are its evidence.
            self.folder.write_lines(RunFolder::STEPS, &steps)?;
            let epoch = epoch?;
            epochs.push(epoch_record(&epoch));
            observer.epoch(&epoch);
            self.folder.write_lines(RunFolder::EPOCHS, &epochs)?;
            // Last, so that a checkpoint never runs ahead of its records.
            self.folder.write(RunFolder::CHECKPOINT, &trainer.checkpoint()?)?;
        }
        self.finish(&mut trainer).map(Some)
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
        trainer.resume(&bytes).map_err(|e| damaged(&e))?;
        let steps = self.folder.read_lines(RunFolder::STEPS).map_err(|e| damaged(&e))?;
        let epochs = self.folder.read_lines(RunFolder::EPOCHS).map_err(|e| damaged(&e))?;
        let (mut steps, mut epochs): (Vec<StepRecord>, Vec<EpochRecord>) = (steps, epochs);
        let state = trainer.state();
        steps.retain(|s| s.step <= state.step);
        epochs.retain(|e| e.epoch <= state.epoch);
        match steps.len() as u64 == state.step && epochs.len() == state.epoch {
            true => Ok((steps, epochs)),
            false => Err(damaged(&"steps.jsonl or epochs.jsonl ends before its checkpoint")),
        }
    }

    /// Tests the selected weights, once, and records the result.
    fn finish<T: Task>(&self, trainer: &mut Trainer<T>) -> std::result::Result<RunResult, Ended> {
        let selected_epoch = trainer.select()?;
        let test = trainer.evaluate(Split::Test)?;
        self.folder.write_lines(RunFolder::TEST, &test_records(&test))?;
        let weights = trainer.store().snapshot().map_err(TrainError::from)?;
        let data = self.plan.data(&self.variant.variant);
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
            metric_name: "accuracy".into(),
            test_metric: test.metric,
            test_loss: test.loss,
            selected_epoch,
            parameters: trainer.store().count() as u64,
            trained: trainer.store().trained_count() as u64,
            steps: state.step,
            training_seconds: state.training_seconds,
            evaluation_seconds: state.evaluation_seconds,
            throughput: examples as f64 / state.training_seconds,
            peak_bytes: memory::peak_bytes(),
            model_sha256: hex(&Sha256::digest(&model)),
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

fn test_records(test: &Evaluation) -> Vec<TestRecord> {
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

//! Executes one run: locks, trains, tests and records it.

use std::time::Instant;

use candle_core::Device;
use sha2::{Digest, Sha256};

use super::checkpoint_interval::CheckpointTimer;
use super::device::device_name;
use super::initial_weights::{InitialWeights, initial_weights};
use super::load::Meter;
use super::observer::Outcome;
use super::out_of_memory::reason;
use super::peak_memory;
use super::plan::{PlannedRun, PlannedVariant};
use super::provenance::provenance;
use super::resume::{Resumed, resume};
use super::run_error::{RunError, RunOutcome};
use super::worker_context::WorkerContext;
use crate::checkpoints::to_bytes;
use crate::error::{Error, Fault, Result};
use crate::nn::configure;
use crate::results::{
    CheckLevel, Failure, FileRecord, Progress, Provenance, RunFolder, RunLock, RunResult,
    SCHEMA_VERSION, Session, SpecRecord, StartRecord, TRAIN_AGAIN, evidence_files, take_over,
};
use crate::spec::{Precision, RunSpec, hex};
use crate::tasks::{Blueprint, Evaluation, Run, Split, Task, TaskVisitor};
use crate::train::{Flow, Journals, Start, Step, TrainError, Trainer};

/// The outcome of a run that was finished before. A damaged run fails and is not trained again,
/// since somebody may still need its evidence.
pub fn already_finished(folder: &RunFolder) -> Outcome {
    match folder.verify(CheckLevel::Thorough) {
        Ok(whole) => Outcome::AlreadyFinished(whole.result),
        Err(damaged) => Outcome::Failed(damaged.to_string()),
    }
}

/// Executes one run.
pub struct RunExecutor<'a> {
    context: WorkerContext<'a>,
    variant: &'a PlannedVariant,
    run: &'a PlannedRun,
    folder: RunFolder,
    device: &'a Device,
}

impl<'a> RunExecutor<'a> {
    pub fn new(
        context: WorkerContext<'a>,
        variant: &'a PlannedVariant,
        run: &'a PlannedRun,
        device: &'a Device,
    ) -> RunExecutor<'a> {
        let folder = context.experiment.run(&run.id);
        RunExecutor { context, variant, run, folder, device }
    }

    /// Trains and records the run, unless it is finished or another process holds it.
    pub fn execute(&self) -> Result<Outcome> {
        if self.context.is_stopped() {
            return Err(Error::Interrupted);
        }
        let Some(lock) = self.folder.lock()? else { return Ok(Outcome::HeldElsewhere) };
        // Checked again under the lock, since another process may have finished it meanwhile.
        self.folder.remove_scratch()?;
        if self.folder.state().has_result() {
            let outcome = already_finished(&self.folder);
            if let Outcome::AlreadyFinished(result) = &outcome {
                self.folder.remove_uncompressed(result)?;
                self.folder.remove_checkpoints()?;
            }
            return Ok(outcome);
        }
        if let Some(taken) = self.take_over()? {
            return Ok(taken);
        }
        let failed = self.folder.read_json::<Failure>(RunFolder::FAILURE);
        let tries = failed.map_or(1, |failure| failure.tries.saturating_add(1));
        self.folder.remove(RunFolder::FAILURE)?;
        // Free memory before training, for the message if memory runs out.
        let held = self.context.plan.data(&self.variant.variant).held_bytes();
        let free = peak_memory::free_bytes(self.device).map(|free| free.saturating_sub(held));
        let reason = match self.train(&lock) {
            Ok(Some(result)) => return Ok(Outcome::Finished(result)),
            Ok(None) | Err(RunError::LockLost) => return Ok(Outcome::HeldElsewhere),
            Err(RunError::Stopped(error)) => return Err(error),
            Err(RunError::Failed(reason)) => reason,
            Err(RunError::Training(error)) => {
                reason(&error, self.spec(), free, self.context.jobs).to_string()
            }
        };
        if lock.is_lost_by_now() {
            return Ok(Outcome::HeldElsewhere);
        }
        let failure = Failure { schema: SCHEMA_VERSION, reason: reason.clone(), tries };
        self.folder.write_json(RunFolder::FAILURE, &failure)?;
        Ok(Outcome::Failed(reason))
    }

    fn spec(&self) -> &'a RunSpec {
        &self.variant.variant.spec
    }

    /// Takes over the run from a sibling experiment that has finished it.
    fn take_over(&self) -> Result<Option<Outcome>> {
        let id = &self.run.id;
        for experiment in self.context.experiment.siblings() {
            if let Some(result) = take_over(id, &experiment.run(id), &self.folder)? {
                return Ok(Some(Outcome::TakenOver(result, experiment.path().to_path_buf())));
            }
        }
        Ok(None)
    }

    /// Trains the run. None if another process still holds the run that this one starts from.
    fn train(&self, lock: &RunLock) -> RunOutcome<Option<RunResult>> {
        if self.context.is_alone() {
            peak_memory::reset_peak_of(self.device);
        }
        let (spec, seed) = (self.spec(), self.run.seed);
        let record = SpecRecord {
            schema: SCHEMA_VERSION,
            id: self.run.id.clone(),
            seed,
            spec: spec.clone(),
        };
        self.folder.write_json(RunFolder::SPEC, &record)?;
        let WorkerContext { plan, experiment, .. } = self.context;
        let is_trained_here = |id: &str| self.context.workers.trains(id);
        let start =
            match initial_weights(plan, experiment, self.variant, self.run, is_trained_here)? {
                InitialWeights::FromSeed => None,
                InitialWeights::Loaded(start, record) => {
                    self.record_start(&record)?;
                    Some(start)
                }
                InitialWeights::HeldElsewhere => return Ok(None),
                InitialWeights::Failed(reason) => return Err(RunError::Failed(reason)),
            };
        configure(self.device, spec.precision == Precision::Tf32).map_err(TrainError::from)?;
        let run = Run { spec, seed, device: self.device };
        let training = TrainRun { executor: self, start, lock };
        plan.data(&self.variant.variant).visit(run, training).map(Some)
    }

    /// Trains the run to its last epoch, resuming from its checkpoint.
    fn train_on<T: Task>(
        &self,
        task: &T,
        blueprint: &Blueprint<T::Model>,
        start: Option<Box<Start>>,
        lock: &RunLock,
    ) -> RunOutcome<RunResult> {
        let (spec, seed) = (self.spec(), self.run.seed);
        let mut trainer =
            Trainer::new(task, blueprint, &spec.training, seed, self.device, start.as_deref())?;
        drop(start);
        let Resumed { journals, recovered } = resume(&self.folder, &mut trainer)?;
        if let Some(reason) = &recovered {
            self.context.notify(|o| o.recovered(self.run, reason));
        }
        let is_recovered = recovered.is_some();
        self.record_session(trainer.state().step, recovered)?;
        if is_recovered {
            // The next write renames the newest checkpoint to the previous one. If it is damaged, that would
            // overwrite the good one. The reason is recorded.
            self.folder.remove(RunFolder::CHECKPOINT)?;
        }
        self.context.notify(|o| o.run_started(self.variant, self.run, trainer.state().step));
        // Steps recorded after the checkpoint are dropped; they are trained again.
        let mut steps = self.folder.resume_journal(RunFolder::STEPS, &journals.steps)?;
        let mut epochs = self.folder.resume_journal(RunFolder::EPOCHS, &journals.epochs)?;
        let mut timer = CheckpointTimer::new(self.context.workers.interval, trainer.state().step);
        let mut meter = Meter::start();
        // A deadline ends training after a step, but no evaluation: else one that takes longer than the
        // budget would never end.
        let is_stopped = || self.context.is_stopped() || lock.is_lost();
        let is_late = || self.context.workers.is_late();
        let (all, begun) = (trainer.steps() as u64, Instant::now());
        let resumed_at = trainer.state().step;
        while !trainer.is_done() {
            let mut appended = Ok(());
            let on_step = |step: &Step| {
                appended = steps.append(&step.record);
                self.context.notify(|o| o.step(self.run, step));
                lock.set_progress(Progress {
                    step: step.record.step,
                    steps: all,
                    own_steps: step.record.step - resumed_at,
                    seconds: begun.elapsed().as_secs_f64(),
                });
                let pauses = appended.is_err()
                    || is_stopped()
                    || is_late()
                    || timer.is_due(step.record.step);
                if pauses { Flow::Pause } else { Flow::Continue }
            };
            let epoch = trainer.epoch(on_step, &is_stopped);
            if lock.is_lost_by_now() {
                return Err(RunError::LockLost);
            }
            appended?;
            // Also if the epoch failed, since the steps before a failure are its evidence.
            let steps = steps.sync()?;
            let epoch = epoch?;
            let is_last = trainer.is_done();
            meter.update(trainer.load_mut(), is_last);
            if let Some(epoch) = &epoch {
                self.context.notify(|o| o.epoch(self.run, epoch));
                epochs.append(epoch)?;
            }
            trainer.set_journals(Journals { steps, epochs: epochs.sync()? });
            let step = trainer.state().step;
            let is_due = match (is_last, epoch.is_some()) {
                // The test may take long.
                (true, _) => timer.is_due(step),
                (false, true) => timer.is_due_at_epoch(step),
                (false, false) => timer.is_due(step),
            };
            if is_stopped() || is_late() || is_due {
                // Written last, so that a checkpoint is never ahead of its records.
                timer.write(step, || self.write_checkpoint(&trainer))?;
            }
            if is_stopped() || (is_late() && !is_last) {
                return Err(RunError::Stopped(Error::Interrupted));
            }
        }
        self.finish(task, &mut trainer, lock)
    }

    fn write_checkpoint<T: Task>(&self, trainer: &Trainer<T>) -> RunOutcome<()> {
        Ok(self.folder.write_checkpoint(&trainer.checkpoint()?)?)
    }

    /// Appends this process, which goes on after step `resumed_at`, to the sessions of the run. `recovered`
    /// says why it did not resume from the newest checkpoint, if so.
    fn record_session(&self, resumed_at: u64, recovered: Option<String>) -> RunOutcome<()> {
        let recorded = self.folder.read_json::<Provenance>(RunFolder::PROVENANCE);
        let last = recorded.as_ref().ok().and_then(|provenance| provenance.sessions.last());
        let starts_there = match self.context.workers.requires_progress {
            true => starts_there(last, resumed_at),
            // Who starts a run by hand has a reason to.
            false => 1,
        };
        if starts_there > MAX_STARTS {
            let fault = Fault::failed(format!(
                "no step was kept, though the run was started {MAX_STARTS} times at step \
                 {resumed_at}"
            ))
            .expected("a later checkpoint each time")
            .help(
                "give the job more time, or let it write checkpoints more often \
                 (`--checkpoint-minutes`); the first start without `--require-progress` tries it \
                 again",
            );
            return Err(RunError::Failed(fault.to_string()));
        }
        let before = match (resumed_at, recorded) {
            // The steps of earlier sessions are lost.
            (0, _) => Vec::new(),
            (_, Ok(provenance)) => provenance.sessions,
            (_, Err(damaged)) => return Err(RunError::Failed(damaged.to_string())),
        };
        self.check_device(&before)?;
        let WorkerContext { plan, jobs, .. } = self.context;
        let mut provenance = provenance(plan, self.variant, self.device, jobs, before);
        if let Some(session) = provenance.sessions.last_mut() {
            session.resumed_at = Some(resumed_at);
            session.starts_there = starts_there;
            session.recovered = recovered;
        }
        self.folder.write_json(RunFolder::PROVENANCE, &provenance)?;
        if let Some(tokenizer) = plan.data(&self.variant.variant).tokenizer() {
            self.folder.write(RunFolder::TOKENIZER, tokenizer.as_bytes())?;
        }
        Ok(())
    }

    /// Refuses to resume on another device, since the result would not be bitwise the same.
    fn check_device(&self, before: &[Session]) -> RunOutcome<()> {
        let here = device_name(self.device);
        match before.last().filter(|session| session.device != here) {
            None => Ok(()),
            Some(session) => {
                let fault = Fault::of_file(
                    self.folder.path(),
                    "the run was begun on another device",
                )
                .found(here)
                .expected(&session.device)
                .help("go on there (`--device`), or remove the run's folder to train it again");
                Err(RunError::Failed(fault.to_string()))
            }
        }
    }

    /// Records the start weights. A run that resumes from its checkpoint must have the same ones.
    fn record_start(&self, record: &StartRecord) -> RunOutcome<()> {
        if self.folder.has_checkpoint() {
            let before: StartRecord = match self.folder.read_json(RunFolder::START) {
                Ok(before) => before,
                Err(damaged) => return Err(RunError::Failed(damaged.to_string())),
            };
            if before.sha256 != record.sha256 {
                let problem = format!(
                    "the run cannot be resumed: it started from weights with SHA-256 {}, and {} \
                     now has {}",
                    before.sha256, record.from, record.sha256
                );
                let fault = Fault::of_file(self.folder.path(), problem)
                    .help("remove the run's folder to train it again");
                return Err(RunError::Failed(fault.to_string()));
            }
        }
        self.folder.write_json(RunFolder::START, record)?;
        Ok(())
    }

    /// Tests the selected weights once and records the result.
    fn finish<T: Task>(
        &self,
        task: &T,
        trainer: &mut Trainer<T>,
        lock: &RunLock,
    ) -> RunOutcome<RunResult> {
        if let Some(journals) = &trainer.state().journals {
            for (journal, name) in
                [(&journals.steps, RunFolder::STEPS), (&journals.epochs, RunFolder::EPOCHS)]
            {
                let checked = journal.verify(&self.folder.file(name));
                checked.map_err(|e| RunError::of_record(e, |fault| fault.help(TRAIN_AGAIN)))?;
            }
        }
        let selected_epoch = trainer.select()?;
        let is_stopped = || self.context.is_stopped() || lock.is_lost();
        let evaluation = trainer.evaluate(Split::Test, &is_stopped)?;
        if lock.is_lost_by_now() {
            return Err(RunError::LockLost);
        }
        let Some(Evaluation { scores, outcomes }) = evaluation else {
            // Training is not lost. The weights are the selected ones by now, and are selected again.
            self.write_checkpoint(trainer)?;
            return Err(RunError::Stopped(Error::Interrupted));
        };
        self.folder.write_lines(RunFolder::TEST, &outcomes)?;
        let weights = trainer.store().snapshot().map_err(TrainError::from)?;
        let data = self.context.plan.data(&self.variant.variant);
        let model = to_bytes(self.spec(), &weights, &data.metadata())?;
        self.folder.write(RunFolder::MODEL, &model)?;
        let mut metrics = task.metrics().iter().zip(&scores.metrics);
        let name = metrics.next().map_or_else(String::new, |(metric, _)| metric.name.into());
        let state = trainer.state();
        let units = trainer.units();
        let alone = self.context.is_alone();
        let model_sha256 = hex(&Sha256::digest(&model));
        let has_tokenizer = data.tokenizer().is_some();
        self.folder.compress()?;
        if lock.is_lost_by_now() {
            return Err(RunError::LockLost);
        }
        let mut files = self.folder.records(evidence_files(self.spec(), has_tokenizer))?;
        let model_record = FileRecord { bytes: model.len() as u64, sha256: model_sha256.clone() };
        files.insert(RunFolder::MODEL.into(), model_record);
        let result = RunResult {
            schema: SCHEMA_VERSION,
            metric_name: name,
            test_metric: scores.primary(),
            test_metrics: metrics.map(|(metric, value)| (metric.name.into(), *value)).collect(),
            test_loss: scores.loss,
            selected_epoch,
            parameters: trainer.store().count() as u64,
            trained: trainer.store().trained_count() as u64,
            steps: state.step,
            training_seconds: state.training_seconds,
            evaluation_seconds: state.evaluation_seconds,
            throughput: match units {
                0 => 0.0,
                _ => units as f64 / state.training_seconds,
            },
            peak_bytes: if alone { peak_memory::peak_bytes_of(self.device) } else { None },
            model_sha256,
            files,
            other_programs: state.load.others(),
            other_vlora: state.load.siblings(),
            digest: None,
        };
        let result = self.folder.write_result(result)?;
        self.folder.remove_uncompressed(&result)?;
        self.folder.remove_checkpoints()?;
        Ok(result)
    }
}

/// A scheduler may start a killed run so many times in a row at one step.
const MAX_STARTS: u32 = 3;

/// How often in a row a run has been started without keeping a step since, with this start. `last` is the
/// process before.
fn starts_there(last: Option<&Session>, resumed_at: u64) -> u32 {
    match last {
        Some(last) if last.resumed_at.is_some_and(|before| resumed_at <= before) => {
            last.starts_there.saturating_add(1)
        }
        _ => 1,
    }
}

/// Trains a run, generic over the task.
struct TrainRun<'a> {
    executor: &'a RunExecutor<'a>,
    start: Option<Box<Start>>,
    lock: &'a RunLock,
}

impl TaskVisitor for TrainRun<'_> {
    type Output = RunOutcome<RunResult>;

    fn visit<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) -> RunOutcome<RunResult> {
        self.executor.train_on(task, blueprint, self.start, self.lock)
    }
}

//! Trains and records the runs of a plan, one after another or several at once on one device.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::observer::{Observer, Outcome};
use super::plan::{Plan, PlannedRun, PlannedVariant};
use super::precision::check_precision;
use super::queue::{Entry, Queue};
use super::run_executor::{RunExecutor, already_finished};
use super::worker_context::WorkerContext;
use super::worker_options::WorkerOptions;
use crate::error::{Error, Fault, Result};
use crate::results::{ExperimentFolder, RunFolder, RunState};

/// Executes the runs of the plan. A failed run does not stop the others, unless `workers` says so. `stop`
/// ends each run after its current step and leaves a checkpoint of it. Outcomes are ordered by seed, then
/// by [`in_order_of_start`](crate::spec::Experiment::in_order_of_start).
pub fn execute(
    plan: &Plan,
    folder: &ExperimentFolder,
    workers: WorkerOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Vec<Outcome>> {
    plan.write_to(folder)?;
    let runs: Vec<RunOfPlan> =
        in_order(plan).into_iter().filter(|(_, run)| workers.trains(&run.id)).collect();
    let observer = Mutex::new(observer);
    let mut outcomes = vec![Outcome::HeldElsewhere; runs.len()];
    let mut pending: Vec<usize> = (0..runs.len()).collect();
    let mut retries = workers.retries;
    loop {
        let these: Vec<RunOfPlan> = pending.iter().map(|index| runs[*index]).collect();
        let done = execute_once(plan, folder, workers, &these, stop, &observer)?;
        for (index, outcome) in pending.iter().zip(done) {
            outcomes[*index] = outcome;
        }
        if !workers.keeps_weights {
            remove_weights(plan, folder, &runs)?;
        }
        let held: Vec<usize> =
            (0..runs.len()).filter(|i| outcomes[*i] == Outcome::HeldElsewhere).collect();
        let has_failed = |index: &&usize| matches!(outcomes[**index], Outcome::Failed(_));
        let failed: Vec<usize> = pending.iter().filter(has_failed).copied().collect();
        // A run that another process held may be free by now: the process may have ended, or died.
        let free = || held.iter().copied().filter(|i| is_free(plan, folder, runs[*i])).collect();
        let mut again: Vec<usize> = free();
        if retries > 0 && !failed.is_empty() {
            retries -= 1;
            again.extend(&failed);
            again.sort_unstable();
        } else if workers.waits && !held.is_empty() {
            again = wait(&workers, stop, free)?;
        } else if again == pending {
            // None of them could be locked, though none seems to be held.
            return Ok(outcomes);
        }
        if again.is_empty() {
            return Ok(outcomes);
        }
        pending = again;
    }
}

/// Whether no process trains the run, or the one that it starts from.
fn is_free(plan: &Plan, folder: &ExperimentFolder, (variant, run): RunOfPlan) -> bool {
    let before = plan.started_from(variant, run).map(|(_, before)| before);
    let mut both = [Some(run), before].into_iter().flatten();
    both.all(|run| folder.run(&run.id).state() != RunState::Running)
}

/// Waits until some runs that other processes hold are free. Returns them.
fn wait(
    workers: &WorkerOptions,
    stop: &AtomicBool,
    free: impl Fn() -> Vec<usize>,
) -> Result<Vec<usize>> {
    loop {
        // A signal ends it within a fraction of a second.
        for _ in 0..10 {
            if workers.is_late() || workers.is_interrupted() || stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            thread::sleep(Duration::from_millis(100));
        }
        let free = free();
        if !free.is_empty() {
            return Ok(free);
        }
    }
}

/// Removes the weights of the finished ones among `runs`, and of those that they start from, if no unfinished
/// run of the plan starts from them.
fn remove_weights(plan: &Plan, folder: &ExperimentFolder, runs: &[RunOfPlan]) -> Result<()> {
    let is_finished = |run: &PlannedRun| folder.run(&run.id).state() == RunState::Finished;
    let all = in_order(plan);
    let unfinished = all.iter().filter(|(_, run)| !is_finished(run));
    let needed: BTreeSet<&str> = unfinished
        .filter_map(|(variant, run)| Some(plan.started_from(variant, run)?.1.id.as_str()))
        .collect();
    let starts = runs.iter().filter_map(|(variant, run)| plan.started_from(variant, run));
    let candidates = runs.iter().copied().chain(starts);
    for (_, run) in candidates.filter(|(_, run)| !needed.contains(run.id.as_str())) {
        let folder = folder.run(&run.id);
        if folder.file(RunFolder::MODEL).exists() && is_finished(run) {
            folder.remove(RunFolder::MODEL)?;
        }
    }
    Ok(())
}

/// Takes each of these runs once.
fn execute_once(
    plan: &Plan,
    folder: &ExperimentFolder,
    workers: WorkerOptions,
    runs: &[RunOfPlan],
    stop: &AtomicBool,
    observer: &Mutex<&mut dyn Observer>,
) -> Result<Vec<Outcome>> {
    let queue = Queue::new(entries(plan, runs));
    let all = (workers.jobs * workers.devices).clamp(1, runs.len().max(1));
    let outcomes = Mutex::new(vec![None; runs.len()]);
    let queue = &queue;
    let jobs = all.div_ceil(workers.devices.max(1));
    let experiment = folder;
    let context = WorkerContext { plan, experiment, workers, jobs, stop, queue, observer };
    let work = |worker: usize| {
        let worked = take_runs(context, runs, worker, &outcomes);
        // An error of one worker stops the others after their current step.
        worked.inspect_err(|_| queue.halt())
    };
    let worked: Vec<Result<()>> = match all {
        1 => vec![work(0)],
        _ => thread::scope(|scope| {
            let spawn = |i| {
                thread::Builder::new().name(format!("run {i}")).spawn_scoped(scope, move || work(i))
            };
            let spawned: Vec<_> = (1..all).map(spawn).collect();
            if spawned.iter().any(std::result::Result::is_err) {
                queue.halt();
            }
            // This thread is one of those that operations share their work among, so it must not only wait.
            let result = work(0);
            let join = |thread: std::io::Result<thread::ScopedJoinHandle<_>>| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e)),
                Err(e) => {
                    Err(Error::from(Fault::failed(format!("a thread cannot be started: {e}"))))
                }
            };
            std::iter::once(result).chain(spawned.into_iter().map(join)).collect()
        }),
    };
    // A worker's interrupt may be caused by another worker's error, which is then returned.
    let (interrupts, errors): (Vec<_>, Vec<_>) = worked
        .into_iter()
        .filter_map(Result::err)
        .partition(|error| matches!(error, Error::Interrupted));
    if let Some(error) = errors.into_iter().chain(interrupts).next() {
        return Err(error);
    }
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Runs of other processes may have finished by now.
    let settled = outcomes.into_iter().zip(runs).map(|(outcome, (_, run))| match outcome {
        None | Some(Outcome::HeldElsewhere) => settle(&folder.run(&run.id)),
        Some(other) => other,
    });
    Ok(settled.collect())
}

pub type RunOfPlan<'a> = (&'a PlannedVariant, &'a PlannedRun);

/// Seeds are outermost, so that a stopped experiment has finished seeds of all arms instead of
/// finished arms.
pub fn in_order(plan: &Plan) -> Vec<RunOfPlan<'_>> {
    let order = plan.experiment.in_order_of_start();
    let of_seed = |seed: usize| {
        let variants = order.iter().map(|index| &plan.variants[*index]);
        variants.map(move |v| (v, &v.runs[seed])).collect::<Vec<_>>()
    };
    (0..plan.experiment.seeds.len()).flat_map(of_seed).collect()
}

/// Queue entries; each run comes after the one that it starts from.
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

/// The outcome of a run that another process held.
fn settle(folder: &RunFolder) -> Outcome {
    match folder.state() {
        RunState::Finished | RunState::Damaged => already_finished(folder),
        _ => Outcome::HeldElsewhere,
    }
}

/// The loop of a worker: takes runs from the queue until it is empty.
fn take_runs(
    context: WorkerContext,
    runs: &[RunOfPlan],
    worker: usize,
    outcomes: &Mutex<Vec<Option<Outcome>>>,
) -> Result<()> {
    let device = (context.workers.device)(worker)?;
    check_precision(context.plan.variants.iter().map(|v| &v.variant), &device)?;
    let mut has_trained = false;
    // The queue is halted before the turn is dropped. Otherwise a run that starts from a stopped one could
    // begin.
    while let Some(turn) = context.queue.next() {
        let (variant, run) = runs[turn.index];
        let executor = RunExecutor::new(context, variant, run, &device);
        // Each worker trains at least a step of one run past the deadline, so that repeating the command
        // always makes progress.
        let is_new = !matches!(context.experiment.run(&run.id).state(), RunState::Finished);
        if has_trained && is_new && context.workers.is_late() {
            context.queue.halt();
            return Err(Error::Interrupted);
        }
        let outcome = executor.execute().inspect_err(|_| context.queue.halt())?;
        has_trained |= matches!(outcome, Outcome::Finished(_) | Outcome::Failed(_));
        context.notify(|observer| observer.run_ended(variant, run, &outcome));
        if let (true, Outcome::Failed(reason)) = (context.workers.fail_fast, &outcome) {
            context.queue.halt();
            return Err(Fault::failed("a run failed, so the others were stopped")
                .under(format!("{} seed {}", variant.variant.label, run.seed))
                .found(reason)
                .help("without --fail-fast the other runs are trained")
                .into());
        }
        outcomes.lock().unwrap_or_else(PoisonError::into_inner)[turn.index] = Some(outcome);
    }
    Ok(())
}

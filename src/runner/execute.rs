//! Trains and records the runs of a plan: one after another, or several at once on one device.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::thread;

use candle_core::Device;

use super::executor::{RunExecutor, already_finished};
use super::observer::{Observer, Outcome};
use super::plan::{Plan, PlannedRun, PlannedVariant};
use super::precision::check_precision;
use super::queue::{Entry, Queue};
use super::worker::WorkerContext;
use crate::error::{Error, Fault, Result};
use crate::results::{ExperimentFolder, RunFolder, RunState};

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
    let observer = Mutex::new(observer);
    let (queue, observer) = (&queue, &observer);
    let context = WorkerContext { plan, experiment: folder, jobs, stop, queue, observer };
    let work = || {
        let worked = take_runs(context, &runs, &workers, &outcomes);
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
                    Err(Error::from(Fault::failed(format!("a thread cannot be started: {e}"))))
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
        RunState::Finished | RunState::Damaged => already_finished(folder),
        _ => Outcome::Elsewhere,
    }
}

/// A worker: takes runs from the queue until there are none.
fn take_runs(
    context: WorkerContext,
    runs: &[RunOfPlan],
    workers: &Workers,
    outcomes: &Mutex<Vec<Option<Outcome>>>,
) -> Result<()> {
    let device = (workers.device)()?;
    check_precision(context.plan.variants.iter().map(|v| &v.variant), &device)?;
    while let Some(turn) = context.queue.next() {
        let (variant, run) = runs[turn.index];
        let executor = RunExecutor::new(context, variant, run, &device);
        // Halted before the turn is over, so that nothing starts behind a run that was stopped.
        let outcome = executor.execute().inspect_err(|_| context.queue.halt())?;
        context.show(|observer| observer.run_ended(variant, run, &outcome));
        outcomes.lock().unwrap_or_else(PoisonError::into_inner)[turn.index] = Some(outcome);
    }
    Ok(())
}

//! Events of runs, for display.

use std::path::PathBuf;

use super::plan::{PlannedRun, PlannedVariant};
use crate::results::{EpochRecord, RunResult};
use crate::train::Step;

/// Receives the events of runs. Calls never overlap, but several runs may take turns.
pub trait Observer: Send {
    /// `_resumed_at` is the step after which the run resumes; 0 if it begins.
    fn run_started(&mut self, _variant: &PlannedVariant, _run: &PlannedRun, _resumed_at: u64) {}
    /// The newest checkpoint was not used, for this reason; the run resumes from the one before.
    fn recovered(&mut self, _run: &PlannedRun, _reason: &str) {}
    fn step(&mut self, _run: &PlannedRun, _step: &Step) {}
    fn epoch(&mut self, _run: &PlannedRun, _epoch: &EpochRecord) {}
    fn run_ended(&mut self, _variant: &PlannedVariant, _run: &PlannedRun, _outcome: &Outcome) {}
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Finished(RunResult),
    /// The run was finished before; nothing was done.
    AlreadyFinished(RunResult),
    /// Taken over from the experiment in this folder, which had finished the same run.
    TakenOver(RunResult, PathBuf),
    Failed(String),
    /// Another process holds the run.
    HeldElsewhere,
}

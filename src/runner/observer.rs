//! What happens to the runs of a plan, as those see it who watch.

use std::path::PathBuf;

use super::plan::{PlannedRun, PlannedVariant};
use crate::results::{EpochRecord, RunResult};
use crate::train::Step;

/// Sees what happens, for display. One worker calls it at a time, but several runs take turns.
pub trait Observer: Send {
    fn run_started(&mut self, _variant: &PlannedVariant, _run: &PlannedRun, _resumed_at: usize) {}
    fn step(&mut self, _run: &PlannedRun, _step: &Step) {}
    fn epoch(&mut self, _run: &PlannedRun, _epoch: &EpochRecord) {}
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

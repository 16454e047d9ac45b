//! The context that all workers share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::checkpoint_interval::CheckpointInterval;
use super::observer::Observer;
use super::plan::Plan;
use super::queue::Queue;
use crate::results::ExperimentFolder;

/// Shared by all workers of an execution.
#[derive(Clone, Copy)]
pub struct WorkerContext<'a> {
    pub plan: &'a Plan,
    pub experiment: &'a ExperimentFolder,
    /// The number of workers of each device.
    pub jobs: usize,
    pub interval: CheckpointInterval,
    /// The ids of the runs that are trained; None trains all of the plan.
    pub only: Option<&'a BTreeSet<String>>,
    /// When runs stop.
    pub deadline: Option<Instant>,
    /// Whether a run fails that was started several times without keeping a step.
    pub requires_progress: bool,
    pub stop: &'a AtomicBool,
    pub queue: &'a Queue,
    pub observer: &'a dyn SharedObserver,
}

/// An observer that workers call one at a time.
pub trait SharedObserver: Sync {
    fn notify(&self, event: &mut dyn FnMut(&mut dyn Observer));
}

impl SharedObserver for Mutex<&mut dyn Observer> {
    fn notify(&self, event: &mut dyn FnMut(&mut dyn Observer)) {
        event(&mut **self.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl WorkerContext<'_> {
    /// Whether running runs should end after their current step.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.queue.is_halted()
    }

    /// Whether the deadline has passed.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether this process trains no other run on the device meanwhile.
    pub fn is_alone(&self) -> bool {
        self.jobs == 1
    }

    /// Whether this execution trains the run.
    pub fn trains(&self, id: &str) -> bool {
        self.only.is_none_or(|only| only.contains(id))
    }

    /// Sends an event to the observer.
    pub fn notify(&self, mut event: impl FnMut(&mut dyn Observer)) {
        self.observer.notify(&mut event);
    }
}

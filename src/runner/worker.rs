//! What the workers have that train the runs of a plan.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::observer::Observer;
use super::plan::Plan;
use super::queue::Queue;
use crate::results::ExperimentFolder;

/// The same for all workers of an execution.
#[derive(Clone, Copy)]
pub struct WorkerContext<'a> {
    pub plan: &'a Plan,
    pub experiment: &'a ExperimentFolder,
    /// How many workers there are.
    pub jobs: usize,
    pub stop: &'a AtomicBool,
    pub queue: &'a Queue,
    pub observer: &'a dyn SharedObserver,
}

/// An observer that workers call one at a time.
pub trait SharedObserver: Sync {
    fn show(&self, event: &mut dyn FnMut(&mut dyn Observer));
}

impl SharedObserver for Mutex<&mut dyn Observer> {
    fn show(&self, event: &mut dyn FnMut(&mut dyn Observer)) {
        event(&mut **self.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl WorkerContext<'_> {
    /// Whether the runs under way should end after the step that they are at.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.queue.is_halted()
    }

    /// Whether no other run is trained in this process meanwhile. Memory is counted for all of it.
    pub fn is_alone(&self) -> bool {
        self.jobs == 1
    }

    /// Shows the observer something.
    pub fn show(&self, mut event: impl FnMut(&mut dyn Observer)) {
        self.observer.show(&mut event);
    }
}

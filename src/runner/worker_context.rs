//! The context that all workers share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::observer::Observer;
use super::plan::Plan;
use super::queue::Queue;
use super::worker_options::WorkerOptions;
use crate::results::ExperimentFolder;

/// Shared by all workers of an execution.
#[derive(Clone, Copy)]
pub struct WorkerContext<'a> {
    pub plan: &'a Plan,
    pub experiment: &'a ExperimentFolder,
    pub workers: WorkerOptions<'a>,
    /// The workers of each device; fewer than [`WorkerOptions::jobs`] where there are few runs.
    pub jobs: usize,
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
        self.stop.load(Ordering::Relaxed) || self.workers.is_interrupted() || self.queue.is_halted()
    }

    /// Whether this process trains no other run on the device meanwhile.
    pub fn is_alone(&self) -> bool {
        self.jobs == 1
    }

    /// Sends an event to the observer.
    pub fn notify(&self, mut event: impl FnMut(&mut dyn Observer)) {
        self.observer.notify(&mut event);
    }
}

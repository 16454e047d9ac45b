//! How many workers train the runs of a plan, on which devices, and by which rules.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::Device;

use super::checkpoint_interval::CheckpointInterval;
use crate::error::Result;

/// The workers that train the runs.
#[derive(Clone, Copy)]
pub struct WorkerOptions<'a> {
    /// How many runs are trained at once on each device, at least 1. It does not change the results.
    pub jobs: usize,
    pub devices: usize,
    /// Opens the device of a worker, of which the number is given, from 0. Each worker calls it once, so
    /// that each has its own CUDA stream.
    pub device: &'a (dyn Fn(usize) -> Result<Device> + Sync),
    pub interval: CheckpointInterval,
    /// The ids of the runs that are trained; None trains all of the plan.
    pub only: Option<&'a BTreeSet<String>>,
    /// A further flag that stops the runs, where the caller needs one of its own.
    pub interrupt: Option<&'a AtomicBool>,
    /// When runs stop, as if the user had stopped them.
    pub deadline: Option<Instant>,
    /// Whether the first run that fails stops the others.
    pub fail_fast: bool,
    /// How often a run that fails is tried again.
    pub retries: u32,
    /// Whether the weights of finished runs are kept. If not, they are removed once no run of the plan is
    /// left that starts from them.
    pub keeps_weights: bool,
    /// Whether runs that another process holds are waited for.
    pub waits: bool,
    /// Whether a run fails that was started several times without keeping a step, as when a scheduler starts
    /// it again and again.
    pub requires_progress: bool,
}

impl<'a> WorkerOptions<'a> {
    /// So many workers for all runs of a plan, with devices that `device` opens.
    pub const fn new(
        jobs: usize,
        device: &'a (dyn Fn(usize) -> Result<Device> + Sync),
    ) -> WorkerOptions<'a> {
        let interval = CheckpointInterval::DEFAULT;
        WorkerOptions {
            jobs,
            devices: 1,
            device,
            interval,
            only: None,
            interrupt: None,
            deadline: None,
            fail_fast: false,
            retries: 0,
            keeps_weights: true,
            waits: false,
            requires_progress: false,
        }
    }

    /// Whether they train the run.
    pub fn trains(&self, id: &str) -> bool {
        self.only.is_none_or(|only| only.contains(id))
    }

    /// Whether the further flag is set.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Whether the deadline has passed.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

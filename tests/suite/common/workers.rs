//! Who trains the runs of a test, and who looks on.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use vlora::runner::{Observer, PlannedRun, WorkerOptions};
use vlora::train::Step;

/// One run at a time, on the CPU.
pub const ALONE: WorkerOptions = at_once(1);

/// So many runs at once, on the CPU.
pub const fn at_once(jobs: usize) -> WorkerOptions<'static> {
    WorkerOptions::new(jobs, &|_| Ok(Device::Cpu))
}

pub struct Silent;
impl Observer for Silent {}

/// Raises the flag at the n-th step of all runs.
pub struct StopAt<'a> {
    left: usize,
    stop: &'a AtomicBool,
}

impl StopAt<'_> {
    pub fn nth_step(n: usize, stop: &AtomicBool) -> StopAt<'_> {
        StopAt { left: n, stop }
    }
}

impl Observer for StopAt<'_> {
    fn step(&mut self, _: &PlannedRun, _: &Step) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

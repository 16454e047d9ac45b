//! When a run writes checkpoints. It does not change the run's results.

use std::time::{Duration, Instant};

/// How often checkpoints are written within an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointInterval {
    /// The most training that a crash can lose.
    pub time: Duration,
    /// Also after so many optimiser steps.
    pub steps: Option<u64>,
}

impl CheckpointInterval {
    pub const DEFAULT: CheckpointInterval =
        CheckpointInterval { time: Duration::from_secs(5 * 60), steps: None };
}

/// At the end of an epoch a checkpoint is written earlier than the interval says, if training took this
/// many times as long as the last checkpoint: then all of them take 2 % of the time at most.
const TIMES_ITS_COST: u32 = 50;

/// Decides when the next checkpoint of a run is due.
pub struct CheckpointTimer {
    interval: CheckpointInterval,
    /// When the last one was written, and at which step.
    written: Instant,
    step: u64,
    /// How long writing it took; zero before the first.
    cost: Duration,
}

impl CheckpointTimer {
    /// For a run that begins, or resumes, after `step`.
    pub fn new(interval: CheckpointInterval, step: u64) -> CheckpointTimer {
        CheckpointTimer { interval, written: Instant::now(), step, cost: Duration::ZERO }
    }

    /// Whether a checkpoint is due after `step`.
    pub fn is_due(&self, step: u64) -> bool {
        let by_steps =
            self.interval.steps.is_some_and(|steps| step >= self.step.saturating_add(steps));
        by_steps || self.written.elapsed() >= self.interval.time
    }

    /// The same at the end of an epoch.
    pub fn is_due_at_epoch(&self, step: u64) -> bool {
        self.is_due(step) || self.written.elapsed() >= self.cost * TIMES_ITS_COST
    }

    /// Writes a checkpoint after `step` by `write`.
    pub fn write<E>(&mut self, step: u64, write: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let started = Instant::now();
        write()?;
        self.written = Instant::now();
        self.cost = self.written.duration_since(started);
        self.step = step;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_due_by_time_or_by_steps() {
        let seldom = Duration::from_secs(1 << 30);
        let timer = |time, steps, at| CheckpointTimer::new(CheckpointInterval { time, steps }, at);
        assert!(timer(Duration::ZERO, None, 0).is_due(0));
        let mut timer = timer(seldom, Some(10), 5);
        assert!(!timer.is_due(14) && timer.is_due(15));
        // The first epoch ends with one, whatever it costs.
        assert!(timer.is_due_at_epoch(6));
        let slow = || {
            std::thread::sleep(Duration::from_millis(20));
            Ok::<(), ()>(())
        };
        timer.write(15, slow).unwrap();
        assert!(!timer.is_due(24) && timer.is_due(25) && !timer.is_due_at_epoch(24));
        // A failed write changes nothing.
        timer.write(25, || Err::<(), ()>(())).unwrap_err();
        assert!(timer.is_due(25));
    }
}

//! Optimiser steps: their records and times, and steps whose results a device may still be computing.

use std::time::{Duration, Instant};

use super::adamw::Scalar;
use super::error::TrainError;
use crate::results::StepRecord;

/// A finished optimiser step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub record: StepRecord,
    pub examples: usize,
    /// Units of work, as the task counts them.
    pub units: u64,
    /// The step's weight in the mean over an epoch.
    pub weight: f64,
    pub times: StepTimes,
}

/// How a step's time was spent, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTimes {
    /// Waiting for batches that were not ready.
    pub wait: f64,
    pub forward: f64,
    /// Includes adding up the gradients of the step's batches.
    pub backward: f64,
    /// Includes clipping.
    pub optimizer: f64,
    /// Waiting for the device to finish. On a GPU the other parts only queue work.
    pub device: f64,
}

/// A step whose results the device may still be computing.
pub struct PendingStep {
    pub step: Step,
    /// The loss of each batch, with its share of the step.
    pub losses: Vec<(Scalar, f64)>,
    pub norm: Scalar,
}

impl PendingStep {
    /// Waits for the step's results and adds them.
    pub fn finish(self) -> candle_core::Result<Step> {
        let mut clock = Instant::now();
        let PendingStep { mut step, losses, norm } = self;
        for (loss, share) in losses {
            step.record.loss += loss.value()? * share;
        }
        step.record.gradient_norm = norm.value()?;
        step.times.device = lap(&mut clock);
        Ok(step)
    }
}

/// On a GPU: enough queued steps that waiting for results costs nothing.
const MAX_PENDING: usize = 32;
/// Results are read at least this often, so that progress is visible.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Steps that stay pending when results are read. They keep the device busy during the wait.
const KEPT_BUSY: usize = 2;

/// The pending steps, in order.
pub struct PendingSteps {
    /// How many may be pending before results are waited for.
    most: usize,
    steps: Vec<PendingStep>,
    looked: Instant,
}

impl PendingSteps {
    /// How many steps may be pending on a device.
    pub fn most(on_cpu: bool) -> usize {
        if on_cpu { 0 } else { MAX_PENDING }
    }

    pub fn new(most: usize) -> PendingSteps {
        PendingSteps { most, steps: Vec::new(), looked: Instant::now() }
    }

    pub fn push(&mut self, step: PendingStep) {
        self.steps.push(step);
    }

    /// Finishes the steps that are due, in order. After the `last` step all are due.
    pub fn finish_due(
        &mut self,
        last: bool,
        finish: impl FnMut(PendingStep) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        if !last && self.steps.len() <= self.most && self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        let stay = if last { 0 } else { self.most.min(KEPT_BUSY) };
        let due = self.steps.len().saturating_sub(stay);
        self.steps.drain(..due).try_for_each(finish)?;
        self.looked = Instant::now();
        Ok(())
    }
}

/// Seconds since `clock`, which is then reset.
pub fn lap(clock: &mut Instant) -> f64 {
    let before = std::mem::replace(clock, Instant::now());
    clock.duration_since(before).as_secs_f64()
}

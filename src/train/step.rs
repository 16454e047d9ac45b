//! Optimiser steps: what is stored and shown of one, and those whose results a device may still be
//! computing.

use std::time::{Duration, Instant};

use super::adamw::Scalar;
use super::error::TrainError;
use crate::results::StepRecord;

/// One optimiser step, as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub record: StepRecord,
    pub examples: usize,
    /// Units of work.
    pub units: u64,
    /// What the step counts for in the mean over an epoch.
    pub weight: f64,
    pub times: StepTimes,
}

/// What a step's time went into, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTimes {
    /// For batches that were not ready.
    pub wait: f64,
    pub forward: f64,
    /// Adding up the gradients of the step's batches included.
    pub backward: f64,
    /// Clipping included.
    pub optimizer: f64,
    /// For the device to finish. On a GPU the parts before only put work into its queue.
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
    /// The step with its results, which are waited for.
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

/// On a GPU: enough steps in its queue for waits to cost nothing.
const MOST_PENDING: usize = 32;
/// Results are looked at after so long, so that progress shows.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A result is waited for alone, so these last steps keep the device busy meanwhile.
const KEPT_BUSY: usize = 2;

/// The steps that are under way, in their order.
pub struct PendingSteps {
    /// How many may be, before results are waited for.
    most: usize,
    steps: Vec<PendingStep>,
    looked: Instant,
}

impl PendingSteps {
    /// How many steps may be under way on a device.
    pub fn most(on_cpu: bool) -> usize {
        if on_cpu { 0 } else { MOST_PENDING }
    }

    pub fn new(most: usize) -> PendingSteps {
        PendingSteps { most, steps: Vec::new(), looked: Instant::now() }
    }

    pub fn push(&mut self, step: PendingStep) {
        self.steps.push(step);
    }

    /// Finishes the steps whose turn it is, in their order: all of them behind the `last`.
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

/// Seconds since `clock`, which starts again.
pub fn lap(clock: &mut Instant) -> f64 {
    let before = std::mem::replace(clock, Instant::now());
    clock.duration_since(before).as_secs_f64()
}

//! Repeats a finished run, or its first steps, and compares every bit.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;

use super::execute::execute;
use super::observer::{Observer, Outcome};
use super::plan::{Plan, PlannedRun};
use super::provenance::session;
use super::seed_effects::seed_effects;
use super::worker_options::WorkerOptions;
use crate::error::{Error, Fault, Result};
use crate::results::{
    CheckLevel, ExperimentFolder, Provenance, RunFolder, SCHEMA_VERSION, Session, Verification,
    take_over,
};
use crate::train::Step;

/// How much of a run is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyScope {
    /// So many optimiser steps, with an interruption in the middle.
    Steps(u64),
    /// The whole run, with an interruption after its first steps.
    Full,
}

/// The interruption of a full repetition comes after so many steps.
const FIRST: u64 = 10;

/// A run that is repeated.
#[derive(Clone, Copy)]
pub struct Repetition<'a> {
    pub plan: &'a Plan,
    pub id: &'a str,
    /// The experiment of the run.
    pub experiment: &'a ExperimentFolder,
    /// Where it is repeated.
    pub scratch: &'a ExperimentFolder,
    pub scope: VerifyScope,
}

/// Repeats a run on a device, and records in the run's folder whether every bit was equal.
///
/// Errors if the run is not finished, or not in the plan: then the spec or the data are others by now.
pub fn verify(repetition: Repetition, device: &Device, stop: &AtomicBool) -> Result<Verification> {
    let Repetition { plan, id, experiment, scratch, scope } = repetition;
    let original = experiment.run(id);
    let whole = original.verify(CheckLevel::Thorough)?;
    let provenance: Provenance = original.read_json(RunFolder::PROVENANCE)?;
    let (variant, run) = plan.run(id).map_err(|e| e.map_fault(|f| f.file(original.path())))?;
    let session = session(plan, variant, device, 1);
    if let Some(theirs) = provenance.sessions.last() {
        let machine = |s: &Session| format!("{}, {}", s.device, s.processor);
        if machine(theirs) != machine(&session) {
            return Err(Fault::new("the run was trained on another machine, whose rounding may differ, so bits do not compare")
                .file(original.path())
                .found(machine(&session))
                .expected(format!("{}, which trained the run", machine(theirs)))
                .into());
        }
    }
    // What the run starts from is not repeated.
    if let Some((_, before)) = plan.started_from(variant, run) {
        let to = scratch.run(&before.id);
        let lock = to.lock()?;
        if take_over(&before.id, &experiment.run(&before.id), &to)?.is_none() {
            return Err(Fault::new("the run starts from one whose weights are not there")
                .source(experiment.run(&before.id).path().display())
                .help("`vlora run` trains it again, once its folder is removed")
                .into());
        }
        drop(lock);
    }
    let only = [id.to_string()].into();
    let device_of = |_| Ok(device.clone());
    let workers = WorkerOptions {
        only: Some(&only),
        interrupt: Some(stop),
        ..WorkerOptions::new(1, &device_of)
    };
    // A run with `training: none` has no steps, so all of it is repeated.
    let scope = if variant.length.steps == 0 { VerifyScope::Full } else { scope };
    let ends = match scope {
        VerifyScope::Steps(steps) => {
            let steps = steps.min(variant.steps());
            vec![steps.div_ceil(2), steps]
        }
        VerifyScope::Full => vec![FIRST, u64::MAX],
    };
    for end in ends {
        let until = AtomicBool::new(false);
        let mut observer = StopAtStep { end, until: &until };
        match execute(plan, scratch, workers, &until, &mut observer) {
            Ok(outcomes) => {
                if let Some(Outcome::Failed(reason)) = outcomes.first() {
                    return Err(Fault::failed("the run cannot be repeated").found(reason).into());
                }
            }
            Err(Error::Interrupted) if !stop.load(Ordering::Relaxed) => {}
            Err(error) => return Err(error),
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
    }
    let again = scratch.run(id);
    let steps = again.read_whole(RunFolder::STEPS)?;
    let done = steps.lines().count() as u64;
    let mut difference = first_difference(&original.read_whole(RunFolder::STEPS)?, &steps);
    if scope == VerifyScope::Full {
        for name in [RunFolder::STEPS, RunFolder::EPOCHS, RunFolder::TEST] {
            let is_equal = original.read_whole(name)? == again.read_whole(name)?;
            difference = difference.or((!is_equal).then(|| format!("{name} differs")));
        }
        let theirs = again.verify(CheckLevel::Thorough)?.result.model_sha256;
        let is_equal = theirs == whole.result.model_sha256;
        difference = difference.or((!is_equal).then(|| "the tested weights differ".to_string()));
    }
    let sessions = again.read_json::<Provenance>(RunFolder::PROVENANCE)?.sessions.len();
    let found = Verification {
        schema: SCHEMA_VERSION,
        result: original.sha256(RunFolder::RESULT)?,
        steps: done,
        full: scope == VerifyScope::Full,
        interrupted: sessions > 1,
        difference,
        // Optional: the comparison of bits is valid without it.
        seed_effects: match variant.length.steps {
            0 => None,
            _ => seed_effects(plan, variant, run, device).ok(),
        },
        session,
    };
    // A repetition of all says more than one of a few steps.
    let before = original.verification()?;
    let kept = match before.filter(|before| {
        let says_more = before.full && before.difference.is_none();
        says_more && !found.full && found.difference.is_none()
    }) {
        Some(before) => {
            Verification { seed_effects: found.seed_effects.or(before.seed_effects), ..before }
        }
        None => found.clone(),
    };
    original.write_json(RunFolder::VERIFIED, &kept)?;
    Ok(found)
}

/// Where the records of steps differ from the beginning of those of the original.
fn first_difference(original: &str, again: &str) -> Option<String> {
    let mut theirs = original.lines();
    let differs = again.lines().position(|line| theirs.next() != Some(line))?;
    Some(format!("the record of step {} differs", differs + 1))
}

struct StopAtStep<'a> {
    end: u64,
    until: &'a AtomicBool,
}

impl Observer for StopAtStep<'_> {
    fn step(&mut self, _: &PlannedRun, step: &Step) {
        if step.record.step >= self.end {
            self.until.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_step_that_differs_is_named() {
        let of = |again: &str| first_difference("a\nb\nc\n", again);
        assert_eq!((of(""), of("a\n"), of("a\nb\nc\n")), (None, None, None));
        assert_eq!(of("a\nx\nc\n").as_deref(), Some("the record of step 2 differs"));
        assert_eq!(of("a\nb\nc\nd\n").as_deref(), Some("the record of step 4 differs"));
    }
}

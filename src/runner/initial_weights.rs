//! The weights that a run starts from: those of a checkpoint or of another run.

use super::checkpoints::key;
use super::plan::{Plan, PlannedRun, PlannedVariant};
use crate::checkpoints::{Hints, LoadedCheckpoint, read_checkpoint};
use crate::error::{Fault, Result};
use crate::results::{CheckLevel, ExperimentFolder, RunFolder, RunState, StartRecord};
use crate::tasks::{Fitted, assumed_alpha};
use crate::train::Start;

/// The initial weights of a run.
pub enum InitialWeights {
    /// The weights are initialised from the seed.
    FromSeed,
    /// These weights, with the record for `start.json`.
    Loaded(Box<Start>, StartRecord),
    /// Another process holds the run that this one starts from.
    HeldElsewhere,
    /// The run that this one starts from has failed, or its weights do not fit.
    Failed(String),
}

/// Finds the weights that `run` of `variant` starts from. `is_trained_here`: whether this process trains a run,
/// sooner or later.
pub fn initial_weights(
    plan: &Plan,
    folder: &ExperimentFolder,
    variant: &PlannedVariant,
    run: &PlannedRun,
    is_trained_here: impl Fn(&str) -> bool,
) -> Result<InitialWeights> {
    let spec = &variant.variant.spec;
    let Some(start) = &spec.start else { return Ok(InitialWeights::FromSeed) };
    let from_run;
    let (loaded, from) = match (key(spec), plan.started_from(variant, run)) {
        (Some(key), _) => match plan.checkpoints.get(&key) {
            Some(loaded) => (loaded, start.checkpoint_name().unwrap_or_default()),
            None => return Ok(InitialWeights::Failed(format!("{key} has not been read"))),
        },
        (None, Some((other, before))) => {
            let source = folder.run(&before.id);
            match source.state() {
                RunState::Finished => {}
                RunState::Failed => {
                    return Ok(InitialWeights::Failed(format!(
                        "it starts from `{}`, whose run with seed {} has failed",
                        other.variant.label, before.seed
                    )));
                }
                RunState::Damaged => {
                    let damaged = source.verify(CheckLevel::Quick).err();
                    return Ok(InitialWeights::Failed(format!(
                        "it starts from `{}`, whose run with seed {} is not whole: {}",
                        other.variant.label,
                        before.seed,
                        damaged.map(|e| e.to_string()).unwrap_or_default()
                    )));
                }
                // This process would have finished it by now, so another process holds or held it.
                RunState::Running => return Ok(InitialWeights::HeldElsewhere),
                RunState::Planned | RunState::Interrupted if is_trained_here(&before.id) => {
                    return Ok(InitialWeights::HeldElsewhere);
                }
                // Nobody may ever train it.
                unfinished => {
                    return Ok(InitialWeights::Failed(format!(
                        "it starts from `{}`, whose run with seed {}, {}, is {}",
                        other.variant.label,
                        before.seed,
                        before.id,
                        unfinished.name()
                    )));
                }
            }
            match tested_weights(&source) {
                Ok(loaded) => from_run = loaded,
                Err(e) => return Ok(InitialWeights::Failed(e.to_string())),
            }
            (&from_run, format!("run {}", before.id))
        }
        (None, None) => {
            return Ok(InitialWeights::Failed("the arm it starts from is not planned".into()));
        }
    };
    let fitted = match plan.data(&variant.variant).fit(&loaded.checkpoint, spec) {
        Ok(fitted) => fitted,
        Err(e) => {
            return Ok(InitialWeights::Failed(format!("the weights of {from} do not fit: {e}")));
        }
    };
    let Fitted { values, conversion, kept, task, from_seed } = fitted;
    let (sha256, alpha) = (loaded.sha256.clone(), assumed_alpha(loaded));
    let record = StartRecord { from, sha256, alpha, conversion, kept, task };
    Ok(InitialWeights::Loaded(Box::new(Start { values, from_seed }), record))
}

/// The model of a finished run, verified.
pub fn tested_weights(run: &RunFolder) -> Result<LoadedCheckpoint> {
    let whole = run.verify_with_weights(CheckLevel::Quick)?;
    let path = run.file(RunFolder::MODEL);
    let again = "remove that run's folder, and `vlora run` trains it again";
    let loaded = read_checkpoint(&path, &Hints::default())
        .map_err(|e| e.map_fault(|fault| fault.or_help(again)))?;
    match loaded.sha256 == whole.result.model_sha256 {
        true => Ok(loaded),
        false => Err(Fault::of_file(&path, "not the weights that were tested")
            .found(format!("SHA-256 {}", loaded.sha256))
            .expected(format!("{}, as result.json has it", whole.result.model_sha256))
            .help(again)
            .into()),
    }
}

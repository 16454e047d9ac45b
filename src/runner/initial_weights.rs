//! The weights a run starts from: a checkpoint's, or those of another run of the experiment.

use super::checkpoints::key;
use super::plan::{Plan, PlannedRun, PlannedVariant};
use crate::checkpoints::{Hints, Loaded, read_checkpoint};
use crate::error::{Fault, Result};
use crate::results::{CheckLevel, ExperimentFolder, RunFolder, RunState, StartRecord};
use crate::tasks::{Fitted, assumed_alpha};
use crate::train::Start;

/// What is known of the weights of a run that is to be trained now.
pub enum InitialWeights {
    /// The run starts from its seed.
    OfSeed,
    /// These, and what `start.json` says of them.
    Of(Box<Start>, StartRecord),
    /// The run it starts from is in another process's hands.
    Elsewhere,
    /// The run it starts from has failed, or does not fit.
    Failed(String),
}

/// Finds the weights that `run` of `variant` starts from.
pub fn initial_weights(
    plan: &Plan,
    folder: &ExperimentFolder,
    variant: &PlannedVariant,
    run: &PlannedRun,
) -> Result<InitialWeights> {
    let spec = &variant.variant.spec;
    let Some(start) = &spec.start else { return Ok(InitialWeights::OfSeed) };
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
                // This process would have finished it, so another one has it or had it.
                RunState::Running | RunState::Planned | RunState::Interrupted => {
                    return Ok(InitialWeights::Elsewhere);
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
    Ok(InitialWeights::Of(Box::new(Start { values, from_seed }), record))
}

/// The model that a finished run left, as it left it.
fn tested_weights(run: &RunFolder) -> Result<Loaded> {
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

//! The weights a run starts from: a checkpoint's, or those of another run of the experiment.

use super::checkpoints::{key, said_alpha};
use super::plan::{Plan, PlannedRun, PlannedVariant};
use crate::error::{Error, Result};
use crate::models::checkpoint::{Fitted, Hints, Loaded, fit, read_checkpoint};
use crate::results::{ExperimentFolder, KeptRecord, RunFolder, RunResult, RunState, StartRecord};
use crate::spec::StartHead;
use crate::train::Start;
use crate::vlora::is_lora;

/// What a run can do about its start.
pub enum Ready {
    /// Starts from its seed.
    FromSeed,
    From(Box<Start>, StartRecord),
    /// The run it starts from is in another process's hands.
    Elsewhere,
    /// The run it starts from has failed, or does not fit.
    Failed(String),
}

/// Finds the weights that `run` of `variant` starts from.
pub fn ready(
    plan: &Plan,
    folder: &ExperimentFolder,
    variant: &PlannedVariant,
    run: &PlannedRun,
) -> Result<Ready> {
    let spec = &variant.variant.spec;
    let Some(start) = &spec.start else { return Ok(Ready::FromSeed) };
    let from_run;
    let (loaded, from) = match (key(spec), plan.started_from(variant, run)) {
        (Some(key), _) => match plan.checkpoints.get(&key) {
            Some(loaded) => (loaded, start.checkpoint_name().unwrap_or_default()),
            None => return Ok(Ready::Failed(format!("{key} has not been read"))),
        },
        (None, Some((other, before))) => {
            let source = folder.run(&before.id);
            match source.state() {
                RunState::Finished => {}
                RunState::Failed => {
                    return Ok(Ready::Failed(format!(
                        "it starts from `{}`, whose run with seed {} has failed",
                        other.variant.label, before.seed
                    )));
                }
                // This process would have finished it, so another one has it or had it.
                RunState::Running | RunState::Planned | RunState::Interrupted => {
                    return Ok(Ready::Elsewhere);
                }
            }
            match tested_weights(&source) {
                Ok(loaded) => from_run = loaded,
                Err(e) => return Ok(Ready::Failed(e.to_string())),
            }
            (&from_run, format!("run {}", before.id))
        }
        (None, None) => return Ok(Ready::Failed("the arm it starts from is not planned".into())),
    };
    let Fitted { values, kept, conversion } = match fit(&loaded.checkpoint, spec) {
        Ok(fitted) => fitted,
        Err(e) => return Ok(Ready::Failed(format!("the weights of {from} do not fit: {e}"))),
    };
    let kept = kept.into_iter().map(|k| KeptRecord {
        layer: k.layer,
        target: k.target,
        rank: k.rank,
        energy_kept: k.energy_kept,
        relative_error: k.relative_error,
    });
    let (sha256, alpha) = (loaded.sha256.clone(), said_alpha(loaded));
    let record = StartRecord { from, sha256, alpha, conversion, kept: kept.collect() };
    let new_head = start.head == StartHead::New;
    let from_seed = move |name: &str| is_lora(name) || new_head && name.starts_with("head.");
    Ok(Ready::From(Box::new(Start { values, from_seed: Box::new(from_seed) }), record))
}

/// The model that a finished run left, as it left it.
fn tested_weights(run: &RunFolder) -> Result<Loaded> {
    let result: RunResult = run.read_json(RunFolder::RESULT)?;
    let loaded = read_checkpoint(&run.file(RunFolder::MODEL), &Hints::default()).map_err(|e| {
        Error::Input(format!("{e}\n  help:     remove that run's folder to train it again"))
    })?;
    match loaded.sha256 == result.model_sha256 {
        true => Ok(loaded),
        false => Err(Error::Input(format!(
            "{}: not the weights that were tested\n  found:    SHA-256 {}\n  expected: {}, as \
             result.json has it; remove the run's folder to train it again",
            run.file(RunFolder::MODEL).display(),
            loaded.sha256,
            result.model_sha256
        ))),
    }
}

//! The weights a run starts from: a checkpoint's, or those of another run of the experiment.

use std::collections::BTreeMap;
use std::path::Path;

use super::plan::{Plan, PlannedRun, PlannedVariant};
use crate::error::{Error, Result};
use crate::models::checkpoint::{Fitted, Hints, Loaded, check_model, fit, read_checkpoint};
use crate::results::{ExperimentFolder, KeptRecord, RunFolder, RunResult, RunState, StartRecord};
use crate::spec::{RunSpec, StartHead};
use crate::train::Start;
use crate::vlora::is_lora;

/// The checkpoints that an experiment's arms start from, by [`key`].
pub type Checkpoints = BTreeMap<(String, usize), Loaded>;

/// A checkpoint's path and what its file may not say: the number of heads.
fn key(spec: &RunSpec) -> Option<(String, usize)> {
    Some((spec.start.as_ref()?.checkpoint.clone()?, spec.model.heads))
}

/// Reads the checkpoint that `spec` starts from, unless it is read already, and holds its model
/// to the spec's. Returns its hash; None where the run starts from no checkpoint.
pub fn read(spec: &RunSpec, checkpoints: &mut Checkpoints) -> Result<Option<String>> {
    let Some(key) = key(spec) else { return Ok(None) };
    let path = key.0.clone();
    if !checkpoints.contains_key(&key) {
        // Files of other programs say neither; then they are the spec's.
        let alpha = spec.vlora.as_ref().map(|v| v.alpha);
        let hints = Hints { heads: Some(spec.model.heads), alpha };
        checkpoints.insert(key.clone(), read_checkpoint(Path::new(&path), &hints)?);
    }
    let loaded = &checkpoints[&key];
    check_model(&loaded.checkpoint, spec)
        .map_err(|e| Error::Input(format!("start.checkpoint: {path}: {e}")))?;
    Ok(Some(loaded.sha256.clone()))
}

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
            Some(loaded) => (loaded, key.0),
            None => return Ok(Ready::Failed(format!("{} has not been read", key.0))),
        },
        (None, Some((other, before))) => {
            let source = folder.run(&before.id);
            match source.state() {
                RunState::Finished => {}
                RunState::Running => return Ok(Ready::Elsewhere),
                state => {
                    return Ok(Ready::Failed(format!(
                        "it starts from `{}`, whose run with seed {} has {}",
                        other.variant.label,
                        before.seed,
                        if state == RunState::Failed { "failed" } else { "not finished" }
                    )));
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
    let Fitted { values, kept } = match fit(&loaded.checkpoint, spec) {
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
    let record = StartRecord { from, sha256: loaded.sha256.clone(), kept: kept.collect() };
    let new_head = start.head == StartHead::New;
    let from_seed = move |name: &str| is_lora(name) || new_head && name.starts_with("head.");
    Ok(Ready::From(Box::new(Start { values, from_seed: Box::new(from_seed) }), record))
}

/// The model that a finished run left, as it left it.
fn tested_weights(run: &RunFolder) -> Result<Loaded> {
    let result: RunResult = run.read_json(RunFolder::RESULT)?;
    let loaded = read_checkpoint(&run.file(RunFolder::MODEL), &Hints::default())?;
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

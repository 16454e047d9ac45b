//! The checkpoints that the runs of an experiment start from, each read once.

use std::collections::BTreeMap;

use super::base_model::{as_named, model_path};
use crate::checkpoints::{CheckpointFormat, Hints, LoadedCheckpoint, check_model, read_checkpoint};
use crate::error::{Fault, Result};
use crate::hub::Hub;
use crate::spec::{RunSpec, StartHead};
use crate::tasks::definition;

/// Checkpoints by their [`key`].
pub type Checkpoints = BTreeMap<String, LoadedCheckpoint>;

/// A checkpoint's name, with the settings from the spec that its file may not contain.
pub fn key(spec: &RunSpec) -> Option<String> {
    let start = spec.start.as_ref()?;
    let name = start.checkpoint_name()?;
    let (heads, alpha, head) = (spec.model.heads(), start.alpha, new_head(spec));
    let (pool, model) = (spec.model.text_pool(), spec.model.needed_to_read_state_dicts());
    Some(format!(
        "{name} heads {heads} alpha {alpha:?} head {head:?} pool {pool:?} model {model:?}"
    ))
}

/// The number of outputs of a new head, which is initialised from the seed; None without one.
fn new_head(spec: &RunSpec) -> Option<usize> {
    let new = spec.start.as_ref().is_some_and(|start| start.head == StartHead::New);
    definition(spec.task).head_outputs(spec).filter(|_| new)
}

/// Reads the checkpoint that `spec` starts from, unless it is already read, and checks its model
/// against the spec's. None if the run starts from no checkpoint.
pub fn read<'a>(
    spec: &RunSpec,
    checkpoints: &'a mut Checkpoints,
    hub: &Hub,
) -> Result<Option<&'a LoadedCheckpoint>> {
    let (Some(key), Some(start)) = (key(spec), &spec.start) else { return Ok(None) };
    let name = start.checkpoint_name().unwrap_or_default();
    if !checkpoints.contains_key(&key) {
        let alpha = start.alpha;
        let (heads, new_head) = (Some(spec.model.heads()), new_head(spec));
        let (pool, model) =
            (spec.model.text_pool(), spec.model.needed_to_read_state_dicts().cloned());
        let hints = Hints { heads, alpha, new_head, pool, model, ..Hints::default() };
        let path = model_path(&name, hub)?;
        let read = read_checkpoint(&path, &hints);
        checkpoints.insert(key.clone(), read.map_err(|e| as_named(&name, &path, e))?);
    }
    let loaded = &checkpoints[&key];
    if let Some(alpha) = start.alpha.filter(|_| loaded.format != CheckpointFormat::Authors) {
        return Err(Fault::new("start.alpha is only for files that do not store alpha")
            .source(name)
            .found(format!("start.alpha: {alpha}"))
            .expected(format!("no start.alpha for a file of this format: {}", loaded.format))
            .into());
    }
    check_model(&loaded.checkpoint, spec).map_err(|e| e.map_fault(|fault| fault.under(name)))?;
    Ok(Some(loaded))
}

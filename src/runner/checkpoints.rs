//! The checkpoints that an experiment's runs start from, read once.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::models::checkpoint::{Hints, Loaded, check_model, read_checkpoint};
use crate::spec::RunSpec;

/// The checkpoints that an experiment's arms start from, by [`key`].
pub type Checkpoints = BTreeMap<String, Loaded>;

/// A checkpoint's path with what its file may not say, which the spec then does.
pub fn key(spec: &RunSpec) -> Option<String> {
    let start = spec.start.as_ref()?;
    let path = start.checkpoint.as_ref()?;
    Some(format!("{path} heads {} alpha {:?}", spec.model.heads, start.alpha))
}

/// Reads the checkpoint that `spec` starts from, unless it is read already, and holds its model
/// to the spec's. Returns its hash; None where the run starts from no checkpoint.
pub fn read(spec: &RunSpec, checkpoints: &mut Checkpoints) -> Result<Option<String>> {
    let Some(key) = key(spec) else { return Ok(None) };
    let start = spec.start.as_ref();
    let path = start.and_then(|s| s.checkpoint.clone()).unwrap_or_default();
    if !checkpoints.contains_key(&key) {
        let alpha = start.and_then(|s| s.alpha);
        let hints = Hints { heads: Some(spec.model.heads), alpha, ..Hints::default() };
        checkpoints.insert(key.clone(), read_checkpoint(Path::new(&path), &hints)?);
    }
    let loaded = &checkpoints[&key];
    check_model(&loaded.checkpoint, spec).map_err(|e| Error::Input(format!("{path}: {e}")))?;
    Ok(Some(loaded.sha256.clone()))
}

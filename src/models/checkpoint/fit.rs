//! A checkpoint's weights in the shape that a run asks for: as they are where the method is the
//! same, else materialised and, for VLoRA, turned into compounds with the best increments of the
//! run's rank.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::Checkpoint;
use crate::error::{Error, Result};
use crate::spec::{IncrementInit, RunSpec, StartHead, VloraSpec, flatten};
use crate::vlora::{Kept, compress};

/// Weights by this project's names, without the head where the run wants a new one.
pub struct Fitted {
    pub values: BTreeMap<String, Tensor>,
    /// What a conversion to increments kept; empty where there was none.
    pub kept: Vec<Kept>,
}

/// Refuses a checkpoint of another model than the run's. With a new head the classes may differ.
pub fn check_model(checkpoint: &Checkpoint, run: &RunSpec) -> Result<()> {
    let (theirs, mine) = (flatten(&checkpoint.model), flatten(&run.model));
    let new_head = run.start.as_ref().is_some_and(|s| s.head == StartHead::New);
    let differs = mine.iter().find(|(field, value)| {
        theirs.get(*field) != Some(value) && !(new_head && *field == "classes")
    });
    let Some((field, value)) = differs else { return Ok(()) };
    let found = theirs.get(field).map_or("nothing", String::as_str);
    let help = match field.as_str() {
        "classes" => "\n  help:     `start.head: new` trains a head for other classes",
        _ => "",
    };
    Err(Error::Input(format!(
        "the checkpoint is of another model\n  found:    model.{field}: {found}\n  expected: \
         {value}, as the spec has it{help}"
    )))
}

/// The checkpoint's weights for `run`, whose model must be the checkpoint's ([`check_model`]).
pub fn fit(checkpoint: &Checkpoint, run: &RunSpec) -> Result<Fitted> {
    check_model(checkpoint, run)?;
    let same = checkpoint.lora.is_none()
        && checkpoint.vlora.as_ref().map(shape) == run.vlora.as_ref().map(shape);
    let (mut values, kept) = match (&run.vlora, same) {
        (_, true) => (checkpoint.tensors.clone(), Vec::new()),
        (None, false) => (checkpoint.materialised()?.tensors, Vec::new()),
        (Some(vlora), false) => {
            compress(&checkpoint.materialised()?.tensors, run.model.depth, vlora)?
        }
    };
    if run.start.as_ref().is_some_and(|s| s.head == StartHead::New) {
        values.retain(|name, _| !name.starts_with("head."));
    }
    Ok(Fitted { values, kept })
}

/// What of the method decides which parameters there are and what they mean: how they start and
/// where gradients stop does not.
fn shape(vlora: &VloraSpec) -> VloraSpec {
    VloraSpec { detach: true, init: IncrementInit::Authors, ..vlora.clone() }
}

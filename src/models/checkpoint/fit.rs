//! A checkpoint's weights in the shape that a run asks for: as they are where the method is the
//! same, else materialised and, for VLoRA, turned into compounds with the best increments of the
//! run's rank.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::Checkpoint;
use super::shapes::check_sizes;
use crate::error::{Error, Result};
use crate::results::Conversion;
use crate::spec::{RunSpec, StartHead, Target, VloraSpec};
use crate::vlora::{Kept, compress};

/// Weights by this project's names, without the head where the run wants a new one.
pub struct Fitted {
    pub values: BTreeMap<String, Tensor>,
    pub conversion: Conversion,
    /// What a decomposition kept; empty without one.
    pub kept: Vec<Kept>,
}

/// Refuses a checkpoint of another model than the run's. With a new head the classes may differ.
pub fn check_model(checkpoint: &Checkpoint, run: &RunSpec) -> Result<()> {
    let new_head = run.start.as_ref().is_some_and(|s| s.head == StartHead::New);
    let Some(differs) = run.model.difference(&checkpoint.model, new_head) else { return Ok(()) };
    let help = match differs.field.as_str() {
        "classes" => "\n  help:     `start.head: new` trains a head for other classes",
        _ => "",
    };
    Err(Error::Input(format!(
        "the checkpoint is of another model\n  found:    model.{}: {}\n  expected: {}, as the spec \
         has it{help}",
        differs.field, differs.theirs, differs.own
    )))
}

/// The checkpoint's weights for `run`, whose model must be the checkpoint's ([`check_model`]).
pub fn fit(checkpoint: &Checkpoint, run: &RunSpec) -> Result<Fitted> {
    check_model(checkpoint, run)?;
    let conversion = conversion(checkpoint.vlora.as_ref(), checkpoint.lora.is_some(), run);
    let (mut values, kept) = match (conversion, &run.vlora) {
        (Conversion::Decomposed, Some(vlora)) => {
            let (compressed, kept) = checkpoint.compressed(vlora)?;
            (compressed.tensors, kept)
        }
        (Conversion::None, _) => (checkpoint.tensors.clone(), Vec::new()),
        _ => (checkpoint.materialised()?.tensors, Vec::new()),
    };
    if run.start.as_ref().is_some_and(|s| s.head == StartHead::New) {
        values.retain(|name, _| !name.starts_with("head."));
    }
    Ok(Fitted { values, conversion, kept })
}

/// What is done to weights of this method, with LoRA on top or not, for a run to start from them.
pub fn conversion(vlora: Option<&VloraSpec>, lora: bool, run: &RunSpec) -> Conversion {
    match (vlora, &run.vlora) {
        (None, None) if !lora => Conversion::None,
        (Some(theirs), Some(own)) if !lora && same_weights(theirs, own, run.model.depth) => {
            Conversion::None
        }
        (_, None) => Conversion::MultipliedOut,
        (_, Some(_)) => Conversion::Decomposed,
    }
}

impl Checkpoint {
    /// The model in compounds: every layer multiplied out, then those behind a compound's first
    /// as the increments that are nearest to them, with what each keeps.
    pub fn compressed(&self, vlora: &VloraSpec) -> Result<(Checkpoint, Vec<Kept>)> {
        let mut vlora = vlora.clone();
        vlora.targets.sort_by_key(|own| own.target);
        check_sizes(&self.model, Some(&vlora), None)?;
        let dense = self.materialised()?;
        let (tensors, kept) = compress(&dense.tensors, self.model.depth, &vlora)?;
        Ok((Checkpoint { vlora: Some(vlora), tensors, ..dense }, kept))
    }
}

/// Whether the same parameters mean the same weights: how they start and where gradients stop
/// has no part in it.
fn same_weights(a: &VloraSpec, b: &VloraSpec, depth: usize) -> bool {
    let of = |vlora: &VloraSpec, layer: usize, target: Target| {
        let increment = vlora.increment(layer, target)?;
        Some((increment, vlora.reference_layer(layer)))
    };
    (0..depth).all(|l| Target::all().all(|t| of(a, l, t) == of(b, l, t)))
}

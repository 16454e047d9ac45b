//! A checkpoint's weights in the shape that a run needs: its head's rows in the order of the data's
//! classes, its position embeddings for the run's image size; then as they are where the method is the
//! same, else multiplied out and, for VLoRA, turned into compounds with the best increments of the run's
//! rank.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::checkpoint::Checkpoint;
use super::classes::match_classes;
use super::positions::resample_positions;
use crate::error::{Error, Fault, Result};
use crate::models::head_parameters;
use crate::models::vit::tokens;
use crate::spec::{
    ClassMatch, Conversion, Kept, PositionEmbedding, Resampled, RunSpec, Stack, StartHead, VitSpec,
    VloraSpec, validate_model,
};
use crate::vlora::{Increment, LayerMap, compress};

/// The name of the position embeddings.
const POSITIONS: &str = "pos_embed";

/// Weights by this project's names, without the head where the run wants a new one.
pub struct AdaptedWeights {
    pub values: BTreeMap<String, Tensor>,
    pub conversion: Conversion,
    /// What a decomposition kept; empty without one.
    pub kept: Vec<Kept>,
    /// How a kept head's rows were matched to the data's classes.
    pub classes: Option<ClassMatch>,
    pub positions: Option<Resampled>,
}

/// A checkpoint with the classes, and of an image model the image size, of what it is to be used for.
pub struct Aligned {
    pub checkpoint: Checkpoint,
    pub classes: Option<ClassMatch>,
    pub positions: Option<Resampled>,
}

/// Refuses a checkpoint of another model than the run's. With a new head the classes may differ,
/// and unless the spec refuses it the image size.
pub fn check_model(checkpoint: &Checkpoint, run: &RunSpec) -> Result<()> {
    let start = run.start.as_ref();
    let Some(differs) = run.model.difference(&checkpoint.model, start) else {
        return Ok(());
    };
    let fault = Fault::new("the checkpoint is of another model")
        .found(format!("model.{}: {}", differs.field, differs.theirs))
        .expected(format!("{}, as the spec has it", differs.own));
    Err(Error::from(match differs.field.as_str() {
        "classes" => fault.help("`start.head: new` trains a head for other classes"),
        "image_size" => {
            fault.help("`start.position_embedding: auto` resamples the position embeddings")
        }
        _ => fault,
    }))
}

/// What resampling makes of position embeddings of a model of this size for that of a run; None
/// where the sizes are the same. `auto` is timm's way: whose checkpoint it is was looked at before.
pub fn resampled(from: &VitSpec, to: &VitSpec, how: PositionEmbedding) -> Option<Resampled> {
    let side = |model: &VitSpec| model.image_size / model.patch_size.max(1);
    let method = match how {
        PositionEmbedding::Auto => PositionEmbedding::Timm,
        other => other,
    };
    (side(from) != side(to)).then(|| Resampled { method, from: side(from), to: side(to) })
}

/// The checkpoint for `run`'s model and data with classes of these names (none is an empty list).
pub fn align(checkpoint: &Checkpoint, run: &RunSpec, class_names: &[String]) -> Result<Aligned> {
    check_model(checkpoint, run)?;
    let start = run.start.as_ref();
    let classes = match start.is_some_and(|s| s.head == StartHead::New) {
        true => None,
        false => Some(match_classes(&checkpoint.metadata.class_names, class_names)?),
    };
    let mut aligned = match &classes {
        Some(classes) => checkpoint.clone().in_order(classes)?,
        None => checkpoint.clone(),
    };
    let how = start.map_or(PositionEmbedding::Auto, |start| start.position_embedding);
    let sizes = checkpoint.model.as_vit().zip(run.model.as_vit());
    let positions = sizes.and_then(|(theirs, own)| resampled(theirs, own, how));
    if let (Some(how), Some((theirs, own))) = (positions, sizes) {
        let prefix = tokens(theirs).saturating_sub(how.from * how.from);
        if let Some(values) = aligned.tensors.get_mut(POSITIONS) {
            *values = resample_positions(values, prefix, how)?;
        }
        aligned.model = VitSpec { image_size: own.image_size, ..theirs.clone() }.into();
    }
    Ok(Aligned { checkpoint: aligned, classes, positions })
}

/// The checkpoint's weights for `run`, whose model must be the checkpoint's ([`check_model`]), on
/// data with classes of these names.
pub fn adapt(
    checkpoint: &Checkpoint,
    run: &RunSpec,
    class_names: &[String],
) -> Result<AdaptedWeights> {
    let Aligned { checkpoint, classes, positions } = align(checkpoint, run, class_names)?;
    let conversion = conversion(checkpoint.vlora.as_ref(), checkpoint.lora.is_some(), run);
    let (mut values, kept) = match (conversion, &run.vlora) {
        (Conversion::Decomposed, Some(vlora)) => {
            let (compressed, kept) = checkpoint.compressed(vlora)?;
            (compressed.tensors, kept)
        }
        (Conversion::None, _) => (checkpoint.tensors, Vec::new()),
        _ => (checkpoint.materialised()?.tensors, Vec::new()),
    };
    if run.start.as_ref().is_some_and(|s| s.head == StartHead::New) {
        let head = head_parameters(&run.model)?;
        values.retain(|name, _| !head.contains(name));
    }
    Ok(AdaptedWeights { values, conversion, kept, classes, positions })
}

/// What is done to weights of this method, with LoRA on top or not, for a run to start from them.
pub fn conversion(vlora: Option<&VloraSpec>, lora: bool, run: &RunSpec) -> Conversion {
    match (vlora, &run.vlora) {
        (None, None) if !lora => Conversion::None,
        (Some(theirs), Some(own)) if !lora && same_weights(theirs, own, &run.model.stacks()) => {
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
        validate_model(&self.model, Some(&vlora), None)?;
        let weights = self.model.weights();
        vlora.targets.sort_by_key(|own| weights.iter().position(|w| w.target == own.target));
        let dense = self.materialised()?;
        let (tensors, kept) = compress(&dense.tensors, &self.model.stacks(), &vlora)?;
        Ok((Checkpoint { vlora: Some(vlora), tensors, ..dense }, kept))
    }
}

/// Whether the same parameters mean the same weights: how they start and where gradients stop
/// has no part in it.
fn same_weights(a: &VloraSpec, b: &VloraSpec, stacks: &[Stack]) -> bool {
    // Of each layer and weight the layer that it adds to, and what it adds.
    let of = |vlora: &VloraSpec, stack: &Stack| -> Vec<Option<(usize, Increment)>> {
        let map = LayerMap::of(stack, Some(vlora));
        let mut all = Vec::new();
        for reference in (0..stack.depth).map(|layer| map.reference(layer)) {
            let increments = stack.weights.iter().map(|weight| Increment::of(weight, vlora));
            all.extend(increments.map(|increment| Some((reference?, increment?))));
        }
        all
    };
    stacks.iter().all(|stack| of(a, stack) == of(b, stack))
}

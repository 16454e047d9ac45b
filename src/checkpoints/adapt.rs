//! Adapts a checkpoint's weights to a run. The head's rows are put in the order of the data's
//! classes, and the position embeddings are resampled to the run's image size. If checkpoint and
//! run use the same method, the weights stay as they are. Otherwise they are merged into
//! dense weights and, for VLoRA, decomposed into compounds with the best increments of the run's
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
    ClassMatch, Conversion, Kept, PositionEmbedding, Resampled, RunSpec, Stack, StartHead,
    StartSpec, VitSpec, VloraSpec, validate_model,
};
use crate::vlora::{Compression, Increment, LayerMap, compress};

/// The parameter name of the position embeddings.
const POSITIONS: &str = "pos_embed";

/// Weights by this project's names, without the head if the run trains a new one.
pub struct AdaptedWeights {
    pub values: BTreeMap<String, Tensor>,
    pub conversion: Conversion,
    /// How much of each weight a decomposition kept; empty without one.
    pub kept: Vec<Kept>,
    /// How the rows of a kept head were matched to the data's classes.
    pub classes: Option<ClassMatch>,
    pub positions: Option<Resampled>,
}

/// A checkpoint with its classes, and for an image model its image size, fitted to a run.
pub struct Aligned {
    pub checkpoint: Checkpoint,
    pub classes: Option<ClassMatch>,
    pub positions: Option<Resampled>,
}

/// Errors if the checkpoint's model is not the run's. With a new head the classes may differ. The
/// image size may differ unless the spec forbids it.
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

/// How position embeddings are resampled from one model's image size to another's; None if the
/// sizes are equal. `auto` means timm's method here: the caller has already replaced it for Hugging
/// Face's checkpoints.
pub fn resampled(from: &VitSpec, to: &VitSpec, how: PositionEmbedding) -> Option<Resampled> {
    let side = |model: &VitSpec| model.image_size / model.patch_size.max(1);
    let method = match how {
        PositionEmbedding::Auto => PositionEmbedding::Timm,
        other => other,
    };
    (side(from) != side(to)).then(|| Resampled { method, from: side(from), to: side(to) })
}

/// Fits the checkpoint to `run`'s model and to data with these class names. The list is empty if
/// the classes have no names.
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

/// The checkpoint's weights for `run`, on data with these class names. Errors if the models differ
/// ([`check_model`]).
pub fn adapt(
    checkpoint: &Checkpoint,
    run: &RunSpec,
    class_names: &[String],
) -> Result<AdaptedWeights> {
    let Aligned { checkpoint, classes, positions } = align(checkpoint, run, class_names)?;
    let conversion = conversion(checkpoint.vlora.as_ref(), checkpoint.lora.is_some(), run);
    check_conversion(conversion, run)?;
    let (mut values, kept) = match (conversion, &run.vlora) {
        (Conversion::Decomposed, Some(vlora)) => {
            let (compressed, kept) = checkpoint.compressed(vlora, run.start.as_ref())?;
            (compressed.tensors, kept)
        }
        (Conversion::None, _) => (checkpoint.tensors, Vec::new()),
        _ => (checkpoint.merged()?.tensors, Vec::new()),
    };
    if run.start.as_ref().is_some_and(|s| s.head == StartHead::New) {
        let head = head_parameters(&run.model)?;
        values.retain(|name, _| !head.contains(name));
    }
    Ok(AdaptedWeights { values, conversion, kept, classes, positions })
}

/// Refuses fields of `start` that are about the conversion of a dense model, where there is none.
pub fn check_conversion(conversion: Conversion, run: &RunSpec) -> Result<()> {
    let Some(start) = run.start.as_ref().filter(|_| conversion == Conversion::None) else {
        return Ok(());
    };
    match start.base_init.is_first() && start.increments.is_svd() {
        true => Ok(()),
        false => Err(Fault::new("the weights share layers in this way already")
            .found("`start.base_init` or `start.increments`, which are about dense weights")
            .expected("a dense model to start from, or neither of both fields")
            .into()),
    }
}

/// The conversion that a run needs to start from weights of this method, with or without LoRA.
pub fn conversion(vlora: Option<&VloraSpec>, lora: bool, run: &RunSpec) -> Conversion {
    match (vlora, &run.vlora) {
        (None, None) if !lora => Conversion::None,
        (Some(theirs), Some(own)) if !lora && same_weights(theirs, own, &run.model.stacks()) => {
            Conversion::None
        }
        (_, None) => Conversion::Merged,
        (_, Some(_)) => Conversion::Decomposed,
    }
}

impl Checkpoint {
    /// The model in compounds, and how much of each weight was kept. Every layer is merged.
    /// Then each layer but a compound's first is replaced by its nearest low-rank increment, unless
    /// `start` says otherwise.
    pub fn compressed(
        &self,
        vlora: &VloraSpec,
        start: Option<&StartSpec>,
    ) -> Result<(Checkpoint, Vec<Kept>)> {
        let mut vlora = vlora.clone();
        validate_model(&self.model, Some(&vlora), None)?;
        let weights = self.model.weights();
        vlora.targets.sort_by_key(|target| weights.iter().position(|w| w.target == target.target));
        let dense = self.merged()?;
        let how = start.map_or_else(Compression::default, Compression::of);
        let (tensors, kept) = compress(&dense.tensors, &self.model.stacks(), &vlora, how)?;
        Ok((Checkpoint { vlora: Some(vlora), tensors, ..dense }, kept))
    }
}

/// Whether the same parameters give the same weights under both specs. Initialisation and detaching
/// do not matter for that.
fn same_weights(a: &VloraSpec, b: &VloraSpec, stacks: &[Stack]) -> bool {
    // For each layer and weight: the layer that it adds to, and its increment.
    let of = |vlora: &VloraSpec, stack: &Stack| -> Vec<(Option<usize>, Option<Increment>)> {
        let map = LayerMap::of(stack, Some(vlora));
        let mut all = Vec::new();
        for layer in 0..stack.depth {
            for weight in &stack.weights {
                let increment = Increment::of(weight, vlora);
                let reference = map.reference(layer).filter(|_| increment.is_some());
                all.push((reference, increment.filter(|_| map.has_increment(layer))));
            }
        }
        all
    };
    stacks.iter().all(|stack| of(a, stack) == of(b, stack))
}

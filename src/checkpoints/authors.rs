//! State dicts of the authors' models (`vlora` 0.1.2): of their `VisionTransformerVLoRA`
//! (`models/vit.py`), and of a module with their `TransformerVLoRA`, which
//! [`authors_transformer`](super::authors_transformer) reads.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::authors_transformer;
use super::checkpoint::Checkpoint;
use super::compact::file_bytes;
use super::compounds::{
    STACKS, alpha_list, by_block, by_layer, compound_size, expressible, in_block, increments, list,
    no_increments, rank_list, ranks, refused, stack_of,
};
use super::file::TensorFile;
use super::hints::Hints;
use super::shapes::Renamed;
use super::timm::{NORM_EPS, described, heads, refuse_variants, with_metadata};
use crate::error::{Fault, Result};
use crate::spec::{LayerWeight, ModelSpec, Pool, VitSpec, VitVariant};

/// The weights that can have increments in this format. Their sizes have no meaning.
pub fn authors_targets() -> Vec<LayerWeight> {
    let mut all = VitSpec::layer_weights(1, 1, VitVariant::Timm);
    for weight in authors_transformer::targets() {
        if all.iter().all(|other| other.target != weight.target) {
            all.push(weight);
        }
    }
    all
}

/// Whether a name has this form.
pub fn is_authors_name(name: &str) -> bool {
    stack_of(name).is_some() || authors_transformer::is_its_name(name)
}

pub fn import(file: &TensorFile, hints: &Hints) -> Result<Checkpoint> {
    if file.tensors.keys().any(|name| authors_transformer::is_its_name(name)) {
        return authors_transformer::import(file, hints);
    }
    file.only_floats(|_| false)?;
    // Their model is based on timm's, so the config may be timm's too.
    let described = described(file)?;
    refuse_variants(file, "attn.qkv")?;
    let [blocks, ..] = STACKS;
    let Some(size) = compound_size(&file.tensors, blocks) else {
        return Err(Fault::of_file(&file.path, "the file is not in the authors' format")
            .expected("names as in blocks.0.blocks.0.attn.qkv.weight")
            .into());
    };
    let tensors = by_layer(&file.path, &file.tensors, size, &str::to_string)?;
    let theirs = |name: &str| in_block(name, size);
    let renamed = Renamed { path: &file.path, tensors, theirs: &theirs };
    let mut model = renamed.vit(heads(&renamed, described.as_ref(), hints)?, NORM_EPS)?;
    // Rounded up to whole compounds, so that the error for a missing block names it.
    model.depth = model.depth.checked_next_multiple_of(size).unwrap_or(usize::MAX);
    let weights = ModelSpec::Vit(model.clone()).weights();
    let found = ranks(&renamed, &weights, blocks, size)?;
    if found.is_empty() {
        return Err(no_increments(&renamed, &weights, blocks, size).into());
    }
    let vlora = increments(&found, size, hints);
    with_metadata(renamed.checkpoint(model.into(), Some(vlora), None)?, described, hints)
}

/// The tensors by the authors' names, with the copies of the base weights.
pub fn authors_tensors(checkpoint: &Checkpoint) -> Result<BTreeMap<String, Tensor>> {
    if let Some(model) = checkpoint.model.as_encoder_decoder() {
        return authors_transformer::tensors(checkpoint, model);
    }
    let Some(VitSpec { norm_eps, .. }) = checkpoint.model.as_vit() else {
        let why = "a model that is neither Vision Transformer nor encoder-decoder";
        return Err(refused(why).into());
    };
    let vlora = expressible(checkpoint)?;
    if *norm_eps != NORM_EPS {
        let why = format!("norm_eps: {norm_eps}, where timm's models have {NORM_EPS}");
        return Err(refused(&why).into());
    }
    Ok(by_block(&checkpoint.tensors, vlora.compound_size.unwrap_or(1)))
}

/// The Python call that builds the model of a file in the authors' format. The file does not contain
/// these arguments.
pub fn construction(checkpoint: &Checkpoint) -> Option<String> {
    let vlora = checkpoint.vlora.as_ref()?;
    if let Some(model) = checkpoint.model.as_encoder_decoder() {
        return Some(authors_transformer::construction(checkpoint, model, vlora));
    }
    let model = &checkpoint.model;
    let m = model.as_vit()?;
    let pool = match m.pool {
        Pool::ClassToken => "",
        Pool::Mean => ", global_pool=\"avg\", class_token=False",
    };
    let targets = || vlora.targets.iter();
    Some(format!(
        "VisionTransformerVLoRA(img_size={}, patch_size={}, in_chans={}, num_classes={}, \
         embed_dim={}, depth={}, num_heads={}, mlp_ratio={}{pool}, vl_size={}, vl_param_name={}, \
         vl_rank={}, vl_alpha={})",
        m.image_size,
        m.patch_size,
        m.channels,
        m.classes,
        m.dim,
        m.depth / vlora.compound_size.unwrap_or(1).max(1),
        m.heads,
        m.mlp_ratio,
        vlora.compound_size.unwrap_or(1),
        list(targets(), |target| match model.weight(&target.target) {
            Some(weight) => format!("\"{}\"", weight.parameter()),
            None => format!("\"{}\"", target.target),
        }),
        rank_list(targets(), checkpoint, vlora),
        alpha_list(targets(), vlora),
    ))
}

/// Lines for the user about what the file leaves out besides the arguments of [`construction`].
pub fn not_held(checkpoint: &Checkpoint) -> String {
    checkpoint.model.as_encoder_decoder().map(authors_transformer::not_held).unwrap_or_default()
}

/// The file in the authors' format.
pub fn export(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let tensors = authors_tensors(checkpoint)?;
    match checkpoint.model.as_encoder_decoder() {
        Some(_) => authors_transformer::bytes(tensors),
        None => file_bytes(&tensors, "format", "pt".into()),
    }
}

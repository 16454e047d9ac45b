//! timm's `VisionTransformer` (`timm/models/vision_transformer.py`, 0.9.16). We use its names.
//!
//! Two of its variants are supported: a class token with `norm`, and `global_pool="avg",
//! class_token=False` with `fc_norm`. Other variants are recognised by a tensor, or by a field if a
//! `config.json` lies beside the weights, and refused. The norms' ε is timm's 1e-6; the weights do
//! not contain it.

use std::path::PathBuf;

use super::base::BaseModel;
use super::checkpoint::Checkpoint;
use super::compact::file_bytes;
use super::file::TensorFile;
use super::hints::{Hints, NO_HEAD_HELP};
use super::metadata::Metadata;
use super::read_base::beside;
use super::shapes::Renamed;
use super::timm_config::TimmConfig;
use crate::error::{Fault, Result};

/// timm's ε of every layer norm.
pub const NORM_EPS: f64 = 1e-6;

/// Parts of tensor names that show an unsupported variant.
const VARIANTS: [(&str, &str); 12] = [
    (".ls1.", "layer scale"),
    (".ls2.", "layer scale"),
    ("reg_token", "register tokens"),
    ("dist_token", "a distillation token"),
    ("head_dist", "a distillation head"),
    (".q_norm.", "normalised queries and keys"),
    (".k_norm.", "normalised queries and keys"),
    ("attn_pool", "attention pooling"),
    ("norm_pre", "a norm before its blocks"),
    ("patch_embed.norm", "normalised patches"),
    ("pre_logits", "a layer before its classifier"),
    (".mlp.norm.", "a norm within its MLPs"),
];

const SUPPORTED: &str = "a class token and `norm`, or mean pooling without one and `fc_norm`; \
                         queries, keys and values with bias; a linear classifier";

pub fn import(file: &TensorFile, hints: &Hints) -> Result<Checkpoint> {
    file.only_floats(|_| false)?;
    let described = described(file)?;
    refuse_variants(file, "attn.qkv")?;
    let theirs = |name: &str| name.to_string();
    let renamed = Renamed { path: &file.path, tensors: file.tensors.clone(), theirs: &theirs };
    let model = renamed.vit(heads(&renamed, described.as_ref(), hints)?, NORM_EPS)?;
    with_metadata(renamed.checkpoint(model.into(), None, None)?, described, hints)
}

/// The config beside the weights, if it is timm's.
pub fn described(file: &TensorFile) -> Result<Option<(PathBuf, TimmConfig)>> {
    let Some((path, base)) = beside(&file.path) else { return Ok(None) };
    let base = base?;
    base.trainable(&path)?;
    match base {
        BaseModel::Timm(config) => Ok(Some((path, *config))),
        other => {
            Err(Fault::of_file(&path, "the config is of another architecture than the weights")
                .found(other)
                .expected("timm's, with its `architecture`")
                .into())
        }
    }
}

/// The number of heads from the config, else from the caller's hints.
pub fn heads(
    renamed: &Renamed,
    described: Option<&(PathBuf, TimmConfig)>,
    hints: &Hints,
) -> Result<usize> {
    match described.and_then(|(_, config)| config.heads) {
        Some(heads) => Ok(heads),
        None => renamed.heads(hints),
    }
}

/// Adds the config's class names and normalisation to the checkpoint. Errors if the
/// config contradicts the weights.
pub fn with_metadata(
    mut checkpoint: Checkpoint,
    described: Option<(PathBuf, TimmConfig)>,
    hints: &Hints,
) -> Result<Checkpoint> {
    let Some((path, config)) = described else { return Ok(checkpoint) };
    let new_head = hints.new_head.is_some();
    let Some(model) = checkpoint.model.as_vit() else { return Ok(checkpoint) };
    config.check(&path, model, new_head)?;
    let normalize = config.normalize(&path, model.channels)?;
    // A new head has other classes.
    let class_names = if new_head { Vec::new() } else { config.class_names };
    checkpoint.metadata = Metadata { class_names, normalize };
    Ok(checkpoint)
}

/// Errors for models that timm can build and this project cannot. `qkv` is the name of the layer
/// for queries, keys and values.
pub fn refuse_variants(file: &TensorFile, qkv: &str) -> Result<()> {
    let refuse = |what: &str, tensor: &str| {
        Err(Fault::of_file(&file.path, format!("the model has {what}, which is not supported"))
            .tensor(tensor)
            .expected(SUPPORTED)
            .into())
    };
    for name in file.tensors.keys() {
        if let Some((_, what)) = VARIANTS.iter().find(|(part, _)| name.contains(part)) {
            return refuse(what, name);
        }
    }
    let has = |name: &str| file.tensors.contains_key(name);
    if has("cls_token") && has("fc_norm.weight") {
        return refuse("mean pooling beside a class token", "fc_norm.weight");
    }
    let ends = |end: &str| file.tensors.keys().find(|name| name.ends_with(end));
    if let (Some(weight), None) = (ends(&format!("{qkv}.weight")), ends(&format!("{qkv}.bias"))) {
        return refuse("queries, keys and values without bias", weight);
    }
    if !has("head.weight") {
        return Err(Fault::of_file(&file.path, "the model has no classifier")
            .tensor("head.weight")
            .found("no such tensor")
            .expected("a model that was made with num_classes above 0")
            .help(NO_HEAD_HELP)
            .into());
    }
    Ok(())
}

/// The content of the file in timm's format, for a dense model.
pub fn export(dense: &Checkpoint) -> Result<Vec<u8>> {
    if dense.model.as_vit().is_none() {
        return Err(Fault::new("timm's format cannot hold this model")
            .found("a model that is no Vision Transformer")
            .help("--to compact holds it")
            .into());
    }
    file_bytes(&dense.tensors, "format", "pt".into())
}

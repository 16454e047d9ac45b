//! Hugging Face's `ViTForImageClassification`: a folder of `config.json` and `model.safetensors`,
//! dense, with `preprocessor_config.json` if the images' normalisation is known.
//!
//! Its names differ from timm's, which are ours. Queries, keys and values are three layers there
//! and one here, `attn.qkv` = \[query; key; value\]. The prefix `vit.` may be missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::json;

use super::base::VitConfig;
use super::checkpoint::Checkpoint;
use super::classes::label_fields;
use super::compact::file_bytes;
use super::fault::expect_agreement;
use super::file::TensorFile;
use super::file_names::{CONFIG, MODEL};
use super::hints::{Hints, NO_HEAD_HELP};
use super::metadata::Metadata;
use super::preprocessor;
use super::read_base::read_config;
use super::shapes::Renamed;
use crate::error::{Error, Fault, Result};
use crate::spec::{Pool, VitSpec};

/// Our names and theirs for parameters outside of layers.
const OUTSIDE: [(&str, &str); 8] = [
    ("cls_token", "embeddings.cls_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"),
    ("patch_embed.proj.bias", "embeddings.patch_embeddings.projection.bias"),
    ("norm.weight", "layernorm.weight"),
    ("norm.bias", "layernorm.bias"),
    ("head.weight", "classifier.weight"),
    ("head.bias", "classifier.bias"),
];

/// Our names and theirs within a layer, without `.weight` and `.bias`.
const WITHIN: [(&str, &str); 5] = [
    ("norm1", "layernorm_before"),
    ("attn.proj", "attention.output.dense"),
    ("norm2", "layernorm_after"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
];

/// The three parts of our `attn.qkv`, in its order.
const QKV: [&str; 3] =
    ["attention.attention.query", "attention.attention.key", "attention.attention.value"];

/// The name in errors for our `attn.qkv`.
const JOINED: &str = "attention.attention.{query,key,value}";

pub fn import(file: &TensorFile, hints: &Hints) -> Result<Checkpoint> {
    // Some versions also store the position indices, as integers.
    file.only_floats(|name| name.ends_with("embeddings.position_ids"))?;
    let path = file.path.with_file_name(CONFIG);
    let base = read_config(&path)?;
    let config = base.vit(&path)?;
    if !file.tensors.contains_key("classifier.weight") {
        return Err(Fault::of_file(&file.path, "the model has no classifier")
            .tensor("classifier.weight")
            .found("no such tensor")
            .expected("a ViTForImageClassification")
            .help(NO_HEAD_HELP)
            .into());
    }
    let prefixed = file.tensors.keys().any(|name| name.starts_with("vit."));
    let theirs = |name: &str| theirs(name, if prefixed { "vit." } else { "" });
    let tensors = renamed(file)?;
    let renamed = Renamed { path: &file.path, tensors, theirs: &theirs };
    let model = renamed.vit(config.num_attention_heads, config.layer_norm_eps)?;
    let mut checkpoint = renamed.checkpoint(model.clone().into(), None, None)?;
    let new_head = hints.new_head.is_some();
    check_config(&path, config, &model, new_head)?;
    // A new head has other classes.
    let class_names = if new_head { Vec::new() } else { config.class_names.clone() };
    let folder = file.path.parent().unwrap_or(Path::new(""));
    let normalize = preprocessor::read(folder, model.channels)?;
    checkpoint.metadata = Metadata { class_names, normalize };
    Ok(checkpoint)
}

/// Checks the config against the tensors' shapes. The labels are checked only if the head is
/// kept.
fn check_config(path: &Path, config: &VitConfig, model: &VitSpec, new_head: bool) -> Result<()> {
    let labels = config.num_labels.filter(|_| !new_head).unwrap_or(model.classes);
    let patch = "the patch embedding's shape";
    let sizes = [
        ("hidden_size", config.hidden_size, model.dim, patch),
        ("num_hidden_layers", config.num_hidden_layers, model.depth, "the layers' names"),
        ("intermediate_size", config.intermediate_size, model.hidden(), "intermediate.dense"),
        ("image_size", config.image_size, model.image_size, "position_embeddings"),
        ("patch_size", config.patch_size, model.patch_size, patch),
        ("num_channels", config.num_channels, model.channels, patch),
        ("id2label", labels, model.classes, "the classifier's shape"),
    ];
    expect_agreement(path, &sizes)
}

/// The file's tensors by our names. A name without a counterpart is kept; a later check reports it.
fn renamed(file: &TensorFile) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    let mut parts: BTreeMap<String, BTreeMap<usize, (&String, &Tensor)>> = BTreeMap::new();
    for (name, tensor) in &file.tensors {
        let bare = name.strip_prefix("vit.").unwrap_or(name);
        match ours(bare) {
            Some((ours, Some(part))) => {
                parts.entry(ours).or_default().insert(part, (name, tensor));
            }
            Some((ours, None)) => {
                tensors.insert(ours, tensor.clone());
            }
            None => {
                tensors.insert(name.clone(), tensor.clone());
            }
        }
    }
    for (ours, parts) in parts {
        let mut joined: Vec<&Tensor> = Vec::new();
        let Some((first, (first_name, first_tensor))) = parts.first_key_value() else { continue };
        let first_shape = first_tensor.dims();
        for (part, their) in QKV.iter().enumerate() {
            let Some((name, tensor)) = parts.get(&part) else {
                return Err(Fault::of_file(&file.path, "a tensor is missing")
                    .tensor(first_name.replacen(QKV[*first], their, 1))
                    .expected(format!("a tensor {first_shape:?}"))
                    .into());
            };
            if tensor.dims() != first_shape || first_shape.is_empty() {
                return Err(Fault::of_file(&file.path, "a tensor has another shape")
                    .tensor(name)
                    .found(format!("{:?}", tensor.dims()))
                    .expected(format!("that of {first_name}, {first_shape:?}"))
                    .into());
            }
            joined.push(tensor);
        }
        tensors.insert(ours, Tensor::cat(&joined, 0)?);
    }
    Ok(tensors)
}

/// Converts one of their names to ours. The number is its part of `attn.qkv`, if it is one.
fn ours(bare: &str) -> Option<(String, Option<usize>)> {
    if let Some((ours, _)) = OUTSIDE.iter().find(|(_, theirs)| *theirs == bare) {
        return Some((ours.to_string(), None));
    }
    let (layer, rest) = bare.strip_prefix("encoder.layer.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let (module, parameter) = rest.rsplit_once('.')?;
    if !matches!(parameter, "weight" | "bias") {
        return None;
    }
    let name = |module: &str| format!("blocks.{layer}.{module}.{parameter}");
    if let Some(part) = QKV.iter().position(|part| *part == module) {
        return Some((name("attn.qkv"), Some(part)));
    }
    let (ours, _) = WITHIN.iter().find(|(_, theirs)| *theirs == module)?;
    Some((name(ours), None))
}

/// Converts one of our names to theirs; `attn.qkv` becomes [`JOINED`].
fn theirs(ours: &str, prefix: &str) -> String {
    let name = || {
        if let Some((_, theirs)) = OUTSIDE.iter().find(|(name, _)| *name == ours) {
            let prefix = if theirs.starts_with("classifier") { "" } else { prefix };
            return Some(format!("{prefix}{theirs}"));
        }
        let (layer, rest) = ours.strip_prefix("blocks.")?.split_once('.')?;
        let (module, parameter) = rest.rsplit_once('.')?;
        let theirs = match WITHIN.iter().find(|(name, _)| *name == module) {
            Some((_, theirs)) => theirs,
            None if module == "attn.qkv" => JOINED,
            None => return None,
        };
        Some(format!("{prefix}encoder.layer.{layer}.{theirs}.{parameter}"))
    };
    name().unwrap_or_else(|| ours.to_string())
}

/// The files of a Hugging Face folder for a dense model. The config comes last.
pub fn export(dense: &Checkpoint) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let Some(model) = dense.model.as_vit() else {
        return Err(Fault::new("Hugging Face's ViT cannot hold this model")
            .found("a model that is no Vision Transformer")
            .help("--to compact holds it")
            .into());
    };
    if model.pool != Pool::ClassToken {
        return Err(Fault::new("Hugging Face's ViT cannot hold this model")
            .found("pool: mean")
            .expected("pool: class-token")
            .help("--to timm holds it")
            .into());
    }
    let mut tensors = BTreeMap::new();
    for (name, tensor) in &dense.tensors {
        let their_name = theirs(name, "vit.");
        if !name.contains(".attn.qkv.") {
            tensors.insert(their_name, tensor.clone());
            continue;
        }
        for (part, their) in QKV.iter().enumerate() {
            let rows = tensor.narrow(0, part * model.dim, model.dim)?;
            tensors.insert(their_name.replacen(JOINED, their, 1), rows.contiguous()?);
        }
    }
    let names = &dense.metadata.class_names;
    let (id2label, label2id) = label_fields(model.classes, names);
    let config = json!({
        "architectures": ["ViTForImageClassification"],
        "attention_probs_dropout_prob": 0.0,
        "encoder_stride": model.patch_size,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": model.dim,
        "id2label": id2label,
        "image_size": model.image_size,
        "initializer_range": 0.02,
        "intermediate_size": model.hidden(),
        "label2id": label2id,
        "layer_norm_eps": model.norm_eps,
        "model_type": "vit",
        "num_attention_heads": model.heads,
        "num_channels": model.channels,
        "num_hidden_layers": model.depth,
        "patch_size": model.patch_size,
        "qkv_bias": true,
    });
    let config = serde_json::to_string_pretty(&config)
        .map_err(|e| Error::from(Fault::failed(e).source(format!("{CONFIG} cannot be written"))))?;
    let mut files = vec![(MODEL.into(), file_bytes(&tensors, "format", "pt".into())?)];
    if let Some(normalize) = &dense.metadata.normalize {
        files.push(preprocessor::export(model, normalize)?);
    }
    files.push((CONFIG.into(), (config + "\n").into_bytes()));
    Ok(files)
}

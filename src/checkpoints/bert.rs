//! Hugging Face's BERT and DistilBERT: a folder of `config.json` and `model.safetensors`, dense.
//!
//! Our names are BERT's without the prefix `bert.`; DistilBERT's differ:
//!
//! | ours, within `encoder.layer.N.` | DistilBERT, within `transformer.layer.N.` |
//! |---|---|
//! | `attention.self.query`, `key`, `value` | `attention.q_lin`, `k_lin`, `v_lin` |
//! | `attention.output.dense`, `attention.output.LayerNorm` | `attention.out_lin`, `sa_layer_norm` |
//! | `intermediate.dense`, `output.dense` | `ffn.lin1`, `ffn.lin2` |
//! | `output.LayerNorm` | `output_layer_norm` |
//!
//! If a run trains a new head, the heads of pretraining are ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::json;

use super::activation::activation_name;
use super::base::{BertConfig, BertKind};
use super::checkpoint::Checkpoint;
use super::classes::label_fields;
use super::compact::file_bytes;
use super::fault::expect_agreement;
use super::file::TensorFile;
use super::file_names::{CONFIG, MODEL};
use super::hints::{Hints, NO_HEAD_HELP};
use super::metadata::Metadata;
use super::read_base::read_config;
use super::shapes::Renamed;
use crate::error::{Error, Fault, Result};
use crate::spec::{Architecture, EncoderSpec, TextPool};

/// DistilBERT's names within a layer and ours, without `.weight` and `.bias`.
const DISTILBERT: [(&str, &str); 8] = [
    ("attention.q_lin", "attention.self.query"),
    ("attention.k_lin", "attention.self.key"),
    ("attention.v_lin", "attention.self.value"),
    ("attention.out_lin", "attention.output.dense"),
    ("sa_layer_norm", "attention.output.LayerNorm"),
    ("ffn.lin1", "intermediate.dense"),
    ("ffn.lin2", "output.dense"),
    ("output_layer_norm", "output.LayerNorm"),
];

/// Name prefixes of parameters that a new head replaces: heads of pretraining and of other tasks,
/// and the layer before DistilBERT's classifier.
const OTHER_HEADS: [&str; 7] = [
    "cls.",
    "lm_head.",
    "pre_classifier.",
    "qa_outputs.",
    "vocab_layer_norm.",
    "vocab_projector.",
    "vocab_transform.",
];

/// Whether a weight's name shows this format.
pub fn is_bert_name(name: &str) -> bool {
    name.contains(".attention.self.query.") || name.contains(".attention.q_lin.")
}

pub fn import(file: &TensorFile, hints: &Hints) -> Result<Checkpoint> {
    // Some versions also store the position indices, as integers.
    file.only_floats(|name| name.ends_with("embeddings.position_ids"))?;
    let path = file.path.with_file_name(CONFIG);
    let base = read_config(&path)?;
    let config = base.bert(&path)?;
    let prefix = match config.kind {
        BertKind::DistilBert => "distilbert.",
        _ => "bert.",
    };
    let prefixed = file.tensors.keys().any(|name| name.starts_with(prefix));
    let mut tensors = BTreeMap::new();
    for (name, tensor) in &file.tensors {
        let bare = name.strip_prefix(prefix).unwrap_or(name);
        let replaced = hints.new_head.is_some() && OTHER_HEADS.iter().any(|h| bare.starts_with(h));
        if !replaced && bare != "embeddings.position_ids" {
            tensors.insert(ours(bare, config.kind), tensor.clone());
        }
    }
    let pool = pool(file, &tensors, hints)?;
    if hints.new_head.is_some() && pool != TextPool::Pooler {
        tensors.retain(|name, _| !name.starts_with("pooler."));
    }
    let theirs = |name: &str| theirs(name, config.kind, if prefixed { prefix } else { "" });
    let mut renamed = Renamed { path: &file.path, tensors, theirs: &theirs };
    let model = model(&renamed, config, pool, hints.new_head)?;
    check_config(&path, config, &model, hints.new_head.is_some())?;
    // The width has been checked, so the memory of the new head is that of a sound model.
    if let Some(classes) = hints.new_head {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        let head = [
            ("classifier.weight", zeros(&[classes, model.dim])?),
            ("classifier.bias", zeros(&[classes])?),
        ];
        renamed.tensors.extend(head.map(|(name, tensor)| (name.to_string(), tensor)));
    }
    // A new head has other classes.
    let class_names = match hints.new_head {
        Some(_) => Vec::new(),
        None => config.class_names.clone(),
    };
    let metadata = Metadata { class_names, normalize: None };
    Ok(Checkpoint { metadata, ..renamed.checkpoint(model.into(), None, None)? })
}

/// The classifier's input. The caller chooses it for a new classifier. A kept one has that of
/// transformers' `BertForSequenceClassification`.
fn pool(file: &TensorFile, tensors: &BTreeMap<String, Tensor>, hints: &Hints) -> Result<TextPool> {
    let has = |name: &str| tensors.contains_key(name);
    let fault = |summary: &str| Fault::of_file(&file.path, summary);
    if hints.new_head.is_some() {
        let has_pooler = has("pooler.dense.weight");
        let wanted = hints.pool.unwrap_or(match has_pooler {
            true => TextPool::Pooler,
            false => TextPool::ClassToken,
        });
        if wanted == TextPool::Pooler && !has_pooler {
            return Err(fault("the model has no pooler")
                .tensor("pooler.dense.weight")
                .found("no such tensor")
                .expected("what `model.pool: pooler` takes")
                .help("`model.pool: class-token` and `model.pool: mean` need none")
                .into());
        }
        return Ok(wanted);
    }
    if let Some(name) = tensors.keys().find(|name| name.starts_with("pre_classifier.")) {
        return Err(fault("the model has a layer before its classifier, which is not supported")
            .tensor(name)
            .expected("BERT's pooler, or nothing")
            .help(NO_HEAD_HELP)
            .into());
    }
    if !has("classifier.weight") {
        return Err(fault("the model has no classifier")
            .tensor("classifier.weight")
            .found("no such tensor")
            .expected("a BertForSequenceClassification")
            .help(NO_HEAD_HELP)
            .into());
    }
    Ok(match has("pooler.dense.weight") {
        true => TextPool::Pooler,
        false => TextPool::ClassToken,
    })
}

/// The model by the shapes of its tensors. Only values that no shape shows come from config.json.
/// `new_head`: the classes of a new classifier.
fn model(
    renamed: &Renamed,
    config: &BertConfig,
    pool: TextPool,
    new_head: Option<usize>,
) -> Result<EncoderSpec> {
    let rows = |name: &str, meaning: &str| renamed.dims::<2>(name, meaning);
    let words = "[vocabulary, hidden] of the word embeddings";
    let [vocabulary, dim] = rows("embeddings.word_embeddings.weight", words)?;
    let table = "[positions, hidden] of the position embeddings";
    let [positions, _] = rows("embeddings.position_embeddings.weight", table)?;
    let types = "embeddings.token_type_embeddings.weight";
    let token_types = match renamed.tensors.contains_key(types) {
        true => rows(types, "[types, hidden] of the token types' embeddings")?[0],
        false => 0,
    };
    let first = "encoder.layer.0.intermediate.dense.weight";
    let [hidden, _] = rows(first, "[hidden, dim] of an MLP")?;
    let classes = match new_head {
        Some(classes) => classes,
        None => rows("classifier.weight", "[classes, dim] of the classifier")?[0],
    };
    Ok(EncoderSpec {
        architecture: Architecture::Encoder,
        vocabulary,
        positions,
        token_types,
        classes,
        dim,
        depth: renamed.depth("encoder.layer."),
        heads: config.num_attention_heads,
        mlp_ratio: hidden as f64 / dim as f64,
        pool,
        norm_eps: config.layer_norm_eps,
        dropout: config.dropout,
        attention_dropout: config.attention_dropout,
        activation: config.hidden_act,
    })
}

/// Checks the config against the tensors' shapes. The labels are checked only if the head is
/// kept.
fn check_config(
    path: &Path,
    config: &BertConfig,
    model: &EncoderSpec,
    new_head: bool,
) -> Result<()> {
    let labels = config.num_labels.filter(|_| !new_head).unwrap_or(model.classes);
    let names = match config.kind {
        BertKind::DistilBert => ["dim", "n_layers", "hidden_dim"],
        _ => ["hidden_size", "num_hidden_layers", "intermediate_size"],
    };
    let sizes = [
        (names[0], config.hidden_size, model.dim, "word_embeddings"),
        (names[1], config.num_hidden_layers, model.depth, "the layers' names"),
        (names[2], config.intermediate_size, model.hidden(), "the MLPs"),
        ("vocab_size", config.vocab_size, model.vocabulary, "word_embeddings"),
        (
            "max_position_embeddings",
            config.max_position_embeddings,
            model.positions,
            "position_embeddings",
        ),
        ("type_vocab_size", config.type_vocab_size, model.token_types, "token_type_embeddings"),
        ("id2label", labels, model.classes, "the classifier's shape"),
    ];
    expect_agreement(path, &sizes)
}

/// Old and new names of the norms' parameters. Weights converted from TensorFlow, such as Google's
/// BERT, have the old ones.
const OLD_NORMS: [(&str, &str); 2] =
    [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")];

/// Converts one of their names to ours. A name without a counterpart is kept; a later check reports
/// it.
fn ours(bare: &str, kind: BertKind) -> String {
    if let Some((module, new)) =
        OLD_NORMS.iter().find_map(|(old, new)| Some((bare.strip_suffix(old)?, new)))
    {
        return format!("{module}{new}");
    }
    let renamed = || {
        let (layer, rest) = bare.strip_prefix("transformer.layer.")?.split_once('.')?;
        let (module, parameter) = rest.rsplit_once('.')?;
        let (_, ours) = DISTILBERT.iter().find(|(theirs, _)| *theirs == module)?;
        Some(format!("encoder.layer.{layer}.{ours}.{parameter}"))
    };
    let renamed = if kind == BertKind::DistilBert { renamed() } else { None };
    renamed.unwrap_or_else(|| bare.to_string())
}

/// Converts one of our names to theirs.
fn theirs(ours: &str, kind: BertKind, prefix: &str) -> String {
    if ours.starts_with("classifier.") {
        return ours.to_string();
    }
    let renamed = || {
        let (layer, rest) = ours.strip_prefix("encoder.layer.")?.split_once('.')?;
        let (module, parameter) = rest.rsplit_once('.')?;
        let (theirs, _) = DISTILBERT.iter().find(|(_, ours)| *ours == module)?;
        Some(format!("{prefix}transformer.layer.{layer}.{theirs}.{parameter}"))
    };
    let renamed = if kind == BertKind::DistilBert { renamed() } else { None };
    renamed.unwrap_or_else(|| format!("{prefix}{ours}"))
}

/// The files of a `BertForSequenceClassification`'s folder for a dense model. The config comes
/// last.
pub fn export(dense: &Checkpoint) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let no = |found: &str, expected: &str| {
        Err(Fault::new("Hugging Face's BERT cannot hold this model")
            .found(found)
            .expected(expected)
            .help("--to compact holds it")
            .into())
    };
    let Some(model) = dense.model.as_encoder() else {
        return no("a model that is no text encoder", "a model of `architecture: encoder`");
    };
    if model.pool != TextPool::Pooler {
        return no("a classifier without a pooler", "pool: pooler");
    }
    if model.token_types == 0 {
        return no("a model without token types", "token_types of at least 1");
    }
    let theirs = |name: &String| theirs(name, BertKind::Bert, "bert.");
    let tensors = dense.tensors.iter().map(|(name, tensor)| (theirs(name), tensor.clone()));
    let names = &dense.metadata.class_names;
    let (id2label, label2id) = label_fields(model.classes, names);
    let config = json!({
        "architectures": ["BertForSequenceClassification"],
        "attention_probs_dropout_prob": model.attention_dropout,
        "hidden_act": activation_name(model.activation),
        "hidden_dropout_prob": model.dropout,
        "hidden_size": model.dim,
        "id2label": id2label,
        "initializer_range": 0.02,
        "intermediate_size": model.hidden(),
        "label2id": label2id,
        "layer_norm_eps": model.norm_eps,
        "max_position_embeddings": model.positions,
        "model_type": "bert",
        "num_attention_heads": model.heads,
        "num_hidden_layers": model.depth,
        "pad_token_id": 0,
        "type_vocab_size": model.token_types,
        "vocab_size": model.vocabulary,
    });
    let config = serde_json::to_string_pretty(&config)
        .map_err(|e| Error::from(Fault::failed(format!("{CONFIG} cannot be written: {e}"))))?;
    Ok(vec![
        (MODEL.into(), file_bytes(&tensors.collect(), "format", "pt".into())?),
        (CONFIG.into(), (config + "\n").into_bytes()),
    ])
}

//! Readers of `config.json`, one for each `model_type`.
//!
//! A missing field has the default of transformers' configs. Fields that set the model's size are
//! required.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::activation::{activation, activation_name, activation_or};
use super::base::{BaseModel, BertConfig, BertKind, Gpt2Config, StackConfig, T5Config, VitConfig};
use super::config_fields::{HARMLESS, LAYERS, ROWS, WIDTHS, heads};
use super::fields::Fields;
use super::unsupported::{UNKNOWN_FIELD, Unsupported};
use super::{marian_config, pytorch_config, timm_config};
use crate::error::{Fault, Result};
use crate::spec::{MlpActivation, nearest};

type Read = fn(&Fields) -> Result<BaseModel>;

/// `model_type`, the prefix of its classes in transformers, and the reader of its fields.
const KINDS: [(&str, &str, Read); 12] = [
    ("vit", "ViT", vit),
    ("bert", "Bert", |f| bert(f, BertKind::Bert)),
    ("roberta", "Roberta", |f| bert(f, BertKind::Roberta)),
    ("xlm-roberta", "XLMRoberta", |f| bert(f, BertKind::Roberta)),
    ("camembert", "Camembert", |f| bert(f, BertKind::Roberta)),
    ("electra", "Electra", |f| bert(f, BertKind::Electra)),
    ("distilbert", "DistilBert", distilbert),
    ("gpt2", "GPT2", gpt2),
    ("torch.nn.Transformer", "torch.nn.", |f| pytorch_config::read(f).map(BaseModel::Pytorch)),
    ("marian", "Marian", |f| marian_config::read(f).map(BaseModel::Marian)),
    ("t5", "T5", t5),
    ("mt5", "MT5", t5),
];

const SUPPORTED: &str = "vit, bert, distilbert, gpt2, marian or torch.nn.Transformer, which can be trained; \
                         roberta, xlm-roberta, camembert or electra, which `vlora spectrum` reads; t5 or mt5, \
                         which are recognised";

const PIXELS: RangeInclusive<usize> = 1..=1 << 16;

/// Reads the model that the fields describe.
pub fn read(fields: &Fields) -> Result<BaseModel> {
    let types = KINDS.map(|(name, ..)| name);
    let Some(found) = fields.get("model_type") else {
        return match fields.get("architecture") {
            Some(_) => timm_config::read(fields).map(|timm| BaseModel::Timm(Box::new(timm))),
            None => Err(no_architecture(fields).into()),
        };
    };
    let kind = KINDS.iter().find(|(name, ..)| found == name);
    let Some((_, _, read)) = kind else {
        let shown = found.as_str().map_or(found.to_string(), |name| format!("`{name}`"));
        let fault = fields.fault("model_type", "the architecture is not supported");
        let fault = fault.found(shown).expected(SUPPORTED);
        let like = found.as_str().map(str::to_lowercase).unwrap_or_default();
        // The names are short, so similar spelling alone is not enough for a suggestion.
        let near = nearest(&like, types).filter(|near| like.chars().next() == near.chars().next());
        return Err(match near {
            Some(near) => fault.help(format!("the nearest of these is `{near}`")),
            None => fault,
        }
        .into());
    };
    read(fields)
}

/// The error for a config with neither `model_type` nor timm's `architecture`.
fn no_architecture(fields: &Fields) -> Fault {
    let class = fields.get("architectures").and_then(|all| all[0].as_str());
    let kind = KINDS.iter().find(|(_, start, _)| class.is_some_and(|c| c.starts_with(start)));
    let (found, help) = match class {
        Some(class) => (
            format!("architectures names {class}, model_type nothing"),
            kind.map(|(name, ..)| format!("if it is one, add \"model_type\": \"{name}\"")),
        ),
        None => ("neither model_type nor timm's architecture".into(), None),
    };
    let fault = fields.fault("model_type", "the file does not say the model's architecture");
    let fault = fault.found(found).expected(SUPPORTED);
    help.into_iter().fold(fault, Fault::help)
}

fn vit(fields: &Fields) -> Result<BaseModel> {
    let hidden_size = fields.whole("hidden_size", WIDTHS)?;
    let (num_labels, class_names) = classes(fields)?;
    let hidden_act = activation(fields, "hidden_act")?;
    let qkv_bias = fields.flag_or("qkv_bias", true)?;
    Ok(BaseModel::Vit(VitConfig {
        hidden_size,
        num_hidden_layers: fields.whole("num_hidden_layers", LAYERS)?,
        num_attention_heads: heads(fields, "num_attention_heads", ("hidden_size", hidden_size))?,
        intermediate_size: fields.whole("intermediate_size", WIDTHS)?,
        image_size: fields.square("image_size", PIXELS)?,
        patch_size: fields.square("patch_size", PIXELS)?,
        num_channels: fields.whole_or("num_channels", 1..=1024, 3)?,
        hidden_act,
        layer_norm_eps: fields.positive_or("layer_norm_eps", 1.0, 1e-12)?,
        qkv_bias,
        num_labels,
        class_names,
        unsupported: unsupported(fields, hidden_act, qkv_bias),
    }))
}

/// The classifier's number of classes, if the file has it, and their names. The default names
/// `LABEL_0`, `LABEL_1`, … count as no names.
fn classes(fields: &Fields) -> Result<(Option<usize>, Vec<String>)> {
    let labels = labels(fields)?;
    let count = match &labels {
        Some(labels) => Some(labels.len()),
        None => fields.get("num_labels").map(|_| fields.whole("num_labels", ROWS)).transpose()?,
    };
    let mut names = labels.unwrap_or_default();
    if names.iter().enumerate().all(|(i, name)| *name == format!("LABEL_{i}")) {
        names.clear();
    }
    Ok((count, names))
}

/// `id2label` as a list. Errors if `label2id` gives a name of `id2label` another number, since
/// tools differ in which of the two they read. Names that are only in `label2id` are ignored: its
/// default value has such names.
fn labels(fields: &Fields) -> Result<Option<Vec<String>>> {
    let names = match fields.get("id2label") {
        Some(Value::Array(list)) => {
            let fault = fields.fault("id2label", "the classes' names cannot be used");
            let found = Value::Array(list.clone());
            return Err(fault.found(found).expected("an object of numbers and names").into());
        }
        _ => fields.names("id2label")?,
    };
    if let (Some(names), Some(Value::Object(numbers))) = (&names, fields.get("label2id")) {
        for (name, number) in numbers {
            // Some files write numbers as strings.
            let number = number.as_str().and_then(|n| n.parse().ok()).or(number.as_u64());
            let there = number.and_then(|number| names.get(usize::try_from(number).ok()?));
            let at = names.iter().position(|other| other == name);
            if let (Some(at), true) = (at, there != Some(name)) {
                return Err(fields
                    .fault(&format!("label2id.{name}"), "the field contradicts id2label")
                    .found(number.map_or("no number".into(), |number| number.to_string()))
                    .expected(at)
                    .into());
            }
        }
    }
    Ok(names)
}

/// Fields of a ViT's config that define what the model computes. Each is read here.
const VIT: [&str; 15] = [
    "hidden_act",
    "hidden_size",
    "id2label",
    "image_size",
    "intermediate_size",
    "label2id",
    "layer_norm_eps",
    "model_type",
    "num_attention_heads",
    "num_channels",
    "num_hidden_layers",
    "num_labels",
    "patch_size",
    "problem_type",
    "qkv_bias",
];

/// The first field of the config that this project's ViT does not support.
fn unsupported(fields: &Fields, hidden_act: MlpActivation, qkv_bias: bool) -> Option<Unsupported> {
    let no = |field: &str, found: String, expected: &str| {
        Some(Unsupported { field: field.into(), found, expected: expected.into() })
    };
    if hidden_act != MlpActivation::Gelu {
        return no("hidden_act", format!("`{}`", activation_name(hidden_act)), "`gelu`");
    }
    if !qkv_bias {
        return no("qkv_bias", "false".into(), "true");
    }
    if let Some(unsupported) = pruned_or_other_problem(fields) {
        return Some(unsupported);
    }
    let (field, value) = fields.unknown(&[&VIT, &HARMLESS, &["pruned_heads"]])?;
    no(field, value.to_string(), UNKNOWN_FIELD)
}

/// Pruned attention heads, or a classifier for another kind of problem.
fn pruned_or_other_problem(fields: &Fields) -> Option<Unsupported> {
    let no = |field: &str, found: &Value, expected: &str| {
        let (field, found) = (field.into(), found.to_string());
        Some(Unsupported { field, found, expected: expected.into() })
    };
    let is_empty = |value: &Value| {
        value.as_object().is_some_and(|o| o.is_empty())
            || value.as_array().is_some_and(|a| a.is_empty())
    };
    if let Some(pruned) = fields.get("pruned_heads").filter(|pruned| !is_empty(pruned)) {
        return no("pruned_heads", pruned, "none");
    }
    let problem = fields.get("problem_type").filter(|p| *p != "single_label_classification");
    no("problem_type", problem?, "`single_label_classification`")
}

/// Fields of BERT's and DistilBERT's configs that define what the model computes. Each is read
/// here.
const BERT: [&str; 24] = [
    "activation",
    "attention_dropout",
    "dim",
    "dropout",
    "hidden_act",
    "hidden_dim",
    "hidden_size",
    "id2label",
    "intermediate_size",
    "label2id",
    "layer_norm_eps",
    "max_position_embeddings",
    "model_type",
    "n_heads",
    "n_layers",
    "num_attention_heads",
    "num_hidden_layers",
    "num_labels",
    "position_embedding_type",
    "problem_type",
    "pruned_heads",
    "type_vocab_size",
    "use_token_type_ids",
    "vocab_size",
];

/// Fields that do not change what the encoder computes. They are about other heads.
const HARMLESS_TO_TEXTS: [&str; 8] = [
    "directionality",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "qa_dropout",
    "seq_classif_dropout",
];

/// The first field of the config that this project's text encoder does not support.
fn unsupported_text(fields: &Fields) -> Option<Unsupported> {
    let no = |field: &str, found: String, expected: &str| {
        Some(Unsupported { field: field.into(), found, expected: expected.into() })
    };
    let positions = fields.get("position_embedding_type").filter(|kind| *kind != "absolute");
    if let Some(positions) = positions {
        return no("position_embedding_type", positions.to_string(), "`absolute`");
    }
    for field in ["is_decoder", "add_cross_attention"] {
        if let Some(value) = fields.get(field).filter(|value| **value != Value::Bool(false)) {
            return no(field, value.to_string(), "false");
        }
    }
    if let Some(unsupported) = pruned_or_other_problem(fields) {
        return Some(unsupported);
    }
    let known: [&[&str]; 4] =
        [&BERT, &HARMLESS, &HARMLESS_TO_TEXTS, &["sinusoidal_pos_embds", "tie_weights_"]];
    let (field, value) = fields.unknown(&known)?;
    no(field, value.to_string(), UNKNOWN_FIELD)
}

fn bert(fields: &Fields, kind: BertKind) -> Result<BaseModel> {
    let hidden_size = fields.whole("hidden_size", WIDTHS)?;
    let hidden_act = activation(fields, "hidden_act")?;
    let (num_labels, class_names) = classes(fields)?;
    Ok(BaseModel::Bert(BertConfig {
        kind,
        vocab_size: fields.whole("vocab_size", ROWS)?,
        hidden_size,
        num_hidden_layers: fields.whole("num_hidden_layers", LAYERS)?,
        num_attention_heads: heads(fields, "num_attention_heads", ("hidden_size", hidden_size))?,
        intermediate_size: fields.whole("intermediate_size", WIDTHS)?,
        max_position_embeddings: fields.whole_or("max_position_embeddings", ROWS, 512)?,
        type_vocab_size: fields.whole_or("type_vocab_size", 0..=1 << 24, 2)?,
        hidden_act,
        layer_norm_eps: fields.positive_or("layer_norm_eps", 1.0, 1e-12)?,
        dropout: fields.share_or("hidden_dropout_prob", 0.1)?,
        attention_dropout: fields.share_or("attention_probs_dropout_prob", 0.1)?,
        num_labels,
        class_names,
        // The other kinds cannot be trained at all.
        unsupported: match kind {
            BertKind::Bert => unsupported_text(fields),
            _ => None,
        },
    }))
}

/// DistilBERT is BERT with other names and without segments. ε is fixed; the file has no field for
/// it.
fn distilbert(fields: &Fields) -> Result<BaseModel> {
    let hidden_size = fields.whole("dim", WIDTHS)?;
    let hidden_act = activation(fields, "activation")?;
    let (num_labels, class_names) = classes(fields)?;
    Ok(BaseModel::Bert(BertConfig {
        kind: BertKind::DistilBert,
        vocab_size: fields.whole("vocab_size", ROWS)?,
        hidden_size,
        num_hidden_layers: fields.whole("n_layers", LAYERS)?,
        num_attention_heads: heads(fields, "n_heads", ("dim", hidden_size))?,
        intermediate_size: fields.whole("hidden_dim", WIDTHS)?,
        max_position_embeddings: fields.whole_or("max_position_embeddings", ROWS, 512)?,
        type_vocab_size: 0,
        hidden_act,
        layer_norm_eps: 1e-12,
        dropout: fields.share_or("dropout", 0.1)?,
        attention_dropout: fields.share_or("attention_dropout", 0.1)?,
        num_labels,
        class_names,
        unsupported: unsupported_text(fields),
    }))
}

/// Fields of GPT-2's config that define what the model computes. Each is read here.
const GPT2: [&str; 17] = [
    "activation_function",
    "add_cross_attention",
    "attn_pdrop",
    "embd_pdrop",
    "layer_norm_epsilon",
    "model_type",
    "n_embd",
    "n_head",
    "n_inner",
    "n_layer",
    "n_positions",
    "reorder_and_upcast_attn",
    "resid_pdrop",
    "scale_attn_by_inverse_layer_idx",
    "scale_attn_weights",
    "tie_word_embeddings",
    "vocab_size",
];

/// Fields that do not change what GPT-2 computes. They are about other heads, and `n_ctx` is an older
/// name of `n_positions`.
const HARMLESS_TO_GPT2: [&str; 11] = [
    "id2label",
    "label2id",
    "n_ctx",
    "num_labels",
    "problem_type",
    "pruned_heads",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
];

fn gpt2(fields: &Fields) -> Result<BaseModel> {
    let n_embd = fields.whole("n_embd", WIDTHS)?;
    let activation_function = activation_or(fields, "activation_function", "gelu_new")?;
    let dropout = fields.share_or("resid_pdrop", 0.1)?;
    let embedded = fields.share_or("embd_pdrop", 0.1)?;
    let inner = fields.get("n_inner").map(|_| fields.whole("n_inner", WIDTHS)).transpose()?;
    Ok(BaseModel::Gpt2(Gpt2Config {
        vocab_size: fields.whole("vocab_size", ROWS)?,
        n_positions: fields.whole_or("n_positions", ROWS, 1024)?,
        n_embd,
        n_layer: fields.whole("n_layer", LAYERS)?,
        n_head: heads(fields, "n_head", ("n_embd", n_embd))?,
        n_inner: inner,
        activation_function,
        layer_norm_epsilon: fields.positive_or("layer_norm_epsilon", 1.0, 1e-5)?,
        dropout,
        attn_pdrop: fields.share_or("attn_pdrop", 0.1)?,
        tied: fields.flag_or("tie_word_embeddings", true)?,
        unsupported: unsupported_gpt2(fields, (dropout, embedded))?,
    }))
}

/// The first field of the config that this project's decoder does not support. `dropout` are the
/// rates of the residual stream and of the embedding.
fn unsupported_gpt2(fields: &Fields, dropout: (f64, f64)) -> Result<Option<Unsupported>> {
    let no = |field: &str, found: String, expected: String| {
        Ok(Some(Unsupported { field: field.into(), found, expected }))
    };
    let flags = [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("add_cross_attention", false),
    ];
    for (field, wanted) in flags {
        if fields.flag_or(field, wanted)? != wanted {
            return no(field, (!wanted).to_string(), wanted.to_string());
        }
    }
    let (residual, embedded) = dropout;
    if residual != embedded {
        return no("embd_pdrop", embedded.to_string(), format!("{residual}, as resid_pdrop"));
    }
    let Some((field, value)) = fields.unknown(&[&GPT2, &HARMLESS, &HARMLESS_TO_GPT2]) else {
        return Ok(None);
    };
    no(field, value.to_string(), UNKNOWN_FIELD.into())
}

fn t5(fields: &Fields) -> Result<BaseModel> {
    let layers = fields.whole("num_layers", LAYERS)?;
    let encoder = StackConfig {
        layers,
        heads: fields.whole("num_heads", WIDTHS)?,
        feed_forward: fields.whole("d_ff", WIDTHS)?,
    };
    let decoder =
        StackConfig { layers: fields.whole_or("num_decoder_layers", LAYERS, layers)?, ..encoder };
    // transformers reads `gated-gelu` as the tanh approximation.
    let (activation, gated) = match fields.text_or("feed_forward_proj", "relu")? {
        "relu" => (MlpActivation::Relu, false),
        "gelu" => (MlpActivation::Gelu, false),
        "gated-gelu" => (MlpActivation::GeluTanh, true),
        "gated-silu" => (MlpActivation::Silu, true),
        other => {
            let fault = fields.fault("feed_forward_proj", "the activation is not known");
            let fault = fault.found(format!("`{other}`"));
            return Err(fault.expected("one of relu, gelu, gated-gelu, gated-silu").into());
        }
    };
    Ok(BaseModel::T5(T5Config {
        vocab_size: fields.whole("vocab_size", ROWS)?,
        d_model: fields.whole("d_model", WIDTHS)?,
        encoder,
        decoder,
        head_size: fields.whole_or("d_kv", WIDTHS, 64)?,
        activation,
        gated,
        norm_eps: fields.positive_or("layer_norm_epsilon", 1.0, 1e-6)?,
    }))
}

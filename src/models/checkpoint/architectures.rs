//! How `config.json` says what a model is: a reader for each `model_type`.
//!
//! Fields that a file leaves out have the values that transformers' configs give them; those that
//! make the model's size must be there.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::base::{
    ACTIVATIONS, Activation, BaseModel, BertConfig, BertKind, EncoderDecoderConfig,
    EncoderDecoderKind, StackConfig, VitConfig,
};
use super::fault::Fault;
use super::fields::Fields;
use crate::error::Result;
use crate::spec::nearest;

type Read = fn(&Fields) -> Result<BaseModel>;

/// `model_type`, how transformers' classes of it begin, how its fields are read.
const KINDS: [(&str, &str, Read); 10] = [
    ("vit", "ViT", vit),
    ("bert", "Bert", |f| bert(f, BertKind::Bert)),
    ("roberta", "Roberta", |f| bert(f, BertKind::Roberta)),
    ("xlm-roberta", "XLMRoberta", |f| bert(f, BertKind::Roberta)),
    ("camembert", "Camembert", |f| bert(f, BertKind::Roberta)),
    ("electra", "Electra", |f| bert(f, BertKind::Electra)),
    ("distilbert", "DistilBert", distilbert),
    ("marian", "Marian", marian),
    ("t5", "T5", t5),
    ("mt5", "MT5", t5),
];

const SUPPORTED: &str = "vit, which can be trained; bert, roberta, xlm-roberta, camembert, electra \
                         or distilbert, which `vlora spectrum` reads; marian, t5 or mt5, which are \
                         recognised";

// What no model comes near, so that a damaged number is named before anything is made of it.
const LAYERS: RangeInclusive<usize> = 1..=4096;
const WIDTHS: RangeInclusive<usize> = 1..=1 << 20;
const ROWS: RangeInclusive<usize> = 1..=1 << 24;
const PIXELS: RangeInclusive<usize> = 1..=1 << 16;

/// The model that the fields describe.
pub fn read(fields: &Fields) -> Result<BaseModel> {
    let types = KINDS.map(|(name, ..)| name);
    let Some(found) = fields.get("model_type") else { return Err(unsaid(fields).into()) };
    let kind = KINDS.iter().find(|(name, ..)| found == name);
    let Some((_, _, read)) = kind else {
        let shown = found.as_str().map_or(found.to_string(), |name| format!("`{name}`"));
        let fault = fields.fault("model_type", "the architecture is not supported");
        let fault = fault.found(shown).expected(SUPPORTED);
        let like = found.as_str().map(str::to_lowercase).unwrap_or_default();
        // Names are short: half of them being alike means nothing by itself.
        let near = nearest(&like, types).filter(|near| like.chars().next() == near.chars().next());
        return Err(match near {
            Some(near) => fault.help(format!("the nearest of these is `{near}`")),
            None => fault,
        }
        .into());
    };
    read(fields)
}

/// What there is to say of a description without `model_type`.
fn unsaid(fields: &Fields) -> Fault {
    let class = fields.get("architectures").and_then(|all| all[0].as_str());
    let kind = KINDS.iter().find(|(_, start, _)| class.is_some_and(|c| c.starts_with(start)));
    let timm = fields.get("architecture").and_then(Value::as_str);
    let (found, help) = match (class, timm) {
        (Some(class), _) => (
            format!("architectures names {class}, model_type nothing"),
            kind.map(|(name, ..)| format!("if it is one, add \"model_type\": \"{name}\"")),
        ),
        (None, Some(timm)) => (
            format!("timm's `{timm}`"),
            Some("timm's Vision Transformers are read by their tensors' names".into()),
        ),
        (None, None) => ("no model_type".into(), None),
    };
    let fault = fields.fault("model_type", "the file does not say the model's architecture");
    let fault = fault.found(found).expected(SUPPORTED);
    help.into_iter().fold(fault, Fault::help)
}

fn activation(fields: &Fields, name: &str) -> Result<Activation> {
    let text = fields.text_or(name, "gelu")?;
    let known = ACTIVATIONS.iter().find(|(known, _)| *known == text);
    known.map(|(_, activation)| *activation).ok_or_else(|| {
        let names = ACTIVATIONS.map(|(name, _)| name).join(", ");
        let fault = fields.fault(name, "the activation is not known");
        fault.found(format!("`{text}`")).expected(format!("one of {names}")).into()
    })
}

/// A number of heads that divides the width.
fn heads(fields: &Fields, name: &str, width: (&str, usize)) -> Result<usize> {
    let heads = fields.whole(name, WIDTHS)?;
    if width.1.is_multiple_of(heads) {
        return Ok(heads);
    }
    Err(fields
        .fault(name, "the model is not supported")
        .found(heads)
        .expected(format!("a divisor of {}, {}", width.0, width.1))
        .into())
}

fn vit(fields: &Fields) -> Result<BaseModel> {
    let hidden_size = fields.whole("hidden_size", WIDTHS)?;
    let labels = labels(fields)?;
    let num_labels = match &labels {
        Some(labels) => Some(labels.len()),
        None => fields.get("num_labels").map(|_| fields.whole("num_labels", ROWS)).transpose()?,
    };
    let mut class_names = labels.unwrap_or_default();
    if class_names.iter().enumerate().all(|(i, name)| *name == format!("LABEL_{i}")) {
        class_names.clear();
    }
    Ok(BaseModel::Vit(VitConfig {
        hidden_size,
        num_hidden_layers: fields.whole("num_hidden_layers", LAYERS)?,
        num_attention_heads: heads(fields, "num_attention_heads", ("hidden_size", hidden_size))?,
        intermediate_size: fields.whole("intermediate_size", WIDTHS)?,
        image_size: fields.square("image_size", PIXELS)?,
        patch_size: fields.square("patch_size", PIXELS)?,
        num_channels: fields.whole_or("num_channels", 1..=1024, 3)?,
        hidden_act: activation(fields, "hidden_act")?,
        layer_norm_eps: fields.positive_or("layer_norm_eps", 1.0, 1e-12)?,
        qkv_bias: fields.flag_or("qkv_bias", true)?,
        num_labels,
        class_names,
    }))
}

/// `id2label` as a list: its keys are the numbers from 0 on.
fn labels(fields: &Fields) -> Result<Option<Vec<String>>> {
    let names = match fields.get("id2label") {
        None => return Ok(None),
        Some(Value::Object(names)) => names,
        Some(other) => {
            let fault = fields.fault("id2label", "the classes' names cannot be used");
            return Err(fault.found(other).expected("an object of numbers and names").into());
        }
    };
    let each = (0..names.len()).map(|class| {
        let field = format!("id2label.{class}");
        match names.get(&class.to_string()) {
            Some(Value::String(name)) => Ok(name.clone()),
            Some(other) => {
                let fault = fields.fault(&field, "a class's name is no text");
                Err(fault.found(other).expected("a text").into())
            }
            None => Err(fields
                .fault(&field, "a class has no name")
                .found(format!("{} names, none with this number", names.len()))
                .expected("the numbers from 0 on, without a gap")
                .into()),
        }
    });
    each.collect::<Result<Vec<String>>>().map(Some)
}

fn bert(fields: &Fields, kind: BertKind) -> Result<BaseModel> {
    let hidden_size = fields.whole("hidden_size", WIDTHS)?;
    Ok(BaseModel::Bert(BertConfig {
        kind,
        vocab_size: fields.whole("vocab_size", ROWS)?,
        hidden_size,
        num_hidden_layers: fields.whole("num_hidden_layers", LAYERS)?,
        num_attention_heads: heads(fields, "num_attention_heads", ("hidden_size", hidden_size))?,
        intermediate_size: fields.whole("intermediate_size", WIDTHS)?,
        max_position_embeddings: fields.whole_or("max_position_embeddings", ROWS, 512)?,
        type_vocab_size: fields.whole_or("type_vocab_size", 0..=1 << 24, 2)?,
        hidden_act: activation(fields, "hidden_act")?,
        layer_norm_eps: fields.positive_or("layer_norm_eps", 1.0, 1e-12)?,
    }))
}

/// BERT's parts under other names, without segments; ε is not for the file to say.
fn distilbert(fields: &Fields) -> Result<BaseModel> {
    let hidden_size = fields.whole("dim", WIDTHS)?;
    Ok(BaseModel::Bert(BertConfig {
        kind: BertKind::DistilBert,
        vocab_size: fields.whole("vocab_size", ROWS)?,
        hidden_size,
        num_hidden_layers: fields.whole("n_layers", LAYERS)?,
        num_attention_heads: heads(fields, "n_heads", ("dim", hidden_size))?,
        intermediate_size: fields.whole("hidden_dim", WIDTHS)?,
        max_position_embeddings: fields.whole_or("max_position_embeddings", ROWS, 512)?,
        type_vocab_size: 0,
        hidden_act: activation(fields, "activation")?,
        layer_norm_eps: 1e-12,
    }))
}

fn marian(fields: &Fields) -> Result<BaseModel> {
    let d_model = fields.whole("d_model", WIDTHS)?;
    let stack = |side: &str| -> Result<StackConfig> {
        let name = format!("{side}_attention_heads");
        Ok(StackConfig {
            layers: fields.whole(&format!("{side}_layers"), LAYERS)?,
            heads: heads(fields, &name, ("d_model", d_model))?,
            feed_forward: fields.whole(&format!("{side}_ffn_dim"), WIDTHS)?,
        })
    };
    let encoder = stack("encoder")?;
    Ok(BaseModel::EncoderDecoder(EncoderDecoderConfig {
        kind: EncoderDecoderKind::Marian,
        vocab_size: fields.whole("vocab_size", ROWS)?,
        d_model,
        encoder,
        decoder: stack("decoder")?,
        head_size: d_model / encoder.heads,
        activation: activation(fields, "activation_function")?,
        gated: false,
        // PyTorch's own, which the file does not say.
        norm_eps: 1e-5,
        max_position_embeddings: Some(fields.whole_or("max_position_embeddings", ROWS, 1024)?),
    }))
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
    // The gated GELU is the approximated one, as transformers reads it.
    let (activation, gated) = match fields.text_or("feed_forward_proj", "relu")? {
        "relu" => (Activation::Relu, false),
        "gelu" => (Activation::Gelu, false),
        "gated-gelu" => (Activation::GeluTanh, true),
        "gated-silu" => (Activation::Silu, true),
        other => {
            let fault = fields.fault("feed_forward_proj", "the activation is not known");
            let fault = fault.found(format!("`{other}`"));
            return Err(fault.expected("one of relu, gelu, gated-gelu, gated-silu").into());
        }
    };
    Ok(BaseModel::EncoderDecoder(EncoderDecoderConfig {
        kind: EncoderDecoderKind::T5,
        vocab_size: fields.whole("vocab_size", ROWS)?,
        d_model: fields.whole("d_model", WIDTHS)?,
        encoder,
        decoder,
        head_size: fields.whole_or("d_kv", WIDTHS, 64)?,
        activation,
        gated,
        norm_eps: fields.positive_or("layer_norm_epsilon", 1.0, 1e-6)?,
        max_position_embeddings: None,
    }))
}

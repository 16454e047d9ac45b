//! The config of a state of `torch.nn.Transformer` with embeddings around it: a `config.json` beside
//! the weights.
//!
//! A state dict holds sizes, but not how the model computes, and PyTorch writes no config. So this one
//! is this program's. `model_type` is `torch.nn.Transformer`. Fields of the Transformer have the names and
//! defaults of its constructor's arguments. What is around it has the names of a spec, and no defaults where
//! the model would compute something else. Sizes may be left out, since the weights show them.

use std::path::Path;

use serde_json::{Value, json};

use super::fault::expect_agreement;
use super::fields::Fields;
use super::unsupported::{UNKNOWN_FIELD, Unsupported};
use crate::error::{Fault, Result};
use crate::spec::{EncoderDecoderSpec, MlpActivation, NormPlacement, PositionKind};

/// The `model_type` of this config.
pub const MODEL_TYPE: &str = "torch.nn.Transformer";

/// A config whose fields have the right types.
#[derive(Clone, Debug, PartialEq)]
pub struct PytorchConfig {
    pub options: TransformerOptions,
    /// Sizes that the weights show, too: field and value.
    sizes: Vec<(&'static str, usize)>,
    /// The first field that this project's model does not support.
    pub unsupported: Option<Unsupported>,
}

/// What a model is besides the sizes of its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct TransformerOptions {
    pub heads: usize,
    pub norm: NormPlacement,
    pub norm_eps: f64,
    pub activation: MlpActivation,
    pub position_embedding: PositionKind,
    /// The most tokens of a sentence. None if a table of positions shows it.
    pub positions: Option<usize>,
    pub scale_embedding: bool,
    /// Whether the output layer's matrix is the target's embedding. None if only the tensors can tell.
    pub tied: Option<bool>,
    pub dropout: f64,
    pub attention_dropout: f64,
    pub activation_dropout: f64,
}

impl TransformerOptions {
    /// What a model of this spec is.
    pub fn of(spec: &EncoderDecoderSpec) -> TransformerOptions {
        TransformerOptions {
            heads: spec.heads,
            norm: spec.norm,
            norm_eps: spec.norm_eps,
            activation: spec.activation,
            position_embedding: spec.position_embedding,
            positions: Some(spec.positions),
            scale_embedding: spec.scale_embedding,
            tied: Some(spec.tied),
            dropout: spec.dropout,
            attention_dropout: spec.attention_dropout,
            activation_dropout: spec.activation_dropout,
        }
    }
}

/// Sizes that a config may repeat.
const SIZES: [&str; 6] = [
    "d_model",
    "dim_feedforward",
    "num_decoder_layers",
    "num_encoder_layers",
    "source_vocabulary",
    "target_vocabulary",
];

/// The other fields that are read.
const READ: [&str; 14] = [
    "activation",
    "activation_dropout",
    "architectures",
    "attention_dropout",
    "bias",
    "dropout",
    "layer_norm_eps",
    "model_type",
    "nhead",
    "norm_first",
    "position_embedding",
    "positions",
    "scale_embedding",
    "tied",
];

/// The constructor's other arguments. They do not change what the model computes of a sentence.
const HARMLESS: [&str; 3] = ["batch_first", "device", "dtype"];

const ACTIVATIONS: [(&str, MlpActivation); 4] = [
    ("relu", MlpActivation::Relu),
    ("gelu", MlpActivation::Gelu),
    ("gelu-tanh", MlpActivation::GeluTanh),
    ("silu", MlpActivation::Silu),
];

const POSITIONS: [(&str, PositionKind); 3] = [
    ("sinusoidal", PositionKind::Sinusoidal),
    ("sinusoidal-halves", PositionKind::SinusoidalHalves),
    ("learned", PositionKind::Learned),
];

/// The name by which `choices` knows a value.
fn name_of<T: PartialEq>(choices: &[(&'static str, T)], value: &T) -> &'static str {
    choices.iter().find(|(_, choice)| choice == value).map_or("", |(name, _)| name)
}

/// Reads the config. It is boxed, since it is larger than the others.
pub fn read(fields: &Fields) -> Result<Box<PytorchConfig>> {
    const SIZE: std::ops::RangeInclusive<usize> = 1..=1 << 24;
    let position_embedding = fields.one_of("position_embedding", &POSITIONS, None)?;
    let positions = match (position_embedding, fields.get("positions")) {
        // Their table shows it.
        (PositionKind::Learned, None) => None,
        _ => Some(fields.whole("positions", SIZE)?),
    };
    let mut sizes = Vec::new();
    for name in SIZES.into_iter().filter(|name| fields.get(name).is_some()) {
        sizes.push((name, fields.whole(name, SIZE)?));
    }
    let dropout = fields.share_or("dropout", 0.1)?;
    let norm = match fields.flag_or("norm_first", false)? {
        true => NormPlacement::Pre,
        false => NormPlacement::Post,
    };
    let options = TransformerOptions {
        heads: fields.whole("nhead", 1..=1 << 20)?,
        norm,
        norm_eps: fields.positive_or("layer_norm_eps", 1.0, 1e-5)?,
        activation: fields.one_of("activation", &ACTIVATIONS, Some(MlpActivation::Relu))?,
        position_embedding,
        positions,
        scale_embedding: fields.flag("scale_embedding")?,
        tied: fields.get("tied").map(|_| fields.flag("tied")).transpose()?,
        dropout,
        attention_dropout: fields.share_or("attention_dropout", dropout)?,
        activation_dropout: fields.share_or("activation_dropout", dropout)?,
    };
    let no = |field: &str, found: String, expected: &str| {
        Some(Unsupported { field: field.into(), found, expected: expected.into() })
    };
    let unsupported = match fields.unknown(&[&SIZES, &READ, &HARMLESS]) {
        _ if !fields.flag_or("bias", true)? => no("bias", "false".into(), "true"),
        Some((field, value)) => no(field, value.to_string(), UNKNOWN_FIELD),
        None => None,
    };
    Ok(Box::new(PytorchConfig { options, sizes, unsupported }))
}

impl PytorchConfig {
    /// Errors if the config at `path` contradicts the weights, which show `model`.
    pub fn check(&self, path: &Path, model: &EncoderDecoderSpec) -> Result<()> {
        let heads = self.options.heads;
        if !model.dim.is_multiple_of(heads) {
            return Err(Fault::of_file(path, "nhead contradicts the weights")
                .found(heads)
                .expected(format!("a divisor of {}, by the embedding", model.dim))
                .into());
        }
        let mut sizes: Vec<(&str, usize, usize, &str)> = Vec::new();
        for (field, said) in &self.sizes {
            let (shown, by) = match *field {
                "d_model" => (model.dim, "the embedding"),
                "dim_feedforward" => (model.hidden(), "linear1 of the encoder's first layer"),
                "num_decoder_layers" => (model.decoder_depth(), "the layers' names"),
                "num_encoder_layers" => (model.depth, "the layers' names"),
                "source_vocabulary" => (model.source_vocabulary, "the source's embedding"),
                _ => (model.target_vocabulary, "the target's embedding"),
            };
            sizes.push((field, *said, shown, by));
        }
        if let Some(said) = self.options.positions {
            sizes.push(("positions", said, model.positions, "the table of positions"));
        }
        expect_agreement(path, &sizes)
    }
}

/// The config of a model.
pub fn config_json(model: &EncoderDecoderSpec) -> Value {
    json!({
        "activation": name_of(&ACTIVATIONS, &model.activation),
        "activation_dropout": model.activation_dropout,
        "attention_dropout": model.attention_dropout,
        "d_model": model.dim,
        "dim_feedforward": model.hidden(),
        "dropout": model.dropout,
        "layer_norm_eps": model.norm_eps,
        "model_type": MODEL_TYPE,
        "nhead": model.heads,
        "norm_first": model.norm == NormPlacement::Pre,
        "num_decoder_layers": model.decoder_depth(),
        "num_encoder_layers": model.depth,
        "position_embedding": name_of(&POSITIONS, &model.position_embedding),
        "positions": model.positions,
        "scale_embedding": model.scale_embedding,
        "source_vocabulary": model.source_vocabulary,
        "target_vocabulary": model.target_vocabulary,
        "tied": model.tied,
    })
}

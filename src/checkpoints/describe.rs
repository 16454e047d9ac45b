//! A checkpoint's description for users.

use super::checkpoint::Checkpoint;
use crate::spec::{
    DecoderSpec, EncoderDecoderSpec, EncoderSpec, ModelSpec, NormPlacement, Normalize, Pool,
    TextPool, VitSpec,
};

impl Checkpoint {
    /// Lines on the model, its classes and its input's normalisation, each a name and a text.
    pub fn description(&self) -> Vec<(&'static str, String)> {
        let model = match &self.model {
            ModelSpec::Vit(model) => vit(model),
            ModelSpec::Encoder(model) => encoder(model),
            ModelSpec::Decoder(model) => decoder(model),
            ModelSpec::EncoderDecoder(model) => encoder_decoder(model),
        };
        let mut lines = vec![("model", model)];
        if !self.metadata.class_names.is_empty() {
            lines.push(("classes", first_names(&self.metadata.class_names)));
        }
        if let Some(Normalize { mean, std }) = &self.metadata.normalize {
            lines.push(("pixels", format!("normalised with mean {mean:?}, deviation {std:?}")));
        }
        lines
    }
}

fn vit(model: &VitSpec) -> String {
    let pool = match model.pool {
        Pool::ClassToken => "class token",
        Pool::Mean => "mean pooling",
    };
    format!(
        "Vision Transformer, dim {}, depth {}, heads {}, MLP {}, {pool}; images {} × {} × {}, \
         patch {}; {} classes",
        model.dim,
        model.depth,
        model.heads,
        model.hidden(),
        model.channels,
        model.image_size,
        model.image_size,
        model.patch_size,
        model.classes
    )
}

fn encoder(model: &EncoderSpec) -> String {
    let pool = match model.pool {
        TextPool::Pooler => "pooler",
        TextPool::ClassToken => "class token",
        TextPool::Mean => "mean pooling",
    };
    format!(
        "text encoder, dim {}, depth {}, heads {}, MLP {}, {pool}; vocabulary {}, positions {}, \
         token types {}; {} classes",
        model.dim,
        model.depth,
        model.heads,
        model.hidden(),
        model.vocabulary,
        model.positions,
        model.token_types,
        model.classes
    )
}

fn decoder(model: &DecoderSpec) -> String {
    let biases = if model.bias { "biases" } else { "no biases" };
    let head = if model.tied { "tied" } else { "not tied" };
    format!(
        "decoder, dim {}, depth {}, heads {}, MLP {}, {biases}; vocabulary {}, positions {}; output \
         layer {head} to the word embedding",
        model.dim,
        model.depth,
        model.heads,
        model.hidden(),
        model.vocabulary,
        model.positions,
    )
}

fn encoder_decoder(model: &EncoderDecoderSpec) -> String {
    let norm = match model.norm {
        NormPlacement::Post => "post-norm",
        NormPlacement::Pre => "pre-norm",
    };
    let head = if model.tied { "tied" } else { "not tied" };
    format!(
        "encoder-decoder, dim {}, depth {} + {}, heads {}, MLP {}, {norm}; vocabularies {} and {}, \
         positions {}; output layer {head} to the target embedding",
        model.dim,
        model.depth,
        model.decoder_depth(),
        model.heads,
        model.hidden(),
        model.source_vocabulary,
        model.target_vocabulary,
        model.positions,
    )
}

/// The first few names, without control characters.
fn first_names(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let plain =
        |name: &String| -> String { name.chars().filter(|c| !c.is_control()).take(40).collect() };
    let shown: Vec<String> = names.iter().take(SHOWN).map(plain).collect();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    shown.join(", ") + more
}

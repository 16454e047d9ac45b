//! The config of a Marian model: its `config.json`.

use std::ops::RangeInclusive;

use super::activation::activation;
use super::config_fields::{HARMLESS, LAYERS, ROWS, WIDTHS, heads};
use super::fields::Fields;
use super::unsupported::{UNKNOWN_FIELD, Unsupported};
use crate::error::Result;
use crate::spec::MlpActivation;

/// A translation model of Marian's architecture, as Helsinki-NLP publishes them.
#[derive(Clone, Debug, PartialEq)]
pub struct MarianConfig {
    pub vocab_size: usize,
    pub d_model: usize,
    pub encoder_layers: usize,
    pub decoder_layers: usize,
    /// Heads of both stacks.
    pub heads: usize,
    /// Width of both stacks' MLPs.
    pub ffn_dim: usize,
    pub activation: MlpActivation,
    /// The most tokens of a sentence.
    pub max_position_embeddings: usize,
    /// Whether embeddings are multiplied by √d_model.
    pub scale_embedding: bool,
    pub dropout: f64,
    pub attention_dropout: f64,
    pub activation_dropout: f64,
    /// Numbers of special tokens: the end of a sentence, padding, and what a translation begins with.
    pub special: [(&'static str, usize); 3],
    /// The first field that this project's model does not support.
    pub unsupported: Option<Unsupported>,
}

/// Fields that define what the model computes. Each is read here.
const MARIAN: [&str; 25] = [
    "activation_dropout",
    "activation_function",
    "add_bias_logits",
    "add_final_layer_norm",
    "attention_dropout",
    "d_model",
    "decoder_attention_heads",
    "decoder_ffn_dim",
    "decoder_layers",
    "decoder_start_token_id",
    "decoder_vocab_size",
    "dropout",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "encoder_layers",
    "eos_token_id",
    "max_position_embeddings",
    "model_type",
    "normalize_before",
    "normalize_embedding",
    "pad_token_id",
    "scale_embedding",
    "share_encoder_decoder_embeddings",
    "static_position_embeddings",
    "vocab_size",
];

/// Fields that do not change what the model computes. They are about other heads, training, and translation by
/// transformers.
const HARMLESS_TO_MARIAN: [&str; 15] = [
    "_num_labels",
    "classif_dropout",
    "decoder_layerdrop",
    "encoder_layerdrop",
    "extra_pos_embeddings",
    "force_bos_token_to_be_generated",
    "id2label",
    "init_std",
    "label2id",
    "num_hidden_layers",
    "num_labels",
    "problem_type",
    "pruned_heads",
    "tie_encoder_decoder",
    "unk_token_id",
];

/// Flags that published models have, and their only value that is supported.
const FLAGS: [(&str, bool); 7] = [
    ("add_bias_logits", false),
    ("add_final_layer_norm", false),
    ("normalize_before", false),
    ("normalize_embedding", false),
    ("share_encoder_decoder_embeddings", true),
    ("static_position_embeddings", true),
    ("tie_word_embeddings", true),
];

pub fn read(fields: &Fields) -> Result<Box<MarianConfig>> {
    const NUMBERS: RangeInclusive<usize> = 0..=1 << 24;
    let d_model = fields.whole("d_model", WIDTHS)?;
    let vocab_size = fields.whole("vocab_size", ROWS)?;
    let of_stack = |side: &str| -> Result<[usize; 3]> {
        let name = format!("{side}_attention_heads");
        Ok([
            fields.whole(&format!("{side}_layers"), LAYERS)?,
            heads(fields, &name, ("d_model", d_model))?,
            fields.whole(&format!("{side}_ffn_dim"), WIDTHS)?,
        ])
    };
    let [encoder_layers, encoder_heads, ffn_dim] = of_stack("encoder")?;
    let [decoder_layers, decoder_heads, decoder_ffn_dim] = of_stack("decoder")?;
    let no = |field: &str, found: String, expected: String| {
        Some(Unsupported { field: field.into(), found, expected })
    };
    let mut unsupported = match fields.unknown(&[&MARIAN, &HARMLESS, &HARMLESS_TO_MARIAN]) {
        Some((field, value)) => no(field, value.to_string(), UNKNOWN_FIELD.into()),
        None => None,
    };
    for (field, wanted) in FLAGS {
        if fields.flag_or(field, wanted)? != wanted {
            unsupported = no(field, (!wanted).to_string(), wanted.to_string());
        }
    }
    let decoder_vocabulary = fields.whole_or("decoder_vocab_size", ROWS, vocab_size)?;
    for (field, found, (other, wanted)) in [
        ("decoder_attention_heads", decoder_heads, ("encoder_attention_heads", encoder_heads)),
        ("decoder_ffn_dim", decoder_ffn_dim, ("encoder_ffn_dim", ffn_dim)),
        ("decoder_vocab_size", decoder_vocabulary, ("vocab_size", vocab_size)),
    ] {
        if found != wanted {
            unsupported = no(field, found.to_string(), format!("{wanted}, as {other}"));
        }
    }
    // The defaults of transformers' MarianConfig.
    let padding = fields.whole_or("pad_token_id", NUMBERS, 58100)?;
    Ok(Box::new(MarianConfig {
        vocab_size,
        d_model,
        encoder_layers,
        decoder_layers,
        heads: encoder_heads,
        ffn_dim,
        activation: activation(fields, "activation_function")?,
        max_position_embeddings: fields.whole_or("max_position_embeddings", ROWS, 1024)?,
        scale_embedding: fields.flag_or("scale_embedding", false)?,
        dropout: fields.share_or("dropout", 0.1)?,
        attention_dropout: fields.share_or("attention_dropout", 0.0)?,
        activation_dropout: fields.share_or("activation_dropout", 0.0)?,
        special: [
            ("eos_token_id", fields.whole_or("eos_token_id", NUMBERS, 0)?),
            ("pad_token_id", padding),
            ("decoder_start_token_id", fields.whole_or("decoder_start_token_id", NUMBERS, 58100)?),
        ],
        unsupported,
    }))
}

//! Hugging Face's Marian: a folder of `config.json`, `model.safetensors` and `vocab.json`, dense. It is
//! read only.
//!
//! | Marian | ours |
//! |---|---|
//! | `model.shared.weight` | `embedding.weight`, of both languages and of the output layer |
//! | `final_logits_bias`, \[1, vocabulary\] | `output.bias` |
//! | `self_attn.{q,k,v}_proj` | `self_attn.in_proj` = \[query; key; value\] |
//! | `encoder_attn.{q,k,v}_proj` | `multihead_attn.query`, `.key`, `.value` |
//! | `fc1`, `fc2` | `linear1`, `linear2` |
//! | `self_attn_layer_norm`, `encoder_attn_layer_norm`, `final_layer_norm` | `norm1`, `norm2`, `norm3` of the decoder, `norm1` and `norm2` of the encoder |
//!
//! Rows of the vocabulary have another order here ([`Vocabulary::rows`]). The beginning of a translation is
//! a row of its own, a copy of that of padding. Its bias is so low that a softmax gives it no probability.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::checkpoint::Checkpoint;
use super::fault::expect_agreement;
use super::file::{TensorFile, same};
use super::file_names::CONFIG;
use super::hints::Hints;
use super::marian_config::MarianConfig;
use super::read_base::read_config;
use super::shapes::Renamed;
use crate::data::translation::{BOS, MarianFolder, PairTokenizers, VOCABULARY, Vocabulary};
use crate::error::{Fault, Result};
use crate::models::encoder_decoder::sinusoids;
use crate::spec::{
    Architecture, AttentionInit, EmbeddingInit, EncoderDecoderSpec, FinalNorm, NormPlacement,
    PositionKind,
};

const PREFIX: &str = "model.";
const SHARED: &str = "model.shared.weight";
const BIAS: &str = "final_logits_bias";
/// Other names of the shared embedding, in files that store it again.
const COPIES: [&str; 3] =
    ["lm_head.weight", "model.decoder.embed_tokens.weight", "model.encoder.embed_tokens.weight"];
/// Tables of sines and cosines, which some files store though they are no parameters.
const POSITIONS: &str = ".embed_positions.weight";

/// The bias of a token that is never predicted. Its probability is below what float32 adds to that of others.
/// It is no lower, since label smoothing adds the logarithms of all probabilities.
const NEVER: f32 = -100.0;

const EMBEDDING: &str = "embedding.weight";
const OUTPUT_BIAS: &str = "output.bias";

/// Our names and theirs within a layer, without `.weight` and `.bias`.
const WITHIN: [(&str, &str); 10] = [
    ("self_attn.out_proj", "self_attn.out_proj"),
    ("multihead_attn.query", "encoder_attn.q_proj"),
    ("multihead_attn.key", "encoder_attn.k_proj"),
    ("multihead_attn.value", "encoder_attn.v_proj"),
    ("multihead_attn.out_proj", "encoder_attn.out_proj"),
    ("linear1", "fc1"),
    ("linear2", "fc2"),
    ("norm1", "self_attn_layer_norm"),
    ("norm2", "encoder_attn_layer_norm"),
    ("norm3", "final_layer_norm"),
];
/// The last norm of an encoder's layer, which has no attention to an encoder.
const ENCODER_LAST: (&str, &str) = ("norm2", "final_layer_norm");

const IN_PROJ: &str = "self_attn.in_proj";
/// The three parts of our `self_attn.in_proj`, in its order.
const PARTS: [&str; 3] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];

/// Whether a weight's name shows this format.
pub fn is_marian_name(name: &str) -> bool {
    name.ends_with(".encoder_attn.q_proj.weight")
}

/// Our name of a parameter within a layer, and which part of it theirs is.
fn ours(name: &str) -> Option<(String, Option<usize>)> {
    let bare = name.strip_prefix(PREFIX)?;
    let (stack, rest) = bare.split_once(".layers.")?;
    let (layer, rest) = rest.split_once('.')?;
    let (module, parameter) = rest.rsplit_once('.')?;
    let of = |module: &str| format!("{stack}.layers.{layer}.{module}.{parameter}");
    if let Some(part) = PARTS.iter().position(|part| *part == module) {
        return Some((of(IN_PROJ), Some(part)));
    }
    if stack == "encoder" && module == ENCODER_LAST.1 {
        return Some((of(ENCODER_LAST.0), None));
    }
    WITHIN.iter().find(|(_, theirs)| *theirs == module).map(|(ours, _)| (of(ours), None))
}

/// Their name of one of our parameters, for errors.
fn theirs(ours: &str) -> String {
    let within = || {
        let (stack, rest) = ours.split_once(".layers.")?;
        let (layer, rest) = rest.split_once('.')?;
        let (module, parameter) = rest.rsplit_once('.')?;
        let module = match module {
            IN_PROJ => "self_attn.{q,k,v}_proj",
            last if stack == "encoder" && last == ENCODER_LAST.0 => ENCODER_LAST.1,
            other => WITHIN.iter().find(|(name, _)| *name == other)?.1,
        };
        Some(format!("{PREFIX}{stack}.layers.{layer}.{module}.{parameter}"))
    };
    match ours {
        EMBEDDING => SHARED.into(),
        OUTPUT_BIAS => BIAS.into(),
        other => within().unwrap_or_else(|| other.into()),
    }
}

pub fn import(file: &TensorFile, hints: &Hints) -> Result<Checkpoint> {
    file.only_floats(|_| false)?;
    let fault = |summary: &str| Fault::of_file(&file.path, summary);
    if hints.new_head.is_some() {
        return Err(fault("a translation model has no classifier that a new one could replace")
            .expected("an architecture with classes")
            .into());
    }
    file.expect_uncompiled()?;
    let path = file.path.with_file_name(CONFIG);
    let base = read_config(&path)?;
    let config = base.marian(&path)?;
    let vocabulary = vocabulary(&file.path, config)?;
    let mut tensors = BTreeMap::new();
    let mut parts: BTreeMap<String, [Option<(&str, &Tensor)>; 3]> = BTreeMap::new();
    let words = std::iter::once(SHARED).chain(COPIES).find(|name| file.tensors.contains_key(*name));
    for (name, tensor) in &file.tensors {
        let is_words = name == SHARED || COPIES.contains(&name.as_str());
        match ours(name) {
            _ if name.ends_with(POSITIONS) => positions(file, name, tensor, config)?,
            _ if is_words => {
                let first = words.and_then(|words| file.tensors.get(words));
                if !first.map_or(Ok(true), |first| same(first, tensor))? {
                    let expected = words.unwrap_or(SHARED);
                    return Err(fault("the embeddings are not shared")
                        .tensor(name)
                        .found("other values or another shape")
                        .expected(format!("those of {expected}, as all of Marian's models have"))
                        .into());
                }
                tensors.insert(EMBEDDING.into(), tensor.clone());
            }
            Some((ours, Some(part))) => {
                parts.entry(ours).or_default()[part] = Some((name, tensor));
            }
            Some((ours, None)) => drop(tensors.insert(ours, tensor.clone())),
            None if name == BIAS => drop(tensors.insert(OUTPUT_BIAS.into(), tensor.clone())),
            // A later check reports it.
            None => drop(tensors.insert(name.clone(), tensor.clone())),
        }
    }
    if !tensors.contains_key(OUTPUT_BIAS) {
        // transformers has zeros then.
        let zeros = Tensor::zeros((1, config.vocab_size), DType::F32, &Device::Cpu)?;
        tensors.insert(OUTPUT_BIAS.into(), zeros);
    }
    for (ours, parts) in parts {
        tensors.insert(ours.clone(), joined(file, &ours, config, parts)?);
    }
    let rows = vocabulary.rows();
    for (name, shape) in [
        (EMBEDDING, vec![config.vocab_size, config.d_model]),
        (OUTPUT_BIAS, vec![1, config.vocab_size]),
    ] {
        let Some(tensor) = tensors.get(name) else { continue };
        if tensor.dims() != shape {
            return Err(fault("a tensor has another shape")
                .tensor(theirs(name))
                .found(format!("{:?}", tensor.dims()))
                .expected(format!("{shape:?}, by {CONFIG}"))
                .into());
        }
        let reordered = match name {
            EMBEDDING => in_order(tensor, &rows)?,
            _ => never_begins(&in_order(&tensor.flatten_all()?, &rows)?)?,
        };
        tensors.insert(name.into(), reordered);
    }
    let renamed = Renamed { path: &file.path, tensors, theirs: &theirs };
    let model = model(&renamed, config, rows.len())?;
    let sizes = [
        ("encoder_layers", config.encoder_layers, model.depth, "the layers' names"),
        ("decoder_layers", config.decoder_layers, model.decoder_depth(), "the layers' names"),
        ("encoder_ffn_dim", config.ffn_dim, model.hidden(), "fc1 of the encoder's first layer"),
    ];
    expect_agreement(&path, &sizes)?;
    renamed.checkpoint(model.into(), None, None)
}

/// The pieces in the order of the file's rows. Errors unless they agree with the config.
fn vocabulary(weights: &Path, config: &MarianConfig) -> Result<Vocabulary> {
    let path = weights.with_file_name(VOCABULARY);
    let bytes = std::fs::read(&path).map_err(|e| {
        Fault::of_file(&path, "the vocabulary cannot be read")
            .found(e)
            .expected("the file that Hugging Face keeps beside Marian's weights")
    })?;
    let vocabulary = Vocabulary::parse(&path.display().to_string(), &bytes)?;
    let fault = |summary: String| Fault::of_file(&path, summary);
    if vocabulary.len() != config.vocab_size {
        return Err(fault("the vocabulary has another size than the model".into())
            .found(format!("{} pieces", vocabulary.len()))
            .expected(format!("{}, vocab_size of {CONFIG}", config.vocab_size))
            .into());
    }
    let pieces = ["</s>", "<pad>", "<pad>"];
    for ((field, number), piece) in config.special.into_iter().zip(pieces) {
        let found = vocabulary.number(piece);
        if found != Some(number) {
            return Err(fault(format!("`{piece}` has another number than in {CONFIG}"))
                .found(found.map_or("none".into(), |found| found.to_string()))
                .expected(format!("{number}, its {field}"))
                .into());
        }
    }
    Ok(vocabulary)
}

/// Errors unless a stored table of positions has the values that the model computes, but for rounding to
/// float16.
fn positions(file: &TensorFile, name: &str, table: &Tensor, config: &MarianConfig) -> Result<()> {
    let (rows, dim) = (config.max_position_embeddings, config.d_model);
    let fault = |found: String, expected: String| {
        Fault::of_file(&file.path, "a table of positions is another than the model's")
            .tensor(name)
            .found(found)
            .expected(expected)
    };
    if table.dims() != [rows, dim] {
        let expected = format!("{:?}, by {CONFIG}", [rows, dim]);
        return Err(fault(format!("{:?}", table.dims()), expected).into());
    }
    let computed = sinusoids(rows, dim, true, &Device::Cpu)?;
    let apart = (table.to_dtype(DType::F32)? - computed)?.abs()?.max_all()?.to_scalar::<f32>()?;
    match apart < 2e-3 {
        true => Ok(()),
        false => Err(fault(
            format!("values up to {apart} apart"),
            "sines in front of cosines, as Marian has them".into(),
        )
        .into()),
    }
}

/// These rows of a tensor, in this order.
fn in_order(tensor: &Tensor, rows: &[usize]) -> Result<Tensor> {
    let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
    Ok(tensor.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?)
}

/// Biases by which the beginning of a translation is never predicted.
fn never_begins(bias: &Tensor) -> Result<Tensor> {
    let mut values = bias.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    if let Some(begin) = values.get_mut(BOS as usize) {
        *begin = NEVER;
    }
    Ok(Tensor::new(values, &Device::Cpu)?)
}

/// Queries, keys and values as one tensor.
fn joined(
    file: &TensorFile,
    ours: &str,
    config: &MarianConfig,
    parts: [Option<(&str, &Tensor)>; 3],
) -> Result<Tensor> {
    let dim = config.d_model;
    let shape = if ours.ends_with(".bias") { vec![dim] } else { vec![dim, dim] };
    let mut all = Vec::new();
    for (part, found) in PARTS.iter().zip(parts) {
        match found {
            Some((_, tensor)) if tensor.dims() == shape => all.push(tensor),
            Some((name, tensor)) => {
                return Err(Fault::of_file(&file.path, "a tensor has another shape")
                    .tensor(name)
                    .found(format!("{:?}", tensor.dims()))
                    .expected(format!("{shape:?}, by {CONFIG}"))
                    .into());
            }
            None => {
                let name = theirs(ours).replace("self_attn.{q,k,v}_proj", part);
                return Err(Fault::of_file(&file.path, "a tensor is missing")
                    .tensor(name)
                    .expected(format!("a tensor {shape:?}"))
                    .into());
            }
        }
    }
    Ok(Tensor::cat(&all, 0)?)
}

fn model(renamed: &Renamed, config: &MarianConfig, rows: usize) -> Result<EncoderDecoderSpec> {
    let [hidden, _] = renamed
        .dims("encoder.layers.0.linear1.weight", "[hidden, dim] of the encoder's first MLP")?;
    let (depth, decoder_depth) =
        (renamed.depth("encoder.layers."), renamed.depth("decoder.layers."));
    Ok(EncoderDecoderSpec {
        architecture: Architecture::EncoderDecoder,
        source_vocabulary: rows,
        target_vocabulary: rows,
        positions: config.max_position_embeddings,
        dim: config.d_model,
        depth,
        decoder_depth: (decoder_depth != depth).then_some(decoder_depth),
        heads: config.heads,
        mlp_ratio: hidden as f64 / config.d_model as f64,
        norm: NormPlacement::Post,
        final_norm: FinalNorm::None,
        position_embedding: PositionKind::SinusoidalHalves,
        shared_embedding: true,
        tied: true,
        output_bias: true,
        scale_embedding: config.scale_embedding,
        // How weights would start makes no difference to weights that are there.
        embedding_init: EmbeddingInit::default(),
        attention_init: AttentionInit::default(),
        activation: config.activation,
        // PyTorch's default; the config has no field for it.
        norm_eps: 1e-5,
        dropout: config.dropout,
        attention_dropout: config.attention_dropout,
        activation_dropout: config.activation_dropout,
    })
}

/// What a run on the tokens of the files beside the weights saves as its tokenizers. None unless the files are
/// there.
pub fn tokenizers(weights: &Path) -> Result<Option<Vec<u8>>> {
    let Some(folder) = MarianFolder::beside(weights)? else { return Ok(None) };
    Ok(Some(PairTokenizers::of_folder(&folder)?.json().as_bytes().to_vec()))
}

//! The state dict of a PyTorch module that consists of `torch.nn.Transformer` and what a translation model
//! has around it, dense: a folder of `config.json` ([`pytorch_config`](super::pytorch_config)) and
//! `model.safetensors`.
//!
//! | tensor | what it is |
//! |---|---|
//! | `source_embedding.weight`, `target_embedding.weight` | the tables of words, \[vocabulary, dim\] |
//! | `embedding.weight` | one table for both languages, in place of these |
//! | `source_positions.weight`, `target_positions.weight` | learned positions, \[positions, dim\] |
//! | `transformer.encoder.…`, `transformer.decoder.…` | the Transformer, by its own names |
//! | `output.weight`, `output.bias` | the output layer |
//!
//! `transformer.` may be left out, as in the state of a subclass of `torch.nn.Transformer`. PyTorch stores
//! queries, keys and values as one matrix `in_proj_weight`. That of self-attention is `in_proj.weight` here.
//! That of cross-attention is three matrices here, one below the other in PyTorch.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Tensor;

use super::checkpoint::Checkpoint;
use super::compact::file_bytes;
use super::file::{TensorFile, same};
use super::file_names::{CONFIG, MODEL};
use super::hints::Hints;
use super::pytorch_config::{MODEL_TYPE, PytorchConfig, TransformerOptions, config_json};
use super::read_base::beside;
use super::shapes::Renamed;
use crate::error::{Error, Fault, Result};
use crate::spec::{
    Architecture, AttentionInit, EmbeddingInit, EncoderDecoderSpec, FinalNorm, ModelSpec,
    PositionKind, VloraSpec,
};

const PREFIX: &str = "transformer.";
const EMBEDDING: &str = "embedding.weight";
const SOURCE: &str = "source_embedding.weight";
const TARGET: &str = "target_embedding.weight";
const OUTPUT: &str = "output.weight";

/// The parts of the packed matrix of cross-attention, in PyTorch's order.
pub const CROSS: [&str; 3] = ["query", "key", "value"];

/// Whether a weight's name shows this format.
pub fn is_pytorch_name(name: &str) -> bool {
    name.ends_with(".self_attn.in_proj_weight")
}

/// Tensors by PyTorch's names, without the prefix of the Transformer.
pub struct State {
    pub tensors: BTreeMap<String, Tensor>,
    prefix: &'static str,
}

/// A name without the prefix of the Transformer.
pub fn bare(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// A name with the prefix, if it is the Transformer's.
fn with_prefix(prefix: &str, name: &str) -> String {
    match name.starts_with("encoder.") || name.starts_with("decoder.") {
        true => format!("{prefix}{name}"),
        false => name.to_string(),
    }
}

impl State {
    /// The file's tensors. Errors if two have the same meaning, or if the file cannot be of this kind.
    pub fn of(file: &TensorFile, hints: &Hints) -> Result<State> {
        file.only_floats(|_| false)?;
        let fault = |summary: &str| Fault::of_file(&file.path, summary);
        if hints.new_head.is_some() {
            return Err(fault(
                "a translation model has no classifier that a new one could replace",
            )
            .expected("an architecture with classes")
            .into());
        }
        file.expect_uncompiled()?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in &file.tensors {
            if tensors.insert(bare(name).to_string(), tensor.clone()).is_some() {
                return Err(fault("two tensors have the same meaning")
                    .tensor(name)
                    .found(format!("{}, too", bare(name)))
                    .expected(format!("all of the Transformer's names with `{PREFIX}`, or none"))
                    .into());
            }
        }
        let is_prefixed = file.tensors.keys().any(|name| name.starts_with(PREFIX));
        Ok(State { tensors, prefix: if is_prefixed { PREFIX } else { "" } })
    }

    /// The file's name of a tensor.
    pub fn in_file(&self, bare: &str) -> String {
        with_prefix(self.prefix, bare)
    }
}

/// Converts one of our names to PyTorch's. A part of cross-attention becomes the packed matrix.
pub fn packed(ours: &str) -> String {
    let name = ours.replace("self_attn.in_proj.", "self_attn.in_proj_");
    CROSS.iter().fold(name, |name, part| {
        name.replace(&format!("multihead_attn.{part}."), "multihead_attn.in_proj_")
    })
}

/// The tensors of a file with PyTorch's names by ours.
pub fn by_our_names(file: &TensorFile) -> Result<BTreeMap<String, Tensor>> {
    let state = State::of(file, &Hints::default())?;
    unpacked(file, &state.tensors, &|name| state.in_file(name))
}

/// Converts tensors by PyTorch's names to ours. `in_file` converts PyTorch's names to the file's, for errors.
fn unpacked(
    file: &TensorFile,
    theirs: &BTreeMap<String, Tensor>,
    in_file: &dyn Fn(&str) -> String,
) -> Result<BTreeMap<String, Tensor>> {
    let fault =
        |summary: &str, name: &str| Fault::of_file(&file.path, summary).tensor(in_file(name));
    let words = [EMBEDDING, SOURCE, TARGET].iter().find_map(|name| theirs.get(*name));
    let dim = words.and_then(|words| words.dims().get(1).copied());
    let mut ours = BTreeMap::new();
    for (name, tensor) in theirs {
        if packed(name) != *name {
            return Err(fault("a tensor does not belong to the model", name)
                .expected(format!("{}, as PyTorch names it", in_file(&packed(name))))
                .into());
        }
        let Some((start, end)) = name.split_once(".multihead_attn.in_proj_") else {
            ours.insert(name.replace("self_attn.in_proj_", "self_attn.in_proj."), tensor.clone());
            continue;
        };
        if end.ends_with(".A") || end.ends_with(".B") {
            return Err(fault("an increment cannot be represented", name)
                .found("one increment of the packed matrix of cross-attention")
                .expected("increments of other weights: queries, keys and values are three here")
                .into());
        }
        let rows = tensor.dims().first().copied().unwrap_or_default();
        let width = dim.unwrap_or(rows / 3);
        let expected = if end == "bias" { vec![3 * width] } else { vec![3 * width, width] };
        if tensor.dims() != expected {
            return Err(fault("a tensor has another shape", name)
                .found(format!("{:?}", tensor.dims()))
                .expected(format!("{expected:?}: queries, keys and values"))
                .into());
        }
        for (at, part) in CROSS.iter().enumerate() {
            let part_of = tensor.narrow(0, at * width, width)?.force_contiguous()?;
            ours.insert(format!("{start}.multihead_attn.{part}.{end}"), part_of);
        }
    }
    Ok(ours)
}

/// How the model computes: by the config beside the weights, else by the run that starts from them.
fn options(
    file: &TensorFile,
    hints: &Hints,
) -> Result<(TransformerOptions, Option<(PathBuf, PytorchConfig)>)> {
    if let Some((path, base)) = beside(&file.path) {
        let config = base?.pytorch(&path)?.clone();
        return Ok((config.options.clone(), Some((path, config))));
    }
    if let Some(spec) = hints.model.as_ref().and_then(ModelSpec::as_encoder_decoder) {
        return Ok((TransformerOptions::of(spec), None));
    }
    Err(Fault::of_file(&file.path, "the file does not say how the model computes")
        .found(format!("no {CONFIG} beside it that describes the model"))
        .expected(format!(
            "one such as {{\"model_type\": \"{MODEL_TYPE}\", \"nhead\": 8, \"norm_first\": false, \
             \"position_embedding\": \"sinusoidal\", \"positions\": 256, \"scale_embedding\": true}}"
        ))
        .help("a run that starts from the file needs none: its own `model` says it")
        .into())
}

pub fn import(file: &TensorFile, hints: &Hints) -> Result<Checkpoint> {
    let state = State::of(file, hints)?;
    let in_file = |name: &str| state.in_file(name);
    checkpoint(file, hints, &state.tensors, &in_file, |_, _| Ok(None))
}

/// The checkpoint of tensors by PyTorch's names, factors of increments as `….A` and `….B`. `in_file`
/// converts these names to the file's, for errors; `increments` finds the increments.
pub fn checkpoint(
    file: &TensorFile,
    hints: &Hints,
    tensors: &BTreeMap<String, Tensor>,
    in_file: &dyn Fn(&str) -> String,
    increments: impl FnOnce(&Renamed, &mut EncoderDecoderSpec) -> Result<Option<VloraSpec>>,
) -> Result<Checkpoint> {
    let (options, config) = options(file, hints)?;
    let mut tensors = unpacked(file, tensors, in_file)?;
    let tied = tied(file, &mut tensors, options.tied)?;
    let theirs = |name: &str| in_file(&packed(name));
    let renamed = Renamed { path: &file.path, tensors, theirs: &theirs };
    let mut model = model(&renamed, &options, tied)?;
    let vlora = increments(&renamed, &mut model)?;
    if let Some((path, config)) = &config {
        config.check(path, &model)?;
    }
    renamed.checkpoint(model.into(), vlora, None)
}

/// Whether the output layer's matrix is the target's embedding, which is then kept once. PyTorch's states
/// have it under both names, files of `safetensors.torch.save_model` under one of them.
fn tied(
    file: &TensorFile,
    tensors: &mut BTreeMap<String, Tensor>,
    stated: Option<bool>,
) -> Result<bool> {
    let words = if tensors.contains_key(EMBEDDING) { EMBEDDING } else { TARGET };
    let (table, output) = (tensors.get(words), tensors.get(OUTPUT));
    let equal = match (table, output) {
        (Some(table), Some(output)) => same(table, output)?,
        _ => true,
    };
    let tied = stated.unwrap_or(equal);
    if !tied {
        return Ok(false);
    }
    if !equal {
        return Err(Fault::of_file(&file.path, "the output layer is not the target's embedding")
            .tensor(OUTPUT)
            .found("other values or another shape")
            .expected(format!("those of {words}, since the model is described as tied"))
            .help("`tied: false` keeps both")
            .into());
    }
    if let Some(output) = tensors.remove(OUTPUT)
        && stated == Some(true)
    {
        tensors.entry(words.into()).or_insert(output);
    }
    Ok(true)
}

/// The model by the shapes of its tensors. Only values that no shape shows come from `options`.
fn model(
    renamed: &Renamed,
    options: &TransformerOptions,
    tied: bool,
) -> Result<EncoderDecoderSpec> {
    let has = |name: &str| renamed.tensors.contains_key(name);
    if ![EMBEDDING, SOURCE, TARGET].into_iter().any(has) {
        return Err(Fault::of_file(renamed.path, "the state has no embeddings")
            .tensor(SOURCE)
            .found("no such tensor")
            .expected(format!("{SOURCE} and {TARGET}, or {EMBEDDING} for both languages"))
            .help(
                "a Transformer alone has none: save the state of the module that holds it with its \
                 embeddings and its output layer, under these names",
            )
            .into());
    }
    let rows = |name: &str, meaning: &str| renamed.dims::<2>(name, meaning);
    let shared_embedding = has(EMBEDDING);
    let (source, target) = if shared_embedding { (EMBEDDING, EMBEDDING) } else { (SOURCE, TARGET) };
    let [source_vocabulary, dim] = rows(source, "[vocabulary, dim] of the source's embedding")?;
    let [target_vocabulary, _] = rows(target, "[vocabulary, dim] of the target's embedding")?;
    let positions = match (options.position_embedding, options.positions) {
        (PositionKind::Sinusoidal | PositionKind::SinusoidalHalves, Some(positions)) => positions,
        _ => rows("source_positions.weight", "[positions, dim] of the source's positions")?[0],
    };
    let linear1 = "encoder.layers.0.linear1.weight";
    let [hidden, _] = rows(linear1, "[hidden, dim] of an MLP")?;
    let (depth, decoder_depth) =
        (renamed.depth("encoder.layers."), renamed.depth("decoder.layers."));
    let has_any = |prefix: &str| renamed.tensors.keys().any(|name| name.starts_with(prefix));
    let final_norm = match (has_any("encoder.norm."), has_any("decoder.norm.")) {
        (true, _) => FinalNorm::Both,
        (false, true) => FinalNorm::Decoder,
        (false, false) => FinalNorm::None,
    };
    Ok(EncoderDecoderSpec {
        architecture: Architecture::EncoderDecoder,
        source_vocabulary,
        target_vocabulary,
        positions,
        dim,
        depth,
        decoder_depth: (decoder_depth != depth).then_some(decoder_depth),
        heads: options.heads,
        mlp_ratio: hidden as f64 / dim as f64,
        norm: options.norm,
        final_norm,
        position_embedding: options.position_embedding,
        shared_embedding,
        tied,
        output_bias: has("output.bias"),
        scale_embedding: options.scale_embedding,
        // How weights would start makes no difference to weights that are there.
        embedding_init: EmbeddingInit::default(),
        attention_init: AttentionInit::default(),
        activation: options.activation,
        norm_eps: options.norm_eps,
        dropout: options.dropout,
        attention_dropout: options.attention_dropout,
        activation_dropout: options.activation_dropout,
    })
}

/// The tensors by PyTorch's names, without the Transformer's prefix. A tied output layer stands under both
/// names, as in a state dict.
pub fn state(
    checkpoint: &Checkpoint,
    model: &EncoderDecoderSpec,
) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for (name, tensor) in &checkpoint.tensors {
        let query = format!("multihead_attn.{}.", CROSS[0]);
        let Some((start, end)) = name.split_once(&query) else {
            // Keys and values are written with the queries.
            let is_part =
                CROSS.iter().any(|part| name.contains(&format!("multihead_attn.{part}.")));
            if !is_part {
                tensors.insert(packed(name), tensor.clone());
            }
            continue;
        };
        let part = |part: &&str| {
            let name = format!("{start}multihead_attn.{part}.{end}");
            let missing = || Error::from(Fault::failed(format!("the model has no {name}")));
            checkpoint.tensors.get(&name).ok_or_else(missing)
        };
        let parts = CROSS.iter().map(part).collect::<Result<Vec<_>>>()?;
        tensors.insert(packed(name), Tensor::cat(&parts, 0)?);
    }
    let words = if model.shared_embedding { EMBEDDING } else { TARGET };
    if let (true, Some(table)) = (model.tied, tensors.get(words).cloned()) {
        tensors.insert(OUTPUT.into(), table);
    }
    Ok(tensors)
}

/// The content of a file with these tensors. The Transformer's names get its prefix.
pub fn state_bytes(tensors: BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let named = |(name, tensor): (String, Tensor)| (with_prefix(PREFIX, &name), tensor);
    file_bytes(&tensors.into_iter().map(named).collect(), "format", "pt".into())
}

/// The files of a folder for a dense model. The config comes last.
pub fn export(dense: &Checkpoint) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let Some(model) = dense.model.as_encoder_decoder() else {
        return Err(Fault::new("PyTorch's Transformer cannot hold this model")
            .found("a model that is no encoder-decoder")
            .expected("a model of `architecture: encoder-decoder`")
            .help("--to compact holds it")
            .into());
    };
    let config = serde_json::to_string_pretty(&config_json(model))
        .map_err(|e| Error::from(Fault::failed(format!("{CONFIG} cannot be written: {e}"))))?;
    Ok(vec![
        (MODEL.into(), state_bytes(state(dense, model)?)?),
        (CONFIG.into(), (config + "\n").into_bytes()),
    ])
}

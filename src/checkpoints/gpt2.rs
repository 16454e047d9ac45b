//! Hugging Face's GPT-2: a folder of `config.json` and `model.safetensors`, dense.
//!
//! Our names are GPT-2's without the prefix `transformer.`. Its linear layers are `Conv1D`s, whose
//! matrices are \[in, out\]; ours are \[out, in\]. Versions of transformers before 4.31 also stored the
//! causal masks, `attn.bias` and `attn.masked_bias`, which are no parameters.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Tensor;
use serde_json::json;

use super::activation::activation_name;
use super::base::Gpt2Config;
use super::checkpoint::Checkpoint;
use super::compact::file_bytes;
use super::fault::expect_agreement;
use super::file::TensorFile;
use super::file_names::{CONFIG, MODEL};
use super::hints::Hints;
use super::read_base::read_config;
use super::shapes::Renamed;
use crate::error::{Error, Fault, Result};
use crate::spec::{Architecture, DecoderSpec};

const PREFIX: &str = "transformer.";
const WORDS: &str = "wte.weight";
const POSITIONS: &str = "wpe.weight";
const HEAD: &str = "lm_head.weight";

/// Whether a weight's name shows this format.
pub fn is_gpt2_name(name: &str) -> bool {
    name.ends_with(".attn.c_attn.weight")
}

/// Whether a tensor is a causal mask.
fn is_mask(name: &str) -> bool {
    name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")
}

/// \[in, out\] of the `Conv1D` of this name; None for another parameter.
fn conv_sides(name: &str, config: &Gpt2Config) -> Option<[usize; 2]> {
    let (dim, hidden) = (config.n_embd, config.hidden());
    let sides = [
        (".attn.c_attn.weight", [dim, 3 * dim]),
        (".attn.c_proj.weight", [dim, dim]),
        (".mlp.c_fc.weight", [dim, hidden]),
        (".mlp.c_proj.weight", [hidden, dim]),
    ];
    sides.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, sides)| sides)
}

pub fn import(file: &TensorFile, hints: &Hints) -> Result<Checkpoint> {
    file.only_floats(is_mask)?;
    let fault = |summary: &str| Fault::of_file(&file.path, summary);
    if hints.new_head.is_some() {
        return Err(fault("a language model has no classifier that a new one could replace")
            .expected("an architecture with classes")
            .into());
    }
    file.expect_uncompiled()?;
    let path = file.path.with_file_name(CONFIG);
    let base = read_config(&path)?;
    let config = base.gpt2(&path)?;
    let prefixed = file.tensors.keys().any(|name| name.starts_with(PREFIX));
    let mut tensors = BTreeMap::new();
    for (name, tensor) in file.tensors.iter().filter(|(name, _)| !is_mask(name)) {
        let bare = name.strip_prefix(PREFIX).unwrap_or(name).to_string();
        let tensor = match conv_sides(&bare, config) {
            Some(sides) => turned(file, name, tensor, sides)?,
            None => tensor.clone(),
        };
        tensors.insert(bare, tensor);
    }
    if config.tied {
        let head = tensors.remove(HEAD);
        tied(file, head.as_ref(), tensors.get(WORDS))?;
    }
    let theirs = |name: &str| theirs(name, if prefixed { PREFIX } else { "" });
    let renamed = Renamed { path: &file.path, tensors, theirs: &theirs };
    let model = model(&renamed, config)?;
    let sizes = [
        ("n_embd", config.n_embd, model.dim, WORDS),
        ("n_layer", config.n_layer, model.depth, "the layers' names"),
        ("vocab_size", config.vocab_size, model.vocabulary, WORDS),
        ("n_positions", config.n_positions, model.positions, POSITIONS),
    ];
    expect_agreement(&path, &sizes)?;
    renamed.checkpoint(model.into(), None, None)
}

/// A matrix \[in, out\] as \[out, in\].
fn turned(file: &TensorFile, name: &str, tensor: &Tensor, sides: [usize; 2]) -> Result<Tensor> {
    if tensor.dims() == sides {
        return Ok(tensor.t()?.contiguous()?);
    }
    let fault = Fault::of_file(&file.path, "a tensor has another shape")
        .tensor(name)
        .found(format!("{:?}", tensor.dims()))
        .expected(format!("{sides:?} as [in, out], by {CONFIG}"));
    let [input, output] = sides;
    Err(match tensor.dims() == [output, input] {
        true => {
            fault.help("this is [out, in], as nanoGPT stores it: transpose the layers' matrices")
        }
        false => fault,
    }
    .into())
}

/// Checks a stored output layer that is the word embedding by the config.
fn tied(file: &TensorFile, head: Option<&Tensor>, words: Option<&Tensor>) -> Result<()> {
    let (Some(head), Some(words)) = (head, words) else { return Ok(()) };
    let equal = head.dims() == words.dims() && head.ne(words)?.max_all()?.to_scalar::<u8>()? == 0;
    if equal {
        return Ok(());
    }
    Err(Fault::of_file(&file.path, "the output layer is not the word embedding")
        .tensor(HEAD)
        .found("other values or another shape")
        .expected(format!("those of {WORDS}, since the config does not set tie_word_embeddings"))
        .help("`\"tie_word_embeddings\": false` in config.json keeps both")
        .into())
}

/// The model by the shapes of its tensors. Only values that no shape shows come from the
/// config.
fn model(renamed: &Renamed, config: &Gpt2Config) -> Result<DecoderSpec> {
    let rows = |name: &str, meaning: &str| renamed.dims::<2>(name, meaning);
    let [vocabulary, dim] = rows(WORDS, "[vocabulary, dim] of the word embedding")?;
    let [positions, _] = rows(POSITIONS, "[positions, dim] of the position embedding")?;
    Ok(DecoderSpec {
        architecture: Architecture::Decoder,
        vocabulary,
        positions,
        dim,
        depth: renamed.depth("h."),
        heads: config.n_head,
        mlp_ratio: config.hidden() as f64 / config.n_embd as f64,
        bias: true,
        tied: config.tied,
        activation: config.activation_function,
        norm_eps: config.layer_norm_epsilon,
        dropout: config.dropout,
        attention_dropout: config.attn_pdrop,
    })
}

/// Converts one of our names to theirs.
fn theirs(ours: &str, prefix: &str) -> String {
    if ours == HEAD { ours.to_string() } else { format!("{prefix}{ours}") }
}

/// The files of a `GPT2LMHeadModel`'s folder for a dense model. The config comes last. A model
/// without biases gets zeros, which compute the same.
pub fn export(dense: &Checkpoint) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let Some(model) = dense.model.as_decoder() else {
        return Err(Fault::new("Hugging Face's GPT-2 cannot hold this model")
            .found("a model that is no decoder")
            .expected("a model of `architecture: decoder`")
            .help("--to compact holds it")
            .into());
    };
    let mut tensors = BTreeMap::new();
    for (name, tensor) in &dense.tensors {
        let is_linear = name.starts_with("h.") && tensor.rank() == 2;
        let tensor = if is_linear { tensor.t()?.contiguous()? } else { tensor.clone() };
        if !model.bias && (is_linear || tensor.rank() == 1) {
            let size = tensor.dims()[tensor.rank() - 1];
            let zeros = Tensor::zeros(size, tensor.dtype(), tensor.device())?;
            tensors.insert(theirs(&name.replace(".weight", ".bias"), PREFIX), zeros);
        }
        tensors.insert(theirs(name, PREFIX), tensor);
    }
    // What transformers takes where nothing is said. Smaller vocabularies have no such token.
    let end_of_text = (model.vocabulary > 50256).then_some(50256);
    let config = json!({
        "activation_function": activation_name(model.activation),
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": model.attention_dropout,
        "bos_token_id": end_of_text,
        "embd_pdrop": model.dropout,
        "eos_token_id": end_of_text,
        "initializer_range": 0.02,
        "layer_norm_epsilon": model.norm_eps,
        "model_type": "gpt2",
        "n_embd": model.dim,
        "n_head": model.heads,
        "n_inner": model.hidden(),
        "n_layer": model.depth,
        "n_positions": model.positions,
        "resid_pdrop": model.dropout,
        "tie_word_embeddings": model.tied,
        "vocab_size": model.vocabulary,
    });
    let config = serde_json::to_string_pretty(&config)
        .map_err(|e| Error::from(Fault::failed(format!("{CONFIG} cannot be written: {e}"))))?;
    Ok(vec![
        (MODEL.into(), file_bytes(&tensors, "format", "pt".into())?),
        (CONFIG.into(), (config + "\n").into_bytes()),
    ])
}

//! `config.json`: what a base model of the Hub is, by its `model_type`.
//!
//! | `model_type` | what it is | what can be done with it |
//! |---|---|---|
//! | `vit` | Vision Transformer | train, import, spectrum |
//! | `bert`, `roberta`, `xlm-roberta`, `camembert`, `electra`, `distilbert` | BERT-like encoder | spectrum |
//! | `marian` | encoder-decoder, Helsinki-NLP's translation models | recognised |
//! | `t5`, `mt5` | encoder-decoder with relative positions | recognised |

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fault::Fault;
use super::fields::Fields;
use super::{CONFIG, architectures, tokenizer};
use crate::error::Result;

/// A base model's description.
#[derive(Clone, Debug, PartialEq)]
pub enum BaseModel {
    Vit(VitConfig),
    Bert(BertConfig),
    EncoderDecoder(EncoderDecoderConfig),
}

/// Hugging Face's ViT.
#[derive(Clone, Debug, PartialEq)]
pub struct VitConfig {
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    /// Pixels a side of the image and of a patch.
    pub image_size: usize,
    pub patch_size: usize,
    pub num_channels: usize,
    pub hidden_act: Activation,
    pub layer_norm_eps: f64,
    pub qkv_bias: bool,
    /// Classes of the classifier, if the file says how many.
    pub num_labels: Option<usize>,
    /// Their names by number; empty where they have none but `LABEL_0` and so on.
    pub class_names: Vec<String>,
}

/// An encoder as BERT's.
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    pub kind: BertKind,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    /// Kinds of segments; 0 where the model has none.
    pub type_vocab_size: usize,
    pub hidden_act: Activation,
    pub layer_norm_eps: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BertKind {
    Bert,
    /// RoBERTa, XLM-RoBERTa and CamemBERT, which differ in their vocabularies.
    Roberta,
    Electra,
    DistilBert,
}

/// An encoder and a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderDecoderConfig {
    pub kind: EncoderDecoderKind,
    pub vocab_size: usize,
    pub d_model: usize,
    pub encoder: StackConfig,
    pub decoder: StackConfig,
    /// Width of one head; d_model over the heads but for T5.
    pub head_size: usize,
    pub activation: Activation,
    /// Whether the MLP multiplies by a second, linear branch.
    pub gated: bool,
    pub norm_eps: f64,
    /// None where positions are relative.
    pub max_position_embeddings: Option<usize>,
}

/// The layers of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackConfig {
    pub layers: usize,
    pub heads: usize,
    /// Width of the MLP.
    pub feed_forward: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderDecoderKind {
    Marian,
    T5,
}

/// The function within an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Gelu,
    /// Its approximation by tanh.
    GeluTanh,
    Relu,
    Silu,
}

/// Their names in descriptions, the usual one of each first.
pub const ACTIVATIONS: [(&str, Activation); 7] = [
    ("gelu", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
];

/// Reads the description in a model's folder, and holds the tokenizer of a text model, if it is
/// there, to it.
pub fn read_base(folder: &Path) -> Result<BaseModel> {
    let base = read_config(&folder.join(CONFIG))?;
    if let Some(vocab_size) = base.vocab_size() {
        tokenizer::check(folder, vocab_size)?;
    }
    Ok(base)
}

/// Reads a `config.json`.
pub fn read_config(path: &Path) -> Result<BaseModel> {
    let bytes = fs::read(path).map_err(|e| {
        Fault::new(path, "the model's description cannot be read")
            .found(e)
            .expected(format!("the {CONFIG} that Hugging Face keeps beside the weights"))
    })?;
    BaseModel::parse(path, &bytes)
}

/// The description beside a weights file, if there is one that says a `model_type`.
pub fn beside(weights: &Path) -> Option<(PathBuf, Result<BaseModel>)> {
    let path = weights.with_file_name(CONFIG);
    let bytes = fs::read(&path).ok()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    value.get("model_type")?;
    let base = BaseModel::parse(&path, &bytes);
    Some((path, base))
}

impl BaseModel {
    /// A `config.json`'s content; `path` names it in errors.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<BaseModel> {
        let fields = Fields::parse(path, bytes, "the model's description")?;
        architectures::read(&fields)
    }

    /// The model if this program can train it; else why not, of the description at `path`.
    pub fn trainable(&self, path: &Path) -> Result<&VitConfig> {
        let refuse = |field: &str, found: &str, expected: &str| {
            Err(Fault::new(path, format!("{field}: the model is not supported"))
                .found(found)
                .expected(expected)
                .into())
        };
        let fault = || {
            Fault::new(path, "models of this kind cannot be trained or imported yet")
                .found(self)
                .expected("a Vision Transformer, model_type `vit`")
        };
        match self {
            BaseModel::Vit(vit) if vit.hidden_act != Activation::Gelu => {
                refuse("hidden_act", &vit.hidden_act.to_string(), "`gelu`")
            }
            BaseModel::Vit(vit) if !vit.qkv_bias => refuse("qkv_bias", "false", "true"),
            BaseModel::Vit(vit) => Ok(vit),
            BaseModel::Bert(_) => Err(fault().help("`vlora spectrum` reads it").into()),
            BaseModel::EncoderDecoder(_) => Err(fault().into()),
        }
    }

    /// Rows of the embedding of a text model.
    pub fn vocab_size(&self) -> Option<usize> {
        match self {
            BaseModel::Vit(_) => None,
            BaseModel::Bert(bert) => Some(bert.vocab_size),
            BaseModel::EncoderDecoder(both) => Some(both.vocab_size),
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let named = ACTIVATIONS.iter().find(|(_, activation)| activation == self);
        write!(f, "`{}`", named.map_or("", |(name, _)| name))
    }
}

impl fmt::Display for BaseModel {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            BaseModel::Vit(m) => write!(
                f,
                "ViT, {} layers, hidden_size {}, {} heads, intermediate_size {}",
                m.num_hidden_layers, m.hidden_size, m.num_attention_heads, m.intermediate_size
            ),
            BaseModel::Bert(m) => {
                let name = match m.kind {
                    BertKind::Bert => "BERT",
                    BertKind::Roberta => "RoBERTa",
                    BertKind::Electra => "ELECTRA",
                    BertKind::DistilBert => "DistilBERT",
                };
                write!(
                    f,
                    "{name}, {} layers, hidden_size {}, {} heads, intermediate_size {}, \
                     vocabulary {}",
                    m.num_hidden_layers,
                    m.hidden_size,
                    m.num_attention_heads,
                    m.intermediate_size,
                    m.vocab_size
                )
            }
            BaseModel::EncoderDecoder(m) => {
                let name = match m.kind {
                    EncoderDecoderKind::Marian => "Marian",
                    EncoderDecoderKind::T5 => "T5",
                };
                write!(
                    f,
                    "{name}, encoder {} + decoder {}, d_model {}, {} heads, vocabulary {}",
                    m.encoder.layers, m.decoder.layers, m.d_model, m.encoder.heads, m.vocab_size
                )
            }
        }
    }
}

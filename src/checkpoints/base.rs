//! The config of a base model of the Hub, by the `model_type` in its `config.json`.
//!
//! | `model_type` | what it is | what can be done with it |
//! |---|---|---|
//! | `vit` | Vision Transformer | train, import, spectrum |
//! | none, but timm's `architecture` | timm's Vision Transformer | train, import, spectrum |
//! | `bert`, `distilbert` | BERT-like encoder | train, import, spectrum |
//! | `gpt2` | decoder | train, import, spectrum |
//! | `torch.nn.Transformer` | encoder-decoder, PyTorch's with embeddings around it | train, import |
//! | `roberta`, `xlm-roberta`, `camembert`, `electra` | BERT-like encoder | spectrum |
//! | `marian` | encoder-decoder, Helsinki-NLP's translation models | train, import |
//! | `t5`, `mt5` | encoder-decoder with relative positions | recognised |

use std::fmt;
use std::path::Path;

use super::marian_config::MarianConfig;
use super::pytorch_config::PytorchConfig;
use super::timm_config::TimmConfig;
use super::unsupported::Unsupported;
use crate::error::{Fault, Result};
use crate::spec::MlpActivation;

/// A base model's config.
#[derive(Clone, Debug, PartialEq)]
pub enum BaseModel {
    Vit(VitConfig),
    Timm(Box<TimmConfig>),
    Bert(BertConfig),
    Gpt2(Gpt2Config),
    Pytorch(Box<PytorchConfig>),
    Marian(Box<MarianConfig>),
    T5(T5Config),
}

/// Hugging Face's ViT.
#[derive(Clone, Debug, PartialEq)]
pub struct VitConfig {
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    /// Side of the image and of a patch, in pixels.
    pub image_size: usize,
    pub patch_size: usize,
    pub num_channels: usize,
    pub hidden_act: MlpActivation,
    pub layer_norm_eps: f64,
    pub qkv_bias: bool,
    /// Number of classes, if the file has it.
    pub num_labels: Option<usize>,
    /// Names of the classes by number; empty if there are only the defaults `LABEL_0`, `LABEL_1`, …
    pub class_names: Vec<String>,
    /// The first field that this project's model does not support.
    pub unsupported: Option<Unsupported>,
}

/// A text encoder like BERT.
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    pub kind: BertKind,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    /// Number of segment types; 0 if the model has none.
    pub type_vocab_size: usize,
    pub hidden_act: MlpActivation,
    pub layer_norm_eps: f64,
    /// Dropout rates of the activations and of the attention weights in training.
    pub dropout: f64,
    pub attention_dropout: f64,
    /// Number of classes, if the file has it.
    pub num_labels: Option<usize>,
    /// Names of the classes by number; empty if there are only the defaults `LABEL_0`, `LABEL_1`, …
    pub class_names: Vec<String>,
    /// The first field that this project's model does not support.
    pub unsupported: Option<Unsupported>,
}

/// GPT-2.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpt2Config {
    pub vocab_size: usize,
    pub n_positions: usize,
    pub n_embd: usize,
    pub n_layer: usize,
    pub n_head: usize,
    /// Width of the MLP; None is four times `n_embd`.
    pub n_inner: Option<usize>,
    pub activation_function: MlpActivation,
    pub layer_norm_epsilon: f64,
    /// Dropout rate of the activations in training.
    pub dropout: f64,
    pub attn_pdrop: f64,
    /// Whether the output layer's matrix is the word embedding.
    pub tied: bool,
    /// The first field that this project's model does not support.
    pub unsupported: Option<Unsupported>,
}

impl Gpt2Config {
    /// Width of the MLP.
    pub fn hidden(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BertKind {
    Bert,
    /// RoBERTa, XLM-RoBERTa and CamemBERT, which differ only in their vocabularies.
    Roberta,
    Electra,
    DistilBert,
}

/// T5: an encoder and a decoder with relative positions.
#[derive(Clone, Debug, PartialEq)]
pub struct T5Config {
    pub vocab_size: usize,
    pub d_model: usize,
    pub encoder: StackConfig,
    pub decoder: StackConfig,
    /// Width of one head.
    pub head_size: usize,
    pub activation: MlpActivation,
    /// Whether the MLP multiplies by a second, linear branch.
    pub gated: bool,
    pub norm_eps: f64,
}

/// The layers of the encoder or of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackConfig {
    pub layers: usize,
    pub heads: usize,
    /// Width of the MLP.
    pub feed_forward: usize,
}

impl BaseModel {
    /// Hugging Face's ViT. Errors if it is another model or cannot be trained; `path` names the config.
    pub fn vit(&self, path: &Path) -> Result<&VitConfig> {
        self.expect(path, "that of a Hugging Face ViT, model_type `vit`", |model| match model {
            BaseModel::Vit(vit) => Some(vit),
            _ => None,
        })
    }

    /// BERT or DistilBERT. Errors if it is another model or cannot be trained; `path` names the config.
    pub fn bert(&self, path: &Path) -> Result<&BertConfig> {
        self.expect(path, "that of a text encoder, model_type `bert` or `distilbert`", |model| {
            match model {
                BaseModel::Bert(bert) => Some(bert),
                _ => None,
            }
        })
    }

    /// GPT-2. Errors if it is another model or cannot be trained; `path` names the config.
    pub fn gpt2(&self, path: &Path) -> Result<&Gpt2Config> {
        self.expect(path, "that of a decoder, model_type `gpt2`", |model| match model {
            BaseModel::Gpt2(gpt2) => Some(gpt2),
            _ => None,
        })
    }

    /// Marian. Errors if it is another model or cannot be trained; `path` names the config.
    pub fn marian(&self, path: &Path) -> Result<&MarianConfig> {
        self.expect(path, "that of a translation model, model_type `marian`", |model| match model {
            BaseModel::Marian(config) => Some(&**config),
            _ => None,
        })
    }

    /// PyTorch's Transformer. Errors if it is another model or cannot be trained; `path` names the config.
    pub fn pytorch(&self, path: &Path) -> Result<&PytorchConfig> {
        self.expect(
            path,
            "that of PyTorch's Transformer, model_type `torch.nn.Transformer`",
            |model| match model {
                BaseModel::Pytorch(config) => Some(&**config),
                _ => None,
            },
        )
    }

    /// What `pick` finds. Errors if that is nothing, or if this program cannot train the model.
    fn expect<'a, T>(
        &'a self,
        path: &Path,
        expected: &str,
        pick: impl FnOnce(&'a BaseModel) -> Option<&'a T>,
    ) -> Result<&'a T> {
        self.trainable(path)?;
        pick(self).ok_or_else(|| {
            Fault::of_file(path, "the config is of another architecture than the weights")
                .found(self)
                .expected(expected)
                .into()
        })
    }

    /// Errors if this program cannot train the model; `path` names the config.
    pub fn trainable(&self, path: &Path) -> Result<()> {
        let fault = || {
            Fault::of_file(path, "models of this kind cannot be trained or imported yet")
                .found(self)
                .expected(
                    "a model_type of `vit`, `bert`, `distilbert`, `gpt2`, `marian` or `torch.nn.Transformer`",
                )
        };
        match self {
            BaseModel::T5(_) => return Err(fault().into()),
            BaseModel::Bert(BertConfig { kind: BertKind::Roberta | BertKind::Electra, .. }) => {
                return Err(fault().help("`vlora spectrum` reads it").into());
            }
            _ => {}
        }
        match self.unsupported() {
            Some(unsupported) => Err(unsupported.fault(path).into()),
            None => Ok(()),
        }
    }

    /// The first field that this project's models do not support.
    fn unsupported(&self) -> Option<&Unsupported> {
        match self {
            BaseModel::Vit(config) => config.unsupported.as_ref(),
            BaseModel::Timm(config) => config.unsupported.as_ref(),
            BaseModel::Bert(config) => config.unsupported.as_ref(),
            BaseModel::Gpt2(config) => config.unsupported.as_ref(),
            BaseModel::Pytorch(config) => config.unsupported.as_ref(),
            BaseModel::Marian(config) => config.unsupported.as_ref(),
            BaseModel::T5(_) => None,
        }
    }

    /// Vocabulary size of a text model; None for image models, and for models of two languages, which may
    /// have two tokenizers.
    pub fn vocab_size(&self) -> Option<usize> {
        match self {
            BaseModel::Vit(_)
            | BaseModel::Timm(_)
            | BaseModel::Pytorch(_)
            | BaseModel::Marian(_) => None,
            BaseModel::Bert(bert) => Some(bert.vocab_size),
            BaseModel::Gpt2(gpt2) => Some(gpt2.vocab_size),
            BaseModel::T5(t5) => Some(t5.vocab_size),
        }
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
            BaseModel::Timm(m) => write!(f, "timm's `{}`", m.architecture),
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
            BaseModel::Gpt2(m) => write!(
                f,
                "GPT-2, {} layers, n_embd {}, {} heads, MLP {}, vocabulary {}",
                m.n_layer,
                m.n_embd,
                m.n_head,
                m.hidden(),
                m.vocab_size
            ),
            BaseModel::Pytorch(m) => {
                write!(f, "torch.nn.Transformer with embeddings, {} heads", m.options.heads)
            }
            BaseModel::Marian(m) => write!(
                f,
                "Marian, encoder {} + decoder {}, d_model {}, {} heads, vocabulary {}",
                m.encoder_layers, m.decoder_layers, m.d_model, m.heads, m.vocab_size
            ),
            BaseModel::T5(m) => write!(
                f,
                "T5, encoder {} + decoder {}, d_model {}, {} heads, vocabulary {}",
                m.encoder.layers, m.decoder.layers, m.d_model, m.encoder.heads, m.vocab_size
            ),
        }
    }
}

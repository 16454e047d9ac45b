//! Models in files: this project's own format, and those of other programs.
//!
//! A [`Checkpoint`] is a model's shape, its increments and its tensors, by the names that
//! [`StackBuilder`](crate::vlora::StackBuilder) gives them. [`read_checkpoint`] reads it from any
//! of these formats:
//!
//! | format | what it is | what it does not contain |
//! |---|---|---|
//! | compact | this project's: increments as factors, the shape and [`Metadata`] in the header's metadata | |
//! | authors | state dict of `VisionTransformerVLoRA` (`vlora` 0.1.2) | heads, alpha, labels |
//! | authors | state dict of a module with `TransformerVLoRA` and embeddings | alpha; without PyTorch's `config.json` how the model computes |
//! | timm | state dict of timm's `VisionTransformer`, dense, or its folder with `config.json` | without that file heads, labels, how it pools |
//! | hf-bert | Hugging Face's BERT or DistilBERT with its `config.json`, dense | |
//! | hf-gpt2 | Hugging Face's GPT-2 with its `config.json`, dense | |
//! | hf-marian | Hugging Face's Marian with its `config.json` and `vocab.json`, dense | |
//! | pytorch | state dict of a module with `torch.nn.Transformer` and embeddings, with a `config.json`, dense | |
//! | hf-vit | `ViTForImageClassification` with its `config.json`, dense | |
//!
//! Base models of the Hub are folders too. [`needed`] selects their files from a repository, and
//! [`read_base`] reads their config.

mod activation;
mod adapt;
mod architectures;
mod authors;
mod authors_transformer;
mod base;
mod bert;
mod checkpoint;
mod classes;
mod compact;
mod compounds;
mod config_fields;
mod describe;
mod fault;
mod fields;
mod file;
mod file_names;
mod format;
mod gpt2;
mod headless;
mod hints;
mod hugging_face;
mod import;
pub mod layers;
mod lora;
mod marian;
mod marian_config;
mod metadata;
mod needed;
mod positions;
mod preprocessor;
mod pytorch;
mod pytorch_config;
mod read_base;
mod shapes;
mod shards;
mod timm;
mod timm_config;
mod tokenizer;
mod unsupported;
mod weights;

pub use adapt::{
    AdaptedWeights, Aligned, adapt, align, check_conversion, check_model, conversion, resampled,
};
pub use authors::{authors_targets, authors_tensors, construction};
pub use base::{BaseModel, BertConfig, BertKind, Gpt2Config, StackConfig, T5Config, VitConfig};
pub use checkpoint::Checkpoint;
pub use classes::match_classes;
pub use compact::to_bytes;
pub use file::{TensorFile, parse};
pub use file_names::{CONFIG, INDEX, MODEL, PREPROCESSOR, TOKENIZER};
pub use format::{CheckpointFormat, Exported};
pub use hints::Hints;
pub use import::{LoadedCheckpoint, import_checkpoint, read_checkpoint, read_checkpoint_as};
pub use marian_config::MarianConfig;
pub use metadata::Metadata;
pub use needed::{needed, needed_after_index};
pub use positions::resample_positions;
pub use read_base::{beside, read_base};
pub use shards::Index;
pub use timm::NORM_EPS as TIMM_NORM_EPS;
pub use weights::read;

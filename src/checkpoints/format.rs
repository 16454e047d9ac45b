//! The formats of a checkpoint. They are recognised by the tensors' names.

use std::fmt;
use std::path::PathBuf;

use super::checkpoint::Checkpoint;
use super::fault::first_of;
use super::file::TensorFile;
use super::file_names::{CONFIG, MODEL, PREPROCESSOR, TOKENIZER};
use super::read_base::beside;
use super::timm::NORM_EPS as TIMM_NORM_EPS;
use super::{authors, bert, gpt2, hugging_face, marian, pytorch, timm};
use crate::error::{Fault, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointFormat {
    /// This project's own.
    Compact,
    /// The authors' package.
    Authors,
    /// timm's `VisionTransformer`.
    Timm,
    /// Hugging Face's `ViTForImageClassification`.
    HuggingFace,
    /// Hugging Face's BERT or DistilBERT.
    Bert,
    /// Hugging Face's GPT-2.
    Gpt2,
    /// Hugging Face's Marian. It is only read.
    Marian,
    /// `torch.nn.Transformer` with embeddings.
    Pytorch,
}

impl CheckpointFormat {
    pub const ALL: [CheckpointFormat; 8] = [
        CheckpointFormat::Compact,
        CheckpointFormat::Authors,
        CheckpointFormat::Timm,
        CheckpointFormat::HuggingFace,
        CheckpointFormat::Bert,
        CheckpointFormat::Gpt2,
        CheckpointFormat::Marian,
        CheckpointFormat::Pytorch,
    ];

    /// The name in command line options.
    pub fn name(self) -> &'static str {
        match self {
            CheckpointFormat::Compact => "compact",
            CheckpointFormat::Authors => "authors",
            CheckpointFormat::Timm => "timm",
            CheckpointFormat::HuggingFace => "hf-vit",
            CheckpointFormat::Bert => "hf-bert",
            CheckpointFormat::Gpt2 => "hf-gpt2",
            CheckpointFormat::Marian => "hf-marian",
            CheckpointFormat::Pytorch => "pytorch",
        }
    }

    /// One line of help.
    pub fn about(self) -> &'static str {
        match self {
            CheckpointFormat::Compact => {
                "One file of this program, with increments as factors and the model's shape in it"
            }
            CheckpointFormat::Authors => {
                "State dict of the authors' package (vlora 0.1.2), for the models that it can hold"
            }
            CheckpointFormat::Timm => {
                "State dict of timm's VisionTransformer; increments are merged into the weights"
            }
            CheckpointFormat::HuggingFace => {
                "Folder of Hugging Face's ViTForImageClassification; increments are merged into the \
                 weights"
            }
            CheckpointFormat::Bert => {
                "Folder of Hugging Face's BERT or DistilBERT; written as a \
                 BertForSequenceClassification, increments merged into the weights"
            }
            CheckpointFormat::Gpt2 => {
                "Folder of Hugging Face's GPT2LMHeadModel; increments are merged into the weights"
            }
            CheckpointFormat::Marian => "Folder of Hugging Face's MarianMTModel; it is only read",
            CheckpointFormat::Pytorch => {
                "Folder with the state dict of a torch.nn.Transformer and its embeddings, and a \
                 config; increments are merged into the weights"
            }
        }
    }

    /// The files of a folder in this format, in the order to write them. Empty for a format that is one
    /// file.
    pub fn files(self) -> &'static [&'static str] {
        match self {
            CheckpointFormat::Compact
            | CheckpointFormat::Authors
            | CheckpointFormat::Timm
            | CheckpointFormat::Marian => &[],
            CheckpointFormat::HuggingFace => &[MODEL, PREPROCESSOR, CONFIG],
            CheckpointFormat::Bert | CheckpointFormat::Gpt2 | CheckpointFormat::Pytorch => {
                &[MODEL, TOKENIZER, CONFIG]
            }
        }
    }
}

impl fmt::Display for CheckpointFormat {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            CheckpointFormat::Compact => "compact format (vlora)",
            CheckpointFormat::Authors => "the authors' format (vlora 0.1.2)",
            CheckpointFormat::Timm => "timm's VisionTransformer",
            CheckpointFormat::HuggingFace => "Hugging Face's ViTForImageClassification",
            CheckpointFormat::Bert => "Hugging Face's BERT or DistilBERT",
            CheckpointFormat::Gpt2 => "Hugging Face's GPT-2",
            CheckpointFormat::Marian => "Hugging Face's Marian",
            CheckpointFormat::Pytorch => "torch.nn.Transformer with embeddings",
        })
    }
}

/// Recognises the format by the file's metadata and its tensors' names.
pub fn recognise(file: &TensorFile) -> Result<CheckpointFormat> {
    let any = |test: &dyn Fn(&str) -> bool| file.tensors.keys().any(|name| test(name));
    if file.is_compact() {
        return Ok(CheckpointFormat::Compact);
    }
    if any(&authors::is_authors_name) {
        return Ok(CheckpointFormat::Authors);
    }
    if any(&|name| name.contains(".attention.attention.query.")) {
        return Ok(CheckpointFormat::HuggingFace);
    }
    if any(&|name| name == "patch_embed.proj.weight" || name.starts_with("blocks.")) {
        return Ok(CheckpointFormat::Timm);
    }
    let names: Vec<&str> = file.tensors.keys().map(String::as_str).collect();
    if let Some((path, base)) = beside(&file.path).filter(|_| !names.is_empty()) {
        // If the config is of an unsupported model, its error is clearer than one about names.
        base?.trainable(&path)?;
    }
    if any(&bert::is_bert_name) {
        return Ok(CheckpointFormat::Bert);
    }
    if any(&gpt2::is_gpt2_name) {
        return Ok(CheckpointFormat::Gpt2);
    }
    if any(&marian::is_marian_name) {
        return Ok(CheckpointFormat::Marian);
    }
    if any(&pytorch::is_pytorch_name) {
        return Ok(CheckpointFormat::Pytorch);
    }
    if names.is_empty() {
        file.only_floats(|_| false)?;
        return Err(Fault::of_file(&file.path, "the file holds no weights")
            .found("no tensors")
            .into());
    }
    Err(Fault::of_file(&file.path, "the checkpoint's format is not known")
        .tensor(first_of(&names))
        .expected(
            "names as in blocks.0.attn.qkv.weight (timm), blocks.0.blocks.0.attn.qkv.weight (the \
             authors' package), vit.encoder.layer.0.attention.attention.query.weight (Hugging \
             Face's ViT), encoder.layer.0.attention.self.query.weight (its BERT), \
             transformer.h.0.attn.c_attn.weight (its GPT-2), \
             model.decoder.layers.0.encoder_attn.q_proj.weight (its Marian) or \
             transformer.encoder.layers.0.self_attn.in_proj_weight (torch.nn.Transformer), or this \
             program's metadata",
        )
        .into())
}

/// A checkpoint as files.
#[derive(Debug)]
pub enum Exported {
    File(Vec<u8>),
    /// A folder's files with their names, in the order to write them.
    Folder(Vec<(PathBuf, Vec<u8>)>),
}

impl Checkpoint {
    /// Converts the checkpoint to a format. For timm, Hugging Face and PyTorch it is the dense model that
    /// computes the same.
    pub fn export(&self, format: CheckpointFormat) -> Result<Exported> {
        self.check_variant(format)?;
        Ok(match format {
            CheckpointFormat::Compact => Exported::File(self.to_bytes()?),
            CheckpointFormat::Authors => Exported::File(authors::export(self)?),
            CheckpointFormat::Timm => Exported::File(timm::export(&self.merged()?)?),
            CheckpointFormat::HuggingFace => {
                Exported::Folder(hugging_face::export(&self.merged()?)?)
            }
            CheckpointFormat::Bert => Exported::Folder(bert::export(&self.merged()?)?),
            CheckpointFormat::Gpt2 => Exported::Folder(gpt2::export(&self.merged()?)?),
            CheckpointFormat::Marian => {
                return Err(Fault::new("models are not written as Hugging Face's Marian")
                    .expected("another format")
                    .help("--to compact and --to pytorch hold an encoder-decoder")
                    .into());
            }
            CheckpointFormat::Pytorch => Exported::Folder(pytorch::export(&self.merged()?)?),
        })
    }

    /// Errors if the format's reader would compute something else with the model's weights.
    fn check_variant(&self, format: CheckpointFormat) -> Result<()> {
        match self.model.as_vit() {
            Some(model) if !model.variant.is_timm() && format != CheckpointFormat::Compact => {
                Err(Fault::new("only the compact format holds the model")
                    .found("`model.variant: compact-transformers`")
                    .expected("a model with timm's layers")
                    .help("--to compact")
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// Lines for the user about the parts of the model that this format cannot hold.
    pub fn not_held_by(&self, format: CheckpointFormat) -> String {
        let eps = self.model.as_vit().map_or(TIMM_NORM_EPS, |model| model.norm_eps);
        let metadata = match format {
            CheckpointFormat::Authors | CheckpointFormat::Timm if !self.metadata.is_empty() => {
                "note: a state dict has no place for the names of the classes and the images' \
                 normalisation; compact and hf-vit have\n"
            }
            _ => "",
        };
        let rest = match format {
            CheckpointFormat::Authors => match authors::construction(self) {
                Some(call) => format!("for {call}\n{}", authors::not_held(self)),
                None => String::new(),
            },
            CheckpointFormat::Timm if eps != TIMM_NORM_EPS => format!(
                "note: timm's norms have ε = {TIMM_NORM_EPS:e} unless told otherwise; build the \
                 model with norm_layer=functools.partial(torch.nn.LayerNorm, eps={eps:e})\n"
            ),
            _ => String::new(),
        };
        metadata.to_string() + &rest
    }
}

//! Models in files: this project's own form, and those of other programs.
//!
//! A [`Checkpoint`] is a model's shape, its increments and its tensors, by the names that
//! [`StackBuilder`](crate::vlora::StackBuilder) gives them. [`read_checkpoint`] makes one of any form
//! that it recognises:
//!
//! | form | what it is | what it does not say |
//! |---|---|---|
//! | compact | this project's: increments as factors, the shape and [`Metadata`] in the header's metadata | |
//! | authors | state dict of `VisionTransformerVLoRA` (`vlora` 0.1.2) | heads, alpha, labels |
//! | timm | state dict of timm's `VisionTransformer`, dense, or its folder with `config.json` | without that file heads, labels, how it pools |
//! | hf-bert | Hugging Face's BERT or DistilBERT with its `config.json`, dense | |
//! | hf-vit | `ViTForImageClassification` with its `config.json`, dense | |
//!
//! Base models of the Hub are folders too: [`needed`] says which of a repository's files make one,
//! [`read_base`] what its description says it is.

mod adapt;
mod architectures;
mod authors;
mod base;
mod bert;
mod classes;
mod compact;
mod describe;
mod fault;
mod fields;
mod file;
mod form;
mod headless;
mod hugging_face;
pub mod layers;
mod lora;
mod metadata;
mod needed;
mod positions;
mod preprocessor;
mod shapes;
mod shards;
mod timm;
mod timm_config;
mod tokenizer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Tensor, bail};

pub use adapt::{AdaptedWeights, Aligned, adapt, align, check_model, conversion, resampled};
pub use authors::{authors_targets, authors_tensors, construction};
pub use base::{
    Activation, BaseModel, BertConfig, BertKind, EncoderDecoderConfig, EncoderDecoderKind,
    StackConfig, VitConfig, beside, read_base,
};
pub use classes::match_classes;
pub use compact::to_bytes;
pub use file::{MODEL, TensorFile, parse, read};
pub use form::{Exported, Form};
pub use hugging_face::CONFIG;

pub use metadata::Metadata;
pub use needed::{needed, needed_after_index};
pub use positions::resample_positions;
pub use preprocessor::PREPROCESSOR;
pub use shards::{INDEX, Index};
pub use timm::NORM_EPS as TIMM_NORM_EPS;
pub use tokenizer::TOKENIZER;

use crate::error::{Fault, Result};
use crate::models::vit::Vit;
use crate::nn::Constants;
use crate::spec::{LayerWeight, LoraSpec, ModelSpec, Stack, Target, TextPool, VloraSpec};
use crate::vlora::materialise;

/// A model with its weights, float32, on the CPU.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub model: ModelSpec,
    /// None where every layer is dense.
    pub vlora: Option<VloraSpec>,
    pub lora: Option<LoraSpec>,
    /// Not known where the file's form does not hold them.
    pub metadata: Metadata,
    pub tensors: BTreeMap<String, Tensor>,
}

/// What some forms do not say; not looked at where the file says it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    pub heads: Option<usize>,
    /// Of the increments in the authors' form; None is 1, their package's default.
    pub alpha: Option<f64>,
    /// Of single targets' increments there.
    pub target_alphas: BTreeMap<Target, f64>,
    /// Classes of a classifier that the caller brings: a file without one will do.
    pub new_head: Option<usize>,
    /// What the new classifier of a text encoder takes; None is the pooler, where there is one.
    pub pool: Option<TextPool>,
}

/// A checkpoint with where it is from.
#[derive(Debug)]
pub struct Loaded {
    pub checkpoint: Checkpoint,
    pub form: Form,
    /// The weights file, or the index of several.
    pub path: PathBuf,
    /// Of the weights file.
    pub sha256: String,
    /// The `tokenizer.json` beside the weights of a text encoder.
    pub tokenizer: Option<Vec<u8>>,
}

/// Reads the checkpoint at `path`, a file, the index of a sharded one, or a folder with either in it
/// (a run's, or a Hugging Face model's), in the form that its tensors' names show.
pub fn read_checkpoint(path: &Path, hints: &Hints) -> Result<Loaded> {
    read_checkpoint_as(path, None, hints)
}

/// The same, in a form that is known.
pub fn read_checkpoint_as(path: &Path, form: Option<Form>, hints: &Hints) -> Result<Loaded> {
    import_checkpoint(&read(path)?, form, hints)
}

/// The checkpoint in a file that has been read; None finds its form out.
pub fn import_checkpoint(file: &TensorFile, form: Option<Form>, hints: &Hints) -> Result<Loaded> {
    let form = match form {
        Some(form) => form,
        None => form::recognise(file)?,
    };
    let completed = hints.new_head.map(|classes| headless::completed(file, classes)).transpose()?;
    let whole = completed.as_ref().unwrap_or(file);
    let checkpoint = match form {
        Form::Compact => compact::import(file)?,
        Form::Authors => authors::import(whole, hints)?,
        Form::Timm => timm::import(whole, hints)?,
        Form::HuggingFace => hugging_face::import(whole, hints)?,
        Form::Bert => bert::import(file, hints)?,
    };
    let tokenizer = match checkpoint.model.as_encoder() {
        Some(_) => tokenizer::beside(&file.path)?,
        None => None,
    };
    let (path, sha256) = (file.path.clone(), file.sha256.clone());
    Ok(Loaded { checkpoint, form, path, sha256, tokenizer })
}

/// A dense model of more values is not made of a small file: 8 GiB.
const MOST_VALUES: u64 = 1 << 31;

impl Checkpoint {
    /// The Vision Transformer on these tensors, as constants.
    pub fn vit(&self) -> candle_core::Result<Vit> {
        let Some(model) = self.model.as_vit() else { bail!("the model is no Vision Transformer") };
        let mut parameters = Constants(&self.tensors);
        Vit::new(model, self.vlora.as_ref(), self.lora.as_ref(), &mut parameters)
    }

    /// Number of values over all tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(|t| t.elem_count() as u64).sum()
    }

    /// The dense model that computes the same: increments and LoRA added up.
    pub fn materialised(&self) -> Result<Checkpoint> {
        let stacks = self.model.stacks();
        let values = stacks.iter().map(dense_values).fold(0, u64::saturating_add);
        if values > MOST_VALUES && (self.vlora.is_some() || self.lora.is_some()) {
            return Err(Fault::new("the dense model is too large to be multiplied out")
                .found(format!("{values} values"))
                .expected(format!("at most {MOST_VALUES}"))
                .into());
        }
        let outside = |(name, _): &(&String, &Tensor)| {
            stacks.iter().all(|stack| stack.layer_of(name).is_none())
        };
        let own = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.clone());
        let mut tensors: BTreeMap<String, Tensor> =
            self.tensors.iter().filter(outside).map(own).collect();
        for stack in &stacks {
            let (vlora, lora) = (self.vlora.as_ref(), self.lora.as_ref());
            tensors.extend(materialise(&self.tensors, stack, vlora, lora)?);
        }
        let (model, metadata) = (self.model.clone(), self.metadata.clone());
        Ok(Checkpoint { model, vlora: None, lora: None, metadata, tensors })
    }
}

/// Values of the layers of a stack that are all dense.
fn dense_values(stack: &Stack) -> u64 {
    let layer = stack.weights.iter().map(LayerWeight::sides).map(|(o, i)| (o * i) as u64);
    layer.sum::<u64>().saturating_mul(stack.depth as u64)
}

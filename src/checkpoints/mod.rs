//! Models in files: this project's own form, and those of other programs.
//!
//! A [`Checkpoint`] is a model's shape, its increments and its tensors, by the names that
//! [`Compounds`](crate::vlora::Compounds) gives them. [`read_checkpoint`] makes one of any form
//! that it recognises:
//!
//! | form | what it is | what it does not say |
//! |---|---|---|
//! | compact | this project's: increments as factors, the shape and [`Labels`] in the metadata | |
//! | authors | state dict of `VisionTransformerVLoRA` (`vlora` 0.1.2) | heads, alpha, labels |
//! | timm | state dict of timm's `VisionTransformer`, dense, or its folder with `config.json` | without that file heads, labels, how it pools |
//! | hf-vit | `ViTForImageClassification` with its `config.json`, dense | |
//!
//! Base models of the Hub are folders too: [`needed`] says which of a repository's files make one,
//! [`read_base`] what its description says it is.

mod architectures;
mod authors;
mod base;
mod classes;
mod compact;
mod fault;
mod fields;
mod file;
mod fit;
mod form;
mod headless;
mod hugging_face;
mod labels;
pub mod layers;
mod lora;
mod needed;
mod positions;
mod preprocessor;
mod shapes;
mod shards;
mod timm;
mod timm_config;
mod tokenizer;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;

pub use authors::{authors_tensors, construction};
pub use base::{
    Activation, BaseModel, BertConfig, BertKind, EncoderDecoderConfig, EncoderDecoderKind,
    StackConfig, VitConfig, beside, read_base,
};
pub use classes::match_classes;
pub use compact::to_bytes;
pub use fault::Fault;
pub use file::{MODEL, TensorFile, parse, read};
pub use fit::{Adapted, Fitted, adapt, check_model, conversion, fit, resampled};
pub use form::{Exported, Form};
pub use hugging_face::CONFIG;
pub use labels::Labels;
pub use needed::{needed, needed_after_index};
pub use positions::resample_positions;
pub use preprocessor::PREPROCESSOR;
pub use shards::{INDEX, Index};
pub use timm::NORM_EPS as TIMM_NORM_EPS;
pub use tokenizer::TOKENIZER;

use crate::error::{Error, Result};
use crate::models::vit::Vit;
use crate::nn::{Init, ParameterBuilder, Variable};
use crate::spec::{LoraSpec, Target, VitSpec, VloraSpec};

/// A model with its weights, float32, on the CPU.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub model: VitSpec,
    /// None where every layer is dense.
    pub vlora: Option<VloraSpec>,
    pub lora: Option<LoraSpec>,
    /// Not known where the file's form does not hold them.
    pub labels: Labels,
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
}

/// A checkpoint with where it is from.
#[derive(Debug)]
pub struct Loaded {
    pub checkpoint: Checkpoint,
    pub form: Form,
    /// Of the weights file.
    pub sha256: String,
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
    };
    Ok(Loaded { checkpoint, form, sha256: file.sha256.clone() })
}

/// A dense model of more values is not made of a small file: 8 GiB.
const MOST_VALUES: u64 = 1 << 31;

impl Checkpoint {
    /// The model on these tensors, as constants.
    pub fn vit(&self) -> candle_core::Result<Vit> {
        let mut source = Held(&self.tensors);
        Vit::new(&self.model, self.vlora.as_ref(), self.lora.as_ref(), &mut source)
    }

    /// Number of values over all tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(|t| t.elem_count() as u64).sum()
    }

    /// The dense model that computes the same: increments and LoRA added up.
    pub fn materialised(&self) -> Result<Checkpoint> {
        let m = &self.model;
        let block: u64 =
            Target::all().map(|t| m.target_shape(t)).map(|(o, i)| (o * i) as u64).sum();
        let values = block.saturating_mul(m.depth as u64);
        if values > MOST_VALUES && (self.vlora.is_some() || self.lora.is_some()) {
            return Err(Error::Input(format!(
                "the dense model is too large to be multiplied out\n  found:    {values} values\n  \
                 expected: at most {MOST_VALUES}"
            )));
        }
        let outside = |(name, _): &(&String, &Tensor)| !name.starts_with("blocks.");
        let own = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.clone());
        let mut tensors: BTreeMap<String, Tensor> =
            self.tensors.iter().filter(outside).map(own).collect();
        for (block, layers) in self.vit()?.blocks.iter().enumerate() {
            let name = |parameter: String| format!("blocks.{block}.{parameter}");
            for (target, linear) in layers.linears() {
                let weight = linear.merged().materialise()?;
                tensors.insert(name(target.parameter()), weight);
                if let Some(bias) = target.bias() {
                    tensors.insert(name(bias.parameter()), linear.bias.value()?.tensor().clone());
                }
            }
            for (target, vector) in layers.norms() {
                tensors.insert(name(target.parameter()), vector.value()?.tensor().clone());
            }
        }
        let (model, labels) = (self.model.clone(), self.labels.clone());
        Ok(Checkpoint { model, vlora: None, lora: None, labels, tensors })
    }
}

/// Tensors by name as a model's constants.
struct Held<'a>(&'a BTreeMap<String, Tensor>);

impl ParameterBuilder for Held<'_> {
    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        _: Init,
        _: bool,
    ) -> candle_core::Result<Variable> {
        match self.0.get(name) {
            Some(tensor) if tensor.dims() == shape => Ok(Variable::constant(tensor.clone())),
            Some(other) => {
                candle_core::bail!("{name} has shape {:?}, expected {shape:?}", other.dims())
            }
            None => candle_core::bail!("{name} is missing"),
        }
    }
}

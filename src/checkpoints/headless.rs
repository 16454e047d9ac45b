//! New classifiers. Backbones of self-supervised training or ImageNet-21k have none; a run with
//! `start.head: new` can start from them, and replaces what classifier a file has.

use candle_core::{DType, Device, Tensor};

use super::file::TensorFile;
use crate::error::Result;

/// The tensor that shows the width, and the classifier's name, for timm and for Hugging Face.
const NAMES: [(&str, &str); 2] =
    [("patch_embed.proj.weight", "head"), ("patch_embeddings.projection.weight", "classifier")];

/// The widest model that gets a new classifier.
const MAX_WIDTH: usize = 1 << 16;

/// Gives the model a classifier of zeros for `classes` classes, in place of the file's. Hugging Face's
/// pooler is removed, since classifiers of images do not use it.
pub fn with_zero_head(file: &TensorFile, classes: usize) -> Result<TensorFile> {
    let mut file = file.clone();
    for (patches, head) in NAMES {
        let width = file.tensors.iter().find(|(name, _)| name.ends_with(patches));
        // Other shapes are refused when the model is read, before memory is taken for a classifier of theirs.
        let kernel = width.map(|(_, tensor)| tensor).filter(|tensor| tensor.elem_count() > 0);
        let width = kernel.and_then(|tensor| Some(*tensor.dims().first()?));
        let width = width.filter(|width| *width <= MAX_WIDTH);
        let (weight, bias) = (format!("{head}.weight"), format!("{head}.bias"));
        let Some(dim) = width else { continue };
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        file.tensors.insert(weight, zeros(&[classes, dim])?);
        file.tensors.insert(bias, zeros(&[classes])?);
        let pooler = |name: &str| name.trim_start_matches("vit.").starts_with("pooler.");
        file.tensors.retain(|name, _| !pooler(name));
    }
    Ok(file)
}

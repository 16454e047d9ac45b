//! Backbones without a classifier, as self-supervised training and ImageNet-21k leave them, for
//! runs that train a new one (`start.head: new`).

use candle_core::{DType, Device, Tensor};

use super::file::TensorFile;
use crate::error::Result;

/// What shows the width, and what the classifier is called, in timm's names and Hugging Face's.
const NAMES: [(&str, &str); 2] =
    [("patch_embed.proj.weight", "head"), ("patch_embeddings.projection.weight", "classifier")];

/// The file with a classifier of zeros for `classes` classes if it has none. The layer that
/// Hugging Face pools with stands where a classifier would, and goes with it.
pub fn completed(file: &TensorFile, classes: usize) -> Result<TensorFile> {
    let mut file = file.clone();
    for (patches, head) in NAMES {
        let width = file.tensors.iter().find(|(name, _)| name.ends_with(patches));
        let width = width.and_then(|(_, tensor)| tensor.dims().first().copied());
        let (weight, bias) = (format!("{head}.weight"), format!("{head}.bias"));
        let Some(dim) = width.filter(|_| !file.tensors.contains_key(&weight)) else { continue };
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        file.tensors.insert(weight, zeros(&[classes, dim])?);
        file.tensors.insert(bias, zeros(&[classes])?);
        let pooler = |name: &str| name.trim_start_matches("vit.").starts_with("pooler.");
        file.tensors.retain(|name, _| !pooler(name));
    }
    Ok(file)
}

//! The forms of a checkpoint, told apart by their tensors' names.

use std::fmt;
use std::path::PathBuf;

use super::fault::{Fault, first_of};
use super::{Checkpoint, TensorFile, authors, base, hugging_face, timm};
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// This project's own.
    Compact,
    /// The authors' package.
    Authors,
    /// timm's `VisionTransformer`.
    Timm,
    /// Hugging Face's `ViTForImageClassification`.
    HuggingFace,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Form::Compact => "compact form (vlora)",
            Form::Authors => "the authors' form (vlora 0.1.2)",
            Form::Timm => "timm's VisionTransformer",
            Form::HuggingFace => "Hugging Face's ViTForImageClassification",
        })
    }
}

/// The form that a file's metadata and names show.
pub fn recognise(file: &TensorFile) -> Result<Form> {
    let any = |test: &dyn Fn(&str) -> bool| file.tensors.keys().any(|name| test(name));
    if file.is_compact() {
        return Ok(Form::Compact);
    }
    if any(&authors::is_ours) {
        return Ok(Form::Authors);
    }
    if any(&|name| name.contains(".attention.attention.query.")) {
        return Ok(Form::HuggingFace);
    }
    if any(&|name| name == "patch_embed.proj.weight" || name.starts_with("blocks.")) {
        return Ok(Form::Timm);
    }
    let names: Vec<&str> = file.tensors.keys().map(String::as_str).collect();
    if let Some((path, base)) = base::beside(&file.path).filter(|_| !names.is_empty()) {
        // A Vision Transformer by its description and not by its names goes on to these.
        base?.trainable(&path)?;
    }
    let bert = names.iter().find(|name| name.contains(".attention.self.query."));
    if let Some(name) = bert {
        return Err(Fault::new(&file.path, "the model is no Vision Transformer")
            .tensor(name)
            .found("a BERT-like model")
            .expected("a Vision Transformer with a classifier")
            .into());
    }
    if names.is_empty() {
        file.only_floats(|_| false)?;
        return Err(Fault::new(&file.path, "the file holds no weights").found("no tensors").into());
    }
    Err(Fault::new(&file.path, "the checkpoint's form is not known")
        .tensor(&first_of(&names))
        .expected(
            "names as in blocks.0.attn.qkv.weight (timm), blocks.0.blocks.0.attn.qkv.weight (the \
             authors' package) or vit.encoder.layer.0.attention.attention.query.weight (Hugging \
             Face), or this program's metadata",
        )
        .into())
}

/// A checkpoint as files.
#[derive(Debug)]
pub enum Exported {
    File(Vec<u8>),
    /// Files by their names in a folder, in the order to write them.
    Folder(Vec<(PathBuf, Vec<u8>)>),
}

impl Checkpoint {
    /// The checkpoint in a form; timm's and Hugging Face's hold the dense model that computes the
    /// same.
    pub fn export(&self, form: Form) -> Result<Exported> {
        Ok(match form {
            Form::Compact => Exported::File(self.to_bytes()?),
            Form::Authors => Exported::File(authors::export(self)?),
            Form::Timm => Exported::File(timm::export(&self.materialised()?)?),
            Form::HuggingFace => Exported::Folder(hugging_face::export(&self.materialised()?)?),
        })
    }
}

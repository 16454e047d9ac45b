//! Reads a checkpoint from a file in any form.

use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use super::file::TensorFile;
use super::form::{Form, recognise};
use super::hints::Hints;
use super::weights::read;
use super::{
    authors, bert, compact, gpt2, headless, hugging_face, marian, pytorch, timm, tokenizer,
};
use crate::error::Result;

/// A checkpoint and its origin.
#[derive(Debug)]
pub struct LoadedCheckpoint {
    pub checkpoint: Checkpoint,
    pub form: Form,
    /// The weights file, or the index of several.
    pub path: PathBuf,
    /// The hash of [`TensorFile::sha256`].
    pub sha256: String,
    /// The `tokenizer.json` beside the weights of a model for texts, or what stands for it.
    pub tokenizer: Option<Vec<u8>>,
}

/// Reads the checkpoint at `path`: a file, the index of a sharded one, or a folder with either (a
/// run's or a Hugging Face model's). Its form is recognised by the tensors' names.
pub fn read_checkpoint(path: &Path, hints: &Hints) -> Result<LoadedCheckpoint> {
    read_checkpoint_as(path, None, hints)
}

/// The same, for a known form. None recognises the form.
pub fn read_checkpoint_as(
    path: &Path,
    form: Option<Form>,
    hints: &Hints,
) -> Result<LoadedCheckpoint> {
    import_checkpoint(&read(path)?, form, hints)
}

/// Makes a checkpoint from a file that was already read. Without a form, it is recognised.
pub fn import_checkpoint(
    file: &TensorFile,
    form: Option<Form>,
    hints: &Hints,
) -> Result<LoadedCheckpoint> {
    let form = match form {
        Some(form) => form,
        None => recognise(file)?,
    };
    // Only for Vision Transformers: the importer of text encoders adds their head itself, and models that
    // write text have no classifier.
    let is_vit = matches!(form, Form::Authors | Form::Timm | Form::HuggingFace);
    let new_head = hints.new_head.filter(|_| is_vit);
    let completed = new_head.map(|classes| headless::with_zero_head(file, classes)).transpose()?;
    let whole = completed.as_ref().unwrap_or(file);
    let checkpoint = match form {
        Form::Compact => compact::import(file)?,
        Form::Authors => authors::import(whole, hints)?,
        Form::Timm => timm::import(whole, hints)?,
        Form::HuggingFace => hugging_face::import(whole, hints)?,
        Form::Bert => bert::import(file, hints)?,
        Form::Gpt2 => gpt2::import(file, hints)?,
        Form::Marian => marian::import(file, hints)?,
        Form::Pytorch => pytorch::import(file, hints)?,
    };
    let tokenizer = match form {
        Form::Marian => marian::tokenizers(&file.path)?,
        _ if checkpoint.model.as_vit().is_some() => None,
        _ => tokenizer::beside(&file.path)?,
    };
    let (path, sha256) = (file.path.clone(), file.sha256.clone());
    Ok(LoadedCheckpoint { checkpoint, form, path, sha256, tokenizer })
}

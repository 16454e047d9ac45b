//! Makes a checkpoint of a file in any form.

use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use super::file::TensorFile;
use super::form::{Form, recognise};
use super::hints::Hints;
use super::weights::read;
use super::{authors, bert, compact, headless, hugging_face, timm, tokenizer};
use crate::error::Result;

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
        None => recognise(file)?,
    };
    // Of a Vision Transformer; a text encoder's head is the business of its form.
    let is_vit = !matches!(form, Form::Compact | Form::Bert);
    let new_head = hints.new_head.filter(|_| is_vit);
    let completed = new_head.map(|classes| headless::completed(file, classes)).transpose()?;
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

//! Reads a checkpoint from a file in any format.

use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use super::file::TensorFile;
use super::format::{CheckpointFormat, recognise};
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
    pub format: CheckpointFormat,
    /// The weights file, or the index of several.
    pub path: PathBuf,
    /// The hash of [`TensorFile::sha256`].
    pub sha256: String,
    /// The `tokenizer.json` beside the weights of a model for texts, or what stands for it.
    pub tokenizer: Option<Vec<u8>>,
}

/// Reads the checkpoint at `path`: a file, the index of a sharded one, or a folder with either (a
/// run's or a Hugging Face model's). Its format is recognised by the tensors' names.
pub fn read_checkpoint(path: &Path, hints: &Hints) -> Result<LoadedCheckpoint> {
    read_checkpoint_as(path, None, hints)
}

/// The same, for a known format. None recognises the format.
pub fn read_checkpoint_as(
    path: &Path,
    format: Option<CheckpointFormat>,
    hints: &Hints,
) -> Result<LoadedCheckpoint> {
    import_checkpoint(&read(path)?, format, hints)
}

/// Makes a checkpoint from a file that was already read. Without a format, it is recognised.
pub fn import_checkpoint(
    file: &TensorFile,
    format: Option<CheckpointFormat>,
    hints: &Hints,
) -> Result<LoadedCheckpoint> {
    let format = match format {
        Some(format) => format,
        None => recognise(file)?,
    };
    // Only for Vision Transformers: the importer of text encoders adds their head itself, and models that
    // write text have no classifier.
    let is_vit = matches!(
        format,
        CheckpointFormat::Authors | CheckpointFormat::Timm | CheckpointFormat::HuggingFace
    );
    let new_head = hints.new_head.filter(|_| is_vit);
    let completed = new_head.map(|classes| headless::with_zero_head(file, classes)).transpose()?;
    let whole = completed.as_ref().unwrap_or(file);
    let checkpoint = match format {
        CheckpointFormat::Compact => compact::import(file)?,
        CheckpointFormat::Authors => authors::import(whole, hints)?,
        CheckpointFormat::Timm => timm::import(whole, hints)?,
        CheckpointFormat::HuggingFace => hugging_face::import(whole, hints)?,
        CheckpointFormat::Bert => bert::import(file, hints)?,
        CheckpointFormat::Gpt2 => gpt2::import(file, hints)?,
        CheckpointFormat::Marian => marian::import(file, hints)?,
        CheckpointFormat::Pytorch => pytorch::import(file, hints)?,
    };
    let tokenizer = match format {
        CheckpointFormat::Marian => marian::tokenizers(&file.path)?,
        _ if checkpoint.model.as_vit().is_some() => None,
        _ => tokenizer::beside(&file.path)?,
    };
    let (path, sha256) = (file.path.clone(), file.sha256.clone());
    Ok(LoadedCheckpoint { checkpoint, format, path, sha256, tokenizer })
}

//! Models by name: a path stands for itself, a Hub repository for its folder in the cache.

use std::path::{Path, PathBuf};

use crate::checkpoints::{self, CONFIG, INDEX};
use crate::error::{Error, Fault, Result};
use crate::hub::{Hub, Kind, Repository, Source};

/// The path of a model named by a path or by `hub:owner/name@revision`. The files of a repository
/// are downloaded and checked.
pub fn model_path(name: &str, hub: &Hub) -> Result<PathBuf> {
    let Some(source) = Source::of_hub(name, Kind::Model)? else { return Ok(PathBuf::from(name)) };
    let repository = hub.open(&source, Kind::Model)?;
    let folder = repository.folder_with(&needed(&repository)?)?;
    let folder =
        folder.ok_or_else(|| Error::from(Fault::new("not a folder of files").source(name)))?;
    // A repository with a config must describe a known model, with a tokenizer that fits it.
    // Without a config (timm), only the tensor names can be checked, when the weights are read.
    if repository.files().iter().any(|file| file == CONFIG) {
        checkpoints::read_base(&folder).map_err(|e| as_named(name, &folder, e))?;
    }
    Ok(folder)
}

/// The files of a model repository that are needed to read the model.
pub fn needed(repository: &Repository) -> Result<Vec<String>> {
    let of_it = |e: Error| e.map_fault(|fault| fault.under(repository.name()));
    let mut files = checkpoints::needed(repository.files()).map_err(of_it)?;
    // The index lists the shards.
    if files.iter().any(|file| file == INDEX) {
        let shards = checkpoints::needed_after_index(&repository.read(INDEX)?.bytes);
        files.extend(shards.map_err(of_it)?);
        files.sort();
        files.dedup();
    }
    Ok(files)
}

/// Renames files below `path` in an error to the name that the user gave.
pub fn as_named(name: &str, path: &Path, error: Error) -> Error {
    error.map_fault(|fault| fault.renamed(path, name))
}

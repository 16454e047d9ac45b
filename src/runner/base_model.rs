//! Models by name: a path as it is, a repository of the Hub as the folder that the cache has.

use std::path::{Path, PathBuf};

use crate::checkpoints::{self, CONFIG, INDEX};
use crate::error::{Error, Fault, Result};
use crate::hub::{Hub, Kind, Repository, Source};

/// Where a model named by a path or by `hub:owner/name@revision` stands on disk, its files there
/// and checked.
pub fn model_path(name: &str, hub: &Hub) -> Result<PathBuf> {
    let Some(source) = Source::of_hub(name, Kind::Model)? else { return Ok(PathBuf::from(name)) };
    let repository = hub.open(&source, Kind::Model)?;
    let folder = repository.folder_with(&needed(&repository)?)?;
    let folder =
        folder.ok_or_else(|| Error::from(Fault::new("not a folder of files").source(name)))?;
    // What a repository describes is recognised, and its tokenizer fits it. Without a description
    // the tensors' names have to do, as in timm's.
    if repository.files().iter().any(|file| file == CONFIG) {
        checkpoints::read_base(&folder).map_err(|e| as_named(name, &folder, e))?;
    }
    Ok(folder)
}

/// The files of a model's repository that reading it needs.
pub fn needed(repository: &Repository) -> Result<Vec<String>> {
    let of_it = |e: Error| e.map_fault(|fault| fault.under(repository.name()));
    let mut files = checkpoints::needed(repository.files()).map_err(of_it)?;
    // Which shards there are stands in their index.
    if files.iter().any(|file| file == INDEX) {
        let shards = checkpoints::needed_after_index(&repository.read(INDEX)?.bytes);
        files.extend(shards.map_err(of_it)?);
        files.sort();
        files.dedup();
    }
    Ok(files)
}

/// An error about files below `path` that names them as the user did.
pub fn as_named(name: &str, path: &Path, error: Error) -> Error {
    error.map_fault(|fault| fault.renamed(path, name))
}

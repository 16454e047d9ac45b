//! Reads the weights at a path: one file, or the shards of an index.

use std::fs;
use std::path::{Path, PathBuf};

use super::fault::first_of;
use super::file::{TensorFile, parse, pickle_error};
use super::file_names::{ENDING, INDEX, MODEL};
use super::needed::first_pickle;
use super::shards;
use crate::error::{Error, Fault, Result};

/// Reads the weights at `path`: a safetensors file, the index of several, or a folder with
/// `model.safetensors` or such an index in it. A single file is preferred to an index.
pub fn read(path: &Path) -> Result<TensorFile> {
    let file = locate(path)?;
    if shards::is_index(&file) {
        return shards::read(&file);
    }
    let bytes = fs::read(&file)
        .map_err(|e| Fault::of_file(&file, "the weights file cannot be read").found(e))?;
    parse(&file, &bytes)
}

/// Finds the file to read.
fn locate(path: &Path) -> Result<PathBuf> {
    let missing = |e| Error::from(Fault::of_file(path, "the weights cannot be read").found(e));
    let meta = fs::metadata(path).map_err(missing)?;
    if meta.is_dir() {
        let file = [MODEL, INDEX].map(|name| path.join(name)).into_iter().find(|f| f.is_file());
        if let Some(file) = file {
            return Ok(file);
        }
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let mut others: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| name.ends_with(ENDING)).collect();
        others.sort_unstable();
        let pickle = first_pickle(&names);
        if let (Some(pickle), true) = (pickle, others.is_empty()) {
            return Err(pickle_error(&path.join(pickle)));
        }
        let fault = Fault::of_file(path, "the folder holds no weights that can be read");
        let fault = match shards::first_shard(&names) {
            Some(shard) => fault.found(format!("{shard}, a shard without its index")),
            None if !others.is_empty() => {
                let beside =
                    pickle.map(|name| format!("; {name} is a pickle, which is never read"));
                let found = format!("{}{}", first_of(&others), beside.unwrap_or_default());
                let named = path.join(others[0]);
                fault.found(found).help(format!("name the file: `{}`", named.display()))
            }
            None => fault,
        };
        return Err(fault
            .expected(format!(
                "{MODEL} or {INDEX} in it, as in a run's folder or a Hugging Face model's"
            ))
            .into());
    }
    if !meta.is_file() {
        return Err(Fault::of_file(path, "the weights are not a file")
            .found("a device, pipe or socket")
            .expected("a safetensors file")
            .into());
    }
    shards::refuse_shard(path)?;
    Ok(path.to_path_buf())
}

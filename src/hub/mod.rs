//! Files of datasets, by split, with their hashes: embedded in the program or in a folder.
//!
//! Nothing above this module knows which.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::spec::{DataSpec, hex};

/// One file's content.
#[derive(Clone, Debug)]
pub struct File {
    /// As errors and provenance name it.
    pub name: String,
    pub bytes: Cow<'static, [u8]>,
    pub sha256: String,
}

impl File {
    fn new(name: String, bytes: Cow<'static, [u8]>) -> File {
        let sha256 = hex(&Sha256::digest(&bytes));
        File { name, bytes, sha256 }
    }
}

/// The Parquet files of `split`, in name order.
pub fn split_files(data: &DataSpec, split: &str) -> Result<Vec<File>> {
    match (&data.embedded, &data.path) {
        (Some(name), _) => embedded(name, split).map(|file| vec![file]),
        (None, Some(path)) => folder(Path::new(path), split),
        (None, None) => Err(Error::Input("data: no source is given".into())),
    }
}

fn embedded(dataset: &str, split: &str) -> Result<File> {
    macro_rules! mini {
        ($split:literal) => {
            include_bytes!(concat!("embedded/fashion-mnist-mini/", $split, ".parquet")).as_slice()
        };
    }
    let bytes = match (dataset, split) {
        ("fashion-mnist-mini", "train") => mini!("train"),
        ("fashion-mnist-mini", "validation") => mini!("validation"),
        ("fashion-mnist-mini", "test") => mini!("test"),
        _ => {
            return Err(Error::Input(format!(
                "embedded dataset {dataset}: there is no split `{split}`\n  \
                 expected: one of train, validation, test"
            )));
        }
    };
    Ok(File::new(format!("embedded:{dataset}/{split}.parquet"), Cow::Borrowed(bytes)))
}

fn folder(root: &Path, split: &str) -> Result<Vec<File>> {
    if !root.is_dir() {
        return Err(Error::Input(format!(
            "data.path: {} is not a folder\n  expected: a folder with {split}.parquet or \
             {split}-*.parquet, there or in its folder data",
            root.display()
        )));
    }
    for folder in [root.to_path_buf(), root.join("data")] {
        let mut paths: Vec<PathBuf> = match fs::read_dir(&folder) {
            Ok(entries) => entries
                .filter_map(|entry| entry.ok().map(|e| e.path()))
                .filter(|path| belongs_to(path, split))
                .collect(),
            Err(_) => continue,
        };
        paths.sort();
        if !paths.is_empty() {
            return paths
                .iter()
                .map(|path| {
                    let bytes = fs::read(path).map_err(|e| Error::io("reading", path, e))?;
                    Ok(File::new(path.display().to_string(), Cow::Owned(bytes)))
                })
                .collect();
        }
    }
    Err(Error::Input(format!(
        "{}: there are no files of the split `{split}`\n  expected: {split}.parquet or \
         {split}-*.parquet, there or in its folder data",
        root.display()
    )))
}

/// `train.parquet`, `train-00000-of-00002.parquet`.
fn belongs_to(path: &Path, split: &str) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_suffix(".parquet")
        .and_then(|stem| stem.strip_prefix(split))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_names_are_matched_whole() {
        let belongs = |name: &str| belongs_to(Path::new(name), "train");
        assert!(belongs("train.parquet") && belongs("a/train-00001-of-00002.parquet"));
        assert!(!belongs("training.parquet") && !belongs("train.csv") && !belongs("test.parquet"));
    }
}

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
    let expected = format!(
        "expected: {split}.parquet, or every one of {split}-00000-of-N.parquet to \
         {split}-(N−1)-of-N.parquet, there or in its folder data"
    );
    if !root.is_dir() {
        let root = root.display();
        return Err(Error::Input(format!("data.path: {root} is not a folder\n  {expected}")));
    }
    let folders = [root.to_path_buf(), root.join("data")];
    let mut found: Vec<(Shard, PathBuf)> = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter_map(|path| shard(&path, split).map(|shard| (shard, path)))
        .collect();
    if !found.is_empty() {
        found.sort();
        // One whole file, or all the shards of one set; anything else would lose or repeat rows.
        let whole = found.iter().enumerate().all(|(i, (s, _))| {
            s.index == i && s.count == found.len() && s.whole == found[0].0.whole
        });
        if !whole {
            let names: Vec<String> = found.iter().map(|(_, p)| p.display().to_string()).collect();
            return Err(Error::Input(format!(
                "{}: the files of the split `{split}` are not one whole set\n  found:    {}\n  \
                 {expected}",
                root.display(),
                names.join(", ")
            )));
        }
        return found
            .iter()
            .map(|(_, path)| {
                let bytes = fs::read(path).map_err(|e| {
                    Error::Input(format!("{}: cannot be read: {e}", path.display()))
                })?;
                Ok(File::new(path.display().to_string(), Cow::Owned(bytes)))
            })
            .collect();
    }
    let root = root.display();
    Err(Error::Input(format!("{root}: there are no files of the split `{split}`\n  {expected}")))
}

/// Which part of a split a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shard {
    index: usize,
    count: usize,
    /// A file without a number.
    whole: bool,
}

/// `train.parquet`, `train-00000-of-00002.parquet`; nothing else belongs to `train`.
fn shard(path: &Path, split: &str) -> Option<Shard> {
    let name = path.file_name()?.to_str()?;
    let rest = name.strip_suffix(".parquet")?.strip_prefix(split)?;
    if rest.is_empty() {
        return Some(Shard { index: 0, count: 1, whole: true });
    }
    let (index, count) = rest.strip_prefix('-')?.split_once("-of-")?;
    Some(Shard { index: index.parse().ok()?, count: count.parse().ok()?, whole: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_the_split_they_name() {
        let belongs = |name: &str| shard(Path::new(name), "train").is_some();
        assert!(belongs("train.parquet") && belongs("a/train-00001-of-00002.parquet"));
        for other in [
            "training.parquet",
            "train.csv",
            "train-val.parquet",
            "train-extra-00000-of-00001.parquet",
            "test.parquet",
        ] {
            assert!(!belongs(other), "{other}");
        }
    }

    #[test]
    fn a_split_is_one_whole_set_of_files() {
        let names_of = |files: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            for file in files {
                fs::write(dir.path().join(file), file).unwrap();
            }
            let found = folder(dir.path(), "train").map_err(|e| e.to_string())?;
            Ok::<_, String>(
                found
                    .iter()
                    .map(|f| String::from_utf8(f.bytes.to_vec()).unwrap())
                    .collect::<Vec<_>>(),
            )
        };
        let shards = ["train-00001-of-00002.parquet", "train-00000-of-00002.parquet"];
        assert_eq!(names_of(&shards).unwrap(), [shards[1], shards[0]]);
        assert_eq!(names_of(&["train.parquet", "train-val.parquet"]).unwrap(), ["train.parquet"]);
        for bad in [
            &shards[..1],
            &["train.parquet", "train-00000-of-00001.parquet"],
            &["train-00000-of-00002.parquet", "train-00000-of-00001.parquet"],
        ] {
            assert!(names_of(bad).unwrap_err().contains("not one whole set"), "{bad:?}");
        }
        assert!(names_of(&["test.parquet"]).unwrap_err().contains("no files of the split"));
    }
}

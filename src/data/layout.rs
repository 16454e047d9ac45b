//! Which files of a repository hold a split.

use std::path::Path;

use crate::error::{Error, Result};
use crate::hub::{File, Repository};
use crate::spec::{DataSpec, SplitSpec};

/// The files that a run with this section reads.
pub fn needed(repository: &Repository, data: &DataSpec) -> Result<Vec<String>> {
    let mut paths = split_paths(repository, &data.train)?;
    for split in [&data.validation, &data.test] {
        if let SplitSpec::Named(name) = split {
            paths.extend(split_paths(repository, name)?);
        }
    }
    Ok(paths)
}

/// The files of `split`, in name order.
pub fn split_files(repository: &Repository, split: &str) -> Result<Vec<File>> {
    split_paths(repository, split)?.iter().map(|path| repository.read(path)).collect()
}

fn split_paths(repository: &Repository, split: &str) -> Result<Vec<String>> {
    let expected = format!(
        "expected: {split}.parquet, or every one of {split}-00000-of-N.parquet to \
         {split}-(N−1)-of-N.parquet, there or in its folder data"
    );
    let root = repository.name();
    let top = |path: &&String| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        folder.is_empty() || folder == "data"
    };
    let mut found: Vec<(Shard, &String)> = repository
        .files()
        .iter()
        .filter(top)
        .filter_map(|path| shard(Path::new(path), split).map(|shard| (shard, path)))
        .collect();
    if found.is_empty() {
        return Err(Error::Input(format!(
            "{root}: there are no files of the split `{split}`\n  {expected}"
        )));
    }
    found.sort();
    // One whole file, or all the shards of one set; anything else would lose or repeat rows.
    let whole = found
        .iter()
        .enumerate()
        .all(|(i, (s, _))| s.index == i && s.count == found.len() && s.whole == found[0].0.whole);
    if !whole {
        let names: Vec<&str> = found.iter().map(|(_, path)| path.as_str()).collect();
        return Err(Error::Input(format!(
            "{root}: the files of the split `{split}` are not one whole set\n  found:    {}\n  \
             {expected}",
            names.join(", ")
        )));
    }
    Ok(found.into_iter().map(|(_, path)| path.clone()).collect())
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
    use std::fs;

    use super::*;
    use crate::hub::{Hub, Kind, Source};

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
            let source = Source::Folder(dir.path().to_path_buf());
            let repository = Hub::default().open(&source, Kind::Dataset).unwrap();
            let found = split_files(&repository, "train").map_err(|e| e.to_string())?;
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

//! Datasets that are compiled into the program.

use std::borrow::Cow;

use super::file::File;
use crate::error::{Error, Fault, Result};

/// A dataset with its files, each a path and its content.
#[derive(Debug)]
pub struct Dataset {
    name: &'static str,
    pub licence: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

macro_rules! dataset {
    ($name:literal, $licence:literal: $($file:literal),+) => {
        Dataset {
            name: $name,
            licence: $licence,
            files: &[$(($file, include_bytes!(concat!("embedded/", $name, "/", $file)))),+],
        }
    };
}

static DATASETS: [Dataset; 2] = [
    dataset!("fashion-mnist-mini", "MIT": "test.parquet", "train.parquet", "validation.parquet"),
    dataset!("shakespeare", "public domain": "train.txt.gz"),
];

/// The dataset called `name`.
pub fn find(name: &str) -> Result<&'static Dataset> {
    DATASETS.iter().find(|d| d.name == name).ok_or_else(|| {
        let names: Vec<&str> = DATASETS.iter().map(|d| d.name).collect();
        let summary = format!("embedded:{name}: there is no such dataset in the program");
        Error::from(Fault::new(summary).expected(names.join(", ")))
    })
}

impl Dataset {
    /// Paths of the dataset's files, sorted.
    pub fn files(&self) -> Vec<String> {
        self.files.iter().map(|(path, _)| path.to_string()).collect()
    }

    pub fn read(&self, path: &str) -> Result<File> {
        let name = format!("embedded:{}/{path}", self.name);
        match self.files.iter().find(|(file, _)| *file == path) {
            Some((_, bytes)) => Ok(File::new(name, path.into(), Cow::Borrowed(*bytes))),
            None => Err(Fault::new("there is no such file").source(name).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dataset_that_a_spec_can_name_exists_with_sorted_files() {
        for name in crate::spec::EMBEDDED_DATASETS {
            let dataset = find(name).unwrap();
            let files = dataset.files();
            assert!(files.is_sorted() && !files.is_empty());
            for path in &files {
                assert!(!dataset.read(path).unwrap().bytes.is_empty());
            }
        }
        assert!(find("nothing").unwrap_err().to_string().contains("fashion-mnist-mini"));
    }
}

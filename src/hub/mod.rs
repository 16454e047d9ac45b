//! Files of datasets and models by (repository, revision, path), with their hashes: from the
//! Hugging Face Hub through its cache, from a folder, or out of the program.
//!
//! Nothing above this module knows which. A [`Repository`] lists its files and reads them; those of
//! the Hub are downloaded when they are first asked for.

mod embedded;
mod folder;

use std::borrow::Cow;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::spec::{DataSpec, HubName, hex};

/// One file's content.
#[derive(Clone, Debug)]
pub struct File {
    /// As errors and provenance name it.
    pub name: String,
    /// Its path in the repository, `/` between folders.
    pub path: String,
    pub bytes: Cow<'static, [u8]>,
    pub sha256: String,
}

impl File {
    pub fn new(name: String, path: String, bytes: Cow<'static, [u8]>) -> File {
        let sha256 = hex(&Sha256::digest(&bytes));
        File { name, path, bytes, sha256 }
    }
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Dataset,
    Model,
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Hub(HubName),
    Folder(PathBuf),
    Embedded(String),
}

impl Source {
    /// Of a dataset. Errors where the section names none, which validation refuses first.
    pub fn of(data: &DataSpec) -> Result<Source> {
        match (&data.hub, &data.path, &data.embedded) {
            (Some(name), _, _) => HubName::parse(name).map(Source::Hub),
            (_, Some(path), _) => Some(Source::Folder(path.into())),
            (_, _, Some(name)) => Some(Source::Embedded(name.clone())),
            _ => None,
        }
        .ok_or_else(|| Error::Input("data: no source is given".into()))
    }
}

/// The way to repositories.
#[derive(Debug, Default)]
pub struct Hub {}

impl Hub {
    /// A dataset's or a model's files.
    pub fn open(&self, source: &Source, _kind: Kind) -> Result<Repository> {
        match source {
            Source::Folder(root) => folder::open(root),
            Source::Embedded(name) => embedded::open(name),
            Source::Hub(_) => Err(Error::Input("the Hub is not reached yet".into())),
        }
    }
}

/// A dataset's or a model's files, in one state.
#[derive(Debug)]
pub struct Repository {
    name: String,
    files: Vec<String>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Embedded(&'static embedded::Dataset),
}

impl Repository {
    /// As errors name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Paths of all files, sorted, `/` between folders.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// A file's content and hash. Errors if there is no such file.
    pub fn read(&self, path: &str) -> Result<File> {
        match &self.place {
            Place::Folder(root) => folder::read(root, path),
            Place::Embedded(dataset) => dataset.read(path),
        }
    }
}

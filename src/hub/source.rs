//! Where a dataset's or a model's files come from, as specs and arguments say it.

use std::fmt;
use std::path::PathBuf;

use super::LockedRepository;
use crate::error::{Error, Result};
use crate::spec::{DataSpec, HubName};

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// The same at the commit that a lock pins, where it does.
    pub fn at(&self, pinned: Option<&LockedRepository>) -> Source {
        match (self, pinned) {
            (Source::Hub(name), Some(pinned)) => Source::Hub(HubName {
                repository: name.repository.clone(),
                revision: Some(pinned.commit.clone()),
            }),
            (source, _) => source.clone(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::Hub(name) => write!(f, "hub:{}@{}", name.repository, name.revision()),
            Source::Folder(path) => path.display().fmt(f),
            Source::Embedded(name) => write!(f, "embedded:{name}"),
        }
    }
}

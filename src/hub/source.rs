//! The source of a dataset's or a model's files, as specs and arguments name it.

use std::fmt;
use std::path::PathBuf;

use super::kind::Kind;
use crate::error::{Error, Fault, Result};
use crate::spec::{FilesSpec, HUB_NAME, HUB_PREFIX, HubName};

/// The source of files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Hub(HubName),
    Folder(PathBuf),
    Embedded(String),
}

impl Source {
    /// The source of a dataset. Errors if the section names none; validation has refused that
    /// before.
    pub fn of(data: &FilesSpec) -> Result<Source> {
        match (data.hub, data.path, data.embedded) {
            (Some(name), _, _) => HubName::parse(name).map(Source::Hub),
            (_, Some(path), _) => Some(Source::Folder(path.into())),
            (_, _, Some(name)) => Some(Source::Embedded(name.to_string())),
            _ => None,
        }
        .ok_or_else(|| Error::from(Fault::new("no source is given").within("data")))
    }

    /// Parses a text such as `hub:owner/name@revision`. None if it does not begin with `hub:`.
    /// Errors if the rest is not a valid repository name.
    pub fn of_hub(text: &str, kind: Kind) -> Result<Option<Source>> {
        let Some(repository) = text.strip_prefix(HUB_PREFIX) else { return Ok(None) };
        match HubName::parse(repository) {
            Some(name) => Ok(Some(Source::Hub(name))),
            None => Err(Fault::new(format!("no {} of the Hub", kind.name()))
                .source(text)
                .found(format!("`{repository}`"))
                .expected(format!("{HUB_NAME}, behind {HUB_PREFIX}"))
                .into()),
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

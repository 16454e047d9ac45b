//! The kinds of repositories, and their names.

use hf_hub::RepoType;
use serde::{Deserialize, Serialize};

/// The kind of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Dataset,
    Model,
}

impl Kind {
    pub fn repo_type(self) -> RepoType {
        match self {
            Kind::Dataset => RepoType::Dataset,
            Kind::Model => RepoType::Model,
        }
    }

    /// The name in addresses and in the cache's folders.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Dataset => "datasets",
            Kind::Model => "models",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Dataset => "dataset",
            Kind::Model => "model",
        }
    }
}

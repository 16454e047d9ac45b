//! What a repository holds, and what that is called.

use hf_hub::RepoType;
use serde::{Deserialize, Serialize};

/// What a repository holds.
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

    /// As it stands in addresses and in the cache's folders.
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

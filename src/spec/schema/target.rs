//! The weights of a model's layers that increments and LoRA may stand on, by name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a weight of every layer, as in specs: a matrix without its `.weight` (`attn.qkv`), a
/// vector with its suffix (`norm1.bias`). The architecture decides which names exist:
/// [`Stack::weights`](super::Stack::weights).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Target(String);

impl Target {
    pub fn new(name: impl Into<String>) -> Target {
        Target(name.into())
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Target {
    fn from(name: &str) -> Target {
        Target::new(name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

//! Fields of a config that this project's models do not support.

use std::path::Path;

use crate::error::Fault;

/// A field of a config that makes the model unsupported: its value, and the supported value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub field: String,
    pub found: String,
    pub expected: String,
}

/// The expected text in the error for an unknown field.
pub const UNKNOWN_FIELD: &str = "a field that this program knows; remove it if it does not change \
                                 what the model computes";

impl Unsupported {
    /// The error for the config at `path`.
    pub fn fault(&self, path: &Path) -> Fault {
        Fault::of_file(path, format!("{}: the model is not supported", self.field))
            .found(&self.found)
            .expected(&self.expected)
    }
}

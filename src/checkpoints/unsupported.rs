//! What a description says that this project's models do not have.

use std::path::Path;

use crate::error::Fault;

/// A field of a description that rules the model out, with its value and what can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub field: String,
    pub found: String,
    pub expected: String,
}

/// What is expected of a field that nobody here knows.
pub const UNKNOWN_FIELD: &str = "no field that this program does not know: it may change what the \
                                 model computes; without it, where it does not, the model is read";

impl Unsupported {
    /// The refusal of the description at `path`.
    pub fn fault(&self, path: &Path) -> Fault {
        Fault::of_file(path, format!("{}: the model is not supported", self.field))
            .found(&self.found)
            .expected(&self.expected)
    }
}

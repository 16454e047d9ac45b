//! Facts about a file that its format does not contain and the caller provides.

use std::collections::BTreeMap;

use crate::spec::{ModelSpec, Target, TextPool};

/// Help for a file without a classifier.
pub const NO_HEAD_HELP: &str = "a run with `start.head: new` takes a model without one; import, export \
    and compress give it one with `--new-head`";

/// Facts that some formats do not contain. They are ignored if the file contains them, but for a new
/// classifier.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    pub heads: Option<usize>,
    /// Alpha of the increments in the authors' format; None means 1, their package's default.
    pub alpha: Option<f64>,
    /// Alpha of single targets in the authors' format.
    pub target_alphas: BTreeMap<Target, f64>,
    /// Number of classes of a new classifier, if the caller wants one. It is of zeros and replaces the
    /// file's, which needs none.
    pub new_head: Option<usize>,
    /// The input of a text encoder's new classifier; None means the pooler if there is one.
    pub pool: Option<TextPool>,
    /// The model of the run that starts from the file. Where a file shows sizes alone and no config
    /// lies beside it, its model computes as this one does.
    pub model: Option<ModelSpec>,
}

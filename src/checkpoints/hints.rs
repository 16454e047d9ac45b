//! What a caller says of a file whose form does not say it.

use std::collections::BTreeMap;

use crate::spec::{Target, TextPool};

/// What some forms do not say; not looked at where the file says it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    pub heads: Option<usize>,
    /// Of the increments in the authors' form; None is 1, their package's default.
    pub alpha: Option<f64>,
    /// Of single targets' increments there.
    pub target_alphas: BTreeMap<Target, f64>,
    /// Classes of a classifier that the caller brings: a file without one will do.
    pub new_head: Option<usize>,
    /// What the new classifier of a text encoder takes; None is the pooler, where there is one.
    pub pool: Option<TextPool>,
}

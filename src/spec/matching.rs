//! Control arms matched in size: a dense model with fewer layers or a smaller width that has the
//! parameter count of another arm, as closely as whole layers or heads allow.

use serde::{Deserialize, Serialize};

use super::schema::{ParameterCount, RunSpec};

/// The section `match` of an arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchSpec {
    /// The arm whose parameter count is wanted.
    pub arm: String,
    pub by: MatchBy,
}

/// The size that is changed to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchBy {
    /// `model.depth`, in whole layers.
    Depth,
    /// `model.dim`, in steps of `model.heads`: heads get narrower, their number stays the same.
    Width,
}

impl MatchBy {
    /// The field that is changed.
    pub fn field(self) -> &'static str {
        match self {
            MatchBy::Depth => "model.depth",
            MatchBy::Width => "model.dim",
        }
    }
}

/// A matched size and its target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matched {
    pub by: MatchBy,
    /// The depth or width found.
    pub value: usize,
    pub parameters: u64,
    /// The variant to match, and its parameter count.
    pub label: String,
    pub wanted: u64,
}

/// Returns `spec` with the depth or width whose parameter count is nearest to `wanted`, and that
/// depth or width. Of two equally near sizes it takes the smaller.
pub fn nearest(
    spec: &RunSpec,
    by: MatchBy,
    wanted: u64,
    count: ParameterCount,
) -> (RunSpec, usize) {
    let heads = spec.model.heads();
    let sized = |i: usize| {
        let mut spec = spec.clone();
        let value = match by {
            MatchBy::Depth => i,
            MatchBy::Width => i * heads,
        };
        match by {
            MatchBy::Depth => spec.model.set_depth(value),
            MatchBy::Width => spec.model.set_dim(value),
        }
        (spec, value)
    };
    let most = match by {
        MatchBy::Depth => 1024,
        MatchBy::Width => 65_536 / heads,
    };
    // Parameters grow with the value, so binary search finds the first one that reaches `wanted`.
    let (mut first, mut end) = (1, most + 1);
    while first < end {
        let middle = first + (end - first) / 2;
        match count(&sized(middle).0) >= wanted {
            true => end = middle,
            false => first = middle + 1,
        }
    }
    let is_whole = |i: &usize| sized(*i).0.model.hidden_is_whole();
    let below = (1..first).rev().find(is_whole);
    let above = (first..=most).find(is_whole);
    let candidates = below.into_iter().chain(above).map(sized);
    // `min_by_key` returns the first of equals, which is the smaller.
    let best = candidates.min_by_key(|(spec, _)| count(spec).abs_diff(wanted));
    best.unwrap_or_else(|| sized(1))
}

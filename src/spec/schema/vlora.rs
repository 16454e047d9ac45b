//! `vlora`: how the layers of a compound get their weights.

use serde::{Deserialize, Serialize};

use super::Target;

/// How the layers of a compound get their weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VloraSpec {
    /// Layers a compound, the dense one included; divides `model.depth`.
    pub compound_size: usize,
    /// Rank of every target without its own rank.
    pub rank: Rank,
    /// An increment is scaled by `alpha / rank`.
    #[serde(default = "one")]
    pub alpha: f64,
    #[serde(default)]
    pub reference: Reference,
    /// Stop the gradient at the reference weight.
    #[serde(default = "yes")]
    pub detach: bool,
    #[serde(default)]
    pub init: IncrementInit,
    /// Weights that increments replace. Resolving sorts them in the order of
    /// [`Stack::weights`](super::Stack::weights). If a spec names none, it sets every matrix.
    #[serde(default)]
    pub targets: Vec<TargetSpec>,
}

fn one() -> f64 {
    1.0
}
fn yes() -> bool {
    true
}

/// Rank of an increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// 0 is no increment: the layers of a compound share their weights.
    Of(usize),
    /// A matrix of its own instead of two factors.
    Full,
}

/// A target, with its own rank and alpha where they differ from the others'. In YAML the name
/// alone, or `{target: NAME, rank: …, alpha: …}`.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    pub target: Target,
    pub rank: Option<Rank>,
    pub alpha: Option<f64>,
}

impl TargetSpec {
    /// A target with the common rank and alpha.
    pub fn plain(target: impl Into<Target>) -> TargetSpec {
        TargetSpec { target: target.into(), rank: None, alpha: None }
    }
}

/// What an increment adds to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// The compound's first layer (the authors' code).
    #[default]
    Base,
    /// The layer before (the paper's text).
    Previous,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncrementInit {
    /// A and B both Kaiming-uniform with a = √5 (the authors' code): the increment is
    /// not zero at the start.
    #[default]
    Authors,
    /// A Kaiming-uniform, B zero (LoRA, arXiv 2106.09685): the increment starts at zero.
    Lora,
}

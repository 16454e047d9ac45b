//! `vlora`: how the layers of a compound get their weights.

use serde::{Deserialize, Serialize};

use super::Target;

/// How the layers of a compound get their weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VloraSpec {
    /// Layers a compound, the dense one included; divides `model.depth`.
    pub compound_size: usize,
    /// Of every target that names none of its own.
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
    /// Weights that increments replace.
    #[serde(default = "all_targets")]
    pub targets: Vec<TargetSpec>,
}

fn one() -> f64 {
    1.0
}
fn yes() -> bool {
    true
}
fn all_targets() -> Vec<TargetSpec> {
    Target::MATRICES.map(TargetSpec::plain).to_vec()
}

/// A target's increment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Increment {
    /// `scale · Bᵀ A`.
    LowRank { rank: usize, scale: f64 },
    /// A matrix of its own, unfactored, zero at the start.
    Full,
    /// A vector, zero at the start: what a 1-D target gets.
    Vector,
    /// None: the layer uses its reference weight as it is.
    Shared,
}

impl VloraSpec {
    /// The increment of `target` in layer `layer`; None where the layer's own weight is dense.
    pub fn increment(&self, layer: usize, target: Target) -> Option<Increment> {
        let own = self.targets.iter().find(|t| t.target == target)?;
        if layer.is_multiple_of(self.compound_size) {
            return None;
        }
        let alpha = own.alpha.unwrap_or(self.alpha);
        Some(match own.rank.unwrap_or(self.rank) {
            Rank::Of(0) => Increment::Shared,
            _ if target.is_vector() => Increment::Vector,
            Rank::Of(rank) => Increment::LowRank { rank, scale: alpha / rank as f64 },
            Rank::Full => Increment::Full,
        })
    }

    /// The layer whose weight the increments of layer `layer` add to.
    pub fn reference_layer(&self, layer: usize) -> usize {
        self.reference.layer(layer, self.compound_size)
    }
}

impl Reference {
    /// The layer that `layer`, not the first of a compound of `compound_size`, adds to.
    pub fn layer(self, layer: usize, compound_size: usize) -> usize {
        match self {
            Reference::Base => layer - layer % compound_size,
            Reference::Previous => layer - 1,
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetSpec {
    pub target: Target,
    pub rank: Option<Rank>,
    pub alpha: Option<f64>,
}

impl TargetSpec {
    pub fn plain(target: Target) -> TargetSpec {
        TargetSpec { target, rank: None, alpha: None }
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

//! `vlora`: how the layers of a compound get their weights.

use serde::{Deserialize, Serialize};

use super::{IncrementOn, LayerUse, Reference, Sharing, Target, VectorGroup, layer_uses};

/// How the layers of a compound get their weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VloraSpec {
    /// Layers that use one weight, the one that owns it included. None where `layers` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compound_size: Option<usize>,
    /// Which layers use one weight.
    #[serde(default)]
    pub sharing: Sharing,
    /// For each layer the index, from 0, of the weight that it uses, in place of `compound_size` and `sharing`.
    /// A new index is the smallest that was not used before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// Number of first layers that share no weight.
    #[serde(default)]
    pub keep_first: usize,
    /// Number of last layers that share no weight.
    #[serde(default)]
    pub keep_last: usize,
    /// Which layers of a compound have increments.
    #[serde(default)]
    pub increment_on: IncrementOn,
    /// Vectors that layers share, too, without an increment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_share: Vec<VectorGroup>,
    /// Rank of every target without its own rank.
    pub rank: Rank,
    /// An increment is scaled by `alpha / rank`.
    #[serde(default = "one")]
    pub alpha: f64,
    /// What an increment is added to.
    #[serde(default)]
    pub reference: Reference,
    /// Stop the gradient at the reference weight.
    #[serde(default = "yes")]
    pub detach: bool,
    /// How A and B start.
    #[serde(default)]
    pub init: IncrementInit,
    /// Weights that increments replace. Resolving sorts them in the order of
    /// [`Stack::weights`](super::Stack::weights). If a spec names none, it sets every matrix.
    #[serde(default)]
    pub targets: Vec<TargetSpec>,
}

impl VloraSpec {
    /// Compounds with the authors' choices, and no targets yet.
    pub fn new(compound_size: usize, rank: Rank) -> VloraSpec {
        VloraSpec {
            compound_size: Some(compound_size),
            sharing: Sharing::default(),
            layers: None,
            keep_first: 0,
            keep_last: 0,
            increment_on: IncrementOn::default(),
            also_share: Vec::new(),
            rank,
            alpha: one(),
            reference: Reference::default(),
            detach: yes(),
            init: IncrementInit::default(),
            targets: Vec::new(),
        }
    }

    /// What the layers of a stack of `depth` do.
    pub fn uses(&self, depth: usize) -> Vec<LayerUse> {
        layer_uses(&self.weights(depth), self.reference, self.increment_on)
    }

    /// The rank of a target: its own, or else that of all.
    pub fn rank_of(&self, target: &TargetSpec) -> Rank {
        target.rank.unwrap_or(self.rank)
    }

    /// Whether any target has an increment at all.
    pub fn has_increments(&self) -> bool {
        self.targets.iter().any(|target| self.rank_of(target) != Rank::Of(0))
    }

    /// For each layer of a stack of `depth`, the number of the weight that it uses. Numbers appear in
    /// order: the first use of each new one is the smallest number not used before. A list of another
    /// length, and a spec without compounds and list, leave every further layer a weight of its own.
    pub fn weights(&self, depth: usize) -> Vec<usize> {
        let mut weights = match (&self.layers, self.compound_size) {
            (Some(list), _) => list.iter().copied().take(depth).collect(),
            (None, None | Some(0)) => Vec::new(),
            (None, Some(size)) => {
                let first = self.keep_first.min(depth);
                let last = self.keep_last.min(depth - first);
                let shared = self.sharing.weights(depth - first - last, size);
                let shared = shared.into_iter().map(|weight| first + weight);
                (0..first).chain(shared).collect::<Vec<usize>>()
            }
        };
        let mut next = weights.iter().max().map_or(0, |most| most + 1);
        weights.resize_with(depth, || {
            next += 1;
            next - 1
        });
        weights
    }

    /// Whether all layers form compounds of one size, in a row, with an increment on each layer but the
    /// first: the authors' package has no other.
    pub fn has_plain_compounds(&self, depth: usize) -> bool {
        let Some(size) = self.compound_size else { return false };
        let is_plain = self.sharing.is_sequence() && self.keep_first == 0 && self.keep_last == 0;
        is_plain
            && self.increment_on.is_others()
            && self.also_share.is_empty()
            && size > 0
            && depth.is_multiple_of(size)
    }
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
    /// A whole matrix instead of two low-rank factors.
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncrementInit {
    /// A and B both Kaiming-uniform with a = √5 (the authors' code): the increment is
    /// not zero at the start.
    #[default]
    Authors,
    /// A Kaiming-uniform, B zero (LoRA, arXiv 2106.09685): the increment starts at zero.
    Lora,
    /// A and B both Xavier-uniform: the authors' Transformer for translation sets all its matrices so. The
    /// increment is not zero at the start.
    XavierUniform,
}

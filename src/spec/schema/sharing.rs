//! Which layers of a stack use the same weights.

use serde::{Deserialize, Serialize};

/// The order in which layers use the weights that they share, as in Takase and Kiyono (arXiv 2104.06022):
/// N layers with `compound_size: S` have M = ⌈N / S⌉ weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// S layers in a row use one weight: 0 0 0 1 1 1. Their compounds are the authors' of VLoRA, too.
    #[default]
    Sequence,
    /// The weights are gone through again and again: 0 1 0 1 0 1.
    Cycle,
    /// The same, but the last pass goes backwards: 0 1 0 1 1 0.
    CycleReversed,
}

/// Which uses of a shared weight have an increment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncrementOn {
    /// All but the first (the authors' code).
    #[default]
    Others,
    /// The first, too (Relaxed Recursive Transformers, arXiv 2410.20672).
    All,
}

/// What an increment adds to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// The weight of the layer that uses it first, the compound's first layer (the authors' code).
    #[default]
    Base,
    /// That of the layer that used it last, increments included: in a compound the layer before (the
    /// paper's text).
    Previous,
}

/// Vectors of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VectorGroup {
    /// Scales and shifts of norms.
    Norms,
    /// Biases of linear layers.
    Biases,
}

impl Sharing {
    pub fn is_sequence(&self) -> bool {
        *self == Sharing::Sequence
    }

    /// As specs write it.
    pub fn name(self) -> &'static str {
        match self {
            Sharing::Sequence => "sequence",
            Sharing::Cycle => "cycle",
            Sharing::CycleReversed => "cycle-reversed",
        }
    }

    /// For each of `depth` layers, the number of the weight that it uses. `size` is at least 1.
    pub fn weights(self, depth: usize, size: usize) -> Vec<usize> {
        let distinct = depth.div_ceil(size).max(1);
        let cycle = |layer: usize| layer % distinct;
        match self {
            Sharing::Sequence => (0..depth).map(|layer| layer / size).collect(),
            Sharing::Cycle => (0..depth).map(cycle).collect(),
            Sharing::CycleReversed => {
                // As their code has it: at least one pass forwards, and as much of the last one backwards
                // as there are layers for.
                let forward = depth.saturating_sub(distinct).max(distinct).min(depth);
                let backward = (0..depth - forward).map(|layer| distinct - 1 - layer % distinct);
                (0..forward).map(cycle).chain(backward).collect()
            }
        }
    }
}

impl IncrementOn {
    pub fn is_others(&self) -> bool {
        *self == IncrementOn::Others
    }
}

/// What a layer does with the weights of its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerUse {
    /// The number of the weight that it uses.
    pub weight: usize,
    /// The earlier layer whose weight it adds to; None where it owns the weight.
    pub adds_to: Option<usize>,
    /// Whether it has an increment of its own, if increments have a rank at all.
    pub has_increment: bool,
}

/// The weights that layers use, with a plus where they add an increment: `0 1 0+ 1+`.
pub fn drawing(layers: &[LayerUse], has_increments: bool) -> String {
    let plus = |layer: &LayerUse| if layer.has_increment && has_increments { "+" } else { "" };
    let drawn = layers.iter().map(|layer| format!("{}{}", layer.weight, plus(layer)));
    drawn.collect::<Vec<_>>().join(" ")
}

/// What layers do that use these weights, by number: equal numbers are one weight.
pub fn layer_uses(
    weights: &[usize],
    reference: Reference,
    increment_on: IncrementOn,
) -> Vec<LayerUse> {
    let of = |layer: usize| {
        let weight = weights[layer];
        let mut earlier = (0..layer).filter(|other| weights[*other] == weight);
        let adds_to = match reference {
            Reference::Base => earlier.next(),
            Reference::Previous => earlier.next_back(),
        };
        let is_shared = weights.iter().filter(|other| **other == weight).count() > 1;
        let has_increment = adds_to.is_some() || increment_on == IncrementOn::All && is_shared;
        LayerUse { weight, adds_to, has_increment }
    };
    (0..weights.len()).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Rank, VloraSpec};

    fn weights(depth: usize, size: usize, sharing: Sharing) -> Vec<usize> {
        VloraSpec { sharing, ..VloraSpec::new(size, Rank::Of(1)) }.weights(depth)
    }

    /// The examples of the paper's first figure, and what its authors' code does where the number of layers
    /// is no multiple.
    #[test]
    fn weights_are_those_of_takase_and_kiyono() {
        use Sharing::*;
        for (depth, size, sharing, want) in [
            (6, 2, Sequence, &[0, 0, 1, 1, 2, 2][..]),
            (6, 2, Cycle, &[0, 1, 2, 0, 1, 2]),
            (6, 2, CycleReversed, &[0, 1, 2, 2, 1, 0]),
            (9, 3, Cycle, &[0, 1, 2, 0, 1, 2, 0, 1, 2]),
            (9, 3, CycleReversed, &[0, 1, 2, 0, 1, 2, 2, 1, 0]),
            (7, 2, Sequence, &[0, 0, 1, 1, 2, 2, 3]),
            (7, 2, Cycle, &[0, 1, 2, 3, 0, 1, 2]),
            (7, 2, CycleReversed, &[0, 1, 2, 3, 3, 2, 1]),
            (8, 3, CycleReversed, &[0, 1, 2, 0, 1, 2, 1, 0]),
            (6, 6, Cycle, &[0; 6]),
            (6, 6, CycleReversed, &[0; 6]),
            (4, 1, Cycle, &[0, 1, 2, 3]),
            (4, 1, CycleReversed, &[0, 1, 2, 3]),
        ] {
            assert_eq!(weights(depth, size, sharing), want, "{depth} {size} {sharing:?}");
        }
        // One weight for all is the same in every order.
        assert_eq!(weights(6, 6, Cycle), weights(6, 6, Sequence));
    }

    #[test]
    fn a_map_is_drawn_with_its_increments() {
        let cycle = VloraSpec {
            sharing: Sharing::Cycle,
            keep_last: 1,
            targets: vec![crate::spec::TargetSpec::plain("mlp.fc1")],
            ..VloraSpec::new(2, Rank::Of(1))
        };
        assert_eq!(drawing(&cycle.uses(5), cycle.has_increments()), "0 1 0+ 1+ 2");
        let all = VloraSpec { increment_on: IncrementOn::All, ..cycle.clone() };
        assert_eq!(drawing(&all.uses(5), all.has_increments()), "0+ 1+ 0+ 1+ 2");
        let shared = VloraSpec { rank: Rank::Of(0), ..all };
        assert_eq!(drawing(&shared.uses(5), shared.has_increments()), "0 1 0 1 2");
    }

    #[test]
    fn the_first_and_the_last_layers_may_stay_apart() {
        let spec = VloraSpec { keep_first: 1, keep_last: 2, ..VloraSpec::new(2, Rank::Of(1)) };
        assert_eq!(spec.weights(7), [0, 1, 1, 2, 2, 3, 4]);
        let cycle = VloraSpec { sharing: Sharing::Cycle, ..spec };
        assert_eq!(cycle.weights(7), [0, 1, 2, 1, 2, 3, 4]);
        // With more kept than there are layers, every layer has its own.
        assert_eq!(cycle.weights(2), [0, 1]);
    }
}

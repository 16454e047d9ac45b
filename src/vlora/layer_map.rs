//! The layer map: which layers of a stack own their weights, and to which other layer's weight each
//! of the rest adds its increment.
//!
//! | sharing | layers 0 1 2 3 4 5 use the weights | with `reference: previous` layer 5 adds to |
//! |---|---|---|
//! | dense | 0 1 2 3 4 5 | |
//! | `sequence`, compounds of 3 | 0 0 0 1 1 1 | layer 4 |
//! | `cycle`, compounds of 3 | 0 1 0 1 0 1 | layer 3 |
//! | `cycle-reversed`, compounds of 3 | 0 1 0 1 1 0 | layer 2 |
//! | `layers: [0, 1, 1, 1, 1, 2]` | 0 1 1 1 1 2 | |
//!
//! The layer that uses a weight first owns it. With `reference: base` each later one adds to the owner's
//! weight. With `previous` it adds to the weight of the layer that used it last, increments included.
//! With `increment_on: all` the owner, too, has an increment on a weight that others use.

use crate::spec::{
    IncrementOn, LayerUse, LayerWeight, Rank, Reference, Stack, VectorGroup, VloraSpec,
    WeightShape, layer_uses,
};

/// For each layer of a stack, the layer that it adds to, and whether it has an increment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerMap {
    references: Vec<Option<usize>>,
    /// Which layers have increments of their own.
    increments: Vec<bool>,
}

impl LayerMap {
    /// Every layer owns its weights.
    pub fn dense(depth: usize) -> LayerMap {
        LayerMap { references: vec![None; depth], increments: vec![false; depth] }
    }

    /// The map of layers that use these weights, by number: equal numbers are one weight.
    pub fn of_weights(
        weights: &[usize],
        reference: Reference,
        increment_on: IncrementOn,
    ) -> LayerMap {
        LayerMap::from_uses(&layer_uses(weights, reference, increment_on))
    }

    /// References are earlier layers, so weights can be built and converted in the order of layers.
    fn from_uses(layers: &[LayerUse]) -> LayerMap {
        LayerMap {
            references: layers.iter().map(|layer| layer.adds_to).collect(),
            increments: layers.iter().map(|layer| layer.has_increment).collect(),
        }
    }

    /// Compounds of `size` layers, the first of which owns its weights. With a size of 0 every layer
    /// owns its weights.
    pub fn compounds(depth: usize, size: usize, reference: Reference) -> LayerMap {
        let weights: Vec<usize> = match size {
            0 => (0..depth).collect(),
            _ => (0..depth).map(|layer| layer / size).collect(),
        };
        LayerMap::of_weights(&weights, reference, IncrementOn::Others)
    }

    /// The map of a stack with the increments of `vlora`; None is a dense model.
    pub fn of(stack: &Stack, vlora: Option<&VloraSpec>) -> LayerMap {
        match vlora {
            None => LayerMap::dense(stack.depth),
            Some(v) => LayerMap::from_uses(&v.uses(stack.depth)),
        }
    }

    pub fn depth(&self) -> usize {
        self.references.len()
    }

    /// The layer whose weight `layer` adds to; None where it owns its weights.
    pub fn reference(&self, layer: usize) -> Option<usize> {
        self.references.get(layer).copied().flatten()
    }

    /// Whether another layer adds to this one's weight.
    pub fn is_reference(&self, layer: usize) -> bool {
        self.references.contains(&Some(layer))
    }

    /// Whether a layer has increments of its own.
    pub fn has_increment(&self, layer: usize) -> bool {
        self.increments.get(layer).copied().unwrap_or(false)
    }

    /// The layer that owns the weight which `layer` uses.
    pub fn owner(&self, layer: usize) -> usize {
        // References are earlier layers, so this ends.
        std::iter::successors(Some(layer), |layer| self.reference(*layer)).last().unwrap_or(layer)
    }
}

/// What a layer adds to its reference weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Increment {
    /// `scale · Bᵀ A`.
    LowRank { rank: usize, scale: f64 },
    /// A whole matrix, not factored, which starts at zero.
    Full,
    /// A vector that starts at zero, for a bias or a norm's scale or shift.
    Vector,
    /// Nothing: the layer uses its reference weight as it is.
    Shared,
}

impl Increment {
    /// The increment of a weight in the layers that do not own it. None if the weight is neither a target
    /// nor shared, so every layer owns it.
    pub fn of(weight: &LayerWeight, vlora: &VloraSpec) -> Option<Increment> {
        let is_shared = match weight.shape {
            WeightShape::Matrix { .. } => false,
            WeightShape::Bias { .. } => vlora.also_share.contains(&VectorGroup::Biases),
            WeightShape::Norm { .. } => vlora.also_share.contains(&VectorGroup::Norms),
        };
        if is_shared {
            return Some(Increment::Shared);
        }
        let target = vlora.targets.iter().find(|target| target.target == weight.target)?;
        let alpha = target.alpha.unwrap_or(vlora.alpha);
        Some(match vlora.rank_of(target) {
            Rank::Of(0) => Increment::Shared,
            _ if weight.is_vector() => Increment::Vector,
            Rank::Of(rank) => Increment::LowRank { rank, scale: alpha / rank as f64 },
            Rank::Full => Increment::Full,
        })
    }

    /// The rank as a spec writes it. Vectors count as full, since their increments are exact.
    pub fn rank(self) -> Rank {
        match self {
            Increment::LowRank { rank, .. } => Rank::Of(rank),
            Increment::Full | Increment::Vector => Rank::Full,
            Increment::Shared => Rank::Of(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::Sharing;

    fn references(map: &LayerMap) -> Vec<Option<usize>> {
        (0..map.depth()).map(|layer| map.reference(layer)).collect()
    }

    #[test]
    fn layers_refer_to_their_base_or_to_the_layer_before() {
        let of = |size, reference| references(&LayerMap::compounds(6, size, reference));
        let (owner, to) = (None, Some);
        assert_eq!(of(3, Reference::Base), [owner, to(0), to(0), owner, to(3), to(3)]);
        assert_eq!(of(3, Reference::Previous), [owner, to(0), to(1), owner, to(3), to(4)]);
        assert_eq!(of(2, Reference::Base), of(2, Reference::Previous));
        for size in [0, 1] {
            assert_eq!(LayerMap::compounds(6, size, Reference::Base), LayerMap::dense(6));
        }
        // A stack that is shorter than a compound.
        assert_eq!(references(&LayerMap::compounds(2, 4, Reference::Base)), [owner, to(0)]);
    }

    #[test]
    fn references_are_those_that_others_add_to() {
        let map = LayerMap::compounds(4, 4, Reference::Base);
        assert_eq!([0, 1, 2, 3].map(|l| map.is_reference(l)), [true, false, false, false]);
        assert_eq!([0, 1, 2, 3].map(|l| map.has_increment(l)), [false, true, true, true]);
        let map = LayerMap::compounds(4, 4, Reference::Previous);
        assert_eq!([0, 1, 2, 3].map(|l| map.is_reference(l)), [true, true, true, false]);
        assert_eq!((map.reference(0), map.reference(3), map.reference(9)), (None, Some(2), None));
        assert_eq!([0, 1, 2, 3].map(|l| map.owner(l)), [0; 4]);
    }

    /// Only an owner whose weight others use has an increment of its own.
    #[test]
    fn owners_have_increments_on_request() {
        let weights = [0, 1, 1, 2, 1];
        let of = |on| {
            let map = LayerMap::of_weights(&weights, Reference::Base, on);
            [0, 1, 2, 3, 4].map(|layer| map.has_increment(layer))
        };
        assert_eq!(of(IncrementOn::Others), [false, false, true, false, true]);
        assert_eq!(of(IncrementOn::All), [false, true, true, false, true]);
    }

    proptest! {
        /// In any map, layers refer to earlier layers that use the same weight, the first use owns it, and
        /// the number of owners is the number of weights.
        #[test]
        fn maps_refer_to_earlier_uses_of_the_same_weight(
            depth in 1..13usize,
            size in 1..6usize,
            keep in (0..3usize, 0..3usize),
            sharing in prop::sample::select(vec![Sharing::Sequence, Sharing::Cycle, Sharing::CycleReversed]),
            reference in prop::sample::select(vec![Reference::Base, Reference::Previous]),
            on in prop::sample::select(vec![IncrementOn::Others, IncrementOn::All]),
        ) {
            let mut spec = VloraSpec::new(size, Rank::Of(1));
            (spec.sharing, spec.keep_first, spec.keep_last) = (sharing, keep.0, keep.1);
            let weights = spec.weights(depth);
            prop_assert_eq!(weights.len(), depth);
            let map = LayerMap::of_weights(&weights, reference, on);
            let owners = (0..depth).filter(|layer| map.reference(*layer).is_none()).count();
            let mut distinct = weights.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(owners, distinct.len());
            for layer in 0..depth {
                if let Some(other) = map.reference(layer) {
                    prop_assert!(other < layer && weights[other] == weights[layer]);
                }
                prop_assert_eq!(weights[map.owner(layer)], weights[layer]);
                prop_assert!((0..map.owner(layer)).all(|earlier| weights[earlier] != weights[layer]));
            }
            // The same as a list.
            let listed = VloraSpec { compound_size: None, layers: Some(weights.clone()), ..VloraSpec::new(1, Rank::Of(1)) };
            prop_assert_eq!(listed.weights(depth), weights);
        }
    }
}

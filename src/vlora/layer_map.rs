//! The layer map: which layers of a stack own their weights, and to which other layer's weight each
//! of the rest adds its increment.
//!
//! | way of sharing | layers 0 1 2 3 4 5 |
//! |---|---|
//! | dense | own own own own own own |
//! | compounds of 3, `reference: base` | own 0 0 own 3 3 |
//! | compounds of 3, `reference: previous` | own 0 1 own 3 4 |
//!
//! Any other map is a value of the same type, as long as each reference is an earlier layer.

use candle_core::{Result, bail};

use crate::spec::{LayerWeight, Rank, Reference, Stack, VloraSpec};

/// For each layer of a stack, the layer that it adds to; None where it owns its weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerMap(Vec<Option<usize>>);

impl LayerMap {
    /// Makes a map. Each reference must be an earlier layer, so that weights can be built and converted
    /// in the order of layers.
    pub fn new(references: Vec<Option<usize>>) -> Result<LayerMap> {
        for (layer, reference) in references.iter().enumerate() {
            if let Some(reference) = reference.filter(|reference| *reference >= layer) {
                bail!("layer {layer} adds to layer {reference}, which is not an earlier layer");
            }
        }
        Ok(LayerMap(references))
    }

    /// Every layer owns its weights.
    pub fn dense(depth: usize) -> LayerMap {
        LayerMap(vec![None; depth])
    }

    /// Compounds of `size` layers, the first of which owns its weights. With a size of 0 every layer
    /// owns its weights.
    pub fn compounds(depth: usize, size: usize, reference: Reference) -> LayerMap {
        let of = |layer: usize| {
            let inner = layer.checked_rem(size).filter(|inner| *inner > 0)?;
            Some(match reference {
                Reference::Base => layer - inner,
                Reference::Previous => layer - 1,
            })
        };
        LayerMap((0..depth).map(of).collect())
    }

    /// The map of a stack with the increments of `vlora`; None is a dense model.
    pub fn of(stack: &Stack, vlora: Option<&VloraSpec>) -> LayerMap {
        match vlora {
            None => LayerMap::dense(stack.depth),
            Some(v) => LayerMap::compounds(stack.depth, v.compound_size, v.reference),
        }
    }

    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// The layer whose weight `layer` adds to; None where it owns its weights.
    pub fn reference(&self, layer: usize) -> Option<usize> {
        self.0.get(layer).copied().flatten()
    }

    /// Whether another layer adds to this one's weight.
    pub fn is_reference(&self, layer: usize) -> bool {
        self.0.contains(&Some(layer))
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
    /// The increment of a weight in the layers that do not own it. None if the weight is not a target,
    /// so every layer owns it.
    pub fn of(weight: &LayerWeight, vlora: &VloraSpec) -> Option<Increment> {
        let own = vlora.targets.iter().find(|own| own.target == weight.target)?;
        let alpha = own.alpha.unwrap_or(vlora.alpha);
        Some(match own.rank.unwrap_or(vlora.rank) {
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
    use super::*;

    #[test]
    fn layers_refer_to_their_base_or_to_the_layer_before() {
        let of = |size, reference| LayerMap::compounds(6, size, reference).0;
        let (own, to) = (None, Some);
        assert_eq!(of(3, Reference::Base), [own, to(0), to(0), own, to(3), to(3)]);
        assert_eq!(of(3, Reference::Previous), [own, to(0), to(1), own, to(3), to(4)]);
        assert_eq!(of(2, Reference::Base), of(2, Reference::Previous));
        for size in [0, 1] {
            assert_eq!(LayerMap::compounds(6, size, Reference::Base), LayerMap::dense(6));
        }
        // A stack that is shorter than a compound.
        assert_eq!(LayerMap::compounds(2, 4, Reference::Base).0, [own, to(0)]);
    }

    #[test]
    fn references_are_those_that_others_add_to() {
        let map = LayerMap::compounds(4, 4, Reference::Base);
        assert_eq!([0, 1, 2, 3].map(|l| map.is_reference(l)), [true, false, false, false]);
        let map = LayerMap::compounds(4, 4, Reference::Previous);
        assert_eq!([0, 1, 2, 3].map(|l| map.is_reference(l)), [true, true, true, false]);
        assert_eq!((map.reference(0), map.reference(3), map.reference(9)), (None, Some(2), None));
    }

    /// Layers shared in a cycle, `0 1 0 1`, are a valid map.
    #[test]
    fn references_must_be_earlier_layers() {
        let cycle = LayerMap::new(vec![None, None, Some(0), Some(1)]).unwrap();
        assert!(cycle.is_reference(0) && cycle.is_reference(1) && !cycle.is_reference(2));
        for bad in [vec![Some(0)], vec![None, Some(2), None]] {
            let error = LayerMap::new(bad).unwrap_err().to_string();
            assert!(error.contains("not an earlier layer"), "{error}");
        }
    }
}

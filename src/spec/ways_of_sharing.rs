//! The ways in which the arms of an experiment share layers, for plans and charts.

use super::schema::{LayerUse, RunSpec};

/// A way of sharing the layers of a model's first stack.
#[derive(Debug)]
pub struct WayOfSharing<'a> {
    /// The arms that share so.
    pub labels: Vec<&'a str>,
    pub layers: Vec<LayerUse>,
    /// Whether increments have a rank at all.
    pub has_increments: bool,
    /// The weights that layers use, with a plus where they add an increment: `0 1 0+ 1+`.
    pub drawing: String,
}

/// The ways of labelled arms, in order of first appearance. Arms that share nothing are left out.
pub fn ways_of_sharing<'a>(
    arms: impl IntoIterator<Item = (&'a str, &'a RunSpec)>,
) -> Vec<WayOfSharing<'a>> {
    let mut ways: Vec<WayOfSharing> = Vec::new();
    for (label, spec) in arms {
        let (Some(vlora), Some(stack)) = (&spec.vlora, spec.model.stacks().into_iter().next())
        else {
            continue;
        };
        let (layers, has_increments) = (vlora.uses(stack.depth), vlora.has_increments());
        let is_same =
            |way: &&mut WayOfSharing| way.layers == layers && way.has_increments == has_increments;
        match ways.iter_mut().find(is_same) {
            Some(way) => way.labels.push(label),
            None => ways.push(WayOfSharing {
                labels: vec![label],
                drawing: vlora.drawing(stack.depth),
                layers,
                has_increments,
            }),
        }
    }
    ways
}

//! The ways in which the arms of an experiment share layers, for plans and charts.

use super::schema::{LayerUse, Rank, RunSpec, drawing};

/// A way of sharing the layers of a stack.
#[derive(Debug)]
pub struct WayOfSharing<'a> {
    /// The arms that share so.
    pub labels: Vec<&'a str>,
    /// The names of the stacks that share so; empty where models have one stack.
    pub stacks: Vec<&'static str>,
    pub layers: Vec<LayerUse>,
    /// Whether increments have a rank at all.
    pub has_increments: bool,
    /// The weights that layers use, with a plus where they add an increment: `0 1 0+ 1+`.
    pub drawing: String,
}

impl WayOfSharing<'_> {
    /// `encoder and decoder`; None where models have one stack.
    pub fn stack_names(&self) -> Option<String> {
        (!self.stacks.is_empty()).then(|| self.stacks.join(" and "))
    }
}

/// The ways of labelled arms, in order of first appearance. Arms that share nothing are left out. Stacks of a
/// model that share in the same way are one.
pub fn ways_of_sharing<'a>(
    arms: impl IntoIterator<Item = (&'a str, &'a RunSpec)>,
) -> Vec<WayOfSharing<'a>> {
    let mut ways: Vec<WayOfSharing> = Vec::new();
    for (label, spec) in arms {
        for way in ways_of(label, spec) {
            let is_same = |other: &&mut WayOfSharing| {
                (&other.layers, other.has_increments, &other.stacks)
                    == (&way.layers, way.has_increments, &way.stacks)
            };
            match ways.iter_mut().find(is_same) {
                Some(other) => other.labels.push(label),
                None => ways.push(way),
            }
        }
    }
    ways
}

/// Whether a spec asks for compounds in which no layer shares a weight with another, as those of one layer. Its
/// model is the dense one.
pub fn shares_nothing(spec: &RunSpec) -> bool {
    spec.vlora.is_some() && ways_of("", spec).is_empty()
}

/// The ways of an arm's stacks.
fn ways_of<'a>(label: &'a str, spec: &RunSpec) -> Vec<WayOfSharing<'a>> {
    let Some(vlora) = &spec.vlora else { return Vec::new() };
    let stacks = spec.model.stacks();
    let are_several = stacks.len() > 1;
    let mut ways: Vec<WayOfSharing> = Vec::new();
    for stack in &stacks {
        let layers = vlora.uses(stack.depth);
        let mut targets =
            vlora.targets.iter().filter(|target| stack.weight(&target.target).is_some()).peekable();
        let has_shared = targets.peek().is_some() || !vlora.also_share.is_empty();
        if !has_shared || layers.iter().all(|layer| layer.adds_to.is_none()) {
            continue;
        }
        let has_increments = targets.any(|target| vlora.rank_of(target) != Rank::Of(0));
        let name = are_several.then_some(stack.name);
        let is_same =
            |way: &&mut WayOfSharing| way.layers == layers && way.has_increments == has_increments;
        match ways.iter_mut().find(is_same) {
            Some(way) => way.stacks.extend(name),
            None => ways.push(WayOfSharing {
                labels: vec![label],
                stacks: name.into_iter().collect(),
                drawing: drawing(&layers, has_increments),
                layers,
                has_increments,
            }),
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(compound_size: usize, decoder_depth: usize, targets: &[&str]) -> RunSpec {
        serde_json::from_value(serde_json::json!({
            "task": "translation",
            "data": {"source_column": "a", "target_column": "b", "tokenizer": {"train": "words"}},
            "model": {"architecture": "encoder-decoder", "source_vocabulary": 9, "target_vocabulary": 9,
                "positions": 8, "dim": 8, "depth": 2, "decoder_depth": decoder_depth, "heads": 2},
            "method": "vlora",
            "vlora": {"compound_size": compound_size, "rank": 1, "targets": targets},
        }))
        .unwrap()
    }

    fn ways(decoder_depth: usize, targets: &[&str]) -> Vec<String> {
        let spec = spec(2, decoder_depth, targets);
        let ways = ways_of_sharing([("one", &spec), ("two", &spec)]);
        ways.iter()
            .map(|way| format!("{}: {} of {}", way.stacks.join(","), way.drawing, way.labels.len()))
            .collect()
    }

    #[test]
    fn each_stack_has_its_way() {
        let both = ["linear1"];
        assert_eq!(ways(2, &both), ["encoder,decoder: 0 0+ of 2"]);
        assert_eq!(ways(4, &both), ["encoder: 0 0+ of 2", "decoder: 0 0+ 1 1+ of 2"]);
        // One layer shares with no other.
        assert_eq!(ways(1, &both), ["encoder: 0 0+ of 2"]);
        // An encoder has no cross-attention.
        assert_eq!(ways(2, &["multihead_attn.query"]), ["decoder: 0 0+ of 2"]);
    }

    #[test]
    fn compounds_of_one_layer_share_nothing() {
        assert!(shares_nothing(&spec(1, 2, &["linear1"])));
        assert!(!shares_nothing(&spec(2, 1, &["linear1"])));
        assert!(!shares_nothing(&RunSpec { vlora: None, ..spec(1, 2, &[]) }));
    }
}

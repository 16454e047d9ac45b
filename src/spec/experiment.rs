//! An experiment: the variants under comparison and their seeds.

use super::matching::Matched;
use super::schema::RunSpec;

/// A spec, expanded: `variants × seeds` are its runs.
#[derive(Clone, Debug)]
pub struct Experiment {
    pub name: String,
    pub description: String,
    /// The arm the others are compared with.
    pub baseline: String,
    pub seeds: Vec<u64>,
    /// Arms in the order written, each at its sweep points, the first swept field slowest.
    pub variants: Vec<Variant>,
    /// The document as it was written, without overrides.
    pub source: String,
}

impl Experiment {
    /// The baseline to compare `variant` with: the one whose swept fields all agree. None for a
    /// baseline itself.
    pub fn baseline_of(&self, variant: &Variant) -> Option<&Variant> {
        if variant.arm == self.baseline {
            return None;
        }
        let baselines = self.variants.iter().filter(|v| v.arm == self.baseline);
        baselines.into_iter().find(|b| agree(&b.point, &variant.point))
    }

    /// The variants in an order in which each stands behind the one it starts from.
    pub fn in_order_of_start(&self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        let mut waiting: Vec<usize> = (0..self.variants.len()).collect();
        // Starts form no circle and name variants that there are, so every round places one.
        while !waiting.is_empty() {
            let placed = |label: &String| order.iter().any(|i| self.variants[*i].label == *label);
            let ready = |i: &usize| self.variants[*i].start.as_ref().is_none_or(placed);
            let next = waiting.iter().position(ready).unwrap_or(0);
            order.push(waiting.remove(next));
        }
        order
    }
}

/// Whether a baseline's swept fields all have their values in another arm's point, so that the
/// two can be compared. The other arm may have swept fields that the baseline does not use.
pub fn agree(baseline: &[(String, String)], other: &[(String, String)]) -> bool {
    baseline.iter().all(|field| other.contains(field))
}

/// One arm at one sweep point.
#[derive(Clone, Debug)]
pub struct Variant {
    pub arm: String,
    /// The swept fields this arm uses, with their values as text.
    pub point: Vec<(String, String)>,
    /// Arm and point in one short text; unique within the experiment.
    pub label: String,
    pub spec: RunSpec,
    /// The label of the variant whose weights it starts from.
    pub start: Option<String>,
    /// What its size was matched to; several where one size is nearest to several.
    pub matched: Vec<Matched>,
}

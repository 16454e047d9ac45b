//! An experiment: the variants under comparison and their seeds.

use super::matching::Matched;
use super::schema::RunSpec;
use super::slurm::SlurmSpec;

/// An expanded spec. Its runs are `variants × seeds`.
#[derive(Clone, Debug)]
pub struct Experiment {
    pub name: String,
    pub description: String,
    /// The arm the others are compared with.
    pub baseline: String,
    /// The label of the arm whose comparison with its baseline is tested alone, see
    /// [`Variant::compared_label`].
    pub primary_contrast: Option<String>,
    /// The swept fields whose values are chosen for each arm on validation.
    pub tuned: Vec<String>,
    pub seeds: Vec<u64>,
    /// Arms in the order written, each at its sweep points, the first swept field slowest.
    pub variants: Vec<Variant>,
    /// What the jobs of `vlora launch slurm` ask for.
    pub slurm: SlurmSpec,
    /// A line for each written value that changes no run, with its place and the reason.
    pub notes: Vec<String>,
    /// The document as written, without overrides.
    pub source: String,
}

impl Experiment {
    /// The baseline variant to compare `variant` with: the one whose swept fields all agree, or any of
    /// its trials where fields are tuned. None for a baseline itself.
    pub fn baseline_of(&self, variant: &Variant) -> Option<&Variant> {
        if variant.arm == self.baseline {
            return None;
        }
        let mut baselines = self.variants.iter().filter(|v| v.arm == self.baseline);
        baselines.find(|b| b.agrees(variant, &self.tuned))
    }

    /// Indices of the variants, ordered so that each comes after the one it starts from.
    pub fn in_order_of_start(&self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        let mut waiting: Vec<usize> = (0..self.variants.len()).collect();
        // Starts form no circle and name existing variants, so every round places one.
        while !waiting.is_empty() {
            let placed = |label: &String| order.iter().any(|i| self.variants[*i].label == *label);
            let ready = |i: &usize| self.variants[*i].start.as_ref().is_none_or(placed);
            let next = waiting.iter().position(ready).unwrap_or(0);
            order.push(waiting.remove(next));
        }
        order
    }
}

/// Whether all swept fields of a baseline have the same values in another arm's point, so that the
/// two can be compared. The other arm may have further swept fields.
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
    /// What its size was matched to. Several entries if one size is nearest to several variants.
    pub matched: Vec<Matched>,
    /// The label without tuned fields; None where nothing is tuned.
    pub trial_of: Option<String>,
}

impl Variant {
    /// The label under which it is compared: that of the arm, of which it may be one of several trials.
    pub fn compared_label(&self) -> &str {
        self.trial_of.as_deref().unwrap_or(&self.label)
    }

    /// Whether all swept fields of this baseline have the same values in another arm's point, those that
    /// are tuned aside.
    pub fn agrees(&self, other: &Variant, tuned: &[String]) -> bool {
        let is_compared = |(key, _): &&(String, String)| !tuned.contains(key);
        let of = |v: &Variant| v.point.iter().filter(is_compared).cloned().collect::<Vec<_>>();
        agree(&of(self), &of(other))
    }
}

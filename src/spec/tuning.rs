//! Tuning: swept fields whose value is chosen for each arm, on validation.
//!
//! `tune` names them. Every arm has the same number of trials, so that none is favoured. An arm that does
//! not use all of the fields gives more values of the others, in a `sweep` of its own. An arm that others
//! start from may have one trial instead, from which all of theirs start.

use std::collections::BTreeMap;

use super::arms::Arm;
use super::de::from_node;
use super::error::SpecError;
use super::experiment::Variant;
use super::node::Node;
use super::origin::Origin;
use super::sweep::{Point, Sweep};

/// What is tuned, and which values each arm tries.
pub struct Tuning {
    /// The swept fields that are tuned.
    pub fields: Vec<String>,
    /// The sweep as written, for all arms without values of their own.
    common: Sweep,
    /// Where `tune` stands.
    origin: Origin,
}

/// Whether trials with other values of a field have other examples or other answers to compare. Of `data`,
/// these fields are about training alone.
fn changes_what_validation_measures(field: &str) -> bool {
    const OF_TRAINING: [&str; 5] =
        ["augment", "batch_tokens", "group_by_length", "max_length_ratio", "epoch_windows"];
    let of_data = field.strip_prefix("data.").map(|rest| rest.split('.').next().unwrap_or(rest));
    of_data.is_some_and(|name| !OF_TRAINING.contains(&name))
}

impl Tuning {
    /// Reads `tune`: a list of swept fields.
    pub fn new(node: Option<Node>, sweep: &Sweep) -> Result<Tuning, SpecError> {
        let Some(node) = node else {
            let origin = Origin::File(Vec::new());
            return Ok(Tuning { fields: Vec::new(), common: sweep.clone(), origin });
        };
        let fields = from_node::<Option<Vec<String>>>(&node)?.unwrap_or_default();
        for (i, field) in fields.iter().enumerate() {
            let at = || node.items().get(i).unwrap_or(&node).origin.clone();
            if !sweep.iter().any(|(key, _)| key == field) {
                let swept = sweep.iter().map(|(key, _)| key.as_str());
                return Err(SpecError::new("only a swept field is tuned")
                    .found(format!("`{field}`"))
                    .expected("a field that `sweep` has values for")
                    .suggest(field, swept)
                    .at(at()));
            }
            if changes_what_validation_measures(field) {
                return Err(SpecError::new("trials must be compared by the same validation")
                    .found(format!("`{field}`, which changes what validation measures, or acts on the test alone"))
                    .expected("a field of the training, the model, its increments or its start")
                    .help("sweep over it without `tune`, so that each value is an arm of its own")
                    .at(at()));
            }
            if fields[..i].contains(field) {
                return Err(SpecError::new("a field is named twice")
                    .found(format!("`{field}`"))
                    .expected("each field once")
                    .at(at()));
            }
        }
        Ok(Tuning { fields, common: sweep.clone(), origin: node.origin })
    }

    /// Whether trials with different values of the field are chosen among.
    pub fn is_tuned(&self, field: &str) -> bool {
        self.fields.iter().any(|tuned| tuned == field)
    }

    /// The sweep with the values that any arm tries.
    pub fn widened(&self, arms: &[Arm]) -> Result<Sweep, SpecError> {
        let mut sweep = self.common.clone();
        for (key, values) in arms.iter().flat_map(|arm| &arm.sweep) {
            let all = sweep.iter_mut().find(|(common, _)| common == key && self.is_tuned(key));
            let Some((_, all)) = all else {
                let error = SpecError::new("an arm has values of its own only for tuned fields")
                    .found(format!("`{key}`"))
                    .expected("a field that `sweep` has values for and `tune` names");
                return Err(match values.first() {
                    Some(value) => error.at(value.origin.clone()),
                    None => error,
                });
            };
            for value in values {
                if !all.iter().any(|other| other.label() == value.label()) {
                    all.push(value.clone());
                }
            }
        }
        Ok(sweep)
    }

    /// Whether an arm has this point among its trials.
    pub fn tries(&self, arm: &Arm, point: &Point) -> bool {
        self.fields.iter().all(|field| {
            let of =
                |sweep: &Sweep| sweep.iter().find(|(key, _)| key == field).map(|(_, v)| v.clone());
            let values = of(&arm.sweep).or_else(|| of(&self.common)).unwrap_or_default();
            let at = point.iter().find(|(key, _)| key == field);
            at.is_none_or(|(_, at)| values.iter().any(|value| value.label() == at.label()))
        })
    }

    /// The point of `arm` that an arm at the point `at` refers to: the same, or, where it has one trial alone,
    /// that trial with the same values of fields that are not tuned. Points are indices of `grid`.
    pub fn referred(&self, arm: &Arm, at: usize, grid: &[Point]) -> usize {
        if self.tries(arm, &grid[at]) {
            return at;
        }
        let fixed = |point: &Point| -> Vec<(String, String)> {
            let of = |(key, value): &(String, Node)| (key.clone(), value.label());
            point.iter().filter(|(key, _)| !self.is_tuned(key)).map(of).collect()
        };
        let same = |i: &usize| self.tries(arm, &grid[*i]) && fixed(&grid[*i]) == fixed(&grid[at]);
        let mut tried = (0..grid.len()).filter(same);
        match (tried.next(), tried.next()) {
            (Some(only), None) => only,
            _ => at,
        }
    }

    /// Refuses arms with different numbers of trials, and trials that start from none of another arm.
    pub fn check(&self, variants: &[Variant], arms: &[Arm], root: &Node) -> Result<(), SpecError> {
        if self.fields.is_empty() {
            return Ok(());
        }
        let mut trials: BTreeMap<&str, usize> = BTreeMap::new();
        for variant in variants {
            let label = variant.compared_label();
            // Weights that are only tested are no contestants: they have no validation to be chosen by.
            if variant.spec.training.trains() {
                *trials.entry(label).or_default() += 1;
            } else if variants.iter().filter(|other| other.compared_label() == label).count() > 1 {
                let arm = arms.iter().find(|arm| arm.name == variant.arm);
                let origin = arm.map_or(&root.origin, |arm| &arm.overrides.origin);
                return Err(SpecError::new("weights that are only tested have several trials")
                    .found(format!("`{label}` for each value of tuned fields"))
                    .expected("one trial: nothing is trained by which one could be chosen")
                    .help("tune first, and test what was chosen in a spec of its own")
                    .at(origin.clone()));
            }
            if variant.start.as_ref().is_some_and(|l| !variants.iter().any(|v| v.label == *l)) {
                let arm = arms.iter().find(|arm| arm.name == variant.arm);
                let origin = arm.map_or(&root.origin, |arm| &arm.overrides.origin);
                return Err(SpecError::new("the arm that it starts from has no such trial")
                    .found(format!("`{}`", variant.label))
                    .expected(
                        "the same values of tuned fields in both arms, or one trial of that arm",
                    )
                    .at(origin.clone()));
            }
        }
        // What others start from is no contestant if it has one trial.
        let is_start = |label: &str| {
            let labels = variants.iter().filter(|v| v.compared_label() == label);
            labels
                .map(|v| Some(v.label.as_str()))
                .any(|l| variants.iter().any(|v| v.start.as_deref() == l))
        };
        trials.retain(|label, n| *n > 1 || !is_start(label));
        let least = trials.iter().min_by_key(|(_, n)| **n);
        let most = trials.iter().max_by_key(|(_, n)| **n);
        match (least, most) {
            (Some((few, least)), Some((many, most))) if least < most => {
                let arm = few.split(' ').next().unwrap_or(few);
                Err(SpecError::new(
                    "arms have different numbers of trials, which favours some of them",
                )
                .found(format!("{least} of `{few}`, {most} of `{many}`; equal ones count once"))
                .expected("the same number for every arm")
                .help(format!(
                    "give an arm with few of them more values of its own, in `arms.{arm}.sweep`"
                ))
                .at(self.origin.clone()))
            }
            _ => Ok(()),
        }
    }
}

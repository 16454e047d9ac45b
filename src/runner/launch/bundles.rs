//! Divides the runs of a plan into jobs.

use std::collections::{BTreeMap, BTreeSet};

use crate::runner::execute::in_order;
use crate::runner::plan::{Plan, PlannedRun};

/// The ids of runs that one job trains, one after another.
pub type Bundle = Vec<String>;

/// Bundles that can be trained at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    pub bundles: Vec<Bundle>,
    /// The runs that theirs start from, of which the jobs must end before.
    pub starts: BTreeSet<String>,
}

/// The runs that are left, in bundles of at most `runs` each. Runs of a later stage start from those of the
/// stages before.
pub fn stages(plan: &Plan, is_left: impl Fn(&PlannedRun) -> bool, runs: usize) -> Vec<Stage> {
    let mut stage_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut stages: Vec<(Vec<String>, BTreeSet<String>)> = Vec::new();
    // A run comes after the one that it starts from.
    for (variant, run) in in_order(plan) {
        if !is_left(run) || stage_of.contains_key(run.id.as_str()) {
            continue;
        }
        let before = plan.started_from(variant, run).map(|(_, before)| before.id.as_str());
        let stage = before.and_then(|before| stage_of.get(before)).map_or(0, |stage| stage + 1);
        stage_of.insert(&run.id, stage);
        stages.resize(stages.len().max(stage + 1), Default::default());
        stages[stage].0.push(run.id.clone());
        stages[stage].1.extend(before.map(str::to_string));
    }
    let of = |(ids, starts): (Vec<String>, BTreeSet<String>)| Stage {
        bundles: ids.chunks(runs.max(1)).map(<[String]>::to_vec).collect(),
        starts,
    };
    stages.into_iter().map(of).collect()
}

//! Divides the runs of a plan into jobs.

use std::collections::{BTreeMap, BTreeSet};

use crate::runner::execute::in_order;
use crate::runner::plan::{Plan, PlannedRun};

/// The ids of runs that one job trains, one after another.
pub type Bundle = Vec<String>;

/// The runs that are left, in bundles of at most `runs` each. A bundle of a later stage has runs that start
/// from those of earlier stages.
pub fn stages(plan: &Plan, is_left: impl Fn(&PlannedRun) -> bool, runs: usize) -> Vec<Vec<Bundle>> {
    let mut stage_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut stages: Vec<Vec<String>> = Vec::new();
    let mut seen = BTreeSet::new();
    // A run comes after the one that it starts from.
    for (variant, run) in in_order(plan) {
        if !is_left(run) || !seen.insert(run.id.as_str()) {
            continue;
        }
        let before = plan.started_from(variant, run);
        let stage = before.and_then(|(_, before)| stage_of.get(before.id.as_str()));
        let stage = stage.map_or(0, |stage| stage + 1);
        stage_of.insert(&run.id, stage);
        stages.resize(stages.len().max(stage + 1), Vec::new());
        stages[stage].push(run.id.clone());
    }
    stages.iter().map(|ids| ids.chunks(runs.max(1)).map(<[String]>::to_vec).collect()).collect()
}

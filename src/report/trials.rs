//! Tuning: of each arm's trials the one that is best on validation is compared, and no other is tested.

use super::arm_summary::{ArmSummary, DamagedRun};
use super::statistics::Spread;
use super::text::code;
use crate::results::{ExperimentRecord, Metric};
use crate::spec::last_field;

/// An arm's trials.
#[derive(Clone, Debug)]
pub struct Trials {
    /// The label of the arm.
    pub arm: String,
    pub trials: Vec<Trial>,
    /// The index of the one that is compared. None while trials are unfinished, and if every one has
    /// lost runs.
    pub chosen: Option<usize>,
    /// The damaged runs of those that are not compared.
    pub damaged: Vec<DamagedRun>,
    /// Their failures: the trial's label, the seed and the reason.
    pub failures: Vec<(String, u64, String)>,
}

/// An arm with one choice of the tuned fields.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The tuned fields with their values.
    pub point: Vec<(String, String)>,
    /// The validation metric over seeds.
    pub validation: Option<Spread>,
    pub finished: usize,
    pub planned: usize,
    /// Runs that failed or are damaged.
    pub lost: usize,
}

/// Replaces the trials of each arm by the one that is compared, as if it were the arm itself, and the
/// record's variants accordingly. An arm without a choice is left without runs.
pub fn choose(
    record: &mut ExperimentRecord,
    arms: Vec<ArmSummary>,
    metric: &Metric,
) -> (Vec<ArmSummary>, Vec<Trials>) {
    let mut groups: Vec<(String, Vec<ArmSummary>)> = Vec::new();
    for arm in arms {
        let label = arm.variant.trial_of.clone().unwrap_or_else(|| arm.variant.label.clone());
        match groups.iter_mut().find(|(other, _)| *other == label) {
            Some((_, group)) => group.push(arm),
            None => groups.push((label, vec![arm])),
        }
    }
    let (mut compared, mut all) = (Vec::new(), Vec::new());
    for (label, group) in groups {
        let is_tuned = |(key, _): &&(String, String)| record.tuned.contains(key);
        let trial = |arm: &ArmSummary| Trial {
            point: arm.variant.point.iter().filter(is_tuned).cloned().collect(),
            validation: arm.validation,
            finished: arm.runs.len(),
            planned: arm.variant.runs.len(),
            lost: arm.failures.len() + arm.damaged.len(),
        };
        let trials: Vec<Trial> = group.iter().map(trial).collect();
        let chosen = best(&trials, metric);
        // Those of an arm without a choice stay with the arm.
        let others = || {
            let is_other = |(i, _): &(usize, &ArmSummary)| chosen.is_some_and(|c| c != *i);
            group.iter().enumerate().filter(is_other).map(|(_, arm)| arm)
        };
        let damaged = others().flat_map(|arm| arm.damaged.clone()).collect();
        let failure = |arm: &ArmSummary| {
            let label = arm.variant.label.clone();
            let failures = arm.failures.clone().into_iter();
            failures.map(move |(seed, reason)| (label.clone(), seed, reason))
        };
        let failures = others().flat_map(failure).collect();
        compared.extend(as_arm(label.clone(), group, chosen, &record.tuned));
        all.push(Trials { arm: label, trials, chosen, damaged, failures });
    }
    record.variants = compared.iter().map(|arm| arm.variant.clone()).collect();
    (compared, all)
}

/// The trial with the best mean, the first of equal ones. None unless all runs have ended.
fn best(trials: &[Trial], metric: &Metric) -> Option<usize> {
    if trials.iter().any(|trial| trial.finished + trial.lost < trial.planned) {
        return None;
    }
    // Weights that are only tested have no validation.
    if let [only] = trials {
        return (only.lost == 0).then_some(0);
    }
    // A mean over the seeds that did not fail would favour a trial that fails on the hard ones.
    let whole = trials.iter().enumerate().filter(|(_, trial)| trial.lost == 0);
    let means = whole.filter_map(|(i, trial)| Some((i, trial.validation?.mean)));
    let better = |a: (usize, f64), b: (usize, f64)| match metric.is_better(b.1, a.1) {
        true => b,
        false => a,
    };
    means.filter(|(_, mean)| mean.is_finite()).reduce(better).map(|(i, _)| i)
}

/// The chosen trial under the arm's label; without a choice, the arm without results.
fn as_arm(
    label: String,
    mut group: Vec<ArmSummary>,
    chosen: Option<usize>,
    tuned: &[String],
) -> Option<ArmSummary> {
    if group.is_empty() {
        return None;
    }
    let mut arm = match chosen {
        Some(chosen) => group.swap_remove(chosen),
        None => {
            let unfinished = group.iter().map(|arm| arm.unfinished).sum();
            let lost = |arm: &mut ArmSummary| {
                (std::mem::take(&mut arm.failures), std::mem::take(&mut arm.damaged))
            };
            let (failures, damaged): (Vec<_>, Vec<_>) = group.iter_mut().map(lost).unzip();
            let mut arm = group.swap_remove(0);
            arm.runs.clear();
            (arm.test, arm.validation, arm.unfinished) = (None, None, unfinished);
            arm.failures = failures.into_iter().flatten().collect();
            arm.damaged = damaged.into_iter().flatten().collect();
            arm
        }
    };
    arm.variant.label = label;
    arm.variant.point.retain(|(key, _)| !tuned.contains(key));
    Some(arm)
}

/// The tuned numbers of which an arm's choice is the smallest or the largest value of several.
pub fn at_edge(trials: &Trials) -> Option<String> {
    let chosen = &trials.trials[trials.chosen?];
    let number = |text: &str| text.parse::<f64>().ok();
    let edges = chosen.point.iter().filter(|(field, value)| {
        let of = |trial: &Trial| number(&trial.point.iter().find(|(key, _)| key == field)?.1);
        let values: Vec<f64> = trials.trials.iter().filter_map(of).collect();
        number(value).is_some_and(|chosen_value| {
            let is_edge = values.iter().all(|v| *v <= chosen_value)
                || values.iter().all(|v| *v >= chosen_value);
            is_edge && values.iter().any(|v| *v != chosen_value)
        })
    });
    let edges: Vec<String> =
        edges.map(|(field, value)| code(&format!("{}: {value}", last_field(field)))).collect();
    (!edges.is_empty()).then(|| format!("{} ({})", code(&trials.arm), edges.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Better;

    fn trial(rate: &str, mean: f64, finished: usize, lost: usize) -> Trial {
        Trial {
            point: vec![("training.learning_rate".into(), rate.into())],
            validation: Some(Spread { n: finished, mean, sd: None }),
            finished,
            planned: 3,
            lost,
        }
    }

    #[test]
    fn the_best_whole_trial_is_chosen_once_all_have_ended() {
        let metric = Metric::SHARE;
        let lower = Metric { better: Better::Lower, ..metric };
        let trials = [trial("0.1", 0.5, 3, 0), trial("0.2", 0.7, 3, 0), trial("0.3", 0.7, 3, 0)];
        assert_eq!((best(&trials, &metric), best(&trials, &lower)), (Some(1), Some(0)));
        let unfinished = [trial("0.1", 0.5, 3, 0), trial("0.2", 0.7, 2, 0)];
        assert_eq!(best(&unfinished, &metric), None);
        // A failed run leaves its trial out.
        let failed = [trial("0.1", 0.5, 3, 0), trial("0.2", 0.7, 2, 1)];
        assert_eq!(best(&failed, &metric), Some(0));
        assert_eq!(best(&failed[1..], &metric), None);
        let diverged = [trial("0.1", f64::NAN, 3, 0), trial("0.2", 0.1, 3, 0)];
        assert_eq!(best(&diverged, &metric), Some(1));
    }

    #[test]
    fn a_choice_at_the_edge_is_named() {
        let trials =
            vec![trial("0.1", 0.5, 3, 0), trial("0.2", 0.7, 3, 0), trial("0.3", 0.6, 3, 0)];
        let of = |chosen| {
            at_edge(&Trials {
                arm: "a".into(),
                trials: trials.clone(),
                chosen,
                damaged: Vec::new(),
                failures: Vec::new(),
            })
        };
        assert_eq!(of(Some(1)), None);
        assert_eq!(of(Some(2)).as_deref(), Some("`a` (`learning_rate: 0.3`)"));
        assert_eq!(of(None), None);
    }
}

//! Arms compared with their baseline, paired by seed.

use super::statistics::{
    Interval, SIGNIFICANCE, Spread, holm, mcnemar, paired_bootstrap, paired_interval, sign_flip,
    smallest_p,
};
use crate::results::{ExampleStatistics, Flags};

/// An arm against its baseline, over the seeds that both have finished on the same data.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// At least one, in the order of the arm's runs.
    pub pairs: Vec<Pair>,
    /// The test metric minus the baseline's.
    pub difference: Spread,
    /// The paired t interval of the mean difference.
    pub interval: Option<Interval>,
    /// The two-sided p-value of the sign-flip test over seeds.
    pub sign_flip: Option<f64>,
    /// The same, adjusted for all exploratory comparisons that the experiment plans. The primary
    /// contrast is tested alone, so its p-value stays.
    pub adjusted: Option<f64>,
    /// How many comparisons it is adjusted for, itself included.
    pub family: usize,
    /// Seeds that the experiment plans. Before all of them are there, nothing is called significant:
    /// whoever looks again and again finds a difference sooner or later.
    pub planned: usize,
    /// Whether it is the primary contrast, named before any run had finished.
    pub is_primary: bool,
}

/// Two runs with the same seed and the same data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    pub seed: u64,
    /// The test metric minus the baseline's.
    pub difference: f64,
    /// Where test examples are right or wrong.
    pub examples: Option<Examples>,
    /// The p-value of the paired bootstrap, where the metric is computed from sums over examples.
    pub bootstrap_p: Option<f64>,
}

/// Two runs on the same test examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Examples {
    /// How many the arm alone has right.
    pub arm_only: u64,
    /// How many the baseline alone has right.
    pub baseline_only: u64,
    /// The p-value of McNemar's exact test.
    pub p: f64,
}

impl Comparison {
    /// None without pairs. `planned`: the seeds that the experiment plans.
    pub fn of(pairs: Vec<Pair>, planned: usize) -> Option<Comparison> {
        let differences: Vec<f64> = pairs.iter().map(|pair| pair.difference).collect();
        Some(Comparison {
            difference: Spread::of(&differences)?,
            interval: paired_interval(&differences),
            sign_flip: sign_flip(&differences),
            adjusted: None,
            family: 1,
            planned,
            is_primary: false,
            pairs,
        })
    }

    /// The smallest p-value that these seeds could give, adjusted as `adjusted` is where it is the
    /// smallest of all.
    fn smallest(&self) -> f64 {
        (self.family as f64 * smallest_p(self.pairs.len())).min(1.0)
    }

    /// Whether these seeds could give a significant p-value at all.
    pub fn is_testable(&self) -> bool {
        self.smallest() <= SIGNIFICANCE || self.is_significant()
    }

    /// Whether all planned seeds are there and the adjusted p-value is at most [`SIGNIFICANCE`].
    pub fn is_significant(&self) -> bool {
        self.pairs.len() == self.planned && self.adjusted.is_some_and(|p| p <= SIGNIFICANCE)
    }

    /// The largest p-value of McNemar's test over the seeds.
    pub fn largest_mcnemar(&self) -> Option<f64> {
        let of_seeds: Option<Vec<f64>> =
            self.pairs.iter().map(|pair| Some(pair.examples?.p)).collect();
        of_seeds?.into_iter().reduce(f64::max)
    }

    /// The largest p-value of the paired bootstrap over the seeds.
    pub fn largest_bootstrap(&self) -> Option<f64> {
        let of_seeds: Option<Vec<f64>> = self.pairs.iter().map(|pair| pair.bootstrap_p).collect();
        of_seeds?.into_iter().reduce(f64::max)
    }
}

/// The p-value of the paired bootstrap between two runs on the same examples; None where their metric
/// has no statistics of examples.
pub fn bootstrap(
    arm: Option<&ExampleStatistics>,
    baseline: Option<&ExampleStatistics>,
) -> Option<f64> {
    let (arm, baseline) = (arm?, baseline?);
    if arm.len() != baseline.len() {
        return None;
    }
    let difference = |examples: &[u32]| arm.score(examples) - baseline.score(examples);
    paired_bootstrap(arm.len(), difference)
}

impl Examples {
    /// Of the arm's and the baseline's right answers; None where they are not known of the same
    /// number of examples.
    pub fn of(arm: Option<&Flags>, baseline: Option<&Flags>) -> Option<Examples> {
        let (arm_only, baseline_only) = arm?.differing(baseline?)?;
        Some(Examples { arm_only, baseline_only, p: mcnemar(arm_only, baseline_only) })
    }
}

/// A planned comparison, of which there may be no results yet.
pub struct Planned<'a> {
    pub comparison: Option<&'a mut Comparison>,
    pub is_primary: bool,
}

/// Adjusts the p-values of an experiment's comparisons. Those without results count, too: else the
/// adjustment would depend on which runs happen to have finished.
pub fn adjust(planned: Vec<Planned>) {
    let (primary, exploratory): (Vec<Planned>, Vec<Planned>) =
        planned.into_iter().partition(|planned| planned.is_primary);
    for comparison in primary.into_iter().filter_map(|planned| planned.comparison) {
        comparison.is_primary = true;
        comparison.adjusted = comparison.sign_flip;
    }
    let p_value = |planned: &Planned| {
        planned.comparison.as_ref().and_then(|comparison| comparison.sign_flip).unwrap_or(1.0)
    };
    let p_values: Vec<f64> = exploratory.iter().map(p_value).collect();
    let family = exploratory.len();
    for (planned, adjusted) in exploratory.into_iter().zip(holm(&p_values)) {
        if let Some(comparison) = planned.comparison {
            comparison.family = family;
            comparison.adjusted = comparison.sign_flip.map(|_| adjusted);
        }
    }
}

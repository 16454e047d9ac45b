//! Arms compared with their baseline, paired by seed.

use super::statistics::{
    Interval, SIGNIFICANCE, Spread, holm, least_p, mcnemar, paired_interval, sign_flip,
};
use crate::results::Flags;

/// An arm against its baseline, over the seeds that both have finished on the same data.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// At least one, in the order of the arm's runs.
    pub pairs: Vec<Pair>,
    /// The test metric minus the baseline's.
    pub difference: Spread,
    /// The paired t interval of the mean difference.
    pub interval: Option<Interval>,
    /// The exact two-sided p-value over seeds; None for more seeds than are enumerated.
    pub sign_flip: Option<f64>,
    /// The same, adjusted for all exploratory comparisons of the experiment. The primary contrast is
    /// tested alone, so its p-value stays.
    pub adjusted: Option<f64>,
    /// How many comparisons it is adjusted for, itself included.
    pub family: usize,
    /// Whether the spec named it before any of its runs had finished.
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
    /// None without pairs.
    pub fn of(pairs: Vec<Pair>) -> Option<Comparison> {
        let differences: Vec<f64> = pairs.iter().map(|pair| pair.difference).collect();
        Some(Comparison {
            difference: Spread::of(&differences)?,
            interval: paired_interval(&differences),
            sign_flip: sign_flip(&differences),
            adjusted: None,
            family: 1,
            is_primary: false,
            pairs,
        })
    }

    /// The least p-value that these seeds could give, adjusted as `adjusted` is.
    pub fn least(&self) -> f64 {
        (self.family as f64 * least_p(self.pairs.len())).min(1.0)
    }

    /// Whether these seeds could give a significant p-value at all.
    pub fn is_testable(&self) -> bool {
        self.least() <= SIGNIFICANCE || self.is_significant()
    }

    pub fn is_significant(&self) -> bool {
        self.adjusted.is_some_and(|p| p <= SIGNIFICANCE)
    }

    /// The largest p-value of McNemar's test over the seeds.
    pub fn largest_mcnemar(&self) -> Option<f64> {
        let of_seeds: Option<Vec<f64>> =
            self.pairs.iter().map(|pair| Some(pair.examples?.p)).collect();
        of_seeds?.into_iter().reduce(f64::max)
    }
}

impl Examples {
    /// Of the arm's and the baseline's right answers; None where they are not known of the same
    /// number of examples.
    pub fn of(arm: Option<&Flags>, baseline: Option<&Flags>) -> Option<Examples> {
        let (arm_only, baseline_only) = arm?.differing(baseline?)?;
        Some(Examples { arm_only, baseline_only, p: mcnemar(arm_only, baseline_only) })
    }
}

/// Adjusts the p-values of an experiment's comparisons, each with whether it is the primary one.
pub fn adjust(comparisons: Vec<(&mut Comparison, bool)>) {
    let (mut exploratory, mut p_values) = (Vec::new(), Vec::new());
    for (comparison, is_primary) in comparisons {
        comparison.is_primary = is_primary;
        if is_primary {
            comparison.adjusted = comparison.sign_flip;
        } else {
            // One that has no p-value counts as a comparison all the same.
            p_values.push(comparison.sign_flip.unwrap_or(1.0));
            exploratory.push(comparison);
        }
    }
    let family = exploratory.len();
    for (comparison, adjusted) in exploratory.into_iter().zip(holm(&p_values)) {
        comparison.family = family;
        comparison.adjusted = comparison.sign_flip.map(|_| adjusted);
    }
}

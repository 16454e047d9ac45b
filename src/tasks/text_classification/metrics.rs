//! Metrics for classes of unequal frequency or difficulty.

use std::collections::BTreeMap;

use crate::results::{Better, Metric};
use crate::tasks::classification::Outcome;

/// Mean over classes of F1, the harmonic mean of precision and recall.
pub const MACRO_F1: Metric = Metric {
    name: "macro-F1",
    unit: "%",
    difference_unit: "points",
    scale: 100.0,
    decimals: 1,
    better: Better::Higher,
};

/// Correlation of labels and predictions: 1 if all are right, 0 for a model that ignores the text.
pub const MATTHEWS: Metric = Metric {
    name: "Matthews",
    unit: "",
    difference_unit: "",
    scale: 1.0,
    decimals: 3,
    better: Better::Higher,
};

/// How often a class occurs.
#[derive(Clone, Copy, Default)]
struct Tally {
    labelled: f64,
    predicted: f64,
    /// As a label and its prediction.
    correct: f64,
}

/// The classes that occur as a label or as a prediction. Labels may be any numbers, so memory is taken for
/// these alone.
fn tallies(outcomes: &[Outcome]) -> Vec<Tally> {
    let mut classes: BTreeMap<u32, Tally> = BTreeMap::new();
    for outcome in outcomes {
        classes.entry(outcome.label).or_default().labelled += 1.0;
        let predicted = classes.entry(outcome.prediction).or_default();
        predicted.predicted += 1.0;
        predicted.correct += if outcome.label == outcome.prediction { 1.0 } else { 0.0 };
    }
    classes.into_values().collect()
}

/// The value of [`MACRO_F1`]. The mean is over classes that occur as a label or as a prediction, as
/// in scikit-learn's `f1_score(average="macro")`.
pub fn macro_f1(outcomes: &[Outcome]) -> f64 {
    // 2 · precision · recall / (precision + recall), without a division by zero.
    let f1 = |class: Tally| 2.0 * class.correct / (class.labelled + class.predicted);
    let all: Vec<f64> = tallies(outcomes).into_iter().map(f1).collect();
    all.iter().sum::<f64>() / all.len() as f64
}

/// The value of [`MATTHEWS`] for any number of classes (Gorodkin 2004), as in scikit-learn's
/// `matthews_corrcoef`. It is 0 if all labels or all predictions are equal.
pub fn matthews(outcomes: &[Outcome]) -> f64 {
    let n = outcomes.len() as f64;
    let classes = tallies(outcomes);
    let sum = |of: fn(Tally) -> f64| classes.iter().copied().map(of).sum::<f64>();
    let covariance = sum(|c| c.correct) * n - sum(|c| c.labelled * c.predicted);
    let labels = n * n - sum(|c| c.labelled * c.labelled);
    let predictions = n * n - sum(|c| c.predicted * c.predicted);
    match labels * predictions {
        0.0 => 0.0,
        product => covariance / product.sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(pairs: &[(u32, u32)]) -> Vec<Outcome> {
        let outcome = |(example, (label, prediction)): (usize, &(u32, u32))| Outcome {
            example,
            label: *label,
            prediction: *prediction,
            loss: 0.0,
        };
        pairs.iter().enumerate().map(outcome).collect()
    }

    /// Labels and predictions, with macro-F1 and Matthews' correlation computed by hand.
    #[test]
    fn small_cases_equal_values_computed_by_hand() {
        type Case<'a> = (&'a [(u32, u32)], f64, f64);
        let cases: [Case; 6] = [
            (&[(0, 0), (1, 1), (1, 1), (0, 0)], 1.0, 1.0),
            (&[(0, 1), (1, 0), (1, 0), (0, 1)], 0.0, -1.0),
            (&[(0, 0), (1, 0), (1, 0), (0, 0)], 1.0 / 3.0, 0.0),
            // Precision 2/3 and 1, recall 1 and 1/2.
            (&[(0, 0), (0, 0), (1, 0), (1, 1)], (0.8 + 2.0 / 3.0) / 2.0, 1.0 / 3f64.sqrt()),
            // Classes of any number.
            (&[(4_000_000_000, 4_000_000_000), (7, 7)], 1.0, 1.0),
            // One class is predicted but never a label.
            (
                &[(0, 0), (1, 1), (1, 2), (0, 1), (0, 0)],
                (0.8 + 0.5 + 0.0) / 3.0,
                5.0 / 192f64.sqrt(),
            ),
        ];
        for (pairs, f1, correlation) in cases {
            let outcomes = outcomes(pairs);
            assert!((macro_f1(&outcomes) - f1).abs() < 1e-12, "{pairs:?}: {}", macro_f1(&outcomes));
            let computed = matthews(&outcomes);
            assert!((computed - correlation).abs() < 1e-12, "{pairs:?}: {computed}");
        }
    }

    #[test]
    fn matthews_equals_pearsons_correlation_for_two_classes() {
        let pairs: Vec<(u32, u32)> = (0..200u32).map(|i| (i % 2, u32::from(i % 7 < 3))).collect();
        let mean = |of: fn(&(u32, u32)) -> u32| {
            pairs.iter().map(|pair| f64::from(of(pair))).sum::<f64>() / pairs.len() as f64
        };
        let (x, y, both) = (mean(|p| p.0), mean(|p| p.1), mean(|p| p.0 * p.1));
        let pearson = (both - x * y) / (x * (1.0 - x) * y * (1.0 - y)).sqrt();
        assert!((matthews(&outcomes(&pairs)) - pearson).abs() < 1e-12);
    }
}

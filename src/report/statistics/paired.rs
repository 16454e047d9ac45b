//! Differences of two arms, paired by seed: the interval of their mean, and the test of
//! non-inferiority. Both assume that the differences are about normal; docs/statistics.md has what
//! becomes of them where they are not.

use super::distributions::Student;
use super::interval::Interval;
use super::spread::Spread;
use super::{CONFIDENCE, SIGNIFICANCE};

/// The t interval of the mean difference at the level [`CONFIDENCE`]. None for fewer than two
/// differences, and where all are equal: their spread is unknown then, not zero.
pub fn paired_interval(differences: &[f64]) -> Option<Interval> {
    let (mean, error, student) = mean_and_error(differences)?;
    let half = student.quantile(0.5 + CONFIDENCE / 2.0) * error;
    Some(Interval { low: mean - half, high: mean + half })
}

/// The one-sided paired t-test of a mean difference against a margin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NonInferiority {
    /// Lower bound of the one-sided interval of the mean difference, at 1 − [`SIGNIFICANCE`].
    pub bound: f64,
    /// Upper bound of the one-sided interval in the other direction.
    pub upper: f64,
    /// Probability of a mean as high if the true one were the margin below zero.
    pub p: f64,
}

impl NonInferiority {
    /// Whether the loss is smaller than the margin at the level [`SIGNIFICANCE`].
    pub fn holds(self) -> bool {
        self.p < SIGNIFICANCE
    }
}

/// Tests that the mean of the differences is above −`margin`. Positive differences are improvements;
/// `margin` is positive. None where [`paired_interval`] has none.
pub fn non_inferiority(differences: &[f64], margin: f64) -> Option<NonInferiority> {
    let (mean, error, student) = mean_and_error(differences)?;
    let half = student.quantile(1.0 - SIGNIFICANCE) * error;
    let (bound, upper) = (mean - half, mean + half);
    Some(NonInferiority { bound, upper, p: student.above((mean + margin) / error) })
}

/// The mean, its standard error, and the distribution of their ratio.
fn mean_and_error(differences: &[f64]) -> Option<(f64, f64, Student)> {
    let Spread { n, mean, sd } = Spread::of(differences)?;
    let sd = sd?;
    // Equal differences that were rounded differently.
    let largest = differences.iter().fold(0.0f64, |most, d| most.max(d.abs()));
    if sd.is_nan() || sd <= 1e-12 * largest {
        return None;
    }
    Some((mean, sd / (n as f64).sqrt(), Student::new(n - 1)?))
}

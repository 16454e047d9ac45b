//! McNemar's test of two models on the same test examples.

use super::distributions::fair_binomial_cdf;

/// The exact two-sided p-value. Of the examples that one model alone has right, `first` are those of
/// one model and `second` those of the other: if the models were equally good, each would fall to
/// either as by a fair coin.
pub fn mcnemar(first: u64, second: u64) -> f64 {
    (2.0 * fair_binomial_cdf(first.min(second), first + second)).min(1.0)
}

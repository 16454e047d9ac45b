//! Perplexity: the exponential of the mean cross-entropy of a token.

use crate::results::{Better, Metric};

/// The metric.
pub const PERPLEXITY: Metric = Metric {
    name: "perplexity",
    unit: "",
    difference_unit: "",
    scale: 1.0,
    decimals: 3,
    better: Better::Lower,
};

/// Its value for a mean cross-entropy in nats. JSON has no infinity, so it is a finite number.
pub fn perplexity(loss: f64) -> f64 {
    loss.exp().min(f64::MAX)
}

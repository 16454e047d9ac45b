//! The best that an answer without looking can reach, beside which a model that learned nothing
//! shows.

use crate::results::TestRecord;

/// The best constant answer on some examples.
///
/// Its class is the most frequent label among the test examples themselves, so no other constant
/// answer, the training split's most frequent label among them, does better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trivial {
    /// Share of examples that it gets right.
    pub metric: f64,
    pub examples: usize,
}

impl Trivial {
    pub fn of(tests: &[TestRecord]) -> Trivial {
        let mut labels: Vec<u32> = tests.iter().map(|t| t.label).collect();
        labels.sort_unstable();
        let most = labels.chunk_by(|a, b| a == b).map(<[u32]>::len).max().unwrap_or(0);
        Trivial { metric: most as f64 / tests.len().max(1) as f64, examples: tests.len() }
    }

    /// Standard error of its metric over the examples: √(p (1 − p) / n).
    pub fn error(&self) -> f64 {
        (self.metric * (1.0 - self.metric) / self.examples.max(1) as f64).sqrt()
    }

    /// Whether a metric is no better, one standard error granted: what a test of the examples'
    /// number cannot tell from a constant answer.
    pub fn is_reached_by(&self, metric: f64) -> bool {
        metric <= self.metric + self.error()
    }
}

/// Whether all examples got one answer.
pub fn is_constant(tests: &[TestRecord]) -> bool {
    tests.windows(2).all(|pair| pair[0].prediction == pair[1].prediction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_label_decides() {
        let test = |label| TestRecord { example: 0, label, prediction: 7, loss: 0.0 };
        let tests: Vec<TestRecord> = [1, 0, 1, 2, 1, 0, 1, 1, 2, 1].map(test).to_vec();
        let trivial = Trivial::of(&tests);
        assert_eq!(trivial, Trivial { metric: 0.6, examples: 10 });
        assert!((trivial.error() - 0.024f64.sqrt()).abs() < 1e-12);
        assert!(trivial.is_reached_by(0.7) && !trivial.is_reached_by(0.8));
        assert!(is_constant(&tests));
    }
}

//! What single examples add to a metric of all of them.

/// A row of numbers for each example, in the order of the split. The primary metric of any choice of
/// examples is a function of the sums of their rows. So it need not be a mean over examples: a ratio of
/// sums will do, and functions of several.
#[derive(Clone, Debug)]
pub struct ExampleStatistics {
    width: usize,
    /// Row by row.
    values: Vec<f64>,
    metric: fn(&[f64]) -> f64,
}

impl ExampleStatistics {
    /// `metric` computes the primary metric from sums of rows.
    pub fn new<const N: usize>(
        rows: impl IntoIterator<Item = [f64; N]>,
        metric: fn(&[f64]) -> f64,
    ) -> ExampleStatistics {
        ExampleStatistics { width: N, values: rows.into_iter().flatten().collect(), metric }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The metric of these examples, in which one may be more than once. Examples beyond the last count
    /// for nothing.
    pub fn score(&self, examples: &[u32]) -> f64 {
        let mut sums = vec![0.0; self.width];
        for example in examples {
            let start = (*example as usize).saturating_mul(self.width);
            let row = self.values.get(start..).unwrap_or_default();
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        (self.metric)(&sums)
    }

    /// The standard error of the metric over the examples, by the jackknife: each example is left out
    /// once. For a mean it is the sample standard deviation over √n. 0 for fewer than two examples.
    pub fn standard_error(&self) -> f64 {
        let n = self.len();
        if n < 2 {
            return 0.0;
        }
        let rows = || self.values.chunks_exact(self.width);
        let mut sums = vec![0.0; self.width];
        rows().for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value));
        let without = |row: &[f64]| {
            let rest: Vec<f64> = sums.iter().zip(row).map(|(sum, value)| sum - value).collect();
            (self.metric)(&rest)
        };
        let scores: Vec<f64> = rows().map(without).collect();
        let mean = scores.iter().sum::<f64>() / n as f64;
        let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
        (squares * (n - 1) as f64 / n as f64).sqrt()
    }
}

/// Equal where the rows are. Both are then of one task, which has one metric.
impl PartialEq for ExampleStatistics {
    fn eq(&self, other: &ExampleStatistics) -> bool {
        self.width == other.width && self.values == other.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(sums: &[f64]) -> f64 {
        sums[0] / sums[1]
    }

    #[test]
    fn the_metric_is_that_of_the_chosen_examples() {
        let statistics = ExampleStatistics::new([[1.0, 2.0], [3.0, 1.0], [5.0, 7.0]], mean);
        assert_eq!(statistics.len(), 3);
        assert_eq!(statistics.score(&[0, 1, 2]), 0.9);
        // A ratio of sums, not a mean of the examples' ratios.
        assert_eq!(statistics.score(&[1, 1, 0]), 7.0 / 4.0);
        assert_eq!(statistics.score(&[2, 9, u32::MAX]), 5.0 / 7.0);
    }

    #[test]
    fn the_standard_error_of_a_mean_is_the_textbooks() {
        let values = [3.0, -1.0, 4.0, 1.0, 5.0, 9.0, 2.0];
        let n = values.len() as f64;
        let average = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - average).powi(2)).sum();
        let want = (squares / (n - 1.0) / n).sqrt();
        let statistics = ExampleStatistics::new(values.map(|value| [value, 1.0]), mean);
        assert!((statistics.standard_error() - want).abs() < 1e-12);
        assert_eq!(ExampleStatistics::new([[1.0, 1.0]], mean).standard_error(), 0.0);
    }
}

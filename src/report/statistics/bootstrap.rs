//! The paired bootstrap of two models on the same test examples (Koehn 2004).

use rayon::prelude::*;

use crate::random::{Purpose, Stream};

/// How often the examples are drawn.
pub const RESAMPLES: u32 = 1000;

/// The p-value of the difference of two models on `examples` examples. `difference` is the difference
/// of their metrics on a choice of examples, in which an example may be more than once. It need not be
/// a mean over examples.
///
/// It is sacrebleu's p-value: the share of resamples whose absolute difference is above the mean of all
/// absolute differences by the observed one, with one added to both counts. That is one tail, about half
/// of a two-sided p-value. Where nothing differs, the p-value is 1 here and `1 / (RESAMPLES + 1)` there,
/// since sacrebleu does not count equal values.
///
/// None without examples, and where a metric is not finite. The draws are the same each time, so that a
/// report is the same each time.
pub fn paired_bootstrap(examples: usize, difference: impl Fn(&[u32]) -> f64 + Sync) -> Option<f64> {
    let count = u32::try_from(examples).ok().filter(|count| *count > 0)?;
    let observed = difference(&(0..count).collect::<Vec<u32>>()).abs();
    let of_resample = |resample: u32| {
        let mut stream = Stream::new(0, Purpose::Bootstrap, "").lane(resample);
        let drawn: Vec<u32> = (0..count).map(|_| stream.below(count)).collect();
        difference(&drawn).abs()
    };
    let differences: Vec<f64> = (0..RESAMPLES).into_par_iter().map(of_resample).collect();
    let mean = differences.iter().sum::<f64>() / f64::from(RESAMPLES);
    if !(observed.is_finite() && mean.is_finite()) {
        return None;
    }
    let extreme = differences.iter().filter(|resampled| **resampled - mean >= observed).count();
    Some((extreme + 1) as f64 / f64::from(RESAMPLES + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64], drawn: &[u32]) -> f64 {
        drawn.iter().map(|example| values[*example as usize]).sum::<f64>() / drawn.len() as f64
    }

    /// All resamples of three examples are enumerated: 27 equally likely choices.
    #[test]
    fn few_examples_have_a_closed_form() {
        for (values, same) in [
            ([2.0, 1.0, -1.0], 4.0),
            ([1.0, 1.0, -2.0], 15.0),
            ([4.0, -1.0, -1.0], 7.0),
            ([6.0, 1.0, 1.0], 1.0),
        ] {
            let all: Vec<f64> = (0..27u32)
                .map(|choice| mean(&values, &[choice % 3, choice / 3 % 3, choice / 9]).abs())
                .collect();
            let center = all.iter().sum::<f64>() / 27.0;
            let variance = all.iter().map(|value| (value - center).powi(2)).sum::<f64>() / 27.0;
            let observed = mean(&values, &[0, 1, 2]).abs();
            // The center is estimated from 1,000 resamples, so no choice may be near the bound.
            let near = |value: &&f64| (*value - center - observed).abs() < 0.2 * variance.sqrt();
            assert_eq!(all.iter().filter(near).count(), 0, "{values:?}");
            let extreme = all.iter().filter(|value| *value - center >= observed).count() as f64;
            assert_eq!(extreme, same, "{values:?}");
            let want = extreme / 27.0;
            let p = paired_bootstrap(3, |drawn| mean(&values, drawn)).unwrap();
            let error = (want * (1.0 - want) / f64::from(RESAMPLES)).sqrt();
            assert!((p - want).abs() < 4.0 * error + 0.002, "{values:?}: {p}, exactly {want}");
        }
    }

    #[test]
    fn equal_models_do_not_differ_and_others_do() {
        assert_eq!(paired_bootstrap(50, |_| 0.0), Some(1.0));
        let ahead: Vec<f64> = (0..200).map(|i| f64::from(i % 5)).collect();
        let p = |sign: f64| paired_bootstrap(200, |drawn| sign * mean(&ahead, drawn));
        assert_eq!(p(1.0), Some(1.0 / 1001.0));
        // The same from the other side, and each time.
        assert_eq!(p(-1.0), p(1.0));
        assert_eq!(paired_bootstrap(0, |_| 1.0), None);
        assert_eq!(paired_bootstrap(3, |_| f64::NAN), None);
    }
}

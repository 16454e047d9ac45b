//! A row of logits: its normaliser and its largest values.

use super::elementwise::{exp, lane_sum, largest, vectorised};

/// Logits that are looked at together.
const GROUP: usize = 64;

/// log Σ exp of the values.
#[inline(always)]
pub(super) fn log_sum_inline(values: &[f32]) -> f32 {
    let max = largest(values);
    max + lane_sum([values], |[v]| exp(v - max)).ln()
}

/// log Σ exp of the values.
pub fn log_sum(values: &[f32]) -> f32 {
    vectorised(
        #[inline(always)]
        || log_sum_inline(values),
    )
}

/// The places of the largest logits, at most `most`, by falling logit; equal ones by their places. Those of `never`
/// are left out.
pub fn top(logits: &[f32], most: usize, never: &[u32]) -> Vec<u32> {
    let maxima: Vec<f32> = vectorised(
        #[inline(always)]
        || logits.chunks(GROUP).map(largest).collect(),
    );
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(most + 1);
    let is_behind = |best: &[(f32, u32)], logit: f32| {
        best.len() == most && best.last().is_none_or(|last| logit <= last.0)
    };
    for (group, max) in maxima.into_iter().enumerate() {
        // Nearly all groups end here.
        if is_behind(&best, max) {
            continue;
        }
        let first = group * GROUP;
        for (place, logit) in (first as u32..).zip(&logits[first..logits.len().min(first + GROUP)])
        {
            if !is_behind(&best, *logit) && !logit.is_nan() && !never.contains(&place) {
                let at = best.partition_point(|(other, _)| other >= logit);
                best.insert(at, (*logit, place));
                best.truncate(most);
            }
        }
    }
    best.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    #[test]
    fn the_largest_logits_are_in_order() {
        let mut stream = Stream::new(5, Purpose::Noise, "logits");
        for n in [3, 40, 64, 1000] {
            // Many are equal.
            let mut logits: Vec<f32> = (0..n).map(|_| stream.below(7) as f32 - 3.0).collect();
            (logits[0], logits[1]) = (9.0, 9.0);
            logits[n - 1] = -0.0;
            let mut all: Vec<usize> = (2..n).collect();
            all.sort_by(|a, b| logits[*b].partial_cmp(&logits[*a]).unwrap().then(a.cmp(b)));
            for most in [0, 1, 4, 100] {
                let want: Vec<u32> = all.iter().take(most).map(|place| *place as u32).collect();
                assert_eq!(top(&logits, most, &[0, 1]), want);
            }
        }
        assert_eq!(top(&[f32::NAN, 1.0, f32::NEG_INFINITY], 3, &[]), [1, 2]);
    }

    #[test]
    fn the_log_sum_is_that_in_double_precision() {
        let mut stream = Stream::new(6, Purpose::Noise, "logits");
        for n in [1, 17, 3000] {
            let values: Vec<f32> = (0..n).map(|_| stream.normal() as f32 * 4.0 + 50.0).collect();
            let sum: f64 = values.iter().map(|v| f64::from(*v).exp()).sum();
            assert!((f64::from(log_sum(&values)) - sum.ln()).abs() < 1e-5 * sum.ln());
        }
    }
}

//! Logits, for choosing tokens: log-sum-exp, and the largest of a row.

use candle_core::{DType, Device, Result, Tensor};

use super::slices;
use super::slices::elementwise::{exp, lane_sum, largest, vectorised};

/// Logits that are looked at together.
const GROUP: usize = 64;

/// Calls `f` with logits of any type and device as float32, in row-major order.
pub fn with_logits<R>(logits: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let logits = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
    slices::with_values([&logits], |[logits]| f(logits))
}

/// log Σ exp of the logits. Exponentials are added in float32 within groups, and in float64 over them.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let (max, sum) = vectorised(
        #[inline(always)]
        || {
            let (max, mut sum) = (largest(logits), 0f64);
            for group in logits.chunks(GROUP) {
                sum += f64::from(lane_sum([group], |[v]| exp(v - max)));
            }
            (max, sum)
        },
    );
    f64::from(max) + sum.ln()
}

/// The positions of the largest logits, at most `k`, by falling logit; equal ones by position. NaN and the
/// positions in `excluded` are left out.
pub fn top_k(logits: &[f32], k: usize, excluded: &[u32]) -> Vec<u32> {
    let mut maxima = vec![0f32; logits.len().div_ceil(GROUP)];
    vectorised(
        #[inline(always)]
        || {
            for (max, group) in maxima.iter_mut().zip(logits.chunks(GROUP)) {
                *max = largest(group);
            }
        },
    );
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(k + 1);
    let is_behind = |best: &[(f32, u32)], logit: f32| {
        best.len() == k && best.last().is_none_or(|last| logit <= last.0)
    };
    for (number, (group, max)) in logits.chunks(GROUP).zip(maxima).enumerate() {
        // Nearly all groups end here.
        if is_behind(&best, max) {
            continue;
        }
        for (position, logit) in ((number * GROUP) as u32..).zip(group) {
            if !is_behind(&best, *logit) && !logit.is_nan() && !excluded.contains(&position) {
                let at = best.partition_point(|(other, _)| other >= logit);
                best.insert(at, (*logit, position));
                best.truncate(k);
            }
        }
    }
    best.into_iter().map(|(_, position)| position).collect()
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
            for k in [0, 1, 4, 100] {
                let want: Vec<u32> = all.iter().take(k).map(|position| *position as u32).collect();
                assert_eq!(top_k(&logits, k, &[0, 1]), want);
            }
        }
        assert_eq!(top_k(&[f32::NAN, 1.0, f32::NEG_INFINITY], 3, &[]), [1, 2]);
        assert!(top_k(&[f32::NAN; 3], 3, &[]).is_empty());
    }

    #[test]
    fn log_sum_exp_is_that_in_double_precision() {
        let mut stream = Stream::new(6, Purpose::Noise, "logits");
        for n in [1, 17, 3000] {
            for around in [50.0, 0.0, -1e4] {
                let mut logits: Vec<f32> =
                    (0..n).map(|_| (stream.normal() * 4.0 + around) as f32).collect();
                if n > 1 {
                    logits[1] = f32::NEG_INFINITY;
                }
                let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = logits.iter().map(|v| f64::from(v - max).exp()).sum();
                let want = f64::from(max) + sum.ln();
                assert!((log_sum_exp(&logits) - want).abs() < 1e-6, "{n} around {around}");
            }
        }
    }
}

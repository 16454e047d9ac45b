//! Cross-entropy of rows of logits, with label smoothing.

use crate::nn::slices::blocks::BLOCK;
use crate::nn::slices::elementwise::{exp, lane_sum, largest, vectorised};
use crate::nn::slices::memory::by_rows;

/// The loss and the logarithm of the sum of exponentials of each row: logits \[n, classes\].
///
/// `(1 − s)·(−log p_label) + s·mean_c(−log p_c)`, with −log p_c = log Σ exp − logit_c.
pub fn forward(
    logits: &[f32],
    classes: usize,
    labels: &[u32],
    smoothing: f32,
) -> (Vec<f32>, Vec<f32>) {
    let (losses, log_sums) = by_rows(labels.len(), 1, BLOCK, |row, losses| {
        let mut log_sums = vec![0f32; losses.len()];
        vectorised(
            #[inline(always)]
            || {
                let rows = logits[row * classes..].chunks_exact(classes).zip(&labels[row..]);
                for ((loss, row_log_sum), (logits, label)) in
                    losses.iter_mut().zip(&mut log_sums).zip(rows)
                {
                    let max = largest(logits);
                    let log_sum = max + lane_sum([logits], |[v]| exp(v - max)).ln();
                    let even = lane_sum([logits], |[v]| log_sum - v) / classes as f32;
                    let hit = log_sum - logits[*label as usize];
                    *loss = (1.0 - smoothing) * hit + smoothing * even;
                    *row_log_sum = log_sum;
                }
            },
        );
        log_sums
    });
    (losses, log_sums.concat())
}

/// dlogit_c = g (p_c − (1 − s)[c = label] − s / classes).
pub fn backward(
    logits: &[f32],
    classes: usize,
    labels: &[u32],
    smoothing: f32,
    log_sums: &[f32],
    g: &[f32],
) -> Vec<f32> {
    let even = smoothing / classes as f32;
    let (d, _) = by_rows(labels.len(), classes, BLOCK, |row, d| {
        vectorised(
            #[inline(always)]
            || {
                for (i, d) in d.chunks_exact_mut(classes).enumerate() {
                    let at = row + i;
                    let logits = &logits[at * classes..][..classes];
                    for (d, logit) in d.iter_mut().zip(logits) {
                        *d = g[at] * (exp(logit - log_sums[at]) - even);
                    }
                    d[labels[at] as usize] -= g[at] * (1.0 - smoothing);
                }
            },
        );
    });
    d
}

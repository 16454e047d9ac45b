//! Means over the tokens of sequences.

use crate::nn::slices::elementwise::{add_to, scale_to};
use crate::nn::slices::memory::by_rows;

/// The mean over each sequence's tokens up to its length; zeros for a length of 0:
/// x \[batch, tokens, dim\] → \[batch, dim\].
pub fn mean(x: &[f32], tokens: usize, dim: usize, lengths: &[usize]) -> Vec<f32> {
    let (means, _) = by_rows(lengths.len(), dim, 1, |sequence, mean| {
        let x = &x[sequence * tokens * dim..][..lengths[sequence] * dim];
        for row in x.chunks_exact(dim) {
            add_to(mean, row);
        }
        scale_to(mean, 1.0 / lengths[sequence].max(1) as f32);
    });
    means
}

/// The gradient of x: each token up to the length gets an equal share.
pub fn mean_backward(g: &[f32], tokens: usize, dim: usize, lengths: &[usize]) -> Vec<f32> {
    let (dx, _) = by_rows(lengths.len(), tokens * dim, 1, |sequence, dx| {
        let g = &g[sequence * dim..][..dim];
        for row in dx.chunks_exact_mut(dim).take(lengths[sequence]) {
            row.copy_from_slice(g);
            scale_to(row, 1.0 / lengths[sequence] as f32);
        }
    });
    dx
}

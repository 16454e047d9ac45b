//! Sums of tensors, and tensors times a factor.

use super::blocks::CHUNK;
use super::elementwise::{add_to, scale_to};
use super::memory::by_rows_unwritten;

/// a + b, of equal length.
pub fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    by_rows_unwritten(a.len(), 1, CHUNK, |first, sum| {
        let sum = sum.filled_with(&a[first..]);
        add_to(sum, &b[first..]);
        sum
    })
}

/// factor · x.
pub fn scaled(x: &[f32], factor: f32) -> Vec<f32> {
    by_rows_unwritten(x.len(), 1, CHUNK, |first, scaled| {
        let scaled = scaled.filled_with(&x[first..]);
        scale_to(scaled, factor);
        scaled
    })
}

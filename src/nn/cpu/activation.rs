//! Element-wise activation functions other than GELU.

use super::blocks::CHUNK;
use super::elementwise::{tanh as tanh_of, vectorised};
use super::memory::by_rows;

/// tanh of every value.
pub fn tanh(x: &[f32]) -> Vec<f32> {
    let (y, _) = by_rows(x.len(), 1, CHUNK, |first, y| {
        let x = &x[first..];
        vectorised(
            #[inline(always)]
            || {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = tanh_of(*x);
                }
            },
        );
    });
    y
}

//! Element-wise activation functions other than GELU.

use crate::nn::slices::blocks::CHUNK;
use crate::nn::slices::elementwise::{tanh as tanh_of, vectorised};
use crate::nn::slices::memory::by_rows;

/// tanh of every value.
pub fn tanh(x: &[f32]) -> Vec<f32> {
    of_each(x, tanh_of)
}

/// max(x, 0) of every value; NaN stays.
pub fn relu(x: &[f32]) -> Vec<f32> {
    of_each(
        x,
        #[inline(always)]
        |x| if x < 0.0 { 0.0 } else { x },
    )
}

/// `f` of every value.
#[inline(always)]
fn of_each(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let (y, _) = by_rows(x.len(), 1, CHUNK, |first, y| {
        let x = &x[first..];
        vectorised(
            #[inline(always)]
            || {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = f(*x);
                }
            },
        );
    });
    y
}

/// The gradient of [`relu`] by its result `y` and the result's gradient `g`: 0 where y is 0, else g.
pub fn relu_backward(y: &[f32], g: &[f32]) -> Vec<f32> {
    let (dx, _) = by_rows(y.len(), 1, CHUNK, |first, dx| {
        let (y, g) = (&y[first..], &g[first..]);
        vectorised(
            #[inline(always)]
            || {
                for ((dx, y), g) in dx.iter_mut().zip(y).zip(g) {
                    *dx = if *y <= 0.0 { 0.0 } else { *g };
                }
            },
        );
    });
    dx
}

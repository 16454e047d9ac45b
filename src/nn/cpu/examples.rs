//! Factors of whole examples.

use crate::nn::slices::blocks::CHUNK;
use crate::nn::slices::elementwise::vectorised;
use crate::nn::slices::memory::by_rows;

/// `x + factor · y`; every example has as many values, and a factor.
pub fn add_scaled(x: &[f32], y: &[f32], factors: &[f32]) -> Vec<f32> {
    by_example(x.len(), factors, |first, out, factor| {
        let (x, y) = (&x[first..], &y[first..]);
        for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
            *out = factor.mul_add(*y, *x);
        }
    })
}

/// `factor · x`.
pub fn scaled(x: &[f32], factors: &[f32]) -> Vec<f32> {
    by_example(x.len(), factors, |first, out, factor| {
        for (out, x) in out.iter_mut().zip(&x[first..]) {
            *out = factor * x;
        }
    })
}

/// `size` values, written in pieces of one example each. `write` gets the place of a piece's first value.
fn by_example(
    size: usize,
    factors: &[f32],
    write: impl Fn(usize, &mut [f32], f32) + Sync,
) -> Vec<f32> {
    let each = size / factors.len().max(1);
    let (values, _) = by_rows(size, 1, CHUNK, |first, mut out| {
        let mut at = first;
        while !out.is_empty() {
            let example = at / each;
            let (piece, rest) = out.split_at_mut(out.len().min((example + 1) * each - at));
            let length = piece.len();
            vectorised(
                #[inline(always)]
                || write(at, &mut *piece, factors[example]),
            );
            (out, at) = (rest, at + length);
        }
    });
    values
}

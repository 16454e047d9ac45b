//! The exact GELU, `x Φ(x)` with Φ the normal distribution function (arXiv 1606.08415).

use std::f32::consts::FRAC_1_SQRT_2;

use rayon::prelude::*;

use super::blocks::CHUNK;
use super::elementwise::{erf, exp, multiply_to, vectorised};

/// x → x Φ(x) in place.
pub fn gelu_rows(values: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            for x in values.iter_mut() {
                *x = 0.5 * *x * (1.0 + erf(*x * FRAC_1_SQRT_2));
            }
        },
    );
}

/// x → x Φ(x) in place, and the derivative Φ(x) + x φ(x), so that the backward pass needs no Φ.
pub fn gelu_with_derivative(values: &mut [f32], derivative: &mut [f32]) {
    const DENSITY: f32 = 0.398_942_3; // 1/√(2π)
    vectorised(
        #[inline(always)]
        || {
            for (x, d) in values.iter_mut().zip(derivative.iter_mut()) {
                let cumulative = 0.5 * (1.0 + erf(*x * FRAC_1_SQRT_2));
                *d = cumulative + *x * DENSITY * exp(-0.5 * *x * *x);
                *x *= cumulative;
            }
        },
    );
}

/// y = x Φ(x), and its derivative if `derivative`.
pub fn forward(x: &[f32], derivative: bool) -> (Vec<f32>, Option<Vec<f32>>) {
    let mut y = x.to_vec();
    if !derivative {
        y.par_chunks_mut(CHUNK).for_each(gelu_rows);
        return (y, None);
    }
    let mut d = vec![0f32; x.len()];
    y.par_chunks_mut(CHUNK).zip(d.par_chunks_mut(CHUNK)).for_each(|(y, d)| {
        gelu_with_derivative(y, d);
    });
    (y, Some(d))
}

/// dx = g · derivative. The result replaces the derivative.
pub fn backward(mut derivative: Vec<f32>, g: &[f32]) -> Vec<f32> {
    derivative.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).for_each(|(d, g)| multiply_to(d, g));
    derivative
}

//! The exact GELU, `x Φ(x)` with Φ the normal distribution function (arXiv 1606.08415).

use std::f32::consts::FRAC_1_SQRT_2;

use pulp::Arch;
use rayon::prelude::*;

use super::CHUNK;
use super::elementwise::{erf, exp, multiply_to};
use super::memory::{by_rows, two_by_rows};

/// x → x Φ(x) in place.
pub fn gelu_rows(values: &mut [f32]) {
    Arch::new().dispatch(|| {
        for x in values {
            *x = 0.5 * *x * (1.0 + erf(*x * FRAC_1_SQRT_2));
        }
    });
}

/// x → x Φ(x) in place, and the derivative Φ(x) + x φ(x), so that backward needs no Φ again.
pub fn gelu_with_derivative(values: &mut [f32], derivative: &mut [f32]) {
    const DENSITY: f32 = 0.398_942_3; // 1/√(2π)
    Arch::new().dispatch(|| {
        for (x, d) in values.iter_mut().zip(derivative) {
            let cumulative = 0.5 * (1.0 + erf(*x * FRAC_1_SQRT_2));
            *d = cumulative + *x * DENSITY * exp(-0.5 * *x * *x);
            *x *= cumulative;
        }
    });
}

/// y = x Φ(x), and the derivative where it is asked for.
pub fn forward(x: &[f32], derivative: bool) -> (Vec<f32>, Option<Vec<f32>>) {
    match derivative {
        true => {
            let ([y, d], _) = two_by_rows(x.len(), 1, CHUNK, |from, [y, d]| {
                y.copy_from_slice(&x[from..][..y.len()]);
                gelu_with_derivative(y, d);
            });
            (y, Some(d))
        }
        false => {
            let (y, _) = by_rows(x.len(), 1, CHUNK, |from, y| {
                y.copy_from_slice(&x[from..][..y.len()]);
                gelu_rows(y);
            });
            (y, None)
        }
    }
}

/// dx = g · derivative, in the derivative's memory.
pub fn backward(mut derivative: Vec<f32>, g: &[f32]) -> Vec<f32> {
    derivative.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).for_each(|(d, g)| multiply_to(d, g));
    derivative
}

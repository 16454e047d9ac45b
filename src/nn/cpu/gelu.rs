//! GELU, `x Φ(x)` with Φ the normal distribution function (arXiv 1606.08415), exact or approximated by tanh.

use std::f32::consts::FRAC_1_SQRT_2;

use rayon::prelude::*;

use crate::nn::descriptors::Gelu;
use crate::nn::slices::blocks::CHUNK;
use crate::nn::slices::elementwise::{erf, exp, multiply_to, vectorised};

/// x → x Φ(x) in place.
pub fn gelu_rows(values: &mut [f32], form: Gelu) {
    match form {
        Gelu::Exact => vectorised(
            #[inline(always)]
            || values.iter_mut().for_each(|x| *x *= exact(*x)),
        ),
        Gelu::Tanh => vectorised(
            #[inline(always)]
            || values.iter_mut().for_each(|x| *x *= approximate(*x)),
        ),
    }
}

/// x → x Φ(x) in place, and the derivative Φ(x) + x Φ'(x), so that the backward pass needs no Φ.
pub fn gelu_with_derivative(values: &mut [f32], derivative: &mut [f32], form: Gelu) {
    const DENSITY: f32 = 0.398_942_3; // 1/√(2π)
    match form {
        Gelu::Exact => vectorised(
            #[inline(always)]
            || {
                for (x, d) in values.iter_mut().zip(derivative.iter_mut()) {
                    let cumulative = exact(*x);
                    *d = cumulative + *x * DENSITY * exp(-0.5 * *x * *x);
                    *x *= cumulative;
                }
            },
        ),
        Gelu::Tanh => vectorised(
            #[inline(always)]
            || {
                for (x, d) in values.iter_mut().zip(derivative.iter_mut()) {
                    let c = approximate(*x);
                    // The logistic function's derivative is c (1 − c).
                    let slope = TWICE_FACTOR * (3.0 * CUBIC * *x * *x + 1.0);
                    *d = c + *x * slope * c * (1.0 - c);
                    *x *= c;
                }
            },
        ),
    }
}

#[inline(always)]
fn exact(x: f32) -> f32 {
    0.5 * (1.0 + erf(x * FRAC_1_SQRT_2))
}

/// 2 √(2/π).
const TWICE_FACTOR: f32 = 1.595_769;
const CUBIC: f32 = 0.044_715;

/// `½ (1 + tanh(u))` with u = √(2/π) (x + 0.044715 x³). That is the logistic function of 2u.
#[inline(always)]
fn approximate(x: f32) -> f32 {
    let twice = TWICE_FACTOR * x * (CUBIC * x * x + 1.0);
    1.0 / (1.0 + exp(-twice))
}

/// y = x Φ(x), and its derivative if `derivative`.
pub fn forward(x: &[f32], form: Gelu, derivative: bool) -> (Vec<f32>, Option<Vec<f32>>) {
    let mut y = x.to_vec();
    if !derivative {
        y.par_chunks_mut(CHUNK).for_each(|y| gelu_rows(y, form));
        return (y, None);
    }
    let mut d = vec![0f32; x.len()];
    y.par_chunks_mut(CHUNK).zip(d.par_chunks_mut(CHUNK)).for_each(|(y, d)| {
        gelu_with_derivative(y, d, form);
    });
    (y, Some(d))
}

/// dx = g · derivative. The result replaces the derivative.
pub fn backward(mut derivative: Vec<f32>, g: &[f32]) -> Vec<f32> {
    derivative.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).for_each(|(d, g)| multiply_to(d, g));
    derivative
}

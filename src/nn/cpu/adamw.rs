//! AdamW's update of one parameter, and sums of squares.

use rayon::prelude::*;

use crate::nn::descriptors::AdamWUpdate;
use crate::nn::slices::blocks::CHUNK;
use crate::nn::slices::elementwise::{lane_sum_of_squares, vectorised};

/// Updates a parameter and its moments in place.
pub fn apply(update: AdamWUpdate, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
    let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
    p.par_chunks_mut(CHUNK).zip(moments).zip(g.par_chunks(CHUNK)).for_each(|((p, (m, v)), g)| {
        vectorised(
            #[inline(always)]
            || {
                for ((p, (m, v)), g) in p.iter_mut().zip(m.iter_mut().zip(v.iter_mut())).zip(g) {
                    let g = g * update.grad_scale;
                    *m = *m * update.beta1 + g * (1.0 - update.beta1);
                    *v = *v * update.beta2 + g * g * (1.0 - update.beta2);
                    let spread = (*v * update.inverse_bias_correction2).sqrt() + update.epsilon;
                    *p = *p * update.decay_factor - *m / spread * update.step_size;
                }
            },
        );
    });
}

/// The sum of squares, in float64.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    let parts: Vec<f64> = values
        .par_chunks(CHUNK)
        .map(|part| {
            vectorised(
                #[inline(always)]
                || lane_sum_of_squares(part),
            )
        })
        .collect();
    parts.iter().sum()
}

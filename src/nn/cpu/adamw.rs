//! AdamW's update of one parameter, and norms.

use rayon::prelude::*;

use super::CHUNK;
use super::elementwise::{lane_sum_f64, vectorised};

/// The numbers of one update.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// The gradient is multiplied by this first.
    pub scale: f32,
    /// 1 − rate · weight decay.
    pub keep: f32,
    /// rate / (1 − β₁ᵗ).
    pub rate: f32,
    /// 1 / (1 − β₂ᵗ).
    pub correct2: f32,
}

impl Update {
    /// `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`, `p ← keep · p − rate · m / (√(v · correct2) + ε)`.
    pub fn apply(self, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
        p.par_chunks_mut(CHUNK).zip(moments).zip(g.par_chunks(CHUNK)).for_each(
            |((p, (m, v)), g)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for ((p, (m, v)), g) in
                            p.iter_mut().zip(m.iter_mut().zip(v.iter_mut())).zip(g)
                        {
                            let g = g * self.scale;
                            *m = *m * self.beta1 + g * (1.0 - self.beta1);
                            *v = *v * self.beta2 + g * g * (1.0 - self.beta2);
                            let spread = (*v * self.correct2).sqrt() + self.epsilon;
                            *p = *p * self.keep - *m / spread * self.rate;
                        }
                    },
                );
            },
        );
    }
}

/// The sum of squares, in float64.
pub fn square_sum(values: &[f32]) -> f64 {
    let parts: Vec<f64> = values
        .par_chunks(CHUNK)
        .map(|part| {
            vectorised(
                #[inline(always)]
                || lane_sum_f64(part.len(), |i| f64::from(part[i]).powi(2)),
            )
        })
        .collect();
    parts.iter().sum()
}

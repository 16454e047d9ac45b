//! The exact GELU, `x Φ(x)` with Φ the normal distribution function (arXiv 1606.08415).

use std::f32::consts::FRAC_1_SQRT_2;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::elementwise::{erf, exp};
use super::{slice, with_values};

/// Values a task works on.
const CHUNK: usize = 1 << 14;

/// y = x Φ(x); backward dx = g (Φ(x) + x φ(x)).
pub struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
            Arch::new().dispatch(|| {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2));
                }
            });
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        const DENSITY: f32 = 0.398_942_3; // 1/√(2π)
        with_values([x, g], |[xs, gs]| {
            let mut dx = vec![0f32; xs.len()];
            let inputs = xs.par_chunks(CHUNK).zip(gs.par_chunks(CHUNK));
            dx.par_chunks_mut(CHUNK).zip(inputs).for_each(|(dx, (x, g))| {
                Arch::new().dispatch(|| {
                    for ((dx, &x), &g) in dx.iter_mut().zip(x).zip(g) {
                        let cumulative = 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2));
                        *dx = g * (cumulative + x * DENSITY * exp(-0.5 * x * x));
                    }
                });
            });
            Tensor::from_vec(dx, x.dims(), x.device()).map(Some)
        })
    }
}

//! Layer normalisation over the last axis.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::elementwise::lane_sum;
use super::{BLOCK, expect, slice, total, with_values};

/// y = x̂ · weight + bias with x̂ = (x − mean) / √(var + eps): x \[n, width\].
///
/// Backward, with h = g · weight a row: dx = (h − mean(h) − x̂ · mean(h x̂)) / √(var + eps),
/// dweight = Σ g x̂, dbias = Σ g. Mean and deviation are computed again from x.
pub struct LayerNorm {
    pub eps: f64,
}

impl LayerNorm {
    /// Mean and 1/√(var + eps) of a row.
    #[inline(always)]
    fn moments(&self, row: &[f32]) -> (f32, f32) {
        let n = row.len() as f32;
        let mean = lane_sum(row.len(), |i| row[i]) / n;
        let variance = lane_sum(row.len(), |i| (row[i] - mean) * (row[i] - mean)) / n;
        (mean, 1.0 / (variance + self.eps as f32).sqrt())
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = x_layout.shape().dims2()?.1;
        let fits = [w_layout, b_layout].iter().all(|l| l.shape().dims() == [width]);
        expect(self.name(), fits, &[x_layout, w_layout, b_layout])?;
        let (x, w, b) = (slice(x, x_layout)?, slice(w, w_layout)?, slice(b, b_layout)?);
        let mut y = vec![0f32; x.len()];
        let size = BLOCK * width;
        y.par_chunks_mut(size).zip(x.par_chunks(size)).for_each(|(y, x)| {
            Arch::new().dispatch(|| {
                for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let (mean, scale) = self.moments(x);
                    for i in 0..width {
                        y[i] = (x[i] - mean) * scale * w[i] + b[i];
                    }
                }
            });
        });
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = x.dim(1)?;
        with_values([x, w, g], |[xs, ws, gs]| {
            let mut dx = vec![0f32; xs.len()];
            let size = BLOCK * width;
            let sums: Vec<(Vec<f32>, Vec<f32>)> = dx
                .par_chunks_mut(size)
                .zip(xs.par_chunks(size).zip(gs.par_chunks(size)))
                .map(|(dx, (x, g))| {
                    let (mut dw, mut db) = (vec![0f32; width], vec![0f32; width]);
                    let mut normal = vec![0f32; width];
                    Arch::new().dispatch(|| {
                        let rows = x.chunks_exact(width).zip(g.chunks_exact(width));
                        for (dx, (x, g)) in dx.chunks_exact_mut(width).zip(rows) {
                            let (mean, scale) = self.moments(x);
                            for i in 0..width {
                                normal[i] = (x[i] - mean) * scale;
                            }
                            let n = width as f32;
                            let h_mean = lane_sum(width, |i| g[i] * ws[i]) / n;
                            let hx_mean = lane_sum(width, |i| g[i] * ws[i] * normal[i]) / n;
                            for i in 0..width {
                                dx[i] = (g[i] * ws[i] - h_mean - normal[i] * hx_mean) * scale;
                                dw[i] += g[i] * normal[i];
                                db[i] += g[i];
                            }
                        }
                    });
                    (dw, db)
                })
                .collect();
            let (dw, db) = sums.into_iter().unzip();
            let row = |sums| Tensor::from_vec(total(sums, width), width, x.device());
            Ok((
                x.track_op().then(|| Tensor::from_vec(dx, x.dims(), x.device())).transpose()?,
                w.track_op().then(|| row(dw)).transpose()?,
                b.track_op().then(|| row(db)).transpose()?,
            ))
        })
    }
}

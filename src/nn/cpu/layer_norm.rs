//! Layer normalisation over the last axis.

use crate::nn::slices::blocks::BLOCK;
use crate::nn::slices::elementwise::{add_to, lane_sum, vectorised};
use crate::nn::slices::memory::{by_rows, total};

/// The mean and 1/√(var + eps) of a row.
pub type Moments = (f32, f32);

#[inline(always)]
fn moments(row: &[f32], eps: f32) -> Moments {
    let n = row.len() as f32;
    let mean = lane_sum([row], |[v]| v) / n;
    let variance = lane_sum([row], |[v]| (v - mean) * (v - mean)) / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

/// y = x̂ · weight + bias with x̂ = (x − mean) / √(var + eps), and each row's moments.
pub fn forward(x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> (Vec<f32>, Vec<Moments>) {
    let width = weight.len();
    let (y, blocks) = by_rows(x.len() / width, width, BLOCK, |row, y| {
        let x = &x[row * width..][..y.len()];
        let mut all = vec![(0.0, 0.0); y.len() / width];
        vectorised(
            #[inline(always)]
            || {
                // Slices of one known length need no checks of bounds, which would keep loops scalar.
                let (weight, bias) = (&weight[..width], &bias[..width]);
                let rows = y.chunks_exact_mut(width).zip(x.chunks_exact(width));
                for ((y, x), row_moments) in rows.zip(&mut all) {
                    let (y, x) = (&mut y[..width], &x[..width]);
                    let (mean, scale) = moments(x, eps);
                    *row_moments = (mean, scale);
                    for i in 0..width {
                        y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
                    }
                }
            },
        );
        all
    });
    (y, blocks.concat())
}

/// (dx + `sum`, dweight, dbias).
///
/// With h = g · weight: dx = (h − mean(h) − x̂ · mean(h x̂)) / √(var + eps) per row,
/// dweight = Σ g x̂, dbias = Σ g.
pub fn backward(
    x: &[f32],
    weight: &[f32],
    moments: &[Moments],
    g: &[f32],
    sum: Option<&[f32]>,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let (dx, sums) = by_rows(moments.len(), width, BLOCK, |row, dx| {
        let (mut dw, mut db) = (vec![0f32; width], vec![0f32; width]);
        let mut normal = vec![0f32; width];
        let (from, to) = (row * width, row * width + dx.len());
        let (x, g) = (&x[from..to], &g[from..to]);
        vectorised(
            #[inline(always)]
            || {
                let weight = &weight[..width];
                let (dw, db) = (&mut dw[..width], &mut db[..width]);
                let normal = &mut normal[..width];
                let given = x.chunks_exact(width).zip(g.chunks_exact(width));
                let rows = dx.chunks_exact_mut(width).zip(given.zip(&moments[row..]));
                for (dx, ((x, g), (mean, scale))) in rows {
                    let (dx, x, g) = (&mut dx[..width], &x[..width], &g[..width]);
                    for i in 0..width {
                        normal[i] = (x[i] - mean) * scale;
                    }
                    let n = width as f32;
                    let h_mean = lane_sum([g, weight], |[g, w]| g * w) / n;
                    let hx_mean = lane_sum([g, weight, normal], |[g, w, x]| g * w * x) / n;
                    for i in 0..width {
                        dx[i] = (g[i] * weight[i] - h_mean - normal[i] * hx_mean) * scale;
                        dw[i] += g[i] * normal[i];
                        db[i] += g[i];
                    }
                }
            },
        );
        if let Some(sum) = sum {
            add_to(dx, &sum[from..to]);
        }
        (dw, db)
    });
    let (dw, db) = sums.into_iter().unzip();
    (dx, total(dw, width), total(db, width))
}

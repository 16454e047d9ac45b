//! Multi-head self-attention without mask, reading heads in place.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use pulp::Arch;
use rayon::prelude::*;

use super::elementwise::{exp, lane_sum};
use super::product::{Matrix, product};
use super::{slice, with_values};

/// out = softmax(q kᵀ / √d) v a head: qkv \[batch, tokens, 3·heads·d\] → \[batch, tokens, heads·d\].
///
/// Backward, with P the softmax and dP = dout vᵀ: dv = Pᵀ dout,
/// dS = P ∘ (dP − rowsum(dP ∘ P)), dq = dS k / √d, dk = dSᵀ q / √d. P is kept from the forward
/// pass, \[batch, heads, tokens, tokens\].
pub struct Attention {
    heads: usize,
    weights: OnceLock<Vec<f32>>,
    keep: bool,
}

impl Attention {
    /// `keep` says whether a backward pass will follow.
    pub fn new(heads: usize, keep: bool) -> Attention {
        Attention { heads, weights: OnceLock::new(), keep }
    }

    fn sizes(&self, shape: &Shape) -> Result<Sizes> {
        let (batch, tokens, width) = shape.dims3()?;
        let parts = 3 * self.heads;
        if parts == 0 || width == 0 || width % parts != 0 {
            bail!(
                "self-attention: {width} values a token are not q, k and v of {} heads",
                self.heads
            );
        }
        let weights = [batch, self.heads, tokens, tokens];
        let count = weights.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
        if count.is_none_or(|n| n > isize::MAX as usize / 4) {
            bail!("self-attention: weights of shape {weights:?} are too large");
        }
        Ok(Sizes { tokens, heads: self.heads, d: width / parts })
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    heads: usize,
    d: usize,
}

impl Sizes {
    /// Values a token has in qkv.
    fn row(self) -> usize {
        3 * self.heads * self.d
    }

    /// Where q (0), k (1) or v (2) of a head starts in a token's row.
    fn start(self, part: usize, head: usize) -> usize {
        (part * self.heads + head) * self.d
    }

    fn part(self, qkv: &[f32], part: usize, head: usize) -> Matrix<'_> {
        Matrix::rows(&qkv[self.start(part, head)..], self.row())
    }

    fn scale(self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }
}

/// Softmax of each row in place.
fn softmax_rows(scores: &mut [f32], width: usize) {
    Arch::new().dispatch(|| {
        for row in scores.chunks_exact_mut(width) {
            let max = row.iter().fold(f32::NEG_INFINITY, |m, v| if *v > m { *v } else { m });
            for v in row.iter_mut() {
                *v = exp(*v - max);
            }
            let scale = 1.0 / lane_sum(width, |i| row[i]);
            for v in row.iter_mut() {
                *v *= scale;
            }
        }
    });
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "self-attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let z = self.sizes(layout.shape())?;
        let (batch, n, out_row) = (layout.shape().dims()[0], z.tokens, z.heads * z.d);
        let qkv = slice(qkv, layout)?;
        let mut out = vec![0f32; batch * n * out_row];
        let mut weights = vec![0f32; batch * z.heads * n * n];
        out.par_chunks_mut(n * out_row)
            .zip(weights.par_chunks_mut(z.heads * n * n))
            .zip(qkv.par_chunks(n * z.row()))
            .for_each(|((out, weights), qkv)| {
                for (h, p) in weights.chunks_exact_mut(n * n).enumerate() {
                    let (q, k, v) = (z.part(qkv, 0, h), z.part(qkv, 1, h), z.part(qkv, 2, h));
                    product((n, n, z.d), p, n, 0.0, z.scale(), q, k.t(), false);
                    softmax_rows(p, n);
                    let out = &mut out[h * z.d..];
                    product((n, z.d, n), out, out_row, 0.0, 1.0, Matrix::rows(p, n), v, false);
                }
            });
        if self.keep {
            // An operation runs forward once; a second time would find the same values.
            let _ = self.weights.set(weights);
        }
        Ok((CpuStorage::F32(out), (batch, n, out_row).into()))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let Some(weights) = self.weights.get() else {
            bail!("self-attention was run without keeping its weights")
        };
        let z = self.sizes(qkv.shape())?;
        let (n, out_row) = (z.tokens, z.heads * z.d);
        with_values([qkv, g], |[values, gs]| {
            let mut d_qkv = vec![0f32; values.len()];
            d_qkv
                .par_chunks_mut(n * z.row())
                .zip(values.par_chunks(n * z.row()))
                .zip(weights.par_chunks(z.heads * n * n).zip(gs.par_chunks(n * out_row)))
                .for_each(|((d_qkv, qkv), (weights, g))| {
                    let mut ds = vec![0f32; n * n];
                    for (h, p) in weights.chunks_exact(n * n).enumerate() {
                        let (q, k, v) = (z.part(qkv, 0, h), z.part(qkv, 1, h), z.part(qkv, 2, h));
                        let g = Matrix::rows(&g[h * z.d..], out_row);
                        product((n, n, z.d), &mut ds, n, 0.0, 1.0, g, v.t(), false);
                        score_gradient(&mut ds, p, n);
                        let (p, ds) = (Matrix::rows(p, n), Matrix::rows(&ds, n));
                        let mut part = |which: usize, a: Matrix, b: Matrix, scale: f32| {
                            let out = &mut d_qkv[z.start(which, h)..];
                            product((n, z.d, n), out, z.row(), 0.0, scale, a, b, false);
                        };
                        part(0, ds, k, z.scale());
                        part(1, ds.t(), q, z.scale());
                        part(2, p.t(), g, 1.0);
                    }
                });
            Tensor::from_vec(d_qkv, qkv.dims(), qkv.device()).map(Some)
        })
    }
}

/// dP → dS in place, a row at a time.
fn score_gradient(ds: &mut [f32], p: &[f32], width: usize) {
    Arch::new().dispatch(|| {
        for (ds, p) in ds.chunks_exact_mut(width).zip(p.chunks_exact(width)) {
            let mixed = lane_sum(width, |i| ds[i] * p[i]);
            for i in 0..width {
                ds[i] = p[i] * (ds[i] - mixed);
            }
        }
    });
}

//! `x Wᵀ + b`, and the addition of a low-rank product.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::product::{Matrix, product};
use super::{column_sums, expect, slice, with_values};

/// y = x Wᵀ + b: x \[n, in\], W \[out, in\], b \[out\] → \[n, out\].
///
/// Backward: dx = g W, dW = gᵀ x, db = Σ g. Only the gradients that are asked for are computed:
/// a detached W costs no product.
pub struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        let (n, input) = x_layout.shape().dims2()?;
        let (output, columns) = w_layout.shape().dims2()?;
        let fits = columns == input && b_layout.shape().dims() == [output];
        expect(self.name(), fits, &[x_layout, w_layout, b_layout])?;
        let (x, w, b) = (slice(x, x_layout)?, slice(w, w_layout)?, slice(b, b_layout)?);
        let mut y = vec![0f32; n * output];
        y.par_chunks_mut(super::BLOCK * output).for_each(|rows| {
            for row in rows.chunks_exact_mut(output) {
                row.copy_from_slice(b);
            }
        });
        let (x, w) = (Matrix::rows(x, input), Matrix::rows(w, input).t());
        product((n, output, input), &mut y, output, 1.0, 1.0, x, w, true);
        Ok((CpuStorage::F32(y), (n, output).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (n, input) = x.dims2()?;
        let output = w.dim(0)?;
        with_values([x, w, g], |[xs, ws, gs]| {
            let (xs, ws, g_rows) =
                (Matrix::rows(xs, input), Matrix::rows(ws, input), Matrix::rows(gs, output));
            let dx = x.track_op().then(|| {
                let mut dx = vec![0f32; n * input];
                product((n, input, output), &mut dx, input, 0.0, 1.0, g_rows, ws, true);
                Tensor::from_vec(dx, (n, input), x.device())
            });
            let dw = w.track_op().then(|| {
                let mut dw = vec![0f32; output * input];
                product((output, input, n), &mut dw, input, 0.0, 1.0, g_rows.t(), xs, true);
                Tensor::from_vec(dw, (output, input), x.device())
            });
            let db =
                b.track_op().then(|| Tensor::from_vec(column_sums(gs, output), output, x.device()));
            Ok((dx.transpose()?, dw.transpose()?, db.transpose()?))
        })
    }
}

/// z = y + scale · (low · B): y \[n, out\], low \[n, rank\], B \[rank, out\].
pub struct AddProduct {
    pub scale: f64,
}

impl CustomOp3 for AddProduct {
    fn name(&self) -> &'static str {
        "add-product"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        low: &CpuStorage,
        low_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, output) = y_layout.shape().dims2()?;
        let (rows, rank) = low_layout.shape().dims2()?;
        let fits = rows == n && b_layout.shape().dims() == [rank, output];
        expect(self.name(), fits, &[y_layout, low_layout, b_layout])?;
        let mut z = slice(y, y_layout)?.to_vec();
        let low = Matrix::rows(slice(low, low_layout)?, rank);
        let b = Matrix::rows(slice(b, b_layout)?, output);
        product((n, output, rank), &mut z, output, 1.0, self.scale as f32, low, b, true);
        Ok((CpuStorage::F32(z), (n, output).into()))
    }

    fn bwd(
        &self,
        y: &Tensor,
        low: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (n, rank) = low.dims2()?;
        let output = b.dim(1)?;
        let scale = self.scale as f32;
        let (d_low, d_b) = with_values([low, b, g], |[lows, bs, gs]| {
            let (lows, bs, gs) =
                (Matrix::rows(lows, rank), Matrix::rows(bs, output), Matrix::rows(gs, output));
            let d_low = low.track_op().then(|| {
                let mut d_low = vec![0f32; n * rank];
                product((n, rank, output), &mut d_low, rank, 0.0, scale, gs, bs.t(), true);
                Tensor::from_vec(d_low, (n, rank), low.device())
            });
            let d_b = b.track_op().then(|| {
                let mut d_b = vec![0f32; rank * output];
                product((rank, output, n), &mut d_b, output, 0.0, scale, lows.t(), gs, true);
                Tensor::from_vec(d_b, (rank, output), low.device())
            });
            Ok((d_low.transpose()?, d_b.transpose()?))
        })?;
        Ok((y.track_op().then(|| g.clone()), d_low, d_b))
    }
}

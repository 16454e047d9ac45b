//! Adds the product of two narrow matrices to a wide one. LoRA with dropout needs it.

use candle_core::{Result, Tensor};

use super::checks::expect;
use crate::nn::backend::Backend;
use crate::nn::cuda;
use crate::nn::graph::Variable;

/// `y + scale · (low b)` over the last axis: y \[…, out\], low \[…, rank\], b \[rank, out\].
pub fn add_product(y: &Variable, low: &Variable, b: &Variable, scale: f64) -> Result<Variable> {
    let (rank, output) = b.tensor().dims2()?;
    let fits = match (y.dims(), low.dims()) {
        ([rows @ .., o], [low_rows @ .., r]) => rows == low_rows && *o == output && *r == rank,
        _ => false,
    };
    expect("add-product", fits, &[y, low, b])?;
    if let Backend::Cuda(backend) = Backend::of(&[y.tensor(), low.tensor(), b.tensor()]) {
        return cuda::add_product(backend, y, low, b, scale);
    }
    let rows = |t: &Tensor, width| t.reshape(((), width));
    let (flat, matrix) = (rows(low.tensor(), rank)?, b.tensor().clone());
    let added = (flat.matmul(&matrix)? * scale)?.reshape(y.dims())?;
    let low_dims = low.dims().to_vec();
    Ok(Variable::computed((y.tensor() + added)?, &[y, low, b], move |g, sink| {
        sink.add(0, g.clone())?;
        let g = (rows(g, output)? * scale)?;
        sink.add(1, g.matmul(&matrix.t()?)?.reshape(low_dims)?)?;
        sink.add(2, flat.t()?.matmul(&g)?)
    }))
}

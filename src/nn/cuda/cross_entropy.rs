//! Cross-entropy.

use candle_core::{DType, Result, Tensor};

use super::backend::CudaBackend;
use super::launch::{Arg, Grid, of_type};
use crate::nn::graph::Variable;

/// [`crate::nn::ops::cross_entropy`], with losses in float32. The host does not check the labels, since
/// it would have to wait for them. A label that is not a class makes its loss NaN.
pub fn cross_entropy(
    backend: CudaBackend,
    logits: &Variable,
    labels: &Tensor,
    smoothing: f64,
) -> Result<Variable> {
    let (rows, classes) = logits.tensor().dims2()?;
    let (input, labels) = (logits.tensor().contiguous()?, labels.contiguous()?);
    let losses = backend.empty(rows, DType::F32)?;
    let log_sums = backend.empty(rows, DType::F32)?;
    let smoothing = smoothing as f32;
    backend.launch(
        &of_type("cross_entropy", input.dtype())?,
        Grid::of_rows(rows),
        &[
            Arg::Tensor(&input),
            Arg::Tensor(&labels),
            Arg::Tensor(&losses),
            Arg::Tensor(&log_sums),
            Arg::int(rows),
            Arg::int(classes),
            Arg::Float(smoothing),
        ],
    )?;
    Ok(Variable::computed(losses, &[logits], move |g, sink| {
        let g = g.contiguous()?;
        let dx = backend.empty(input.shape(), input.dtype())?;
        backend.launch(
            &of_type("cross_entropy_backward", input.dtype())?,
            Grid::of(rows * classes),
            &[
                Arg::Tensor(&input),
                Arg::Tensor(&labels),
                Arg::Tensor(&log_sums),
                Arg::Tensor(&g),
                Arg::Tensor(&dx),
                Arg::int(rows),
                Arg::int(classes),
                Arg::Float(smoothing),
            ],
        )?;
        sink.add(0, dx)
    }))
}

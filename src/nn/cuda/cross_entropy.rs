//! Cross-entropy.

use candle_core::{DType, Result, Tensor};

use super::machine::{Arg, Grid, Machine, of_type};
use crate::nn::Value;

/// As [`crate::nn::ops::cross_entropy`], losses in float32. Labels are not looked at by the host, which
/// would have to wait for them: one that is no class makes its loss NaN.
pub fn cross_entropy(
    machine: Machine,
    logits: &Value,
    labels: &Tensor,
    smoothing: f64,
) -> Result<Value> {
    let (rows, classes) = logits.tensor().dims2()?;
    let (input, labels) = (logits.tensor().contiguous()?, labels.contiguous()?);
    let losses = machine.empty(rows, DType::F32)?;
    let log_sums = machine.empty(rows, DType::F32)?;
    let smoothing = smoothing as f32;
    machine.launch(
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
    Ok(Value::computed(losses, &[logits], move |g, sink| {
        let g = g.contiguous()?;
        let dx = machine.empty(input.shape(), input.dtype())?;
        machine.launch(
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

//! Layer normalisation (arXiv 1607.06450).

use candle_core::{D, Result, Tensor};

use super::checks::expect;
use crate::nn::backend::Backend;
use crate::nn::graph::Variable;
use crate::nn::{composed, cpu, cuda};

/// Layer normalisation over the last axis, biased variance:
/// `(x − mean) / √(var + eps) · weight + bias`.
///
/// Its backward pass adds to the gradient that other uses of x have given so far. So in a residual
/// stream, adding the gradients of branch and stream needs no extra pass over memory.
pub fn layer_norm(x: &Variable, weight: &Variable, bias: &Variable, eps: f64) -> Result<Variable> {
    let width = x.tensor().dim(D::Minus1)?;
    let fits = weight.dims() == [width] && bias.dims() == [width] && x.tensor().elem_count() > 0;
    let inputs = [x, weight, bias];
    expect("layer-norm", fits, &inputs)?;
    match Backend::of(&inputs.map(Variable::tensor)) {
        Backend::Cuda(backend) if cuda::takes_rows_of(width) => {
            cuda::layer_norm(backend, x, weight, bias, eps)
        }
        Backend::Cpu => on_cpu(inputs, width, eps),
        Backend::Cuda(_) | Backend::Composed => {
            Variable::composed(&inputs, move |t| composed::layer_norm(&t[0], &t[1], &t[2], eps))
        }
    }
}

fn on_cpu(inputs: [&Variable; 3], width: usize, eps: f64) -> Result<Variable> {
    let [x, weight, _] = inputs.map(Variable::tensor);
    let (y, moments) = cpu::with_values(inputs.map(Variable::tensor), |[x, w, b]| {
        Ok(cpu::layer_norm::forward(x, w, b, eps as f32))
    })?;
    let y = cpu::tensor(y, x.shape(), x)?;
    let (kept, scales) = (x.clone(), weight.clone());
    Ok(Variable::computed(y, &inputs, move |g, sink| {
        let so_far = sink.take(0);
        let all: Vec<&Tensor> = [&kept, &scales, g].into_iter().chain(&so_far).collect();
        let (dx, dw, db) = cpu::with_all(&all, |t| {
            Ok(cpu::layer_norm::backward(t[0], t[1], &moments, t[2], t.get(3).copied()))
        })?;
        sink.set(0, cpu::tensor(dx, kept.shape(), &kept)?);
        sink.add(1, cpu::tensor(dw, width, &kept)?)?;
        sink.add(2, cpu::tensor(db, width, &kept)?)
    }))
}

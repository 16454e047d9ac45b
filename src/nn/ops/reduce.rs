//! Sums, means and slices.

use candle_core::{Result, Tensor, bail};

use super::checks::expect;
use crate::nn::backend::Backend;
use crate::nn::graph::{Variable, added};
use crate::nn::{composed, cpu, cuda, slices};

/// The sum of variables of the same shape.
pub fn sum(values: &[&Variable]) -> Result<Variable> {
    let [first, rest @ ..] = values else { bail!("a sum of no values") };
    expect("sum", rest.iter().all(|v| v.dims() == first.dims()), values)?;
    let all = rest.iter().try_fold(first.tensor().clone(), |sum, v| added(&sum, v.tensor()))?;
    let n = values.len();
    Ok(Variable::computed(all, values, move |g, sink| {
        (0..n).try_for_each(|i| sink.add(i, g.clone()))
    }))
}

/// `factor · x`.
pub fn scale(x: &Variable, factor: f64) -> Result<Variable> {
    let scaled = move |x: &Tensor| match Backend::of(&[x]) {
        Backend::Cpu => {
            let values =
                cpu::with_values([x], |[x]| Ok(slices::arithmetic::scaled(x, factor as f32)))?;
            cpu::tensor(values, x.shape(), x)
        }
        Backend::Cuda(_) | Backend::Composed => x * factor,
    };
    Ok(Variable::computed(scaled(x.tensor())?, &[x], move |g, sink| sink.add(0, scaled(g)?)))
}

/// The mean of all values, a scalar.
pub fn mean(x: &Variable) -> Result<Variable> {
    expect("mean", x.tensor().elem_count() > 0, &[x])?;
    let (shape, n) = (x.tensor().shape().clone(), x.tensor().elem_count() as f64);
    Ok(Variable::computed(x.tensor().mean_all()?, &[x], move |g, sink| {
        sink.add(0, (g / n)?.broadcast_as(shape)?.contiguous()?)
    }))
}

/// The mean over tokens: x \[batch, tokens, dim\] → \[batch, dim\].
pub fn mean_tokens(x: &Variable) -> Result<Variable> {
    let (batch, tokens, dim) = x.tensor().dims3()?;
    expect("mean over tokens", tokens > 0, &[x])?;
    match Backend::of(&[x.tensor()]) {
        Backend::Cuda(_) => cuda::mean_tokens(x),
        Backend::Cpu | Backend::Composed => {
            Ok(Variable::computed(x.tensor().mean(1)?, &[x], move |g, sink| {
                let each = (g / tokens as f64)?.reshape((batch, 1, dim))?;
                sink.add(0, each.broadcast_as((batch, tokens, dim))?.contiguous()?)
            }))
        }
    }
}

/// The mean over each sequence's tokens up to its length; zeros for a length of 0:
/// x \[batch, tokens, dim\] → \[batch, dim\].
pub fn mean_valid_tokens(x: &Variable, lengths: &[usize]) -> Result<Variable> {
    let (batch, tokens, dim) = x.tensor().dims3()?;
    expect("mean over valid tokens", batch * tokens * dim > 0, &[x])?;
    if lengths.len() != batch || lengths.iter().any(|l| *l > tokens) {
        bail!("mean over tokens: {batch} lengths up to {tokens} expected, not {lengths:?}");
    }
    let lengths = lengths.to_vec();
    match Backend::of(&[x.tensor()]) {
        Backend::Cpu => {
            let mean = cpu::with_values([x.tensor()], |[x]| {
                Ok(cpu::pooling::mean(x, tokens, dim, &lengths))
            })?;
            let mean = cpu::tensor(mean, (batch, dim), x.tensor())?;
            Ok(Variable::computed(mean, &[x], move |g, sink| {
                let dx = cpu::with_values([g], |[g]| {
                    Ok(cpu::pooling::mean_backward(g, tokens, dim, &lengths))
                })?;
                sink.add(0, cpu::tensor(dx, (batch, tokens, dim), g)?)
            }))
        }
        Backend::Cuda(_) | Backend::Composed => {
            Variable::composed(&[x], move |t| composed::mean_valid_tokens(&t[0], &lengths))
        }
    }
}

/// The first `count` tokens: x \[batch, tokens, dim\] → \[batch, count, dim\].
pub fn first_tokens(x: &Variable, count: usize) -> Result<Variable> {
    let (batch, tokens, dim) = x.tensor().dims3()?;
    expect("first tokens", (1..=tokens).contains(&count), &[x])?;
    if count == tokens {
        return Ok(x.clone());
    }
    let first = x.tensor().narrow(1, 0, count)?.contiguous()?;
    Ok(Variable::computed(first, &[x], move |g, sink| {
        let rest = Tensor::zeros((batch, tokens - count, dim), g.dtype(), g.device())?;
        sink.add(0, Tensor::cat(&[g, &rest], 1)?)
    }))
}

//! Element-wise activation functions.

use candle_core::Result;

use crate::nn::backend::Backend;
use crate::nn::descriptors::Gelu;
use crate::nn::graph::Variable;
use crate::nn::{composed, cpu, cuda};

/// GELU (arXiv 1606.08415) in one of its forms.
pub fn gelu(x: &Variable, form: Gelu) -> Result<Variable> {
    match Backend::of(&[x.tensor()]) {
        Backend::Cuda(backend) => cuda::gelu(backend, x, form),
        Backend::Cpu => gelu_on_cpu(x, form),
        Backend::Composed => Variable::composed(&[x], move |t| composed::gelu(&t[0], form)),
    }
}

fn gelu_on_cpu(x: &Variable, form: Gelu) -> Result<Variable> {
    let shape = x.tensor().shape().clone();
    let (y, derivative) = cpu::with_values([x.tensor()], |[values]| {
        Ok(cpu::gelu::forward(values, form, x.requires_grad()))
    })?;
    let y = cpu::tensor(y, shape.clone(), x.tensor())?;
    Ok(Variable::computed(y, &[x], move |g, sink| {
        let dx = cpu::with_values([g], |[g]| {
            Ok(cpu::gelu::backward(derivative.unwrap_or_default(), g))
        })?;
        sink.add(0, cpu::tensor(dx, shape, g)?)
    }))
}

/// The hyperbolic tangent.
pub fn tanh(x: &Variable) -> Result<Variable> {
    let y = match Backend::of(&[x.tensor()]) {
        Backend::Cpu => {
            let y = cpu::with_values([x.tensor()], |[x]| Ok(cpu::activation::tanh(x)))?;
            cpu::tensor(y, x.tensor().shape(), x.tensor())?
        }
        Backend::Cuda(_) | Backend::Composed => x.tensor().tanh()?,
    };
    let kept = y.clone();
    Ok(Variable::computed(y, &[x], move |g, sink| {
        // The derivative is 1 − y².
        sink.add(0, (g - (g * kept.sqr()?)?)?)
    }))
}

/// x · σ(x) with the logistic function σ (arXiv 1702.03118).
pub fn silu(x: &Variable) -> Result<Variable> {
    let input = x.tensor().clone();
    Ok(Variable::computed(input.silu()?, &[x], move |g, sink| {
        // The derivative is σ + x σ (1 − σ).
        let sigmoid = ((input.neg()?.exp()? + 1.0)?.recip())?;
        let slope = (((1.0 - &sigmoid)? * &input)? + 1.0)?;
        sink.add(0, (g * (sigmoid * slope)?)?)
    }))
}

/// max(x, 0), with a derivative of 0 at 0. NaN stays NaN, as in PyTorch; candle's own operation makes it 0.
pub fn relu(x: &Variable) -> Result<Variable> {
    let shape = x.tensor().shape().clone();
    match Backend::of(&[x.tensor()]) {
        Backend::Cpu => {
            let y = cpu::with_values([x.tensor()], |[x]| Ok(cpu::activation::relu(x)))?;
            let y = cpu::tensor(y, shape.clone(), x.tensor())?;
            let kept = y.clone();
            Ok(Variable::computed(y, &[x], move |g, sink| {
                let dx = cpu::with_values([&kept, g], |[y, g]| {
                    Ok(cpu::activation::relu_backward(y, g))
                })?;
                sink.add(0, cpu::tensor(dx, shape, g)?)
            }))
        }
        Backend::Cuda(_) | Backend::Composed => {
            let values = x.tensor();
            let y = values.lt(0.0)?.where_cond(&values.zeros_like()?, values)?;
            let kept = y.clone();
            Ok(Variable::computed(y, &[x], move |g, sink| {
                sink.add(0, kept.le(0.0)?.where_cond(&g.zeros_like()?, g)?)
            }))
        }
    }
}

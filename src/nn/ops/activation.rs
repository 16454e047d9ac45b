//! Functions of single values.

use candle_core::Result;

use crate::nn::backend::Backend;
use crate::nn::graph::Variable;
use crate::nn::{composed, cpu, cuda};

/// The exact GELU, `x Φ(x)` (arXiv 1606.08415).
pub fn gelu(x: &Variable) -> Result<Variable> {
    match Backend::of(&[x.tensor()]) {
        Backend::Cuda(backend) => cuda::gelu(backend, x),
        Backend::Cpu => gelu_on_cpu(x),
        Backend::Composed => Variable::composed(&[x], |t| composed::gelu(&t[0])),
    }
}

fn gelu_on_cpu(x: &Variable) -> Result<Variable> {
    let shape = x.tensor().shape().clone();
    let (y, derivative) =
        cpu::with_values([x.tensor()], |[values]| Ok(cpu::gelu::forward(values, x.is_tracked())))?;
    let y = cpu::tensor(y, shape.clone(), x.tensor())?;
    Ok(Variable::computed(y, &[x], move |g, sink| {
        let dx = cpu::with_values([g], |[g]| {
            Ok(cpu::gelu::backward(derivative.unwrap_or_default(), g))
        })?;
        sink.add(0, cpu::tensor(dx, shape, g)?)
    }))
}

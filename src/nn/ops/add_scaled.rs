//! A sum in which each example has a factor.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::checks::expect;
use crate::nn::backend::Backend;
use crate::nn::cpu;
use crate::nn::graph::Variable;

/// `x + factor · y`, with a factor for each example, as stochastic depth (arXiv 1603.09382) needs it: x and y
/// \[batch, …\], `factors` \[batch\].
pub fn add_scaled(x: &Variable, y: &Variable, factors: &[f32]) -> Result<Variable> {
    let fits = x.dims() == y.dims() && x.dims().first() == Some(&factors.len());
    expect("add scaled", fits, &[x, y])?;
    let factors: Arc<[f32]> = factors.into();
    let sum = match Backend::of(&[x.tensor(), y.tensor()]) {
        Backend::Cpu => cpu::with_values([x.tensor(), y.tensor()], |[x, y]| {
            Ok(cpu::examples::add_scaled(x, y, &factors))
        })
        .and_then(|sum| cpu::tensor(sum, x.tensor().shape(), x.tensor()))?,
        Backend::Cuda(_) | Backend::Composed => (x.tensor() + scaled(y.tensor(), &factors)?)?,
    };
    Ok(Variable::computed(sum, &[x, y], move |g, sink| {
        sink.add(0, g.clone())?;
        let dy = match Backend::of(&[g]) {
            Backend::Cpu => cpu::with_values([g], |[g]| Ok(cpu::examples::scaled(g, &factors)))
                .and_then(|dy| cpu::tensor(dy, g.shape(), g))?,
            Backend::Cuda(_) | Backend::Composed => scaled(g, &factors)?,
        };
        sink.add(1, dy)
    }))
}

fn scaled(x: &Tensor, factors: &[f32]) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[0] = factors.len();
    let factors = Tensor::from_vec(factors.to_vec(), shape, x.device())?.to_dtype(x.dtype())?;
    x.broadcast_mul(&factors)
}

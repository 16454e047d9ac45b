//! Dropout of activations.

use candle_core::{Result, Tensor};

use crate::nn::backend::Backend;
use crate::nn::descriptors::Dropout;
use crate::nn::graph::Variable;
use crate::nn::{composed, cpu, cuda};

/// Dropout (arXiv 1207.0580), scaled so that the mean does not change. Which values are dropped depends
/// only on their row-major position in x.
pub fn dropout(x: &Variable, dropout: &Dropout) -> Result<Variable> {
    let dropout = dropout.clone();
    match Backend::of(&[x.tensor()]) {
        Backend::Cuda(backend) => cuda::dropout(backend, x, dropout),
        Backend::Cpu => {
            let dropped = move |x: &Tensor| {
                let y = cpu::with_values([x], |[x]| Ok(cpu::dropout::apply(&dropout, x)))?;
                cpu::tensor(y, x.shape(), x)
            };
            let y = dropped(x.tensor())?;
            Ok(Variable::computed(y, &[x], move |g, sink| sink.add(0, dropped(g)?)))
        }
        Backend::Composed => {
            let mask = composed::dropout_mask(&dropout, x.tensor())?;
            let y = (x.tensor() * &mask)?;
            Ok(Variable::computed(y, &[x], move |g, sink| sink.add(0, (g * mask)?)))
        }
    }
}

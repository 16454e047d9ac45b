//! Cross-entropy.

use candle_core::{DType, Result, Tensor, bail};

use super::checks::checked_ids;
use crate::nn::backend::Backend;
use crate::nn::graph::Variable;
use crate::nn::{composed, cpu, cuda};

/// Cross-entropy of each row, with label smoothing as PyTorch defines it:
/// `(1 − s)·(−log p_label) + s·mean_c(−log p_c)`.
/// logits \[batch, classes\], labels \[batch\] u32, each below classes → \[batch\].
pub fn cross_entropy(logits: &Variable, labels: &Tensor, smoothing: f64) -> Result<Variable> {
    let (batch, classes) = logits.tensor().dims2()?;
    let fits = labels.dims() == [batch] && labels.dtype() == DType::U32 && classes > 0;
    if !fits {
        bail!("cross-entropy: {:?} labels for logits {:?}", labels.shape(), logits.dims());
    }
    match Backend::of(&[logits.tensor(), labels]) {
        Backend::Cuda(backend) => cuda::cross_entropy(backend, logits, labels, smoothing),
        Backend::Cpu => on_cpu(logits, labels, smoothing),
        Backend::Composed => {
            let labels = Variable::constant(labels.clone());
            Variable::composed(&[logits, &labels], move |t| {
                composed::cross_entropy(&t[0], &t[1], smoothing)
            })
        }
    }
}

fn on_cpu(logits: &Variable, labels: &Tensor, smoothing: f64) -> Result<Variable> {
    let (batch, classes) = logits.tensor().dims2()?;
    let ids = checked_ids(labels, classes, "cross-entropy: label")?;
    let smoothing = smoothing as f32;
    let (losses, sums) = cpu::with_values([logits.tensor()], |[values]| {
        Ok(cpu::cross_entropy::forward(values, classes, &ids, smoothing))
    })?;
    let kept = logits.tensor().clone();
    let losses = cpu::tensor(losses, batch, &kept)?;
    Ok(Variable::computed(losses, &[logits], move |g, sink| {
        let d = cpu::with_values([&kept, g], |[values, g]| {
            Ok(cpu::cross_entropy::backward(values, classes, &ids, smoothing, &sums, g))
        })?;
        sink.add(0, cpu::tensor(d, (batch, classes), &kept)?)
    }))
}

//! Patch embedding: images to tokens.

use candle_core::{Result, Tensor};

use super::checks::expect;
use super::linear::linear;
use crate::nn::backend::Backend;
use crate::nn::descriptors::{Epilogue, Weights};
use crate::nn::graph::Variable;
use crate::nn::{composed, cpu, cuda};

/// Images to tokens (arXiv 2010.11929): cuts square patches, applies a linear layer to each, puts the
/// class token in front if there is one, and adds positions.
///
/// images \[batch, c, h, w\], kernel \[dim, c, side, side\], bias \[dim\], class \[1, 1, dim\],
/// positions \[1, tokens, dim\] → \[batch, tokens, dim\].
pub fn embed_patches(
    images: &Tensor,
    kernel: &Variable,
    bias: &Variable,
    class: Option<&Variable>,
    positions: &Variable,
) -> Result<Variable> {
    let (batch, channels, height, width) = images.dims4()?;
    let (dim, kernel_channels, side, side_too) = kernel.tensor().dims4()?;
    let cut = side > 0 && height % side == 0 && width % side == 0;
    let fits = cut
        && channels * height * width * dim > 0
        && (kernel_channels, side_too) == (channels, side)
        && class.is_none_or(|c| c.dims() == [1, 1, dim]);
    let patches = cpu::embedding::Patches { channels, height, width, side };
    let tokens = if fits { patches.count() + usize::from(class.is_some()) } else { 0 };
    let fits = fits && positions.dims() == [1, tokens, dim] && batch > 0 && tokens > 0;
    expect("patch embedding", fits, &[&Variable::constant(images.clone()), kernel, positions])?;
    let rows = match Backend::of(&[images]) {
        Backend::Cuda(backend) => cuda::patches(&backend, images, side)?,
        Backend::Cpu => {
            let rows = cpu::with_values([images], |[images]| Ok(patches.rows(images)))?;
            cpu::tensor(rows, (batch * patches.count(), patches.size()), images)?
        }
        Backend::Composed => composed::patches(images, side)?,
    };
    let kernel = kernel.reshape(&[dim, patches.size()])?;
    let rows =
        linear(&Variable::constant(rows), Weights::dense(&kernel), Some(bias), Epilogue::None)?;
    with_positions(&rows, class, positions, (batch, tokens, dim))
}

/// Puts the class token in front of each sequence, if there is one, and adds positions \[1, tokens, dim\]:
/// rows \[batch · patches, dim\] → \[batch, tokens, dim\].
pub(super) fn with_positions(
    rows: &Variable,
    class: Option<&Variable>,
    positions: &Variable,
    dims: (usize, usize, usize),
) -> Result<Variable> {
    let mut inputs = vec![rows, positions];
    inputs.extend(class);
    let tensors: Vec<&Tensor> = inputs.iter().map(|v| v.tensor()).collect();
    match Backend::of(&tensors) {
        Backend::Cuda(backend) => cuda::with_positions(backend, rows, class, positions, dims),
        Backend::Cpu => with_positions_on_cpu(&inputs, dims),
        Backend::Composed => Variable::composed(&inputs, move |t| {
            let (batch, _, dim) = dims;
            let x = t[0].reshape((batch, (), dim))?;
            let x = match t.get(2) {
                Some(class) => Tensor::cat(&[&class.broadcast_as((batch, 1, dim))?, &x], 1)?,
                None => x,
            };
            x.broadcast_add(&t[1])
        }),
    }
}

fn with_positions_on_cpu(
    inputs: &[&Variable],
    (batch, tokens, dim): (usize, usize, usize),
) -> Result<Variable> {
    let tensors: Vec<&Tensor> = inputs.iter().map(|v| v.tensor()).collect();
    let values = cpu::with_all(&tensors, |t| {
        Ok(cpu::embedding::tokens(t[0], t.get(2).copied(), t[1], dim))
    })?;
    let like = tensors[0].clone();
    let first = if tensors.len() == 3 { dim } else { 0 };
    let values = cpu::tensor(values, (batch, tokens, dim), &like)?;
    Ok(Variable::computed(values, inputs, move |g, sink| {
        let (d_rows, d_class, d_positions) = cpu::with_values([g], |[g]| {
            Ok(cpu::embedding::tokens_backward(g, first, tokens * dim))
        })?;
        sink.add(0, cpu::tensor(d_rows, like.shape(), &like)?)?;
        sink.add(1, cpu::tensor(d_positions, (1, tokens, dim), &like)?)?;
        match first {
            0 => Ok(()),
            _ => sink.add(2, cpu::tensor(d_class, (1, 1, dim), &like)?),
        }
    }))
}

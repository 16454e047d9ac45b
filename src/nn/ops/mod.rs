//! The differentiable operations that models are made of.
//!
//! Each takes the fused path where there is one for its inputs' device and type, and its
//! composition of candle's operations elsewhere. Shapes are checked first, on either path.

mod attention;
mod linear;
#[cfg(test)]
mod tests;

use candle_core::{D, DType, Result, Tensor, bail};
use rayon::prelude::*;

pub use attention::{Mask, self_attention};
pub use linear::{Epilogue, Weights, linear};
pub(in crate::nn) use linear::{Kind, Linear};

use super::cuda::{self, CudaBackend};
use super::{StepKey, Variable, composed, cpu};
use crate::random::{Purpose, Stream};

/// Refuses inputs whose shapes do not belong together.
fn expect(operation: &str, holds: bool, inputs: &[&Variable]) -> Result<()> {
    if holds {
        return Ok(());
    }
    let shapes: Vec<_> = inputs.iter().map(|v| v.dims()).collect();
    bail!("{operation}: the shapes {shapes:?} do not belong together")
}

/// The sum of values of one shape.
pub fn sum(values: &[&Variable]) -> Result<Variable> {
    let [first, rest @ ..] = values else { bail!("a sum of no values") };
    expect("sum", rest.iter().all(|v| v.dims() == first.dims()), values)?;
    let all = rest.iter().try_fold(first.tensor().clone(), |sum, v| sum + v.tensor())?;
    let n = values.len();
    Ok(Variable::computed(all, values, move |g, sink| {
        (0..n).try_for_each(|i| sink.add(i, g.clone()))
    }))
}

/// `y + scale · (low b)` over the last axis: y \[…, out\], low \[…, rank\], b \[rank, out\].
pub fn add_product(y: &Variable, low: &Variable, b: &Variable, scale: f64) -> Result<Variable> {
    let (rank, output) = b.tensor().dims2()?;
    let fits = match (y.dims(), low.dims()) {
        ([rows @ .., o], [low_rows @ .., r]) => rows == low_rows && *o == output && *r == rank,
        _ => false,
    };
    expect("add-product", fits, &[y, low, b])?;
    if let Some(backend) = CudaBackend::of(&[y.tensor(), low.tensor(), b.tensor()]) {
        return cuda::add_product(backend, y, low, b, scale);
    }
    let rows = |t: &Tensor, width| t.reshape(((), width));
    let (flat, matrix) = (rows(low.tensor(), rank)?, b.tensor().clone());
    let added = (flat.matmul(&matrix)? * scale)?.reshape(y.dims())?;
    let low_dims = low.dims().to_vec();
    Ok(Variable::computed((y.tensor() + added)?, &[y, low, b], move |g, sink| {
        sink.add(0, g.clone())?;
        let g = (rows(g, output)? * scale)?;
        sink.add(1, g.matmul(&matrix.t()?)?.reshape(low_dims)?)?;
        sink.add(2, flat.t()?.matmul(&g)?)
    }))
}

/// Layer normalisation over the last axis (arXiv 1607.06450), biased variance:
/// `(x − mean) / √(var + eps) · weight + bias`.
///
/// Its backward pass adds to what other uses of x gave in the same pass: in a residual stream, the sum
/// of the branch's gradient and the stream's costs no pass of its own.
pub fn layer_norm(x: &Variable, weight: &Variable, bias: &Variable, eps: f64) -> Result<Variable> {
    let width = x.tensor().dim(D::Minus1)?;
    let fits = weight.dims() == [width] && bias.dims() == [width] && x.tensor().elem_count() > 0;
    let inputs = [x, weight, bias];
    expect("layer-norm", fits, &inputs)?;
    if let Some(backend) = CudaBackend::of(&inputs.map(Variable::tensor))
        && let Some(y) = cuda::layer_norm(backend, x, weight, bias, eps)?
    {
        return Ok(y);
    }
    if !cpu::takes(&inputs.map(Variable::tensor)) {
        return Variable::composed(&inputs, move |t| {
            composed::layer_norm(&t[0], &t[1], &t[2], eps)
        });
    }
    let (y, moments) = cpu::with_values(inputs.map(Variable::tensor), |[x, w, b]| {
        Ok(cpu::layer_norm::forward(x, w, b, eps as f32))
    })?;
    let y = cpu::tensor(y, x.tensor().shape(), x.tensor())?;
    let (kept, scales) = (x.tensor().clone(), weight.tensor().clone());
    Ok(Variable::computed(y, &inputs, move |g, sink| {
        let so_far = sink.so_far(0);
        let all: Vec<&Tensor> = [&kept, &scales, g].into_iter().chain(&so_far).collect();
        let (dx, dw, db) = cpu::with_all(&all, |t| {
            Ok(cpu::layer_norm::backward(t[0], t[1], &moments, t[2], t.get(3).copied()))
        })?;
        sink.put(0, cpu::tensor(dx, kept.shape(), &kept)?);
        sink.add(1, cpu::tensor(dw, width, &kept)?)?;
        sink.add(2, cpu::tensor(db, width, &kept)?)
    }))
}

/// The exact GELU, `x Φ(x)` (arXiv 1606.08415).
pub fn gelu(x: &Variable) -> Result<Variable> {
    if let Some(backend) = CudaBackend::of(&[x.tensor()]) {
        return cuda::gelu(backend, x);
    }
    if !cpu::takes(&[x.tensor()]) {
        return Variable::composed(&[x], |t| composed::gelu(&t[0]));
    }
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

/// Cross-entropy of each row, with label smoothing as PyTorch defines it:
/// `(1 − s)·(−log p_label) + s·mean_c(−log p_c)`.
/// logits \[batch, classes\], labels \[batch\] u32, each below classes → \[batch\].
pub fn cross_entropy(logits: &Variable, labels: &Tensor, smoothing: f64) -> Result<Variable> {
    let (batch, classes) = logits.tensor().dims2()?;
    let fits = labels.dims() == [batch] && labels.dtype() == DType::U32 && classes > 0;
    if !fits {
        bail!("cross-entropy: {:?} labels for logits {:?}", labels.shape(), logits.dims());
    }
    if let Some(backend) = CudaBackend::of(&[logits.tensor(), labels]) {
        return cuda::cross_entropy(backend, logits, labels, smoothing);
    }
    if !cpu::takes(&[logits.tensor()]) {
        let labels = Variable::constant(labels.clone());
        return Variable::composed(&[logits, &labels], move |t| {
            composed::cross_entropy(&t[0], &t[1], smoothing)
        });
    }
    let ids = numbers(labels, classes, "cross-entropy: a label")?;
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

/// Whole numbers, each below `end`.
fn numbers(t: &Tensor, end: usize, what: &str) -> Result<Vec<u32>> {
    let ids = t.flatten_all()?.to_vec1::<u32>()?;
    match ids.iter().find(|id| **id as usize >= end) {
        Some(id) => bail!("{what} of {id} where numbers are below {end}"),
        None => Ok(ids),
    }
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
    if CudaBackend::of(&[x.tensor()]).is_some() {
        return cuda::mean_tokens(x);
    }
    Ok(Variable::computed(x.tensor().mean(1)?, &[x], move |g, sink| {
        let each = (g / tokens as f64)?.reshape((batch, 1, dim))?;
        sink.add(0, each.broadcast_as((batch, tokens, dim))?.contiguous()?)
    }))
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

/// Rows of a table by number: table \[rows, width\], ids u32 of any shape → \[…, width\].
pub fn embedding(table: &Variable, ids: &Tensor) -> Result<Variable> {
    let (rows, width) = table.tensor().dims2()?;
    let numbers = numbers(ids, rows, "embedding: a number")?;
    expect("embedding", width > 0 && !numbers.is_empty(), &[table])?;
    if let Some(backend) = CudaBackend::of(&[table.tensor(), ids]) {
        let dtype = table.copy().map_or(table.tensor().dtype(), Tensor::dtype);
        return cuda::embedding(backend, table, ids, dtype);
    }
    let mut dims = ids.dims().to_vec();
    dims.push(width);
    if !cpu::takes(&[table.tensor()]) {
        let ids = Variable::constant(ids.flatten_all()?);
        return Variable::composed(&[table, &ids], move |t| {
            t[0].index_select(&t[1], 0)?.reshape(dims.as_slice())
        });
    }
    let values = cpu::with_values([table.tensor()], |[table]| {
        Ok(cpu::embedding::forward(table, width, &numbers))
    })?;
    let values = cpu::tensor(values, dims, table.tensor())?;
    Ok(Variable::computed(values, &[table], move |g, sink| {
        let d =
            cpu::with_values([g], |[g]| Ok(cpu::embedding::backward(rows, width, &numbers, g)))?;
        sink.add(0, cpu::tensor(d, (rows, width), g)?)
    }))
}

/// Images to tokens (arXiv 2010.11929): square patches of `side`, a linear layer on each, the
/// class token in front where there is one, positions added.
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
    let rows = if let Some(backend) = CudaBackend::of(&[images]) {
        cuda::patches(&backend, images, side)?
    } else if cpu::takes(&[images]) {
        let rows = cpu::with_values([images], |[images]| Ok(patches.rows(images)))?;
        cpu::tensor(rows, (batch * patches.count(), patches.size()), images)?
    } else {
        composed::patches(images, side)?
    };
    let kernel = kernel.reshape(&[dim, patches.size()])?;
    let rows =
        linear(&Variable::constant(rows), Weights::dense(&kernel), Some(bias), Epilogue::None)?;
    with_positions(&rows, class, positions, (batch, tokens, dim))
}

fn with_positions(
    rows: &Variable,
    class: Option<&Variable>,
    positions: &Variable,
    (batch, tokens, dim): (usize, usize, usize),
) -> Result<Variable> {
    let mut inputs = vec![rows, positions];
    inputs.extend(class);
    let tensors: Vec<&Tensor> = inputs.iter().map(|v| v.tensor()).collect();
    if let Some(backend) = CudaBackend::of(&tensors) {
        return cuda::with_positions(backend, rows, class, positions, (batch, tokens, dim));
    }
    if !cpu::takes(&tensors) {
        return Variable::composed(&inputs, move |t| {
            let x = t[0].reshape((batch, (), dim))?;
            let x = match t.get(2) {
                Some(class) => Tensor::cat(&[&class.broadcast_as((batch, 1, dim))?, &x], 1)?,
                None => x,
            };
            x.broadcast_add(&t[1])
        });
    }
    let values = cpu::with_all(&tensors, |t| {
        Ok(cpu::embedding::tokens(t[0], t.get(2).copied(), t[1], dim))
    })?;
    let like = rows.tensor().clone();
    let first = if class.is_some() { dim } else { 0 };
    let values = cpu::tensor(values, (batch, tokens, dim), &like)?;
    Ok(Variable::computed(values, &inputs, move |g, sink| {
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

/// Dropout (arXiv 1207.0580), scaled so that the mean stays: each value is set to zero with
/// probability `rate`, in \[0, 1), and divided by `1 − rate` otherwise.
///
/// Which values are dropped depends on `place`, `layer` and a value's position alone, so the
/// backward pass draws them again in place of keeping them.
pub fn dropout(x: &Variable, rate: f64, key: StepKey, layer: &str) -> Result<Variable> {
    if let Some(backend) = CudaBackend::of(&[x.tensor()]) {
        return cuda::dropout(backend, x, rate, key, layer);
    }
    let name = format!("{layer} {} {}", key.step, key.part);
    let stream = Stream::new(key.seed, Purpose::Dropout, &name);
    let dropped = dropped(x.tensor(), rate, &stream)?;
    Ok(Variable::computed(dropped, &[x], move |g, sink| {
        sink.add(0, self::dropped(g, rate, &stream)?)
    }))
}

/// Values drawn at once.
const DRAWN: usize = 1 << 12;

fn dropped(x: &Tensor, rate: f64, stream: &Stream) -> Result<Tensor> {
    let below = (rate * (u64::from(u32::MAX) + 1) as f64) as u32;
    let kept = 1.0 / (1.0 - rate) as f32;
    let mut mask = vec![kept; x.elem_count()];
    mask.par_chunks_mut(DRAWN).enumerate().for_each(|(i, mask)| {
        let mut stream = stream.clone().from_number((i * DRAWN) as u64);
        for m in mask {
            if stream.next_u32() < below {
                *m = 0.0;
            }
        }
    });
    x * Tensor::from_vec(mask, x.dims(), x.device())?.to_dtype(x.dtype())?
}

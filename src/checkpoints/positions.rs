//! Position embeddings of one square of patches resampled to another.
//!
//! Both programs whose models these are interpolate bicubically between the centres of patches, and
//! keep what precedes the patches (the class token's). They differ in the rest:
//!
//! - timm's `resample_abs_pos_embed` asks PyTorch's `interpolate` for `antialias=True`: the kernel
//!   has a = −0.5, is widened by the ratio where patches become fewer, and its weights are divided
//!   by their sum over the patches that are there.
//! - transformers' `interpolate_pos_encoding` asks for none: a = −0.75, four taps always, those
//!   beyond the edge read the edge.

use candle_core::{Device, Result, Tensor};

use crate::spec::{PositionEmbedding, Resampled};

/// For each place in a row of `to` patches its weights on a row of `from`: \[to\]\[from\].
type Weights = Vec<Vec<f64>>;

/// The cubic convolution kernel of Keys with this a.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    match x {
        _ if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
        _ => 0.0,
    }
}

/// timm's.
fn antialiased(from: usize, to: usize) -> Weights {
    let ratio = from as f64 / to as f64;
    let wide = ratio.max(1.0);
    let row = |place: usize| {
        let centre = ratio * (place as f64 + 0.5);
        // The patches whose centres lie within the kernel.
        let start = (centre - 2.0 * wide + 0.5).max(0.0) as usize;
        let end = ((centre + 2.0 * wide + 0.5) as usize).min(from);
        let mut row = vec![0.0; from];
        for (patch, weight) in row.iter_mut().enumerate().take(end).skip(start) {
            *weight = cubic((patch as f64 - centre + 0.5) / wide, -0.5);
        }
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|weight| *weight /= sum);
        row
    };
    (0..to).map(row).collect()
}

/// transformers'.
fn plain(from: usize, to: usize) -> Weights {
    let ratio = from as f64 / to as f64;
    let row = |place: usize| {
        let at = ratio * (place as f64 + 0.5) - 0.5;
        let mut row = vec![0.0; from];
        for tap in -1..=2 {
            let patch = at.floor() + f64::from(tap);
            let inside = patch.clamp(0.0, from as f64 - 1.0) as usize;
            row[inside] += cubic(at - patch, -0.75);
        }
        row
    };
    (0..to).map(row).collect()
}

/// \[1, prefix + from², dim\] to \[1, prefix + to², dim\], float32, rows and columns by the same
/// weights.
pub fn resample_positions(positions: &Tensor, prefix: usize, how: Resampled) -> Result<Tensor> {
    let (_, tokens, dim) = positions.dims3()?;
    let Resampled { method, from, to } = how;
    let weights = &match method {
        PositionEmbedding::HuggingFace => plain(from, to),
        _ => antialiased(from, to),
    };
    if tokens != prefix + from * from {
        candle_core::bail!("{tokens} positions, expected {prefix} and {from} × {from}");
    }
    let values = positions.flatten_all()?.to_vec1::<f32>()?;
    let (kept, grid) = values.split_at(prefix * dim);
    // Columns first, as rows of [from, to, dim], then rows.
    let mut across = vec![0f64; from * to * dim];
    for (row, out) in grid.chunks_exact(from * dim).zip(across.chunks_exact_mut(to * dim)) {
        for (weights, out) in weights.iter().zip(out.chunks_exact_mut(dim)) {
            for (weight, patch) in weights.iter().zip(row.chunks_exact(dim)) {
                for (out, value) in out.iter_mut().zip(patch) {
                    *out += weight * f64::from(*value);
                }
            }
        }
    }
    let mut all = kept.to_vec();
    for weights in weights {
        let mut row = vec![0f64; to * dim];
        for (weight, from) in weights.iter().zip(across.chunks_exact(to * dim)) {
            row.iter_mut().zip(from).for_each(|(out, value)| *out += weight * value);
        }
        all.extend(row.into_iter().map(|value| value as f32));
    }
    Tensor::from_vec(all, (1, prefix + to * to, dim), &Device::Cpu)
}

//! Resamples position embeddings from one square grid of patches to another.
//!
//! timm and transformers both interpolate bicubically between the centres of patches, and keep the
//! embeddings before the patches (that of the class token). They differ in the kernel:
//!
//! - timm's `resample_abs_pos_embed` calls PyTorch's `interpolate` with `antialias=True`. The
//!   kernel has a = −0.5 and is widened by the ratio if there are fewer patches than before. Its
//!   weights are normalised over the patches inside the grid.
//! - transformers' `interpolate_pos_encoding` calls it without antialiasing: a = −0.75, always four
//!   taps, and a tap beyond the edge reads the edge.

use candle_core::{Device, Result, Tensor};

use crate::spec::{PositionEmbedding, Resampled};

/// For each of `to` new patches in a row, the weights of the `from` old ones: \[to\]\[from\].
type Weights = Vec<Vec<f64>>;

/// Keys' cubic convolution kernel with parameter a.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    match x {
        _ if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
        _ => 0.0,
    }
}

/// timm's weights.
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

/// transformers' weights.
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

/// Resamples \[1, prefix + from², dim\] to \[1, prefix + to², dim\], float32. Rows and columns use
/// the same weights.
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
    // First along each row, to [from, to, dim], then along each column.
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

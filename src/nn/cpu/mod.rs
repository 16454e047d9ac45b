//! Fused float32 operations on the CPU, forward and backward in one pass over memory each.
//!
//! Each has its composition of candle primitives in [`super::composed`] as its oracle. Loops
//! are plain Rust, compiled for several instruction sets and chosen at run time (`pulp`);
//! Rust contracts no multiply–add, so every one of them gives the same bits. Sums over rows
//! go by blocks of fixed size, so the bits do not depend on the number of threads either.

mod attention;
mod elementwise;
mod gelu;
mod layer_norm;
mod linear;
mod product;
mod rate;

pub use attention::Attention;
pub use gelu::Gelu;
pub use layer_norm::LayerNorm;
pub use linear::{AddProduct, Linear};
pub use rate::product_rate;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// Rows whose sum is taken together before the sums are added up.
const BLOCK: usize = 64;

/// Whether the fused operations take this tensor.
pub fn takes(t: &Tensor) -> bool {
    t.device().is_cpu() && t.dtype() == candle_core::DType::F32
}

/// The values of a contiguous argument of an operation.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&values[from..to]),
        None => bail!("a fused operation needs contiguous input"),
    }
}

/// Refuses arguments whose shapes do not belong together.
fn expect(operation: &str, holds: bool, shapes: &[&Layout]) -> Result<()> {
    if holds {
        return Ok(());
    }
    let shapes: Vec<_> = shapes.iter().map(|l| l.shape().dims()).collect();
    bail!("{operation}: the shapes {shapes:?} do not belong together")
}

/// Calls `f` with the values of each tensor, in row-major order.
fn with_values<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> Result<R>,
) -> Result<R> {
    let mut contiguous = Vec::with_capacity(N);
    for t in tensors {
        contiguous.push(t.contiguous()?);
    }
    let guards: Vec<_> = contiguous.iter().map(Tensor::storage_and_layout).collect();
    let mut values: [&[f32]; N] = [&[]; N];
    for (value, (storage, layout)) in values.iter_mut().zip(&guards) {
        *value = match &**storage {
            Storage::Cpu(storage) => slice(storage, layout)?,
            _ => bail!("a fused CPU operation met a tensor of another device"),
        };
    }
    f(values)
}

/// Column sums of a row-major matrix.
fn column_sums(values: &[f32], width: usize) -> Vec<f32> {
    let partial: Vec<Vec<f32>> = values
        .par_chunks(BLOCK * width)
        .map(|block| {
            let mut sum = vec![0f32; width];
            for row in block.chunks_exact(width) {
                elementwise::add_to(&mut sum, row);
            }
            sum
        })
        .collect();
    total(partial, width)
}

/// Adds up blocks' sums in their order.
fn total(partial: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut sum = vec![0f32; width];
    for block in &partial {
        elementwise::add_to(&mut sum, block);
    }
    sum
}

//! Layer normalisation.

use candle_core::{DType, Result, Tensor};

use super::backend::CudaBackend;
use super::elementwise::sum_rows;
use super::launch::{Arg, Grid, MAX_SHARED, in_vectors, of_type};
use crate::nn::graph::Variable;

/// Shared memory per block that is available by default. Very wide rows need more.
const SHARED: usize = 48 << 10;
/// The multiprocessors of an H100.
const MULTIPROCESSORS: usize = 132;

/// How the kernels read a row.
#[derive(Clone, Copy)]
enum Kernel {
    /// Once, into registers: this number of vectors for each lane of a warp.
    Parts(usize),
    /// Again and again, in vectors.
    Wide,
    /// Again and again, value by value.
    Plain,
}

impl Kernel {
    const MAX_PARTS: usize = 4;

    /// For rows of `width` values of all of `tensors`, of which the first has the activations' type.
    fn of(width: usize, tensors: &[&Tensor]) -> Kernel {
        let parts = width.div_ceil(32 * 16 / tensors[0].dtype().size_in_bytes());
        match in_vectors(width, tensors) {
            false => Kernel::Plain,
            true if parts <= Kernel::MAX_PARTS => Kernel::Parts(parts),
            true => Kernel::Wide,
        }
    }

    fn name(self) -> String {
        match self {
            Kernel::Parts(parts) => parts.to_string(),
            Kernel::Wide => "wide".into(),
            Kernel::Plain => "plain".into(),
        }
    }

    /// Rows of a warp in the forward pass, as in the kernels' source.
    fn rows(self) -> usize {
        match self {
            Kernel::Parts(1) => 4,
            Kernel::Parts(2) => 2,
            _ => 1,
        }
    }

    /// The most blocks of the backward pass: about as many as a GPU runs at once. Each block writes a row of
    /// sums.
    fn most_blocks(self) -> usize {
        match self {
            Kernel::Parts(1) => 4 * MULTIPROCESSORS,
            _ => 2 * MULTIPROCESSORS,
        }
    }
}

/// Whether a block's shared memory can hold the backward pass's sums for rows of this width.
pub fn takes_rows_of(width: usize) -> bool {
    plan(width).is_some()
}

/// [`crate::nn::ops::layer_norm`], for widths that [`takes_rows_of`] accepts.
pub fn layer_norm(
    backend: CudaBackend,
    x: &Variable,
    weight: &Variable,
    bias: &Variable,
    eps: f64,
) -> Result<Variable> {
    let width = weight.tensor().elem_count();
    let (input, scales) = (x.tensor().contiguous()?, weight.tensor().contiguous()?);
    let shifts = bias.tensor().contiguous()?;
    let dtype = input.dtype();
    let rows = input.elem_count() / width;
    let y = backend.empty(input.shape(), dtype)?;
    let mean = backend.empty(rows, DType::F32)?;
    let rstd = backend.empty(rows, DType::F32)?;
    let kernel = Kernel::of(width, &[&input, &scales, &shifts]);
    backend.launch(
        &of_type(&format!("layer_norm_{}", kernel.name()), dtype)?,
        Grid::of_rows(rows.div_ceil(kernel.rows())),
        &[
            Arg::Tensor(&input),
            Arg::Tensor(&scales),
            Arg::Tensor(&shifts),
            Arg::Tensor(&y),
            Arg::Tensor(&mean),
            Arg::Tensor(&rstd),
            Arg::int(rows),
            Arg::int(width),
            Arg::Float(eps as f32),
        ],
    )?;
    let back = Backward { backend, input, scales, mean, rstd };
    Ok(Variable::computed(y, &[x, weight, bias], move |g, sink| {
        let so_far = sink.take(0);
        let (dx, d_weight, d_bias) = back.gradients(g, so_far.as_ref())?;
        sink.set(0, dx);
        sink.add(1, d_weight)?;
        sink.add(2, d_bias)
    }))
}

/// What the backward pass needs.
struct Backward {
    backend: CudaBackend,
    input: Tensor,
    scales: Tensor,
    mean: Tensor,
    rstd: Tensor,
}

impl Backward {
    fn gradients(&self, g: &Tensor, so_far: Option<&Tensor>) -> Result<(Tensor, Tensor, Tensor)> {
        let Backward { backend, input, scales, mean, rstd } = self;
        let (dtype, width) = (input.dtype(), scales.elem_count());
        let rows = input.elem_count() / width;
        let (g, so_far) = (g.contiguous()?, so_far.map(Tensor::contiguous).transpose()?);
        let dx = backend.empty(input.shape(), dtype)?;
        let Some((warps, shared)) = plan(width) else {
            candle_core::bail!("layer-norm: rows of {width} values have no backward pass on a GPU")
        };
        let mut all = vec![input, scales, &g];
        all.extend(&so_far);
        let kernel = Kernel::of(width, &all);
        let blocks = rows.div_ceil(warps).min(kernel.most_blocks());
        let partials = backend.empty((blocks, 2 * width), DType::F32)?;
        backend.launch(
            &of_type(&format!("layer_norm_backward_{}", kernel.name()), dtype)?,
            Grid { blocks: [blocks, 1, 1], threads: [32 * warps, 1], shared },
            &[
                Arg::Tensor(input),
                Arg::Tensor(scales),
                Arg::Tensor(mean),
                Arg::Tensor(rstd),
                Arg::Tensor(&g),
                Arg::maybe(so_far.as_ref()),
                Arg::Tensor(&dx),
                Arg::Tensor(&partials),
                Arg::int(rows),
                Arg::int(width),
            ],
        )?;
        let sums = sum_rows(backend, &partials, 2 * width)?;
        Ok((dx, sums.narrow(0, 0, width)?, sums.narrow(0, width, width)?))
    }
}

/// Warps per block, and its shared memory; None if rows are too wide. Each warp has two sums per column.
/// The columns are padded to a multiple of 256, the most that a warp reads at once.
fn plan(width: usize) -> Option<(usize, usize)> {
    let each = 2 * width.next_multiple_of(256) * 4;
    let warps = (SHARED / each).clamp(1, 8);
    (warps * each <= MAX_SHARED).then_some((warps, warps * each))
}

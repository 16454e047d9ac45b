//! Turns images and token ids into vectors.

use candle_core::{DType, Result, Tensor, bail};

use super::backend::CudaBackend;
use super::elementwise::{column_sums, sum_rows};
use super::launch::{Arg, Grid, THREADS, of_type};
use crate::nn::graph::Variable;

/// The examples of a batch, and how each is shifted and mirrored.
pub struct Batch<'a> {
    /// \[n, side, side, channels\], bytes.
    pub bytes: &'a Tensor,
    /// For each example: (image, right, down, mirrored).
    pub picks: &'a [[i32; 4]],
    /// Mean and standard deviation of each channel, for values in \[0, 1\].
    pub mean: &'a Tensor,
    pub deviation: &'a Tensor,
}

/// The normalised batch: \[batch, channels, side, side\] of type `dtype`.
pub fn batch_of(backend: &CudaBackend, batch: &Batch, dtype: DType) -> Result<Tensor> {
    let (_, height, width, channels) = batch.bytes.dims4()?;
    let count = batch.picks.len();
    // Kernels read them as signed integers.
    let picks: Vec<u32> = batch.picks.iter().flatten().map(|v| *v as u32).collect();
    let picks = backend.tensor(&picks, (count, 4))?;
    let out = backend.empty((count, channels, height, width), dtype)?;
    backend.launch(
        &of_type("images", dtype)?,
        Grid::of_examples(channels * height * width, count),
        &[
            Arg::Tensor(batch.bytes),
            Arg::Tensor(&picks),
            Arg::Tensor(batch.mean),
            Arg::Tensor(batch.deviation),
            Arg::Tensor(&out),
            Arg::int(count),
            Arg::int(channels),
            Arg::int(height),
            Arg::int(width),
        ],
    )?;
    Ok(out)
}

/// images \[batch, c, h, w\] → \[batch · patches, c · side · side\].
pub fn patches(backend: &CudaBackend, images: &Tensor, side: usize) -> Result<Tensor> {
    let images = images.contiguous()?;
    let (batch, channels, height, width) = images.dims4()?;
    let size = channels * side * side;
    let rows = backend.empty((images.elem_count() / size, size), images.dtype())?;
    backend.launch(
        &of_type("patches", images.dtype())?,
        Grid::of_examples(channels * height * width, batch),
        &[
            Arg::Tensor(&images),
            Arg::Tensor(&rows),
            Arg::int(batch),
            Arg::int(channels),
            Arg::int(height),
            Arg::int(width),
            Arg::int(side),
        ],
    )?;
    Ok(rows)
}

/// Puts the class token in front of each sequence, if there is one, and adds positions \[1, tokens, dim\]:
/// rows \[batch · patches, dim\] → \[batch, tokens, dim\].
pub fn with_positions(
    backend: CudaBackend,
    rows: &Variable,
    class: Option<&Variable>,
    positions: &Variable,
    (batch, tokens, dim): (usize, usize, usize),
) -> Result<Variable> {
    let input = rows.tensor().contiguous()?;
    let dtype = input.dtype();
    // The kernel reads them as float32, whatever the type of `rows` is.
    for parameter in [Some(positions), class].into_iter().flatten() {
        if parameter.tensor().dtype() != DType::F32 {
            bail!("positions and class token must be float32, as parameters are");
        }
    }
    let class_token = class.map(|c| c.tensor().contiguous()).transpose()?;
    let places = positions.tensor().contiguous()?;
    let out = backend.empty((batch, tokens, dim), dtype)?;
    backend.launch(
        &of_type("tokens", dtype)?,
        Grid::of_examples(tokens * dim, batch),
        &[
            Arg::Tensor(&input),
            Arg::maybe(class_token.as_ref()),
            Arg::Tensor(&places),
            Arg::Tensor(&out),
            Arg::int(batch),
            Arg::int(tokens),
            Arg::int(dim),
        ],
    )?;
    let front = usize::from(class.is_some());
    let shape = input.shape().clone();
    let mut inputs = vec![rows, positions];
    inputs.extend(class);
    Ok(Variable::computed(out, &inputs, move |g, sink| {
        let g = g.contiguous()?;
        if sink.needs_input_grad(0) {
            let d_rows = backend.empty(shape, dtype)?;
            backend.launch(
                &of_type("tokens_backward", dtype)?,
                Grid::of_examples((tokens - front) * dim, batch),
                &[
                    Arg::Tensor(&g),
                    Arg::Tensor(&d_rows),
                    Arg::int(batch),
                    Arg::int(tokens),
                    Arg::int(dim),
                    Arg::int(front),
                ],
            )?;
            sink.add(0, d_rows)?;
        }
        let class = front == 1 && sink.needs_input_grad(2);
        if sink.needs_input_grad(1) || class {
            // Sums over the batch. The class token's gradient is that of the first position.
            let (_, sums) = column_sums(&backend, &g, None, tokens * dim)?;
            if class {
                sink.add(2, sums.narrow(0, 0, dim)?.reshape((1, 1, dim))?)?;
            }
            sink.add(1, sums.reshape((1, tokens, dim))?)?;
        }
        Ok(())
    }))
}

/// [`crate::nn::ops::embedding`], in type `dtype`. An id that is not a row of the table gives NaN, since
/// checking it here would wait for the GPU.
pub fn embedding(
    backend: CudaBackend,
    table: &Variable,
    ids: &Tensor,
    dtype: DType,
) -> Result<Variable> {
    let (rows, width) = table.tensor().dims2()?;
    let values = table.tensor().contiguous()?;
    let mut dims = ids.dims().to_vec();
    dims.push(width);
    let ids = ids.flatten_all()?.contiguous()?;
    let count = ids.elem_count();
    let out = backend.empty(dims, dtype)?;
    backend.launch(
        &of_type("embedding", dtype)?,
        Grid::of(count * width),
        &[
            Arg::Tensor(&values),
            Arg::Tensor(&ids),
            Arg::Tensor(&out),
            Arg::int(count),
            Arg::int(rows),
            Arg::int(width),
        ],
    )?;
    Ok(Variable::computed(out, &[table], move |g, sink| {
        let g = g.contiguous()?;
        let d = if rows <= FEW_ROWS {
            sums_by_row(&backend, &ids, &g, rows, width)?
        } else {
            sums_by_first(&backend, &ids, &g, rows, width)?
        };
        sink.add(0, d)
    }))
}

/// The most rows of a table whose gradient has a block for each row and part of the ids.
const FEW_ROWS: usize = 512;
/// Ids per part.
const PART: usize = 1024;

/// The gradient of a table of few rows, each of which occurs often. g \[count, width\] → \[rows, width\].
fn sums_by_row(
    backend: &CudaBackend,
    ids: &Tensor,
    g: &Tensor,
    rows: usize,
    width: usize,
) -> Result<Tensor> {
    let count = ids.elem_count();
    let parts = count.div_ceil(PART);
    let partials = backend.empty((parts, rows, width), DType::F32)?;
    backend.launch(
        &of_type("embedding_partials", g.dtype())?,
        Grid { blocks: [rows, parts, 1], threads: [THREADS, 1], shared: 0 },
        &[
            Arg::Tensor(ids),
            Arg::Tensor(g),
            Arg::Tensor(&partials),
            Arg::int(count),
            Arg::int(rows),
            Arg::int(width),
            Arg::int(PART),
        ],
    )?;
    match parts {
        1 => partials.reshape((rows, width)),
        _ => sum_rows(backend, &partials, rows * width)?.reshape((rows, width)),
    }
}

/// The gradient of a table of many rows, few of which occur.
fn sums_by_first(
    backend: &CudaBackend,
    ids: &Tensor,
    g: &Tensor,
    rows: usize,
    width: usize,
) -> Result<Tensor> {
    let count = ids.elem_count();
    let d = backend.zeros((rows, width), DType::F32)?;
    backend.launch(
        &of_type("embedding_backward", g.dtype())?,
        Grid { blocks: [count, 1, 1], threads: [THREADS, 1], shared: 0 },
        &[
            Arg::Tensor(ids),
            Arg::Tensor(g),
            Arg::Tensor(&d),
            Arg::int(count),
            Arg::int(rows),
            Arg::int(width),
        ],
    )?;
    Ok(d)
}

//! Element-wise operations, and sums over rows.

use candle_core::{DType, Result, Tensor};

use super::backend::CudaBackend;
use super::launch::{Arg, Grid, in_vectors, of_type};
use super::product::{Matrix, Product};
use crate::nn::descriptors::{Dropout, Gelu};
use crate::nn::graph::Variable;

/// Rows of threads per block that sums columns.
const ROWS: usize = 8;

/// Values per vector of 16 bytes.
fn vector(dtype: DType) -> usize {
    16 / dtype.size_in_bytes()
}

/// The sum of a float32 matrix's rows, \[width\].
pub fn sum_rows(backend: &CudaBackend, partials: &Tensor, width: usize) -> Result<Tensor> {
    let count = partials.elem_count() / width;
    let out = backend.empty(width, DType::F32)?;
    backend.launch(
        "sum_rows",
        Grid { blocks: [width.div_ceil(32), 1, 1], threads: [32, ROWS], shared: 0 },
        &[Arg::Tensor(partials), Arg::Tensor(&out), Arg::int(count), Arg::int(width)],
    )?;
    Ok(out)
}

/// The sum of g's rows in float32, \[width\]. With `z`, which is the input of a GELU whose result has
/// the gradient g: the gradient of z, and the sum of that gradient's rows.
pub fn column_sums(
    backend: &CudaBackend,
    g: &Tensor,
    z: Option<(&Tensor, Gelu)>,
    width: usize,
) -> Result<(Option<Tensor>, Tensor)> {
    let rows = g.elem_count() / width;
    let (z, form) = (z.map(|(z, _)| z), z.map(|(_, form)| form));
    let dz = z.map(|z| backend.empty(z.shape(), g.dtype())).transpose()?;
    let all: Vec<&Tensor> = [g].into_iter().chain(z).collect();
    let vectors = in_vectors(width, &all);
    let panels = width.div_ceil(if vectors { 32 * vector(g.dtype()) } else { 32 });
    // Enough blocks to fill a GPU, with at least four rows per thread.
    let chunks = rows.div_ceil(4 * ROWS).min(512usize.div_ceil(panels).min(256));
    let each = rows.div_ceil(chunks);
    let chunks = rows.div_ceil(each);
    let partials = backend.empty((chunks, width), DType::F32)?;
    backend.launch(
        &of_type("column_sums", g.dtype())?,
        Grid { blocks: [panels, chunks, 1], threads: [32, ROWS], shared: 0 },
        &[
            Arg::Tensor(g),
            Arg::maybe(z),
            Arg::maybe(dz.as_ref()),
            Arg::Tensor(&partials),
            Arg::int(rows),
            Arg::int(width),
            Arg::int(each),
            Arg::flag(form == Some(Gelu::Tanh)),
            Arg::flag(vectors),
        ],
    )?;
    Ok((dz, sum_rows(backend, &partials, width)?))
}

/// GELU of every value.
pub fn gelu_of(backend: &CudaBackend, z: &Tensor, form: Gelu) -> Result<Tensor> {
    let count = z.elem_count();
    let vectors = in_vectors(count, &[z]);
    let each = if vectors { vector(z.dtype()) } else { 1 };
    let y = backend.empty(z.shape(), z.dtype())?;
    backend.launch(
        &of_type("gelu", z.dtype())?,
        Grid::of(count / each),
        &[
            Arg::Tensor(z),
            Arg::Tensor(&y),
            Arg::Size(count as u64),
            Arg::flag(form == Gelu::Tanh),
            Arg::flag(vectors),
        ],
    )?;
    Ok(y)
}

/// [`crate::nn::ops::gelu`].
pub fn gelu(backend: CudaBackend, x: &Variable, form: Gelu) -> Result<Variable> {
    let z = x.tensor().contiguous()?;
    let y = gelu_of(&backend, &z, form)?;
    Ok(Variable::computed(y, &[x], move |g, sink| {
        let width = *z.dims().last().unwrap_or(&1);
        let (dz, _) = column_sums(&backend, &g.contiguous()?, Some((&z, form)), width)?;
        dz.map_or(Ok(()), |dz| sink.add(0, dz))
    }))
}

/// w + scale · bᵀ a in type `dtype`, for float32 w \[out, in\], a \[rank, in\], b \[rank, out\]. Without
/// a pair it only changes the type.
pub fn fold(
    backend: &CudaBackend,
    w: &Tensor,
    pair: Option<(&Tensor, &Tensor, f64)>,
    dtype: DType,
) -> Result<Tensor> {
    let input = *w.dims().last().unwrap_or(&1);
    let output = w.elem_count() / input;
    let out = backend.empty(w.shape(), dtype)?;
    let rank = pair.map_or(0, |(a, _, _)| a.elem_count() / input);
    let all: Vec<&Tensor> = [w].into_iter().chain(pair.map(|(a, _, _)| a)).collect();
    let vectors = in_vectors(input, &all);
    let each = if vectors { 4 } else { 1 };
    backend.launch(
        &of_type("fold", dtype)?,
        Grid::of(output * input / each),
        &[
            Arg::Tensor(w),
            Arg::maybe(pair.map(|(a, _, _)| a)),
            Arg::maybe(pair.map(|(_, b, _)| b)),
            Arg::Float(pair.map_or(0.0, |(_, _, scale)| scale as f32)),
            Arg::Tensor(&out),
            Arg::int(output),
            Arg::int(input),
            Arg::int(rank),
            Arg::flag(vectors),
        ],
    )?;
    Ok(out)
}

/// A variable's values in type `dtype`: its tensor, its copy, or a new tensor.
pub fn in_type(backend: &CudaBackend, value: &Variable, dtype: DType) -> Result<Tensor> {
    match value.copy() {
        _ if value.tensor().dtype() == dtype => value.tensor().contiguous(),
        Some(copy) if copy.dtype() == dtype => copy.contiguous(),
        _ => fold(backend, &value.tensor().contiguous()?, None, dtype),
    }
}

/// [`crate::nn::ops::add_product`].
pub fn add_product(
    backend: CudaBackend,
    y: &Variable,
    low: &Variable,
    b: &Variable,
    scale: f64,
) -> Result<Variable> {
    let (rank, output) = b.tensor().dims2()?;
    let dtype = y.tensor().dtype();
    let (sum, flat) = (y.tensor().contiguous()?, low.tensor().contiguous()?);
    let matrix = in_type(&backend, b, dtype)?;
    let (left, right) = (Matrix::rows(&flat, rank), Matrix::rows(&matrix, output));
    let scale = scale as f32;
    let product = Product { added: Some(&sum), ..Product::of(left, right).scaled(scale) };
    let result = backend.product(product)?.reshape(y.dims())?;
    let dims = low.dims().to_vec();
    Ok(Variable::computed(result, &[y, low, b], move |g, sink| {
        let g = g.contiguous()?;
        let rows = Matrix::rows(&g, output);
        if sink.needs_input_grad(1) {
            let product = Product::of(rows, Matrix::rows(&matrix, output).t());
            let d = backend.product(product.scaled(scale))?;
            sink.add(1, d.reshape(dims)?)?;
        }
        if sink.needs_input_grad(2) {
            let product = Product::of(Matrix::rows(&flat, rank).t(), rows);
            sink.add(2, backend.product(product.scaled(scale).in_float())?)?;
        }
        sink.add(0, g)
    }))
}

/// [`crate::nn::ops::mean_tokens`], summed in float32.
pub fn mean_tokens(x: &Variable) -> Result<Variable> {
    let (batch, tokens, dim) = x.tensor().dims3()?;
    let dtype = x.tensor().dtype();
    let mean = x.tensor().to_dtype(DType::F32)?.mean(1)?.to_dtype(dtype)?;
    Ok(Variable::computed(mean, &[x], move |g, sink| {
        let each = (g.to_dtype(DType::F32)? / tokens as f64)?.to_dtype(dtype)?;
        let each = each.reshape((batch, 1, dim))?;
        sink.add(0, each.broadcast_as((batch, tokens, dim))?.contiguous()?)
    }))
}

/// [`crate::nn::ops::dropout`]. It drops the same values as the CPU.
pub fn dropout(backend: CudaBackend, x: &Variable, dropout: Dropout) -> Result<Variable> {
    let y = dropped(&backend, x.tensor(), &dropout)?;
    Ok(Variable::computed(y, &[x], move |g, sink| sink.add(0, dropped(&backend, g, &dropout)?)))
}

fn dropped(backend: &CudaBackend, x: &Tensor, dropout: &Dropout) -> Result<Tensor> {
    let x = x.contiguous()?;
    let count = x.elem_count();
    let y = backend.empty(x.shape(), x.dtype())?;
    let [key0, key1, name0, name1] = dropout.address().map(Arg::Word);
    backend.launch(
        &of_type("dropout", x.dtype())?,
        Grid::of(count.div_ceil(vector(x.dtype()))),
        &[
            Arg::Tensor(&x),
            Arg::Tensor(&y),
            Arg::Size(count as u64),
            key0,
            key1,
            name0,
            name1,
            Arg::Word(dropout.below),
            Arg::Float(dropout.kept),
            Arg::flag(in_vectors(vector(x.dtype()), &[&x])),
        ],
    )?;
    Ok(y)
}

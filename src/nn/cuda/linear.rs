//! Linear layers, dense or with low-rank products.

use candle_core::{DType, Result, Tensor};

use super::backend::CudaBackend;
use super::elementwise::{column_sums, fold, gelu_of, in_type};
use super::launch::{Arg, Grid, in_vectors};
use super::product::{Matrix, Product};
use crate::nn::descriptors::{Epilogue, Gelu, Linear, Size};
use crate::nn::graph::{Sink, Variable};

/// Operations that products can do in the time that a byte takes from memory. NVIDIA states 989, 494 and
/// 67 TFLOP/s (bf16, TF32, float32) and 3.35 TB/s for an H100. Other GPUs since Ampere have at least half
/// of these ratios.
fn operations_a_byte(backend: &CudaBackend, dtype: DType) -> usize {
    match dtype {
        DType::BF16 => 295,
        _ if backend.tf32() => 148,
        _ => 20,
    }
}

/// [`crate::nn::ops::linear`].
pub fn linear(backend: CudaBackend, layer: Linear, inputs: &[&Variable]) -> Result<Variable> {
    let dtype = inputs[0].tensor().dtype();
    let x = inputs[0].tensor().contiguous()?;
    let weight = folded_weight(&backend, &layer, inputs, dtype)?;
    let bias = match layer.bias {
        true => Some(in_type(&backend, inputs[2], dtype)?),
        false => None,
    };
    let added = match layer.adds() {
        true => Some(inputs[layer.added()].tensor().contiguous()?),
        false => None,
    };
    let rows = Matrix::rows(&x, layer.size.input);
    let z = backend.product(Product {
        added: added.as_ref(),
        bias: bias.as_ref(),
        ..Product::of(rows, Matrix::rows(&weight, layer.size.input).t())
    })?;
    let (y, z) = match layer.epilogue {
        Epilogue::Gelu(form) => (gelu_of(&backend, &z, form)?, Some((z, form))),
        Epilogue::None | Epilogue::Add(()) => (z, None),
    };
    let y = y.reshape(layer.dims.as_slice())?;
    let factors: Vec<(Variable, Variable)> =
        inputs[layer.factors()..].chunks_exact(2).map(|p| (p[0].detach(), p[1].detach())).collect();
    let backward = Backward { layer, backend, x, weight, z, factors };
    Ok(Variable::computed(y, inputs, move |g, sink| backward.run(g, sink)))
}

/// The matrix plus its low-rank products, in type `dtype`.
fn folded_weight(
    backend: &CudaBackend,
    layer: &Linear,
    inputs: &[&Variable],
    dtype: DType,
) -> Result<Tensor> {
    let pairs: Vec<_> = inputs[layer.factors()..].chunks_exact(2).zip(&layer.scales).collect();
    let Some((last, before)) = pairs.split_last() else {
        return in_type(backend, inputs[1], dtype);
    };
    let folded = |w: &Tensor, (pair, scale): &(&[&Variable], &f64), dtype| {
        let (a, b) = (pair[0].tensor().contiguous()?, pair[1].tensor().contiguous()?);
        fold(backend, w, Some((&a, &b, **scale)), dtype)
    };
    let matrix = inputs[1].tensor().contiguous()?;
    let sum = before.iter().try_fold(matrix, |w, pair| folded(&w, pair, DType::F32))?;
    folded(&sum, last, dtype)
}

/// What the backward pass needs.
struct Backward {
    layer: Linear,
    backend: CudaBackend,
    x: Tensor,
    /// The matrix plus its low-rank products, in the type of x.
    weight: Tensor,
    /// The input of GELU and its form, if that is the epilogue.
    z: Option<(Tensor, Gelu)>,
    factors: Vec<(Variable, Variable)>,
}

impl Backward {
    fn run(self, g: &Tensor, sink: &mut Sink) -> Result<()> {
        let Backward { layer, backend, x, weight, z, factors } = self;
        let Size { input, output } = layer.size;
        let dtype = x.dtype();
        if layer.adds() {
            sink.add(layer.added(), g.clone())?;
        }
        let mut g = g.contiguous()?;
        let bias = layer.bias && sink.needs_input_grad(2);
        if z.is_some() || bias {
            let before = z.as_ref().map(|(z, form)| (z, *form));
            let (dz, sums) = column_sums(&backend, &g, before, output)?;
            g = dz.unwrap_or(g);
            if bias {
                sink.add(2, sums)?;
            }
        }
        let (rows, gradient) = (Matrix::rows(&x, input), Matrix::rows(&g, output));
        if sink.needs_input_grad(0) {
            let so_far = sink.take(0).map(|t| t.contiguous()).transpose()?;
            let product = Product::of(gradient, Matrix::rows(&weight, input));
            let dx = backend.product(Product { added: so_far.as_ref(), ..product })?;
            sink.set(0, dx.reshape(x.shape())?);
        }
        let at = layer.factors();
        let wanted: Vec<usize> = (0..factors.len())
            .filter(|i| sink.needs_input_grad(at + 2 * i) || sink.needs_input_grad(at + 2 * i + 1))
            .collect();
        let rank: usize = wanted.iter().map(|i| factors[*i].0.dims()[0]).sum();
        let matrix = sink.needs_input_grad(1);
        let projects = rank > 0
            && (matrix || {
                let operations = operations_a_byte(&backend, dtype);
                let size = dtype.size_in_bytes();
                projecting_is_faster(rows.rows, (output, input), wanted.len(), size, operations)
            });
        let dense = match matrix || projects {
            true => Some(backend.product(Product::of(gradient.t(), rows).in_float())?),
            false => None,
        };
        for i in wanted {
            let (a, b) = &factors[i];
            let scale = layer.scales[i] as f32;
            let (da, db) = match &dense {
                Some(dense) if projects => {
                    let (a, b) = (a.tensor().contiguous()?, b.tensor().contiguous()?);
                    project(&backend, dense, &a, &b, scale)?
                }
                _ => {
                    let (a, b) = (in_type(&backend, a, dtype)?, in_type(&backend, b, dtype)?);
                    let rank = b.elem_count() / output;
                    let (a, b) = (Matrix::rows(&a, input), Matrix::rows(&b, output));
                    let low = backend.product(Product::of(gradient, b.t()))?;
                    let da = Product::of(Matrix::rows(&low, rank).t(), rows);
                    let da = backend.product(da.scaled(scale).in_float())?;
                    let low = backend.product(Product::of(rows, a.t()))?;
                    let db = Product::of(Matrix::rows(&low, rank).t(), gradient);
                    (da, backend.product(db.scaled(scale).in_float())?)
                }
            };
            sink.add(at + 2 * i, da)?;
            sink.add(at + 2 * i + 1, db)?;
        }
        match dense {
            Some(dense) if matrix => sink.add(1, dense),
            _ => Ok(()),
        }
    }
}

/// The gradients of a \[rank, in\] and b \[rank, out\] from `dense` \[out, in\], the gradient of scale · bᵀ a.
/// All are float32. cuBLASLt takes 60 µs for such a product of eight rows on an H200.
fn project(
    backend: &CudaBackend,
    dense: &Tensor,
    a: &Tensor,
    b: &Tensor,
    scale: f32,
) -> Result<(Tensor, Tensor)> {
    let ((output, input), rank) = (dense.dims2()?, a.dims()[0]);
    let (da, db) = (backend.empty(a.shape(), DType::F32)?, backend.empty(b.shape(), DType::F32)?);
    let vectors = in_vectors(input, &[dense, a]) && in_vectors(output, &[b]);
    backend.launch(
        "project",
        Grid {
            blocks: [input.div_ceil(32) + output.div_ceil(32), 1, 1],
            threads: [1024, 1],
            shared: 0,
        },
        &[
            Arg::Tensor(dense),
            Arg::Tensor(a),
            Arg::Tensor(b),
            Arg::Float(scale),
            Arg::Tensor(&da),
            Arg::Tensor(&db),
            Arg::int(output),
            Arg::int(input),
            Arg::int(rank),
            Arg::flag(vectors),
        ],
    )?;
    Ok((da, db))
}

/// Whether computing the dense gradient is faster than thin products. The dense gradient is bound by
/// operations. Thin products are bound by memory: they read x and the gradient twice each.
fn projecting_is_faster(
    rows: usize,
    (output, input): (usize, usize),
    pairs: usize,
    size: usize,
    operations_a_byte: usize,
) -> bool {
    let dense = 2 * rows * output * input / operations_a_byte;
    let read = rows * (output + input) * size;
    dense.max(read) < 2 * pairs * read
}

//! Linear layers whose weight is a matrix plus low-rank products: y = epilogue(x Wᵀ + b) with
//! W = W₀ + Σ sᵢ BᵢᵀAᵢ.
//!
//! The input is processed in blocks of rows, so that the steps after a product find its values in cache.
//! In the forward pass these are bias, GELU or an added term. In the backward pass they are GELU's
//! derivative, the column sums, and the thin products for the factors' gradients.

use rayon::prelude::*;

use super::blocks::CHUNK;
use super::elementwise::{add_to, add_to_rows, multiply_to};
use super::gelu::{gelu_rows, gelu_with_derivative};
use super::memory::{Unwritten, by_rows, by_rows_with, two_by_rows};
use super::packing::{Processor, Product};
use super::product::{FEW_ROWS, Matrix, ROWS, new_product, product, rows_per_block};
use super::thin::factor_gradients;
use crate::nn::descriptors::{Epilogue, Size};

/// A low-rank product: scale · bᵀ a, a \[rank, in\], b \[rank, out\].
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    pub a: &'a [f32],
    pub b: &'a [f32],
    pub rank: usize,
    pub scale: f32,
}

/// W₀ + Σ s Bᵀ A, \[out, in\].
pub fn fold(matrix: &[f32], pairs: &[Pair], size: Size) -> Vec<f32> {
    let Size { input, output } = size;
    let (mut w, _) = by_rows(output, input, FEW_ROWS, |row, w| {
        w.copy_from_slice(&matrix[row * input..][..w.len()]);
    });
    for p in pairs {
        let (a, b) = (Matrix::rows(p.a, input), Matrix::rows(p.b, output));
        product((output, input, p.rank), &mut w, input, 1.0, p.scale, b.t(), a, true);
    }
    w
}

/// epilogue(x Wᵀ + b): x \[n, in\], w \[out, in\] → \[n, out\]. With `derivative`, also returns GELU's
/// derivative for the backward pass.
pub fn forward(
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    epilogue: Epilogue<'_, [f32]>,
    derivative: bool,
    size: Size,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let Size { input, output } = size;
    let n = x.len() / input;
    let block = rows_per_block(n, size.weights(), ROWS);
    let layer = Affine { x, w, bias, size };
    let blocks = || vec![(); n.div_ceil(block)];
    let (y, _) = match epilogue {
        Epilogue::Gelu if derivative => {
            let [y, derivative] = two_by_rows(n, output, block, |row, y, d| {
                let (y, d) = (layer.rows(row, y), d.zeros());
                y.par_chunks_mut(CHUNK).zip(d.par_chunks_mut(CHUNK)).for_each(|(y, d)| {
                    gelu_with_derivative(y, d);
                });
                (y, d)
            });
            return (y, Some(derivative));
        }
        Epilogue::Gelu => by_rows_with(n, output, block, blocks(), |row, (), y| {
            let y = layer.rows(row, y);
            y.par_chunks_mut(CHUNK).for_each(gelu_rows);
            (y, ())
        }),
        Epilogue::Add(other) => by_rows_with(n, output, block, blocks(), |row, (), y| {
            let y = layer.rows(row, y);
            add_in_parts(y, &other[row * output..]);
            (y, ())
        }),
        Epilogue::None => {
            by_rows_with(n, output, block, blocks(), |row, (), y| (layer.rows(row, y), ()))
        }
    };
    (y, None)
}

/// x Wᵀ + b, computed in blocks of rows.
struct Affine<'a> {
    x: &'a [f32],
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    size: Size,
}

impl Affine<'_> {
    /// Computes the rows from `row` on, as many as fit into `y`.
    fn rows<'a>(&self, row: usize, y: Unwritten<'a>) -> &'a mut [f32] {
        let Size { input, output } = self.size;
        let m = y.len() / output;
        let (x, w) = (Matrix::rows(&self.x[row * input..], input), Matrix::rows(self.w, input));
        // A single block uses several threads. Of several blocks, each uses one.
        let whole = m * input == self.x.len();
        let y = new_product((m, output, input), y, x, w.t(), whole);
        if let Some(bias) = self.bias {
            let rows = (CHUNK / output).max(1) * output;
            y.par_chunks_mut(rows).for_each(|y| add_to_rows(y, bias));
        }
        y
    }
}

/// `sum += values`, for the length of `sum`.
fn add_in_parts(sum: &mut [f32], values: &[f32]) {
    sum.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(s, v)| add_to(s, v));
}

/// (dA, dB) of a pair, projected from the dense gradient dW \[out, in\]: dA = s B dW, dB = s A dWᵀ.
pub fn projected(dense: &[f32], p: &Pair, size: Size) -> (Vec<f32>, Vec<f32>) {
    let Size { input, output } = size;
    let (mut da, mut db) = (vec![0f32; p.rank * input], vec![0f32; p.rank * output]);
    let (a, b) = (Matrix::rows(p.a, input), Matrix::rows(p.b, output));
    let dense = Matrix::rows(dense, input);
    product((p.rank, input, output), &mut da, input, 0.0, p.scale, b, dense, true);
    product((p.rank, output, input), &mut db, output, 0.0, p.scale, a, dense.t(), true);
    (da, db)
}

/// Which gradients a backward pass computes.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    pub x: bool,
    /// The dense gradient gᵀ x, \[out, in\].
    pub matrix: bool,
    pub bias: bool,
    /// Pairs whose factors' gradients are computed by thin products.
    pub pairs: &'a [Pair<'a>],
}

/// The sizes and kinds of a backward pass's matrix products.
#[derive(Clone, Copy, Debug)]
pub struct BackwardProducts {
    pub rows: usize,
    pub size: Size,
    /// Whether the gradient of x is computed.
    pub x: bool,
    /// Whether the dense gradient is computed.
    pub matrix: bool,
    /// The rank of the product that is folded into the matrix; 0 if there is none.
    pub folded: usize,
    /// Whether the factors' gradients are computed by thin products.
    pub thin: bool,
}

impl BackwardProducts {
    /// The most bytes that the products hold at once besides their operands and results.
    pub fn scratch(self, on: &Processor) -> u64 {
        let (n, Size { input, output }) = (self.rows, self.size);
        let fold = Product::new(output, input, self.folded).a_t();
        let fold = if self.folded > 0 { on.packed(fold, true) } else { 0 };
        let block = rows_per_block(n, self.size.weights(), if self.thin { FEW_ROWS } else { ROWS });
        let x = match (self.x, block >= n) {
            (false, _) => 0,
            (true, true) => on.packed(Product::new(n, input, output), true),
            (true, false) => {
                on.packed_by_tasks(n.div_ceil(block), Product::new(block, input, output))
            }
        };
        let matrix = Product::new(output, input, n).a_t();
        let matrix = if self.matrix { on.packed(matrix, true) } else { 0 };
        fold.max(x).max(matrix)
    }
}

/// Gradients; None if not wanted.
pub struct Gradients {
    pub x: Option<Vec<f32>>,
    pub matrix: Option<Vec<f32>>,
    pub bias: Option<Vec<f32>>,
    /// (dA, dB) of each pair.
    pub pairs: Vec<(Vec<f32>, Vec<f32>)>,
}

/// The gradients of y = x Wᵀ + b, where W includes the pairs.
///
/// dx = g W (+ `sum`), dW = gᵀ x, db = Σ g. A pair does not need dW:
/// dA = s (g Bᵀ)ᵀ x, dB = s (x Aᵀ)ᵀ g. For [`Epilogue::Gelu`], g is first multiplied by GELU's
/// derivative. The product replaces the derivative.
pub fn backward(
    x: &[f32],
    w: &[f32],
    g: Gradient,
    sum: Option<&[f32]>,
    wanted: Wanted,
    size: Size,
) -> Gradients {
    let Size { input, output } = size;
    let n = x.len() / input;
    let most = if wanted.pairs.is_empty() { ROWS } else { FEW_ROWS };
    let block = rows_per_block(n, size.weights(), most);
    let whole = block >= n;
    // The rows from `row` on. If all rows are one block, they are divided here.
    let thin = |row: usize, g: &[f32]| -> Vec<Sums> {
        let x = &x[row * input..][..g.len() / output * input];
        let parts = x.par_chunks(most * input);
        let of = |g, x| Sums {
            bias: wanted.bias.then(|| column_sums(g, output)),
            pairs: wanted
                .pairs
                .iter()
                .map(|p| factor_gradients(x, g, p.a, p.b, p.rank, p.scale))
                .collect(),
        };
        g.par_chunks(most * output).zip(parts).map(|(g, x)| of(g, x)).collect()
    };
    // The gradient before the epilogue: as given, or computed in the derivative's memory.
    let mut own = g.derivative.unwrap_or_default();
    let blocks: Vec<Block> = match own.is_empty() {
        true => g.values.chunks(block * output).map(Block::Given).collect(),
        false => own
            .chunks_mut(block * output)
            .zip(g.values.chunks(block * output))
            .map(|(derivative, g)| Block::Product(derivative, g))
            .collect(),
    };
    let width = if wanted.x { input } else { 0 };
    let (dx, sums) = by_rows_with(n, width, block, blocks, |row, g, dx| {
        let g = g.ready();
        let m = g.len() / output;
        let dx = match wanted.x {
            false => dx.zeros(),
            true => {
                let (g, w) = (Matrix::rows(g, output), Matrix::rows(w, input));
                new_product((m, input, output), dx, g, w, whole)
            }
        };
        if let Some(sum) = sum.filter(|_| wanted.x) {
            add_in_parts(dx, &sum[row * input..]);
        }
        (dx, thin(row, g))
    });
    let g = if own.is_empty() { g.values } else { &own };
    let matrix = wanted.matrix.then(|| {
        let mut dw = vec![0f32; output * input];
        let (g, x) = (Matrix::rows(g, output).t(), Matrix::rows(x, input));
        product((output, input, n), &mut dw, input, 0.0, 1.0, g, x, true);
        dw
    });
    added_up(wanted.x.then_some(dx), matrix, sums.concat(), wanted, size)
}

/// The gradient of a layer's result.
pub struct Gradient<'a> {
    pub values: &'a [f32],
    /// The derivative that [`forward`] returned for GELU. The values are multiplied by it, in its
    /// memory.
    pub derivative: Option<Vec<f32>>,
}

/// A block of the gradient's rows.
enum Block<'a> {
    Given(&'a [f32]),
    /// Two factors. Their product replaces the first.
    Product(&'a mut [f32], &'a [f32]),
}

impl<'a> Block<'a> {
    fn ready(self) -> &'a [f32] {
        match self {
            Block::Given(g) => g,
            Block::Product(own, g) => {
                own.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).for_each(|(own, g)| {
                    multiply_to(own, g);
                });
                own
            }
        }
    }
}

/// Sums over a block's rows.
#[derive(Clone)]
struct Sums {
    bias: Option<Vec<f32>>,
    pairs: Vec<(Vec<f32>, Vec<f32>)>,
}

/// Adds up the blocks' sums in order.
fn added_up(
    x: Option<Vec<f32>>,
    matrix: Option<Vec<f32>>,
    sums: Vec<Sums>,
    wanted: Wanted,
    size: Size,
) -> Gradients {
    let zeros = |rank: usize, width: usize| vec![0f32; rank * width];
    let mut bias = wanted.bias.then(|| zeros(1, size.output));
    let of = |p: &Pair| (zeros(p.rank, size.input), zeros(p.rank, size.output));
    let mut pairs: Vec<_> = wanted.pairs.iter().map(of).collect();
    for sum in &sums {
        if let (Some(bias), Some(part)) = (&mut bias, &sum.bias) {
            add_to(bias, part);
        }
        for ((da, db), (part_a, part_b)) in pairs.iter_mut().zip(&sum.pairs) {
            add_to(da, part_a);
            add_to(db, part_b);
        }
    }
    Gradients { x, matrix, bias, pairs }
}

fn column_sums(values: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0f32; width];
    for row in values.chunks_exact(width) {
        add_to(&mut sum, row);
    }
    sum
}

//! Linear layers whose weight is a matrix plus low-rank products: y = epilogue(x Wᵀ + b) with
//! W = W₀ + Σ sᵢ BᵢᵀAᵢ.
//!
//! The input is processed in blocks of rows, so that the steps after a product find its values in cache.
//! In the forward pass these are bias, GELU or an added term. In the backward pass they are GELU's
//! derivative, the column sums, and the thin products for the factors' gradients.

use rayon::prelude::*;

use super::gelu::{gelu_rows, gelu_with_derivative};
use super::packing::{Processor, Product};
use super::product::{FEW_ROWS, Matrix, ROWS, new_product, product, rows_per_block};
use super::thin::{factor_gradients, takes_general_products};
use crate::nn::descriptors::{Epilogue, Size};
use crate::nn::slices::blocks::CHUNK;
use crate::nn::slices::elementwise::{add_to, add_to_rows, multiply_to};
use crate::nn::slices::memory::{Unwritten, by_rows_unwritten, by_rows_with, total, two_by_rows};

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
    let rank = pairs.iter().map(|p| p.rank).sum();
    let (part, shared) = weight_parts(size, rank, rayon::current_num_threads());
    by_rows_unwritten(output, input, part, |row, w| {
        let w = w.filled_with(&matrix[row * input..]);
        let rows = w.len() / input;
        for p in pairs {
            let (a, b) = (Matrix::rows(p.a, input), Matrix::rows(&p.b[row..], output));
            product((rows, input, p.rank), w, input, 1.0, p.scale, b.t(), a, shared);
        }
        w
    })
}

/// The gradient of the whole matrix, gᵀ x: g \[n, out\], x \[n, in\] → \[out, in\].
fn matrix_gradient(g: &[f32], x: &[f32], size: Size) -> Vec<f32> {
    let Size { input, output } = size;
    let n = x.len() / input;
    let (part, shared) = weight_parts(size, n, rayon::current_num_threads());
    by_rows_unwritten(output, input, part, |row, dw| {
        let rows = dw.len() / input;
        let (g, x) = (Matrix::rows(&g[row..], output).t(), Matrix::rows(x, input));
        new_product((rows, input, n), dw, g, x, shared)
    })
}

/// How many rows of a weight each task computes, and whether a task's product is shared among threads, for
/// products that sum `terms` terms.
///
/// Tasks of one thread each are faster than a shared product: its threads pack the same operand several times,
/// and wait for each other at every slice of the sum. Only if there are fewer tasks than threads, they are
/// shared, too. The order of each element's sum is the same in any case.
fn weight_parts(size: Size, terms: usize, threads: usize) -> (usize, bool) {
    // Fewer rows read the other operand too often for the work they do on it.
    const PART: usize = 96;
    const PART_IF_SMALL: usize = 32;
    const SMALL: usize = 1 << 15;
    let part = match size.weights() {
        // Too little to be divided.
        weights if weights * terms < 1 << 18 => return (size.output, false),
        ..=SMALL => PART_IF_SMALL,
        _ => PART,
    };
    (part, size.output.div_ceil(part) < threads)
}

/// Calls `f` with parts of `values`, on several threads if `shared`. Each part is whole rows of `width` values,
/// and comes with its place.
fn in_parts(values: &mut [f32], width: usize, shared: bool, f: impl Fn(usize, &mut [f32]) + Sync) {
    if !shared {
        return f(0, values);
    }
    let part = (CHUNK / width).max(1) * width;
    values.par_chunks_mut(part).enumerate().for_each(|(i, values)| f(i * part, values));
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
    // A single block uses several threads. Of several blocks, each uses one.
    let shared = block >= n;
    if let (true, Epilogue::Gelu(form)) = (derivative, epilogue) {
        let [y, derivative] = two_by_rows(n, output, block, |row, y, d| {
            let y = layer.rows(row, y, shared);
            if !shared {
                let d = d.zeros();
                gelu_with_derivative(y, d, form);
                return (y, d);
            }
            let d = d.shared_zeros();
            y.par_chunks_mut(CHUNK).zip(d.par_chunks_mut(CHUNK)).for_each(|(y, d)| {
                gelu_with_derivative(y, d, form);
            });
            (y, d)
        });
        return (y, Some(derivative));
    }
    let y = by_rows_unwritten(n, output, block, |row, y| {
        let y = layer.rows(row, y, shared);
        match epilogue {
            Epilogue::None => {}
            Epilogue::Gelu(form) => in_parts(y, 1, shared, |_, y| gelu_rows(y, form)),
            Epilogue::Add(other) => {
                let other = &other[row * output..];
                in_parts(y, 1, shared, |at, y| add_to(y, &other[at..]));
            }
        }
        y
    });
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
    /// Computes the rows from `row` on, as many as fit into `y`. `shared` spreads them over threads.
    fn rows<'a>(&self, row: usize, y: Unwritten<'a>, shared: bool) -> &'a mut [f32] {
        let Size { input, output } = self.size;
        let m = y.len() / output;
        let (x, w) = (Matrix::rows(&self.x[row * input..], input), Matrix::rows(self.w, input));
        let y = new_product((m, output, input), y, x, w.t(), shared);
        if let Some(bias) = self.bias {
            in_parts(y, output, shared, |_, y| add_to_rows(y, bias));
        }
        y
    }
}

/// (dA, dB) of a pair, projected from the dense gradient dW \[out, in\]: dA = s B dW, dB = s A dWᵀ.
pub fn projected(dense: &[f32], p: &Pair, size: Size) -> (Vec<f32>, Vec<f32>) {
    let Size { input, output } = size;
    let (mut da, mut db) = (vec![0f32; p.rank * input], vec![0f32; p.rank * output]);
    let (a, b) = (Matrix::rows(p.a, input), Matrix::rows(p.b, output));
    let dense = Matrix::rows(dense, input);
    rayon::join(
        || product((p.rank, input, output), &mut da, input, 0.0, p.scale, b, dense, true),
        || product((p.rank, output, input), &mut db, output, 0.0, p.scale, a, dense.t(), true),
    );
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
    /// The sum of the ranks of the products that are folded into the matrix; 0 if there are none.
    pub folded: usize,
    /// The rank of the factors whose gradients are projected from the dense gradient; 0 if there are none.
    pub projected: usize,
    /// The rank of the factors whose gradients are computed by thin products; 0 if there are none.
    pub thin: usize,
}

impl BackwardProducts {
    /// The most bytes that the products hold at once besides their operands and results.
    pub fn scratch(self, on: &Processor) -> u64 {
        let (n, Size { input, output }) = (self.rows, self.size);
        // A product with as many rows as the weight, in parts.
        let of_weight = |terms: usize| {
            let (part, shared) = weight_parts(self.size, terms, on.threads);
            let product = Product::new(part.min(output), input, terms).a_t();
            on.threads.min(output.div_ceil(part)) as u64 * on.packed(product, shared)
        };
        let fold = if self.folded > 0 { of_weight(self.folded) } else { 0 };
        let matrix = if self.matrix { of_weight(n) } else { 0 };
        let most = if self.thin > 0 { FEW_ROWS } else { ROWS };
        let block = rows_per_block(n, self.size.weights(), most);
        let x = match (self.x, block >= n) {
            (false, _) => 0,
            (true, true) => on.packed(Product::new(n, input, output), true),
            (true, false) => {
                on.packed_by_tasks(n.div_ceil(block), Product::new(block, input, output))
            }
        };
        let rows = block.min(most).min(n);
        let thin = on.threads.min(n.div_ceil(rows)) as u64 * thin_scratch(rows, self, on);
        // Both at once.
        let projected = on.packed(Product::new(self.projected, input, output), true)
            + on.packed(Product::new(self.projected, output, input).b_t(), true);
        fold.max(x).max(matrix).max(thin).max(projected)
    }
}

/// The most bytes that [`factor_gradients`] holds over `rows` rows besides its operands and results.
fn thin_scratch(rows: usize, products: BackwardProducts, on: &Processor) -> u64 {
    let (rank, Size { input, output }) = (products.thin, products.size);
    if !takes_general_products(rank) {
        return 0;
    }
    let packed = [(input, output), (output, input)]
        .into_iter()
        .flat_map(|(k, width)| {
            [Product::new(rows, rank, k).b_t(), Product::new(rank, width, rows).a_t()]
        })
        .map(|product| on.packed(product, false));
    packed.max().unwrap_or(0) + (rows * rank * size_of::<f32>()) as u64
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
    let shared = block >= n;
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
    let mut product = g.derivative.unwrap_or_default();
    let blocks: Vec<Block> = match product.is_empty() {
        true => g.values.chunks(block * output).map(Block::Given).collect(),
        false => product
            .chunks_mut(block * output)
            .zip(g.values.chunks(block * output))
            .map(|(derivative, g)| Block::Product(derivative, g))
            .collect(),
    };
    let width = if wanted.x { input } else { 0 };
    let (dx, sums) = by_rows_with(n, width, block, blocks, |row, g, dx| {
        let g = g.ready(shared);
        let m = g.len() / output;
        let dx = match wanted.x {
            false => dx.zeros(),
            true => {
                let (g, w) = (Matrix::rows(g, output), Matrix::rows(w, input));
                new_product((m, input, output), dx, g, w, shared)
            }
        };
        if let Some(sum) = sum.filter(|_| wanted.x) {
            let sum = &sum[row * input..];
            in_parts(dx, 1, shared, |at, dx| add_to(dx, &sum[at..]));
        }
        (dx, thin(row, g))
    });
    let g = if product.is_empty() { g.values } else { &product };
    let matrix = wanted.matrix.then(|| matrix_gradient(g, x, size));
    let sums = sums.into_iter().flatten().collect();
    let Sums { bias, pairs } = added_up(sums, wanted, size);
    Gradients { x: wanted.x.then_some(dx), matrix, bias, pairs }
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
    fn ready(self, shared: bool) -> &'a [f32] {
        match self {
            Block::Given(g) => g,
            Block::Product(product, g) => {
                in_parts(product, 1, shared, |at, product| multiply_to(product, &g[at..]));
                product
            }
        }
    }
}

/// Sums over a block's rows.
struct Sums {
    bias: Option<Vec<f32>>,
    /// (dA, dB) of each pair.
    pairs: Vec<(Vec<f32>, Vec<f32>)>,
}

/// Adds up the blocks' sums in order: the bias's, and each pair's.
fn added_up(blocks: Vec<Sums>, wanted: Wanted, size: Size) -> Sums {
    let (mut biases, mut pairs) = (Vec::new(), vec![(Vec::new(), Vec::new()); wanted.pairs.len()]);
    for block in blocks {
        biases.extend(block.bias);
        for (all, (da, db)) in pairs.iter_mut().zip(block.pairs) {
            all.0.push(da);
            all.1.push(db);
        }
    }
    let pairs = wanted
        .pairs
        .iter()
        .zip(pairs)
        .map(|(p, (da, db))| (total(da, p.rank * size.input), total(db, p.rank * size.output)));
    let pairs = pairs.collect();
    Sums { bias: wanted.bias.then(|| total(biases, size.output)), pairs }
}

fn column_sums(values: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0f32; width];
    for row in values.chunks_exact(width) {
        add_to(&mut sum, row);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Init;
    use crate::nn::descriptors::Gelu;
    use crate::random::{Purpose, Stream};

    fn values(n: usize, name: &str) -> Vec<f32> {
        Init::Normal { std: 1.0 }.values(n, &mut Stream::new(3, Purpose::Init, name))
    }

    /// Weights with fewer and with more parts than there are threads, and ranks on both sides of general
    /// products: all results have the same bits with any number of threads.
    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        for (n, input, output, rank) in
            [(70, 40, 24, 3), (600, 192, 576, 8), (600, 256, 130, 20), (300, 640, 900, 16)]
        {
            let size = Size { input, output };
            let (x, g) = (values(n * input, "x"), values(n * output, "g"));
            let (w, a, b) = (
                values(output * input, "w"),
                values(rank * input, "a"),
                values(rank * output, "b"),
            );
            let pair = Pair { a: &a, b: &b, rank, scale: 0.7 };
            let all = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let folded = fold(&w, &[pair], size);
                    let (bias, gelu) = (Some(&b[..output]), Epilogue::Gelu(Gelu::Exact));
                    let (y, derivative) = forward(&x, &folded, bias, gelu, true, size);
                    let pairs = [pair];
                    let thin = Wanted { x: true, matrix: false, bias: true, pairs: &pairs };
                    let dense = Wanted { x: false, matrix: true, bias: false, pairs: &[] };
                    let backward = |wanted| {
                        let g = Gradient { values: &g, derivative: derivative.clone() };
                        backward(&x, &folded, g, Some(&x), wanted, size)
                    };
                    let (thin, dense) = (backward(thin), backward(dense).matrix.unwrap());
                    let (da, db) = projected(&dense, &pair, size);
                    let (dx, bias_gradient) = (thin.x.unwrap(), thin.bias.unwrap());
                    let mut all = vec![folded, y, dx, bias_gradient, dense, da, db];
                    all.extend(thin.pairs.into_iter().flat_map(|(da, db)| [da, db]));
                    all
                })
            };
            let want = all(1);
            for threads in [2, 5, 16] {
                assert!(all(threads) == want, "{threads} threads at {n} {input} {output} {rank}");
            }
        }
    }
}

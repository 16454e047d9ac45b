//! The gradients of low-rank factors by thin products: products with a matrix of few rows.
//!
//! A general matrix product packs its operands and computes tiles of 6 by 16 (AVX2) or 64 (AVX-512) values,
//! of which a low rank leaves most unused. Below [`GENERAL`] this file's own kernels are faster: they read
//! each row from the second cache and keep their sums in registers.

use pulp::{Arch, Simd, WithSimd};

use super::product::{Matrix, product};

/// From this rank on, general products compute thin products faster than the kernels of this file. With
/// AVX2 a core reaches 65 GFLOP/s at ranks 8 to 128 by these kernels, and by general products 50, 67, 75
/// and 84 at ranks 8, 12, 16 and 64. With AVX-512 the two were found to be equal at 16.
const GENERAL: usize = 16;

/// Rows per block. A block stays in the second cache.
const BLOCK_ROWS: usize = 32;

/// What a multiply–add of a thin product costs beside one of the whole matrix's gradient, in tenths. `rank`
/// is that of all trained products of a weight together.
///
/// Measured with AVX2 (`just bench-factors`) where the two ways to a gradient take about as long: 13 to 15
/// below [`GENERAL`], and 8 to 11 from there on, where both are general products. With AVX-512 such
/// products of ranks 32 and 64 cost 11 to 12. The choice is part of a run's result, so the constants are
/// the same on all machines.
pub fn thin_cost_in_tenths(rank: usize) -> u128 {
    if takes_general_products(rank) { 11 } else { 14 }
}

/// Whether the gradients of factors of this rank are computed by general products.
pub fn takes_general_products(rank: usize) -> bool {
    rank >= GENERAL
}

/// The gradients of the factors of y = scale · (x Aᵀ) B over some rows:
/// dA = scale (g Bᵀ)ᵀ x and dB = scale (x Aᵀ)ᵀ g, for x \[m, in\], g \[m, out\], a \[rank, in\],
/// b \[rank, out\] → (\[rank, in\], \[rank, out\]).
pub fn factor_gradients(
    x: &[f32],
    g: &[f32],
    a: &[f32],
    b: &[f32],
    rank: usize,
    scale: f32,
) -> (Vec<f32>, Vec<f32>) {
    let (input, output) = (a.len() / rank, b.len() / rank);
    assert_eq!(x.len() / input, g.len() / output, "x and g differ in rows");
    let (mut da, mut db) = (vec![0f32; a.len()], vec![0f32; b.len()]);
    if takes_general_products(rank) {
        let m = x.len() / input;
        let mut low = vec![0f32; m * rank];
        let (x, g) = (Matrix::rows(x, input), Matrix::rows(g, output));
        let (a, b) = (Matrix::rows(a, input), Matrix::rows(b, output));
        for (from, k, weights, to, width, sums) in
            [(g, output, b, x, input, &mut da), (x, input, a, g, output, &mut db)]
        {
            product((m, rank, k), &mut low, rank, 0.0, scale, from, weights.t(), false);
            let low = Matrix::rows(&low, rank).t();
            product((rank, width, m), sums, width, 0.0, 1.0, low, to, false);
        }
        return (da, db);
    }
    let mut low = vec![0f32; BLOCK_ROWS * rank];
    for (x, g) in x.chunks(BLOCK_ROWS * input).zip(g.chunks(BLOCK_ROWS * output)) {
        let low = &mut low[..x.len() / input * rank];
        for (from, weights, to, sums) in [(g, b, x, &mut da), (x, a, g, &mut db)] {
            Arch::new().dispatch(Dots { rows: from, weights, rank, scale, out: low });
            Arch::new().dispatch(Sums { low, rows: to, rank, out: sums });
        }
    }
    (da, db)
}

/// out\[i\]\[j\] = scale · rows\[i\] · weights\[j\]: rows \[m, k\], weights \[rank, k\] → \[m, rank\].
struct Dots<'a> {
    rows: &'a [f32],
    weights: &'a [f32],
    rank: usize,
    scale: f32,
    out: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (rank, m) = (self.rank, self.out.len() / self.rank);
        let mut i = 0;
        while i < m {
            let four = i + 4 <= m;
            let mut j = 0;
            while j < rank {
                j += match (four, rank - j) {
                    (true, 3) => self.block::<S, 4, 3>(simd, i, j),
                    (true, 2..) => self.block::<S, 4, 2>(simd, i, j),
                    (true, _) => self.block::<S, 4, 1>(simd, i, j),
                    (false, _) => self.block::<S, 1, 1>(simd, i, j),
                };
            }
            i += if four { 4 } else { 1 };
        }
    }
}

impl Dots<'_> {
    /// Computes I rows from `i` on by J weights from `j` on. Returns J.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "plain loops vectorise")]
    fn block<S: Simd, const I: usize, const J: usize>(
        &mut self,
        simd: S,
        i: usize,
        j: usize,
    ) -> usize {
        let k = self.weights.len() / self.rank;
        let (mut rows, mut weights) = ([&[] as &[f32]; I], [&[] as &[f32]; J]);
        for r in 0..I {
            rows[r] = &self.rows[(i + r) * k..][..k];
        }
        for c in 0..J {
            weights[c] = &self.weights[(j + c) * k..][..k];
        }
        let dots = dots(simd, rows, weights);
        for r in 0..I {
            for c in 0..J {
                self.out[(i + r) * self.rank + j + c] = dots[r][c] * self.scale;
            }
        }
        J
    }
}

/// The dot products of every row with every weight. All have the same length.
///
/// Loops instead of closures: a closure that the compiler does not inline is compiled for the oldest processor,
/// and each intrinsic in it becomes a call.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "plain loops vectorise")]
fn dots<S: Simd, const I: usize, const J: usize>(
    simd: S,
    rows: [&[f32]; I],
    weights: [&[f32]; J],
) -> [[f32; J]; I] {
    let (mut heads, mut tails) = ([&[] as &[S::f32s]; I], [&[] as &[f32]; I]);
    let (mut weight_heads, mut weight_tails) = ([&[] as &[S::f32s]; J], [&[] as &[f32]; J]);
    for i in 0..I {
        (heads[i], tails[i]) = S::as_simd_f32s(rows[i]);
    }
    for j in 0..J {
        (weight_heads[j], weight_tails[j]) = S::as_simd_f32s(weights[j]);
    }
    let steps = heads[0].len();
    for i in 0..I {
        heads[i] = &heads[i][..steps];
    }
    for j in 0..J {
        weight_heads[j] = &weight_heads[j][..steps];
    }
    let mut sums = [[simd.splat_f32s(0.0); J]; I];
    for t in 0..steps {
        let mut w = [simd.splat_f32s(0.0); J];
        for j in 0..J {
            w[j] = weight_heads[j][t];
        }
        for i in 0..I {
            let x = heads[i][t];
            for j in 0..J {
                sums[i][j] = simd.mul_add_e_f32s(x, w[j], sums[i][j]);
            }
        }
    }
    let mut dots = [[0f32; J]; I];
    for i in 0..I {
        for j in 0..J {
            let mut tail = -0.0;
            for (x, w) in tails[i].iter().zip(weight_tails[j]) {
                tail += x * w;
            }
            dots[i][j] = simd.reduce_sum_f32s(sums[i][j]) + tail;
        }
    }
    dots
}

/// out\[j\] += Σ low\[i\]\[j\] rows\[i\]: low \[m, rank\], rows \[m, k\] → \[rank, k\].
struct Sums<'a> {
    low: &'a [f32],
    rows: &'a [f32],
    rank: usize,
    out: &'a mut [f32],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Sums { low, rows, rank, out } = self;
        let k = out.len() / rank;
        let m = low.len() / rank;
        let mut j = 0;
        while j < rank {
            let count = (rank - j).min(4);
            let mut column = 0;
            while column < k {
                let vectors = ((k - column) / S::F32_LANES).min(2);
                let at = Tile { rank, k, m, j, column };
                match (count, vectors) {
                    (4, 2) => at.add::<S, 4, 2>(simd, low, rows, out),
                    (3, 2) => at.add::<S, 3, 2>(simd, low, rows, out),
                    (2, 2) => at.add::<S, 2, 2>(simd, low, rows, out),
                    (_, 2) => at.add::<S, 1, 2>(simd, low, rows, out),
                    (4, 1..) => at.add::<S, 4, 1>(simd, low, rows, out),
                    (3, 1..) => at.add::<S, 3, 1>(simd, low, rows, out),
                    (2, 1..) => at.add::<S, 2, 1>(simd, low, rows, out),
                    (_, 1..) => at.add::<S, 1, 1>(simd, low, rows, out),
                    (_, 0) => at.add_one(count, low, rows, out),
                }
                column += match vectors {
                    2 => 2 * S::F32_LANES,
                    0 => 1,
                    _ => S::F32_LANES,
                };
            }
            j += count;
        }
    }
}

/// A tile of the result of [`Sums`].
struct Tile {
    rank: usize,
    k: usize,
    m: usize,
    j: usize,
    column: usize,
}

impl Tile {
    /// Adds J rows of V vectors. Their sums stay in registers over all m rows.
    #[inline(always)]
    fn add<S: Simd, const J: usize, const V: usize>(
        self,
        simd: S,
        low: &[f32],
        rows: &[f32],
        out: &mut [f32],
    ) {
        let Tile { rank, k, m, j, column } = self;
        let mut sums = [[simd.splat_f32s(0.0); V]; J];
        for i in 0..m {
            let values = S::as_simd_f32s(&rows[i * k + column..][..V * S::F32_LANES]).0;
            let low = &low[i * rank + j..][..J];
            for (sums, low) in sums.iter_mut().zip(low) {
                let low = simd.splat_f32s(*low);
                for v in 0..V {
                    sums[v] = simd.mul_add_e_f32s(low, values[v], sums[v]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let out = &mut out[(j + r) * k + column..][..V * S::F32_LANES];
            for (out, sum) in S::as_mut_simd_f32s(out).0.iter_mut().zip(sums) {
                *out = simd.add_f32s(*out, *sum);
            }
        }
    }

    /// Adds one column of `count` rows.
    #[inline(always)]
    fn add_one(self, count: usize, low: &[f32], rows: &[f32], out: &mut [f32]) {
        let Tile { rank, k, m, j, column } = self;
        for j in j..j + count {
            let term = |i: usize| low[i * rank + j] * rows[i * k + column];
            out[j * k + column] += (0..m).map(term).sum::<f32>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Init;
    use crate::random::{Purpose, Stream};

    /// Compares with the definition in float64, at sizes around those of blocks and vectors.
    #[test]
    fn factor_gradients_match_the_definition() {
        for (m, input, output, rank) in [
            (1, 1, 1, 1),
            (3, 5, 2, 1),
            (4, 16, 33, 4),
            (31, 40, 24, 6),
            (32, 64, 192, 8),
            (77, 97, 61, 7),
            (130, 48, 100, 13),
            (67, 50, 33, 3),
            (5, 24, 41, 5),
            (130, 48, 100, 15),
            (1, 7, 9, 16),
            (130, 48, 100, 16),
            (256, 24, 17, 40),
        ] {
            let values = |n: usize, name: &str| {
                Init::Normal { std: 1.0 }.values(n, &mut Stream::new(2, Purpose::Init, name))
            };
            let (x, g) = (values(m * input, "x"), values(m * output, "g"));
            let (a, b) = (values(rank * input, "a"), values(rank * output, "b"));
            let (da, db) = factor_gradients(&x, &g, &a, &b, rank, 0.3);
            let wide = |v: &[f32], width: usize, i: usize, j: usize| f64::from(v[i * width + j]);
            let check =
                |got: &[f32], from: &[f32], weights: &[f32], to: &[f32], k: usize, width| {
                    for j in 0..rank {
                        for c in 0..width {
                            let (mut want, mut size) = (0.0, 1e-3);
                            for i in 0..m {
                                let terms =
                                    || (0..k).map(|t| wide(from, k, i, t) * wide(weights, k, j, t));
                                let value = 0.3 * wide(to, width, i, c);
                                want += terms().sum::<f64>() * value;
                                size += terms().map(f64::abs).sum::<f64>() * value.abs();
                            }
                            let error = (f64::from(got[j * width + c]) - want).abs();
                            assert!(error < 3e-7 * size, "{m} {input} {output} {rank}: {j} {c}");
                        }
                    }
                };
            check(&da, &g, &b, &x, output, input);
            check(&db, &x, &a, &g, input, output);
        }
    }
}

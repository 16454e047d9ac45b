//! Matrix products on slices with strides. Callers never copy or transpose an operand.

use gemm::Parallelism;

use super::packing::WORTH_SHARING;
use crate::nn::slices::memory::Unwritten;

/// A matrix in a slice: element (i, j) is at `i · row + j · column`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix with row stride `row`.
    pub fn rows(values: &'a [f32], row: usize) -> Matrix<'a> {
        Matrix { values, row, column: 1 }
    }

    /// The transpose.
    pub fn t(self) -> Matrix<'a> {
        Matrix { values: self.values, row: self.column, column: self.row }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

/// The most rows per block. Products of this many rows run nearly as fast as those of a whole matrix,
/// and their results fit into the third cache.
pub const ROWS: usize = 512;

/// The most rows per block if the input's rows are also read several times.
pub const FEW_ROWS: usize = 256;

/// Rows per block, at most `most`, of an input with `n` rows that is multiplied by a matrix of `weights`
/// values. If the matrix is larger than the caches, all rows are one block, so that it is read once.
pub fn rows_per_block(n: usize, weights: usize, most: usize) -> usize {
    const IN_CACHE: usize = 1 << 19;
    match weights > IN_CACHE {
        true => n.max(1),
        // Few enough that small batches still occupy several threads.
        false => n.div_ceil(8).next_multiple_of(8).clamp(64, most),
    }
}

/// `out ← beta · out + alpha · a b` for a \[m, k\], b \[k, n\], and a row-major `out` with row stride
/// `out_row`. If `beta` is 0, `out` is not read. `parallel` spreads a large product over the threads.
/// The order of each element's sum does not depend on it.
#[allow(clippy::too_many_arguments)]
pub fn product(
    size: (usize, usize, usize),
    out: &mut [f32],
    out_row: usize,
    beta: f32,
    alpha: f32,
    a: Matrix,
    b: Matrix,
    parallel: bool,
) {
    assert!(
        Matrix::rows(out, out_row).holds(size.0, size.1) && out_row >= size.1,
        "result too small"
    );
    // SAFETY: `out` is borrowed exclusively and holds the result, as asserted.
    unsafe { multiply(size, out.as_mut_ptr(), out_row, beta, alpha, a, b, parallel) }
}

/// `a b` in new memory of exactly its size: a \[m, k\], b \[k, n\] → \[m, n\].
pub fn new_product<'a>(
    size: (usize, usize, usize),
    out: Unwritten<'a>,
    a: Matrix,
    b: Matrix,
    parallel: bool,
) -> &'a mut [f32] {
    assert_eq!(out.len(), size.0 * size.1, "the memory has another size than the product");
    // SAFETY: `out` has the result's size and is not read, since `beta` is 0. The product writes
    // every element, even if k is 0.
    unsafe {
        multiply(size, out.0.as_mut_ptr().cast(), size.1, 0.0, 1.0, a, b, parallel);
        out.written()
    }
}

/// # Safety
/// `out` must be valid for writes of m rows of n values with row stride `out_row`, and for reads of them
/// unless `beta` is 0. Nothing else may refer to them.
#[allow(clippy::too_many_arguments)]
unsafe fn multiply(
    (m, n, k): (usize, usize, usize),
    out: *mut f32,
    out_row: usize,
    beta: f32,
    alpha: f32,
    a: Matrix,
    b: Matrix,
    parallel: bool,
) {
    assert!(a.holds(m, k) && b.holds(k, n), "operand too small for the product");
    let parallelism = match parallel && m * n * k >= WORTH_SHARING {
        true => Parallelism::Rayon(0),
        false => Parallelism::None,
    };
    // SAFETY: every element that the dimensions and strides address is in its slice, as asserted
    // above, or in `out`, as the caller guarantees.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            out_row as isize,
            beta != 0.0,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            beta,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_transposes_and_accumulation() {
        let a = [1., 2., 3., 4., 5., 6.]; // [2, 3]
        let b = [1., 0., 2., 1., 0., 1.]; // [3, 2], or [2, 3] transposed
        let mut out = [10., 10., -1., 10., 10., -1.];
        product((2, 2, 3), &mut out, 3, 1.0, 2.0, Matrix::rows(&a, 3), Matrix::rows(&b, 2), true);
        // a b = [[5, 5], [14, 11]]; the third column of `out` is not touched.
        assert_eq!(out, [20., 20., -1., 38., 32., -1.]);
        product(
            (2, 2, 3),
            &mut out,
            3,
            0.0,
            1.0,
            Matrix::rows(&a, 3),
            Matrix::rows(&b, 3).t(),
            false,
        );
        // b as [2, 3] is [[1, 0, 2], [1, 0, 1]].
        assert_eq!(out, [7., 4., -1., 16., 10., -1.]);
    }
}

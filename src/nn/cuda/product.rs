//! Matrix products in the form that cuBLASLt takes: column-major.

use candle_core::{DType, Result, Tensor, bail};

use super::launch::{Arg, Grid, of_type};

/// A contiguous row-major matrix, used as it is or transposed.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub tensor: &'a Tensor,
    /// Rows and columns as stored, before transposing.
    pub rows: usize,
    pub columns: usize,
    pub transposed: bool,
}

impl<'a> Matrix<'a> {
    pub fn rows(tensor: &'a Tensor, columns: usize) -> Matrix<'a> {
        let rows = tensor.elem_count() / columns.max(1);
        Matrix { tensor, rows, columns, transposed: false }
    }

    pub fn t(self) -> Matrix<'a> {
        Matrix { transposed: !self.transposed, ..self }
    }

    /// Rows and columns after transposing.
    pub(super) fn dims(self) -> (usize, usize) {
        match self.transposed {
            true => (self.columns, self.rows),
            false => (self.rows, self.columns),
        }
    }
}

/// scale · left · right \[+ added\] \[+ bias to every row\].
#[derive(Clone, Copy)]
pub struct Product<'a> {
    pub left: Matrix<'a>,
    pub right: Matrix<'a>,
    pub scale: f32,
    /// Must have the result's type, like `bias`.
    pub added: Option<&'a Tensor>,
    pub bias: Option<&'a Tensor>,
    /// The type of the factors, or float32. Sums are always float32.
    pub result: DType,
}

impl<'a> Product<'a> {
    pub fn of(left: Matrix<'a>, right: Matrix<'a>) -> Product<'a> {
        let result = left.tensor.dtype();
        Product { left, right, scale: 1.0, added: None, bias: None, result }
    }

    pub fn scaled(self, scale: f32) -> Product<'a> {
        Product { scale, ..self }
    }

    /// The product with its result in float32, for gradients of parameters.
    pub fn in_float(self) -> Product<'a> {
        Product { result: DType::F32, ..self }
    }
}

/// A product of column-major matrices: d \[m, n\] = scale · op(a) op(b) + c + bias. A column-major matrix
/// is the transpose of a row-major one, so a row-major product is computed with its factors exchanged.
/// Each leading dimension is the matrix's number of rows.
pub struct ByColumns<'a> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Stored<'a>,
    pub b: Stored<'a>,
    /// \[m, n\].
    pub c: Option<&'a Tensor>,
    /// \[m\], added to each column.
    pub bias: Option<&'a Tensor>,
    pub scale: f32,
}

/// A matrix as stored, column-major, and whether it is transposed before the product.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    pub tensor: &'a Tensor,
    pub rows: usize,
    pub columns: usize,
    pub transposed: bool,
}

impl<'a> From<Matrix<'a>> for Stored<'a> {
    fn from(m: Matrix<'a>) -> Stored<'a> {
        let Matrix { tensor, rows, columns, transposed } = m;
        Stored { tensor, rows: columns, columns: rows, transposed }
    }
}

/// The launch that adds a bias \[width\] to every row of a row-major result, if the product did not.
pub(super) fn bias_launch<'a>(
    bias: &'a Tensor,
    to: &'a Tensor,
    width: usize,
) -> Result<(String, Grid, [Arg<'a>; 4])> {
    let count = to.elem_count();
    let args = [Arg::Tensor(to), Arg::Tensor(bias), Arg::Size(count as u64), Arg::int(width)];
    Ok((of_type("add_bias", to.dtype())?, Grid::of(count), args))
}

/// The launch that computes a product without cuBLASLt.
pub(super) fn product_launch<'a>(
    p: &ByColumns<'a>,
    to: &'a Tensor,
) -> Result<(String, Grid, [Arg<'a>; 13])> {
    let factors = p.a.tensor.dtype();
    let kernel = match (factors, to.dtype()) {
        (DType::BF16, DType::F32) => "product_bf16_to_float".to_string(),
        (one, other) if one == other => of_type("product", one)?,
        (one, other) => bail!("no product of {one:?} has a result of {other:?}"),
    };
    let args = [
        Arg::Tensor(p.a.tensor),
        Arg::Tensor(p.b.tensor),
        Arg::maybe(p.c),
        Arg::maybe(p.bias),
        Arg::Tensor(to),
        Arg::int(p.m),
        Arg::int(p.n),
        Arg::int(p.k),
        Arg::int(p.a.rows),
        Arg::int(p.b.rows),
        Arg::flag(p.a.transposed),
        Arg::flag(p.b.transposed),
        Arg::Float(p.scale),
    ];
    Ok((kernel, Grid::of(p.m * p.n), args))
}

/// Whether cuBLASLt can add a bias at this address. It loads 16 bytes at a time.
pub(super) fn takes_bias(address: u64) -> bool {
    address.is_multiple_of(16)
}

/// Whether a product of these sizes (m, n, k) should divide its sums among multiprocessors. It should if
/// it has long sums but so few tiles of 128 × 128 that most multiprocessors would be idle.
pub(super) fn wants_divided_sums([m, n, k]: [usize; 3], processors: usize) -> bool {
    const TILE: usize = 128;
    const LONG: usize = 2048;
    2 * m.div_ceil(TILE) * n.div_ceil(TILE) <= processors && k >= LONG
}

impl<'a> ByColumns<'a> {
    /// A name for the row-major product: sizes, ᵀ for transposed factors, added terms, types.
    pub(super) fn name(&self, to: &Tensor) -> String {
        let t = |transposed| if transposed { "ᵀ" } else { "" };
        let type_of = |t: &Tensor| if t.dtype() == DType::BF16 { "bf16" } else { "float32" };
        format!(
            "product [{}, {}]{} [{}, {}]{}{}{}, {} to {}",
            self.n,
            self.k,
            t(self.b.transposed),
            self.k,
            self.m,
            t(self.a.transposed),
            if self.c.is_some() { " + sum" } else { "" },
            if self.bias.is_some() { " + bias" } else { "" },
            type_of(self.a.tensor),
            type_of(to),
        )
    }

    /// The row-major product with its factors exchanged.
    pub(super) fn of(p: &Product<'a>) -> ByColumns<'a> {
        let ((m, k), (_, n)) = (p.left.dims(), p.right.dims());
        ByColumns {
            m: n,
            n: m,
            k,
            a: p.right.into(),
            b: p.left.into(),
            c: p.added,
            bias: p.bias,
            scale: p.scale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sums_of_few_tiles_are_divided() {
        // The gradients of weights of ViT-192 (batch 512) and ViT-B (batch 128), on an H100.
        for (sizes, divided) in [
            ([192, 192, 33_280], true),
            ([576, 192, 33_280], true),
            ([768, 768, 25_216], true),
            // 24 × 6 tiles, and forward passes.
            ([3072, 768, 25_216], false),
            ([192, 33_280, 192], false),
            ([192, 192, 192], false),
        ] {
            assert_eq!(wants_divided_sums(sizes, 132), divided, "{sizes:?}");
        }
    }

    #[test]
    fn an_unaligned_bias_is_added_separately() {
        assert!(takes_bias(1 << 20) && takes_bias((1 << 20) + 16));
        assert!(!takes_bias((1 << 20) + 2) && !takes_bias((1 << 20) + 8));
    }
}

//! Matrix products by cuBLASLt, which takes matrices by columns.

use candle_core::{DType, Result, Tensor, bail};

use super::machine::{Arg, Grid, Machine, of_type};

/// A contiguous matrix by rows, taken as it is or transposed.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub tensor: &'a Tensor,
    /// As it is stored.
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

    /// Of the matrix as it is taken.
    fn dims(self) -> (usize, usize) {
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
    /// Of the result's type, like `bias`.
    pub added: Option<&'a Tensor>,
    pub bias: Option<&'a Tensor>,
    /// The type of the factors, or float32. Sums are float32 in any case.
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

    /// With its result in float32, as gradients of parameters are.
    pub fn in_float(self) -> Product<'a> {
        Product { result: DType::F32, ..self }
    }
}

/// A product with everything by columns: d \[m, n\] = scale · op(a) op(b) + c + bias, where a
/// matrix by columns is its transpose by rows. So the product by rows is asked for with its
/// factors exchanged. Each leading dimension is the matrix's own number of rows.
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

/// A matrix as it is stored by columns, and whether it is transposed before it is multiplied.
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

/// The launch that adds a bias \[m\] to every row of a result by rows, where no product does.
pub(super) fn bias_launch<'a>(
    bias: &'a Tensor,
    to: &'a Tensor,
    width: usize,
) -> Result<(String, Grid, [Arg<'a>; 4])> {
    let count = to.elem_count();
    let args = [Arg::Tensor(to), Arg::Tensor(bias), Arg::Size(count as u64), Arg::int(width)];
    Ok((of_type("add_bias", to.dtype())?, Grid::of(count), args))
}

impl Machine {
    /// \[rows of left, columns of right\].
    pub fn product(&self, p: Product) -> Result<Tensor> {
        let ((m, k), (inner, n)) = (p.left.dims(), p.right.dims());
        let fits = |t: &Tensor, count| t.dtype() == p.result && t.elem_count() == count;
        let sound = k == inner
            && p.left.tensor.dtype() == p.right.tensor.dtype()
            && p.added.is_none_or(|c| fits(c, m * n))
            && p.bias.is_none_or(|b| fits(b, n));
        if !sound {
            bail!("a product of [{m}, {k}] and [{inner}, {n}] with what does not belong to it");
        }
        let to = self.empty((m, n), p.result)?;
        let (a, b) = (p.right.into(), p.left.into());
        let (c, bias, scale) = (p.added, p.bias, p.scale);
        self.multiply(&ByColumns { m: n, n: m, k, a, b, c, bias, scale }, &to)?;
        Ok(to)
    }
}

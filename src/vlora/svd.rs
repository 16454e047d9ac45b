//! Singular value decomposition, in float64 on one thread. Only this file uses the crate faer.
//!
//! `W = Σ_k s_k u_k v_kᵀ` for W \[out, in\]. s is descending and not negative, u_k \[out\] and
//! v_k \[in\] are orthonormal, and k < min(out, in) (the thin form). The best approximation of W by
//! a matrix of rank r is the sum of the first r terms. Its squared error is Σ_{k ≥ r} s_k²
//! (Eckart & Young, Psychometrika 1, 1936).

use candle_core::{DType, Tensor};
use faer::Mat;

use crate::error::{Error, Fault, Result};

/// A thin decomposition of a matrix \[out, in\].
#[derive(Clone, Debug)]
pub struct Svd {
    /// min(out, in) singular values, descending.
    pub values: Vec<f64>,
    /// u_0, u_1, …, each \[out\].
    left: Vec<Vec<f64>>,
    /// v_0, v_1, …, each \[in\].
    right: Vec<Vec<f64>>,
}

impl Svd {
    /// Decomposes a matrix \[out, in\]. An error if a value is not finite.
    pub fn of(matrix: &Tensor) -> Result<Svd> {
        let matrix = to_faer(matrix)?;
        if matrix.nrows() == 0 || matrix.ncols() == 0 {
            return Ok(Svd { values: Vec::new(), left: Vec::new(), right: Vec::new() });
        }
        let svd = matrix.thin_svd().map_err(|_| not_converged())?;
        let columns = |m: faer::MatRef<f64>| -> Vec<Vec<f64>> {
            m.col_iter().map(|column| column.iter().copied().collect()).collect()
        };
        let values = svd.S().column_vector().iter().copied().collect();
        Ok(Svd { values, left: columns(svd.U()), right: columns(svd.V()) })
    }

    /// u_k, the one of the largest singular value first.
    pub fn left(&self) -> &[Vec<f64>] {
        &self.left
    }

    /// v_k, the one of the largest singular value first.
    pub fn right(&self) -> &[Vec<f64>] {
        &self.right
    }
}

/// The singular values of a matrix, descending. An error if a value is not finite.
pub fn singular_values(matrix: &Tensor) -> Result<Vec<f64>> {
    let matrix = to_faer(matrix)?;
    if matrix.nrows() == 0 || matrix.ncols() == 0 {
        return Ok(Vec::new());
    }
    matrix.singular_values().map_err(|_| not_converged())
}

fn not_converged() -> Error {
    Fault::failed("the singular value decomposition did not converge").into()
}

fn to_faer(matrix: &Tensor) -> Result<Mat<f64>> {
    let (rows, columns) = matrix.dims2()?;
    let values = matrix.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        return Err(Fault::new("the matrix has values that are not finite")
            .found(format!("{} in row {}, column {}", values[at], at / columns, at % columns))
            .expected("finite values")
            .into());
    }
    Ok(Mat::from_fn(rows, columns, |i, j| values[i * columns + j]))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::nn::Init;
    use crate::random::{Purpose, Stream};

    fn matrix(rows: usize, columns: usize, seed: u64) -> Tensor {
        let mut stream = Stream::new(seed, Purpose::Init, "svd");
        let values = Init::Normal { std: 1.0 }.values(rows * columns, &mut stream);
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-6, "{got:?}, expected {want:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        /// The sum of all terms is the matrix, both sides are orthonormal, values descend, and
        /// their squares add up to the matrix's energy.
        #[test]
        fn the_terms_add_up((rows, columns) in (1..24usize, 1..24usize), seed in any::<u64>()) {
            let w = matrix(rows, columns, seed);
            let svd = Svd::of(&w).unwrap();
            let n = rows.min(columns);
            prop_assert_eq!((svd.values.len(), svd.left.len(), svd.right.len()), (n, n, n));
            close(&singular_values(&w).unwrap(), &svd.values);
            prop_assert!(svd.values.windows(2).all(|p| p[0] >= p[1]) && svd.values[n - 1] >= 0.0);
            let rows_of_w = w.to_vec2::<f32>().unwrap();
            let norm = rows_of_w.iter().flatten().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            prop_assert!((dot(&svd.values, &svd.values) - norm).abs() < 1e-6 * norm);
            for (i, row) in rows_of_w.iter().enumerate() {
                for (j, want) in row.iter().enumerate() {
                    let got: f64 =
                        (0..n).map(|k| svd.values[k] * svd.left[k][i] * svd.right[k][j]).sum();
                    prop_assert!((got - f64::from(*want)).abs() < 1e-6 * norm.sqrt());
                }
            }
            for side in [&svd.left, &svd.right] {
                for (a, b) in (0..n).flat_map(|a| (0..n).map(move |b| (a, b))) {
                    let want = f64::from(u8::from(a == b));
                    prop_assert!((dot(&side[a], &side[b]) - want).abs() < 1e-9);
                }
            }
        }
    }

    #[test]
    fn values_in_closed_form() {
        let of = |rows: &[&[f32]]| {
            let values: Vec<f32> = rows.concat();
            let t = Tensor::from_vec(values, (rows.len(), rows[0].len()), &Device::Cpu).unwrap();
            let (values, whole) = (singular_values(&t).unwrap(), Svd::of(&t).unwrap().values);
            close(&whole, &values);
            values
        };
        close(&of(&[&[2., 0., 0.], &[0., -5., 0.], &[0., 0., 3.]]), &[5., 3., 2.]);
        // u vᵀ of norms 3 and 5.
        close(&of(&[&[3., 4.], &[6., 8.], &[6., 8.]]), &[15., 0.]);
        close(&of(&[&[3., 6., 6.], &[4., 8., 8.]]), &[15., 0.]);
        let (c, s) = (0.7f32.cos(), 0.7f32.sin());
        close(&of(&[&[c, -s], &[s, c]]), &[1., 1.]);
        close(&of(&[&[-4.]]), &[4.]);
        close(&of(&[&[0., 0.], &[0., 0.], &[0., 0.]]), &[0., 0.]);
        // √(3 ± √5).
        let root = 5f64.sqrt();
        close(&of(&[&[1., 1.], &[0., 2.]]), &[(3.0 + root).sqrt(), (3.0 - root).sqrt()]);
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        for bad in [f32::NAN, f32::INFINITY] {
            let t = Tensor::new(&[[1f32, 2.], [3., bad]], &Device::Cpu).unwrap();
            let message = Svd::of(&t).unwrap_err().to_string();
            assert!(message.contains("in row 1, column 1"), "{message}");
            assert!(singular_values(&t).is_err());
        }
        let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(Svd::of(&empty).unwrap().values.is_empty());
    }
}

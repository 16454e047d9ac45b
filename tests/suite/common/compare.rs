//! How far tensors are apart.

use candle_core::Tensor;

/// The largest difference over the largest magnitude of what is wanted.
pub fn relative(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims());
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (got, want) = (values(got), values(want));
    let size = want.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    let apart = got.iter().zip(&want).map(|(g, w)| (g - w).abs());
    f64::from(apart.fold(0f32, f32::max) / size)
}

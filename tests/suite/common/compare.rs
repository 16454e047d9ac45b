//! How far tensors are apart.

use candle_core::Tensor;

/// All values, in order.
pub fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

/// The largest magnitude. It is NaN where a value is, so that no comparison with it holds.
pub fn largest(t: &Tensor) -> f64 {
    let larger = |most: f64, v: f64| if v > most || v.is_nan() { v } else { most };
    values(t).into_iter().map(|v| f64::from(v.abs())).fold(0.0, larger)
}

/// The largest difference over the largest magnitude of what is wanted.
pub fn relative(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims());
    largest(&(got - want).unwrap()) / largest(want).max(1e-6)
}

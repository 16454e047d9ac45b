//! Vectorised loops shared by the operations.

use pulp::{Arch, Simd, WithSimd};

/// Runs `f` compiled for the processor's best instruction set. `f` and every function it calls for each
/// value must be `#[inline(always)]`: code that is not inlined here is compiled for the oldest processor.
/// `scripts/check_vectorised.py` looks for such calls.
#[inline(always)]
pub fn vectorised<R>(f: impl FnMut() -> R) -> R {
    /// pulp also takes closures, but calls them by `FnOnce::call_once`, which is not always inlined.
    struct Loop<F>(F);

    impl<R, F: FnMut() -> R> WithSimd for Loop<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }

    Arch::new().dispatch(Loop(f))
}

/// `sum += values`.
pub fn add_to(sum: &mut [f32], values: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            for (s, v) in sum.iter_mut().zip(values) {
                *s += *v;
            }
        },
    );
}

/// `row += values` for every row of `rows`.
pub fn add_to_rows(rows: &mut [f32], values: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            for row in rows.chunks_exact_mut(values.len()) {
                for (r, v) in row.iter_mut().zip(values) {
                    *r += *v;
                }
            }
        },
    );
}

/// `product *= values`.
pub fn multiply_to(product: &mut [f32], values: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            for (p, v) in product.iter_mut().zip(values) {
                *p *= *v;
            }
        },
    );
}

/// `values *= scale`.
pub fn scale_to(values: &mut [f32], scale: f32) {
    vectorised(
        #[inline(always)]
        || {
            for v in values.iter_mut() {
                *v *= scale;
            }
        },
    );
}

/// Lanes of a sum.
const LANES: usize = 16;

/// The sum of `term` over the places of N slices of one length, added up in 16 interleaved lanes. This order
/// is fixed, and it vectorises: the loops run over arrays of 16, which need no checks of bounds, and no closure
/// but `term` stands in them.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "plain loops vectorise")]
pub fn lane_sum<const N: usize>(slices: [&[f32]; N], term: impl Fn([f32; N]) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let mut heads = [&[] as &[[f32; LANES]]; N];
    let mut tails = [&[] as &[f32]; N];
    for n in 0..N {
        (heads[n], tails[n]) = slices[n].as_chunks();
    }
    let (whole, rest) = (heads[0].len(), tails[0].len());
    for n in 0..N {
        (heads[n], tails[n]) = (&heads[n][..whole], &tails[n][..rest]);
    }
    for i in 0..whole {
        for l in 0..LANES {
            let mut values = [0f32; N];
            for n in 0..N {
                values[n] = heads[n][i][l];
            }
            lanes[l] += term(values);
        }
    }
    for l in 0..rest {
        let mut values = [0f32; N];
        for n in 0..N {
            values[n] = tails[n][l];
        }
        lanes[l] += term(values);
    }
    lanes.iter().sum()
}

/// The sum of squares in float64, in the same order.
#[inline(always)]
pub fn lane_sum_of_squares(values: &[f32]) -> f64 {
    let mut lanes = [0f64; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for l in 0..LANES {
            let value = f64::from(values[l]);
            lanes[l] += value * value;
        }
    }
    for l in 0..rest.len() {
        let value = f64::from(rest[l]);
        lanes[l] += value * value;
    }
    lanes.iter().sum()
}

/// The largest value. NaN is ignored; −∞ if there is no other value.
#[inline(always)]
pub fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for l in 0..LANES {
            lanes[l] = if values[l] > lanes[l] { values[l] } else { lanes[l] };
        }
    }
    for l in 0..rest.len() {
        lanes[l] = if rest[l] > lanes[l] { rest[l] } else { lanes[l] };
    }
    let mut most = f32::NEG_INFINITY;
    for lane in lanes {
        most = if lane > most { lane } else { most };
    }
    most
}

/// e^x with an error of 2 units in the last place; 0 below −87. Range reduction by powers of two and
/// Cephes' polynomial for `expf` (Moshier), without branches.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts. The first has few bits, so that multiples of it are exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 · 2²³ rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    const P: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mantissa = polynomial(r, P).mul_add(r * r, r) + 1.0;
    // The low bits of `shifted` are n. Moved to the exponent, they make 2ⁿ.
    let power =
        f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    let value = mantissa * power;
    if x < -87.0 { 0.0 } else { value }
}

/// The error function with an absolute error below 4e-7: Eigen's rational approximation on \[−4, 4\],
/// and ±1 outside.
#[inline(always)]
pub fn erf(value: f32) -> f32 {
    const P: [f32; 7] = [
        -2.726_142_4e-10,
        2.770_681_3e-8,
        -2.101_024e-6,
        -5.692_506_6e-5,
        -7.349_906e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const Q: [f32; 5] =
        [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    let x = value.clamp(-4.0, 4.0);
    let s = x * x;
    let inside = x * polynomial(s, P) / polynomial(s, Q);
    // Exactly ±1 outside, so that GELU's tail is exactly 0.
    if value.abs() < 4.0 { inside } else { value.signum() }
}

/// The hyperbolic tangent with an absolute error below 2e-7: Cephes' polynomial for `tanhf` (Moshier)
/// near 0, and elsewhere 1 − 2 / (e^2|x| + 1) with the sign of x.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    const P: [f32; 5] =
        [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    let s = x * x;
    let near = (polynomial(s, P) * s).mul_add(x, x);
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

/// A polynomial with coefficients from the highest power on, by Horner's rule in fused multiply–adds. These
/// are one instruction each with AVX2, AVX-512 or NEON; a processor without any of them calls a function.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[0];
    for coefficient in &coefficients[1..] {
        value = value.mul_add(x, *coefficient);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_double_precision_one() {
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            let error = (f64::from(exp(x)) - want).abs() / want;
            assert!(error < 2.5e-7, "exp({x}): relative error {error:e}");
        }
        assert_eq!((exp(-200.0), exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 0.0, 1.0));
        assert!(exp(f32::NAN).is_nan());
    }

    /// candle's `erf` in float64 is the oracle.
    #[test]
    fn erf_is_close_to_the_double_precision_one() {
        let xs: Vec<f64> = (-60_000..=60_000).map(|i| f64::from(i as f32 * 1e-4)).collect();
        let n = xs.len();
        let want = candle_core::Tensor::from_vec(xs.clone(), n, &candle_core::Device::Cpu)
            .and_then(|t| t.erf())
            .and_then(|t| t.to_vec1::<f64>())
            .unwrap();
        for (x, want) in xs.iter().zip(want) {
            let error = (f64::from(erf(*x as f32)) - want).abs();
            assert!(error < 4e-7, "erf({x}): error {error:e}");
        }
        assert!(erf(f32::NAN).is_nan());
        assert_eq!((erf(-9.0), erf(4.0)), (-1.0, 1.0));
    }

    #[test]
    fn tanh_is_close_to_the_double_precision_one() {
        for i in -100_000..=100_000 {
            let x = i as f32 * 1e-4;
            let error = (f64::from(tanh(x)) - f64::from(x).tanh()).abs();
            assert!(error < 2e-7, "tanh({x}): error {error:e}");
        }
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!((tanh(0.0), tanh(-50.0), tanh(1e-30)), (0.0, -1.0, 1e-30));
    }

    #[test]
    fn the_largest_value_and_the_sum_of_squares_take_every_element() {
        for n in [1, 15, 16, 17, 64, 100] {
            let mut values: Vec<f32> = (1..=n).map(|i| -(i as f32)).collect();
            let squares = n * (n + 1) * (2 * n + 1) / 6;
            assert_eq!(lane_sum_of_squares(&values), squares as f64);
            for i in 0..n {
                let before = std::mem::replace(&mut values[i], 2.0);
                assert_eq!(largest(&values), 2.0);
                values[i] = before;
            }
            values[0] = f32::NAN;
            assert_eq!(largest(&values), if n == 1 { f32::NEG_INFINITY } else { -2.0 });
        }
        assert_eq!(largest(&[]), f32::NEG_INFINITY);
    }

    #[test]
    fn lane_sum_takes_every_element_once() {
        for n in [0, 1, 15, 16, 17, 64, 100] {
            let values: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            assert_eq!(lane_sum([&values], |[v]| v), (n * (n + 1) / 2) as f32);
        }
    }
}

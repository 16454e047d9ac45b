//! How fast this machine multiplies matrices, to compare a model's time with.

use std::hint::black_box;
use std::time::Instant;

use super::linear::forward;
use crate::nn::descriptors::{Epilogue, Size};

/// 10⁹ floating-point operations per second of the float32 product `[m, k] · [n, k]ᵀ` on all threads:
/// the median of several samples. It is a linear layer's product, divided among threads as layers do it.
pub fn product_rate((m, n, k): (usize, usize, usize)) -> f64 {
    const SAMPLES: usize = 9;
    // Long enough for the clock's resolution, and for all threads to start.
    const SAMPLE_SECONDS: f64 = 0.02;
    let values = |count: usize| (0..count).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<f32>>();
    let (x, w, size) = (values(m * k), values(n * k), Size { input: k, output: n });
    let seconds = |repeats: usize| {
        let started = Instant::now();
        for _ in 0..repeats {
            black_box(forward(black_box(&x), black_box(&w), None, Epilogue::None, false, size));
        }
        started.elapsed().as_secs_f64().max(1e-9)
    };
    // The first run also allocates memory and wakes the threads.
    seconds(1);
    let repeats = (SAMPLE_SECONDS / seconds(1)).clamp(1.0, 1e5) as usize;
    let mut samples: Vec<f64> = (0..SAMPLES).map(|_| seconds(repeats)).collect();
    samples.sort_by(f64::total_cmp);
    2e-9 * m as f64 * n as f64 * k as f64 * repeats as f64 / samples[SAMPLES / 2]
}

#[cfg(test)]
mod tests {
    /// A rate outside these bounds would be wrong: less than one operation in ten nanoseconds, or faster
    /// than any processor.
    #[test]
    fn the_rate_is_plausible() {
        let rate = super::product_rate((64, 96, 48));
        assert!((0.1..1e5).contains(&rate), "{rate}");
    }
}

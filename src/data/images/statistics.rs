//! Mean and standard deviation of each channel.

use rayon::prelude::*;

use super::split::ImageSplit;

/// Mean and standard deviation of each channel, for normalising pixels in \[0, 1\].
#[derive(Clone, Debug, PartialEq)]
pub struct ImageStatistics {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

impl ImageStatistics {
    /// Mean and deviation of each channel over all pixels of a split.
    pub(super) fn measure(split: &ImageSplit) -> ImageStatistics {
        let counts = match split.size.channels {
            1 => counts::<1>(split),
            _ => counts::<3>(split),
        };
        let moments = |counts: &[u64; 256]| {
            let n: u64 = counts.iter().sum();
            let mean = |f: &dyn Fn(f64) -> f64| {
                let total: f64 =
                    counts.iter().enumerate().map(|(v, c)| *c as f64 * f(v as f64 / 255.0)).sum();
                total / n as f64
            };
            let average = mean(&|v| v);
            (average, mean(&|v| (v - average).powi(2)).sqrt())
        };
        let (mean, std): (Vec<f64>, Vec<f64>) = counts.iter().map(moments).unzip();
        // A constant channel is not scaled.
        let std = std.into_iter().map(|s| if s > 0.0 { s } else { 1.0 }).collect();
        ImageStatistics { mean, std }
    }

    /// For each channel, the normalised value of each byte.
    pub(super) fn tables(&self) -> Vec<[f32; 256]> {
        let table = |(mean, std): (&f64, &f64)| {
            let scale = (1.0 / (255.0 * std)) as f32;
            let shift = (-mean / std) as f32;
            std::array::from_fn(|pixel| pixel as f32 * scale + shift)
        };
        self.mean.iter().zip(&self.std).map(table).collect()
    }
}

/// Histogram of each channel. It is exact, and independent of how threads divide the work.
fn counts<const CHANNELS: usize>(split: &ImageSplit) -> Vec<[u64; 256]> {
    type Counts<const C: usize> = [[u64; 256]; C];
    // Two sets of counters are used in turn. Neighbouring pixels are often equal, and an increment
    // has to wait for the one before on the same counter.
    let none = || Box::new([[[0; 256]; CHANNELS]; 2]);
    let count = |mut sets: Box<[Counts<CHANNELS>; 2]>, image: usize| {
        let (pixels, _) = split.image(image).as_chunks::<CHANNELS>();
        for (i, pixel) in pixels.iter().enumerate() {
            for (channel, value) in pixel.iter().enumerate() {
                sets[i & 1][channel][usize::from(*value)] += 1;
            }
        }
        sets
    };
    let sum = |mut a: Box<[Counts<CHANNELS>; 2]>, b: Box<[Counts<CHANNELS>; 2]>| {
        let (a_all, b_all) = (a.as_flattened_mut().as_flattened_mut(), b.as_flattened());
        a_all.iter_mut().zip(b_all.as_flattened()).for_each(|(a, b)| *a += b);
        a
    };
    let [mut even, odd] = *(0..split.len()).into_par_iter().fold(none, count).reduce(none, sum);
    even.as_flattened_mut().iter_mut().zip(odd.as_flattened()).for_each(|(a, b)| *a += b);
    even.to_vec()
}

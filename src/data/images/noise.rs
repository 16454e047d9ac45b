//! Images of noise with random labels, for benchmarks without data.

use std::sync::Arc;

use super::dataset::ImageData;
use super::decode::Size;
use super::pixels::Pixels;
use super::split::ImageSplit;
use super::statistics::ImageStatistics;
use crate::random::{Purpose, Stream};

impl ImageData {
    /// Makes `train` training examples, and `other` examples each for validation and test. A few
    /// images are repeated, so that many examples need little memory.
    pub fn noise(size: Size, classes: usize, train: usize, other: usize) -> ImageData {
        const DISTINCT: usize = 64;
        const MAX_BYTES: usize = 1 << 24;
        let images = (MAX_BYTES / size.bytes()).clamp(1, DISTINCT);
        let mut stream = Stream::new(0, Purpose::Noise, "images");
        let words = (images * size.bytes()).div_ceil(4);
        let mut bytes: Vec<u8> = (0..words).flat_map(|_| stream.next_u32().to_le_bytes()).collect();
        bytes.truncate(images * size.bytes());
        let labels: Vec<u32> = (0..images).map(|_| stream.below(classes as u32)).collect();
        let pixels = Arc::new(Pixels::Owned(bytes));
        let split = |examples: usize| {
            let rows = (0..examples).map(|i| (i % images) as u32).collect();
            ImageSplit::new(pixels.clone(), labels.clone(), size).rows(rows)
        };
        // Mean and deviation of uniformly distributed values in [0, 1].
        let (mean, std) = (0.5, (1.0f64 / 12.0).sqrt());
        let statistics =
            ImageStatistics { mean: vec![mean; size.channels], std: vec![std; size.channels] };
        ImageData::of_splits([split(train), split(other), split(other)], statistics)
    }
}

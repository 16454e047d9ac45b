//! Dropout and its masks.

use super::blocks::CHUNK;
use super::elementwise::{multiply_to, vectorised};
use super::memory::by_rows;
use crate::nn::descriptors::Dropout;
use crate::random::Stream;

/// Drops some values of x and scales the others.
pub fn apply(dropout: &Dropout, x: &[f32]) -> Vec<f32> {
    let (y, _) = by_rows(x.len(), 1, CHUNK, |first, y| {
        mask(dropout, first as u64, y);
        multiply_to(y, &x[first..]);
    });
    y
}

/// Writes the factors of the values from index `first` on: 0 or `kept`. `first` must be a multiple of 4.
pub fn mask(dropout: &Dropout, first: u64, mask: &mut [f32]) {
    draw(dropout, dropout.stream().clone().from_number(first), mask);
}

/// Writes the factors of one row of attention's weights. Each sequence and head (`lane`) has its own
/// random numbers. So what is dropped does not depend on how far sequences are padded.
pub fn row_mask(dropout: &Dropout, lane: u32, query: usize, mask: &mut [f32]) {
    /// The most keys of a row.
    const PITCH: u64 = 1 << 17;
    let stream = dropout.stream().clone().lane(lane).from_number(query as u64 * PITCH);
    draw(dropout, stream, mask);
}

fn draw(dropout: &Dropout, mut stream: Stream, mask: &mut [f32]) {
    /// Blocks of numbers that are drawn at once.
    const BLOCKS: usize = 16;
    let Dropout { below, kept, .. } = *dropout;
    // Without branches, which a processor could not predict.
    let factor = |number: u32| {
        let all_ones_if_kept = u32::from(number >= below).wrapping_neg();
        f32::from_bits(kept.to_bits() & all_ones_if_kept)
    };
    vectorised(
        #[inline(always)]
        || {
            let mut whole = mask.chunks_exact_mut(4 * BLOCKS);
            for values in &mut whole {
                let numbers = stream.next_blocks::<BLOCKS>();
                let [a, b, c, d] = numbers.map(|numbers| numbers.map(factor));
                for (i, four) in values.as_chunks_mut().0.iter_mut().enumerate() {
                    *four = [a[i], b[i], c[i], d[i]];
                }
            }
            for four in whole.into_remainder().chunks_mut(4) {
                let numbers = stream.next_blocks::<1>();
                for (value, [number]) in four.iter_mut().zip(numbers) {
                    *value = factor(number);
                }
            }
        },
    );
}

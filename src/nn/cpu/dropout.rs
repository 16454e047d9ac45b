//! Dropout masks, and their use.

use super::blocks::CHUNK;
use super::elementwise::{multiply_to, vectorised};
use super::memory::by_rows;
use crate::nn::descriptors::Dropout;
use crate::random::Stream;

/// x with some values dropped and the others scaled.
pub fn apply(dropout: &Dropout, x: &[f32]) -> Vec<f32> {
    let (y, _) = by_rows(x.len(), 1, CHUNK, |first, y| {
        mask(dropout, first as u64, y);
        multiply_to(y, &x[first..]);
    });
    y
}

/// What the values from number `first` on are multiplied by: 0 or `kept`. `first` is a multiple of 4.
pub fn mask(dropout: &Dropout, first: u64, mask: &mut [f32]) {
    draw(dropout, dropout.stream().clone().from_number(first), mask);
}

/// What one row of attention's weights is multiplied by. The rows of each sequence and head (`lane`)
/// have random numbers of their own. So what is dropped does not depend on how far sequences are
/// padded.
pub fn row_mask(dropout: &Dropout, lane: u32, query: usize, mask: &mut [f32]) {
    /// Keys a row has at most.
    const PITCH: u64 = 1 << 17;
    let stream = dropout.stream().clone().lane(lane).from_number(query as u64 * PITCH);
    draw(dropout, stream, mask);
}

fn draw(dropout: &Dropout, mut stream: Stream, mask: &mut [f32]) {
    /// Blocks of numbers that are drawn together.
    const BLOCKS: usize = 16;
    let Dropout { below, kept, .. } = *dropout;
    vectorised(
        #[inline(always)]
        || {
            let mut whole = mask.chunks_exact_mut(4 * BLOCKS);
            for values in &mut whole {
                let numbers = stream.next_blocks::<BLOCKS>();
                for (i, value) in values.iter_mut().enumerate() {
                    *value = if numbers[i % 4][i / 4] < below { 0.0 } else { kept };
                }
            }
            for four in whole.into_remainder().chunks_mut(4) {
                let numbers = stream.next_blocks::<1>();
                for (value, [number]) in four.iter_mut().zip(numbers) {
                    *value = if number < below { 0.0 } else { kept };
                }
            }
        },
    );
}

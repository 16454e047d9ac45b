//! Dropout and its masks.

use crate::nn::descriptors::Dropout;
use crate::nn::slices::blocks::CHUNK;
use crate::nn::slices::elementwise::{multiply_to, vectorised};
use crate::nn::slices::memory::by_rows;
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
    /// Blocks of four numbers that are drawn at once.
    const BLOCKS: usize = 8;
    vectorised(
        #[inline(always)]
        || {
            let (whole, rest) = mask.as_chunks_mut::<{ 4 * BLOCKS }>();
            for values in whole {
                values.copy_from_slice(factors::<BLOCKS>(dropout, &mut stream).as_flattened());
            }
            for values in rest.chunks_mut(4) {
                values.copy_from_slice(&factors::<1>(dropout, &mut stream)[0][..values.len()]);
            }
        },
    );
}

/// The factors by the stream's next numbers.
#[inline(always)]
fn factors<const N: usize>(dropout: &Dropout, stream: &mut Stream) -> [[f32; 4]; N] {
    let Dropout { below, kept, .. } = *dropout;
    let numbers = stream.next_blocks::<N>();
    let mut factors = [[0f32; 4]; N];
    for (i, four) in factors.iter_mut().enumerate() {
        for (factor, numbers) in four.iter_mut().zip(&numbers) {
            // A bit mask in place of a branch, which no processor could predict.
            let all_ones_if_kept = u32::from(numbers[i] >= below).wrapping_neg();
            *factor = f32::from_bits(kept.to_bits() & all_ones_if_kept);
        }
    }
    factors
}

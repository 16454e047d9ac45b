//! Choice and continuation of sequences.

use super::blocks::CHUNK;
use super::memory::by_rows_unwritten;

/// Sequences of `size` values each, in the order of `taken`.
pub fn select(x: &[f32], size: usize, taken: &[u32]) -> Vec<f32> {
    extend(x, taken, &[], [size, 0])
}

/// The same of `past`, each followed by its values of `new`. `sizes` are the values of a sequence in both.
pub fn extend(past: &[f32], taken: &[u32], new: &[f32], sizes: [usize; 2]) -> Vec<f32> {
    let [old, added] = sizes;
    let rows_of_a_task = CHUNK.div_ceil((old + added).max(1));
    by_rows_unwritten(taken.len(), old + added, rows_of_a_task, |first, values| {
        let rows = taken[first..].iter().enumerate();
        let parts = rows.flat_map(|(row, sequence)| {
            let new = &new[(first + row) * added..][..added];
            [&past[*sequence as usize * old..][..old], new]
        });
        values.filled_with_parts(parts)
    })
}

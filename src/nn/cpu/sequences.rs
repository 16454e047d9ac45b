//! Choice and continuation of sequences.

use super::memory::by_rows_unwritten;

/// Sequences of `size` values each, in the order of `taken`.
pub fn selected(x: &[f32], size: usize, taken: &[u32]) -> Vec<f32> {
    extended(x, taken, &[], [size, 0])
}

/// The same of `past`, each followed by its values of `new`. `sizes` are the values of a sequence in both.
pub fn extended(past: &[f32], taken: &[u32], new: &[f32], sizes: [usize; 2]) -> Vec<f32> {
    let [old, added] = sizes;
    by_rows_unwritten(taken.len(), old + added, 1, |row, values| {
        let values = values.zeros();
        let (first, rest) = values.split_at_mut(old);
        first.copy_from_slice(&past[taken[row] as usize * old..][..old]);
        rest.copy_from_slice(&new[row * added..][..added]);
        values
    })
}

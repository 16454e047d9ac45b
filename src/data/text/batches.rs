//! The order of an epoch's texts. It is random, but texts of similar length are in the same batch,
//! so that batches have little padding, unless a spec wants random batches.

use crate::random::{Purpose, Stream};

/// Number of batches whose texts are sorted by length together. More batches give less padding;
/// fewer give a more random order.
const POOL: usize = 50;

/// The epoch's batches of `size` texts; one batch may have fewer. `lengths` are those of the texts.
///
/// The order is a function of (seed, epoch) and the lengths: texts are shuffled. If they are `grouped`
/// by length, each pool of [`POOL`] batches is sorted by length, and the batches are shuffled.
pub fn batches(
    seed: u64,
    epoch: usize,
    lengths: &[usize],
    size: usize,
    grouped: bool,
) -> Vec<Vec<usize>> {
    let mut order =
        Stream::new(seed, Purpose::Order, &epoch.to_string()).permutation(lengths.len());
    if !grouped {
        return order.chunks(size).map(<[usize]>::to_vec).collect();
    }
    for pool in order.chunks_mut(size * POOL) {
        // The sort is stable, so texts of equal length stay in random order.
        pool.sort_by_key(|text| lengths[*text]);
    }
    let sorted: Vec<&[usize]> = order.chunks(size).collect();
    let mut stream = Stream::new(seed, Purpose::Order, &format!("{epoch}/batches"));
    let places = stream.permutation(sorted.len());
    places.into_iter().map(|batch| sorted[batch].to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(n: usize) -> Vec<usize> {
        let mut stream = Stream::new(3, Purpose::Noise, "lengths");
        (0..n).map(|_| 3 + stream.below(60) as usize).collect()
    }

    #[test]
    fn each_text_is_in_one_batch() {
        let sizes = [(1, 1), (1, 8), (64, 8), (65, 8), (7000, 32)];
        for ((n, size), grouped) in sizes.into_iter().flat_map(|s| [(s, true), (s, false)]) {
            let all = batches(0, 0, &lengths(n), size, grouped);
            assert_eq!(all.len(), n.div_ceil(size));
            assert!(all.iter().filter(|batch| batch.len() != size).count() <= 1);
            let mut texts: Vec<usize> = all.concat();
            texts.sort_unstable();
            assert!(texts.into_iter().eq(0..n));
        }
    }

    #[test]
    fn the_order_is_the_seeds_and_the_epochs() {
        let lengths = lengths(500);
        for grouped in [true, false] {
            let of = |seed, epoch| batches(seed, epoch, &lengths, 16, grouped);
            assert_eq!(of(1, 2), of(1, 2));
            assert_ne!(of(1, 2), of(1, 3));
            assert_ne!(of(1, 2), of(2, 2));
        }
    }

    /// Share of padding in the padded batches.
    fn padding(batches: &[Vec<usize>], lengths: &[usize]) -> f64 {
        let longest = |b: &Vec<usize>| b.iter().map(|i| lengths[*i]).max().unwrap_or(0);
        let places: usize = batches.iter().map(|b| b.len() * longest(b)).sum();
        1.0 - lengths.iter().sum::<usize>() as f64 / places as f64
    }

    #[test]
    fn batches_hold_little_padding_and_no_length_comes_first() {
        let lengths = lengths(6400);
        let grouped = batches(0, 0, &lengths, 32, true);
        let plain = batches(0, 0, &lengths, 32, false);
        assert!(padding(&grouped, &lengths) < 0.05, "{}", padding(&grouped, &lengths));
        assert!(padding(&plain, &lengths) > 0.3);
        // Both halves of the epoch have about the same mean length.
        let half = |part: &[Vec<usize>]| {
            let texts = part.concat();
            texts.iter().map(|i| lengths[*i]).sum::<usize>() as f64 / texts.len() as f64
        };
        let (first, second) = grouped.split_at(grouped.len() / 2);
        assert!((half(first) - half(second)).abs() < 6.0);
    }
}

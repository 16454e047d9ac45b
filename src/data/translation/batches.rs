//! The order of an epoch's sentence pairs. It is random, but pairs of similar lengths are in the same
//! batch, so that batches have little padding.

use crate::random::{Purpose, Stream};

/// The epoch's batches of pairs with these numbers of tokens (source, target), with at most `most` tokens
/// of a language in each, padding included. A pair that is longer is a batch of its own.
///
/// The order is a function of (seed, epoch) and the lengths: pairs are shuffled and sorted by length, which
/// leaves those of equal lengths in random order, and the batches are shuffled. The number of batches
/// depends on the lengths alone.
pub fn batches(
    seed: u64,
    epoch: usize,
    lengths: &[(usize, usize)],
    most: usize,
) -> Vec<Vec<usize>> {
    let mut order =
        Stream::new(seed, Purpose::Order, &epoch.to_string()).permutation(lengths.len());
    order.sort_by_key(|pair| (lengths[*pair].0.max(lengths[*pair].1), lengths[*pair]));
    let mut all: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for pair in order {
        let length = lengths[pair].0.max(lengths[pair].1);
        longest = longest.max(length);
        match all.last_mut() {
            Some(batch) if longest * (batch.len() + 1) <= most => batch.push(pair),
            _ => {
                longest = length;
                all.push(vec![pair]);
            }
        }
    }
    let mut stream = Stream::new(seed, Purpose::Order, &format!("{epoch}/batches"));
    let places = stream.permutation(all.len());
    places.into_iter().map(|batch| std::mem::take(&mut all[batch])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(n: usize) -> Vec<(usize, usize)> {
        let mut stream = Stream::new(3, Purpose::Noise, "lengths");
        let mut length = || 3 + stream.below(20) as usize;
        (0..n)
            .map(|_| {
                let source = length();
                (source, (source + length()) / 2)
            })
            .collect()
    }

    #[test]
    fn each_pair_is_in_one_batch_of_few_enough_tokens() {
        for (n, most) in [(0, 50), (1, 50), (500, 20), (2000, 400)] {
            let lengths = lengths(n);
            let counts: Vec<usize> = (0..3)
                .map(|epoch| {
                    let all = batches(1, epoch, &lengths, most);
                    let mut pairs = all.concat();
                    pairs.sort_unstable();
                    assert!(pairs.into_iter().eq(0..n));
                    for batch in &all {
                        let of = |pair: &usize| lengths[*pair].0.max(lengths[*pair].1);
                        let longest = batch.iter().map(of).max().unwrap();
                        assert!(batch.len() == 1 || longest * batch.len() <= most);
                    }
                    all.len()
                })
                .collect();
            assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
        }
        let lengths = lengths(500);
        let of = |seed, epoch| batches(seed, epoch, &lengths, 200);
        assert_eq!(of(1, 2), of(1, 2));
        assert_ne!(of(1, 2), of(1, 3));
        assert_ne!(of(1, 2), of(2, 2));
    }

    #[test]
    fn batches_hold_little_padding() {
        let lengths = lengths(5000);
        let (mut tokens, mut places) = (0, 0);
        for batch in batches(0, 0, &lengths, 1000) {
            for side in [|l: &(usize, usize)| l.0, |l: &(usize, usize)| l.1] {
                let counts: Vec<usize> = batch.iter().map(|pair| side(&lengths[*pair])).collect();
                tokens += counts.iter().sum::<usize>();
                places += counts.len() * counts.iter().max().unwrap();
            }
        }
        let padding = 1.0 - tokens as f64 / places as f64;
        assert!(padding < 0.15, "{padding}");
    }
}

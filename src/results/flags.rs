//! One bit for each test example.

/// A yes or no for each example, in the order of the split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    words: Vec<u64>,
    length: usize,
}

impl Flags {
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether an example is set; false beyond the last.
    pub fn get(&self, example: usize) -> bool {
        self.words.get(example / 64).is_some_and(|word| word >> (example % 64) & 1 == 1)
    }

    /// How many examples are set here alone, and how many in `other` alone. None if they do not have
    /// the same number of examples.
    pub fn differing(&self, other: &Flags) -> Option<(u64, u64)> {
        let only = |words: &[u64], other: &[u64]| {
            let pairs = words.iter().zip(other);
            pairs.map(|(word, other)| u64::from((word & !other).count_ones())).sum()
        };
        (self.length == other.length)
            .then(|| (only(&self.words, &other.words), only(&other.words, &self.words)))
    }
}

impl FromIterator<bool> for Flags {
    fn from_iter<I: IntoIterator<Item = bool>>(flags: I) -> Flags {
        let mut out = Flags::default();
        for flag in flags {
            let bit = out.length % 64;
            if bit == 0 {
                out.words.push(0);
            }
            if let (true, Some(word)) = (flag, out.words.last_mut()) {
                *word |= 1 << bit;
            }
            out.length += 1;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differing_examples_are_counted_across_words() {
        let flags = |step: usize| (0..200).map(|i| i % step == 0).collect::<Flags>();
        // Multiples of 2 but not of 3 below 200, and the other way round.
        assert_eq!(flags(2).differing(&flags(3)), Some((66, 33)));
        assert_eq!(flags(2).differing(&flags(2)), Some((0, 0)));
        let set: Vec<usize> = (0..250).filter(|i| flags(60).get(*i)).collect();
        assert_eq!(set, [0, 60, 120, 180]);
        let shorter: Flags = (0..199).map(|i| i % 2 == 0).collect();
        assert_eq!((shorter.len(), flags(2).differing(&shorter)), (199, None));
        assert!(Flags::default().is_empty());
    }
}

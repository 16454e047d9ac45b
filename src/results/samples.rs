//! Single test examples with a run's outputs, to be read by people.

/// Test examples with the outputs of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    /// What an input is called.
    pub input: &'static str,
    /// How many examples they are chosen from.
    pub of: usize,
    pub examples: Vec<Sample>,
}

/// A test example with the output of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its place in the test split.
    pub example: usize,
    pub input: String,
    /// The output that is wanted.
    pub reference: String,
    /// What the run's model gave.
    pub output: String,
}

/// The places of at most `most` of `examples` examples, evenly spaced from the first on. They depend on
/// nothing else, so nobody can choose examples that suit a result.
pub fn evenly_spaced(examples: usize, most: usize) -> impl Iterator<Item = usize> {
    let count = examples.min(most);
    (0..count).map(move |i| (i as u128 * examples as u128 / count as u128) as usize)
}

#[cfg(test)]
mod tests {
    use super::evenly_spaced;

    #[test]
    fn places_are_spread_over_the_split() {
        let places = |examples, most| evenly_spaced(examples, most).collect::<Vec<usize>>();
        assert_eq!(places(1000, 4), [0, 250, 500, 750]);
        assert_eq!(places(7, 3), [0, 2, 4]);
        assert_eq!(places(3, 20), [0, 1, 2]);
        assert_eq!((places(0, 20), places(5, 0)), (vec![], vec![]));
        assert_eq!(places(usize::MAX, 2), [0, usize::MAX / 2]);
    }
}

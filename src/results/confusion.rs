//! How often each answer was given to the examples of each class.

/// Counts of test examples by their class and by the answer that the model gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// The names of the classes, in the order of their labels.
    pub classes: Vec<String>,
    /// \[class\]\[answer\], with as many rows and columns as there are classes.
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// The most classes that are counted. The counts of as many take 8 MB.
    pub const MAX_CLASSES: usize = 1000;

    /// The counts of both together; None where their classes differ.
    pub fn merge(mut self, other: &Confusion) -> Option<Confusion> {
        if self.classes != other.classes {
            return None;
        }
        for (row, others) in self.counts.iter_mut().zip(&other.counts) {
            row.iter_mut().zip(others).for_each(|(count, other)| *count += other);
        }
        Some(self)
    }

    /// The number of examples of a class.
    pub fn examples(&self, class: usize) -> u64 {
        self.counts.get(class).map_or(0, |row| row.iter().sum())
    }

    /// The share of a class's examples that got a prediction; None without an example.
    pub fn share(&self, class: usize, prediction: usize) -> Option<f64> {
        let (count, examples) = (*self.counts.get(class)?.get(prediction)?, self.examples(class));
        (examples > 0).then(|| count as f64 / examples as f64)
    }

    /// The share of a class's examples that are predicted right; None without an example.
    pub fn recall(&self, class: usize) -> Option<f64> {
        self.share(class, class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confusion(classes: &[&str], counts: &[&[u64]]) -> Confusion {
        Confusion {
            classes: classes.iter().map(|name| name.to_string()).collect(),
            counts: counts.iter().map(|row| row.to_vec()).collect(),
        }
    }

    #[test]
    fn shares_are_those_of_a_class() {
        let counts = confusion(&["a", "b", "c"], &[&[6, 2, 0], &[1, 3, 0], &[0, 0, 0]]);
        assert_eq!([0, 1, 2].map(|class| counts.examples(class)), [8, 4, 0]);
        let right = [0, 1, 2].map(|class| counts.recall(class));
        assert_eq!(right, [Some(0.75), Some(0.75), None]);
        assert_eq!((counts.share(0, 1), counts.share(1, 0)), (Some(0.25), Some(0.25)));
        // Beyond the last class there is nothing.
        assert_eq!((counts.examples(3), counts.share(3, 0), counts.share(0, 3)), (0, None, None));
    }

    #[test]
    fn runs_of_the_same_classes_are_added() {
        let first = confusion(&["a", "b"], &[&[3, 1], &[0, 2]]);
        let second = confusion(&["a", "b"], &[&[1, 0], &[5, 7]]);
        let sum = confusion(&["a", "b"], &[&[4, 1], &[5, 9]]);
        assert_eq!(first.clone().merge(&second), Some(sum.clone()));
        assert_eq!(second.merge(&first), Some(sum));
        let renamed = Confusion { classes: vec!["b".into(), "a".into()], ..first.clone() };
        assert_eq!(first.clone().merge(&renamed), None);
        assert_eq!(first.merge(&confusion(&["a"], &[&[1]])), None);
    }
}

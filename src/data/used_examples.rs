//! Which examples a run trains or selects on, and which it is tested on. A run must not be tested on what the other
//! arms that it starts from have seen.

use std::collections::HashMap;

use super::load::{LoadedDataset, Role};

/// An example, or a part of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Of the whole example or document ([`content_digest`](super::duplicates::content_digest)).
    pub digest: u128,
    /// The part begins at this character of a document, and ends before the other.
    pub begin: u64,
    pub end: u64,
}

impl Piece {
    /// A whole example, which is not divided.
    fn whole(digest: u128) -> Piece {
        Piece { digest, begin: 0, end: 1 }
    }

    fn overlaps(&self, other: &Piece) -> bool {
        self.begin < other.end && other.begin < self.end
    }
}

/// What a run uses, by content, wherever it is stored.
#[derive(Clone, Debug, Default)]
pub struct UsedExamples {
    /// Of training and validation.
    seen: Vec<Piece>,
    tested: Vec<Piece>,
}

impl UsedExamples {
    pub fn new(seen: Vec<Piece>, tested: Vec<Piece>) -> UsedExamples {
        UsedExamples { seen, tested }
    }

    /// The examples of a dataset whose examples are not divided.
    pub fn of<E>(loaded: &LoadedDataset<E>) -> UsedExamples {
        let pieces = |role| loaded.digests_of(role).into_iter().map(Piece::whole);
        UsedExamples {
            seen: pieces(Role::Train).chain(pieces(Role::Validation)).collect(),
            tested: pieces(Role::Test).collect(),
        }
    }

    pub fn tests(&self) -> usize {
        self.tested.len()
    }

    /// How many of the test's examples earlier runs have seen. Not counted are those that this run's own
    /// training and validation have, too: they are duplicates within its data, which are counted elsewhere.
    pub fn tested_after(&self, earlier: &[&UsedExamples]) -> usize {
        // Mostly an arm and what it starts from share their data.
        if earlier.iter().all(|used| std::ptr::eq(*used, self)) {
            return 0;
        }
        let mut tests: HashMap<u128, Vec<usize>> = HashMap::new();
        for (place, piece) in self.tested.iter().enumerate() {
            tests.entry(piece.digest).or_default().push(place);
        }
        // For each piece of the test, whether a piece of these overlaps with it.
        let among = |seen: &mut dyn Iterator<Item = &Piece>| {
            let mut found = vec![false; self.tested.len()];
            for piece in seen {
                for place in tests.get(&piece.digest).into_iter().flatten() {
                    found[*place] |= piece.overlaps(&self.tested[*place]);
                }
            }
            found
        };
        let before = among(&mut earlier.iter().flat_map(|used| &used.seen));
        let own = among(&mut self.seen.iter());
        before.iter().zip(own).filter(|(before, own)| **before && !own).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(all: &[(u128, u64, u64)]) -> Vec<Piece> {
        all.iter().map(|&(digest, begin, end)| Piece { digest, begin, end }).collect()
    }

    #[test]
    fn what_earlier_runs_saw_is_counted_unless_the_run_sees_it_itself() {
        let used = |seen: &[u128], tested: &[u128]| {
            let whole = |all: &[u128]| all.iter().map(|digest| Piece::whole(*digest)).collect();
            UsedExamples::new(whole(seen), whole(tested))
        };
        let run = used(&[1, 2, 3], &[3, 4, 5, 5]);
        assert_eq!(run.tested_after(&[&run.clone()]), 0);
        assert_eq!(run.tested_after(&[&used(&[3, 4], &[1])]), 1);
        assert_eq!(run.tested_after(&[&used(&[5], &[]), &used(&[4], &[])]), 3);
        assert_eq!(run.tested_after(&[]), 0);
    }

    #[test]
    fn parts_of_a_document_count_where_they_overlap() {
        let test = UsedExamples::new(pieces(&[(1, 0, 80)]), pieces(&[(1, 90, 100), (2, 0, 5)]));
        let after = |seen: &[(u128, u64, u64)]| {
            test.tested_after(&[&UsedExamples::new(pieces(seen), Vec::new())])
        };
        assert_eq!(after(&[(1, 0, 90)]), 0);
        assert_eq!(after(&[(1, 0, 91)]), 1);
        assert_eq!(after(&[(1, 99, 120), (2, 4, 6)]), 2);
        assert_eq!(after(&[(3, 0, 1000)]), 0);
    }
}

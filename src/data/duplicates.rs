//! Finds examples that are in two splits, by digests of their decoded content.
//!
//! Such examples leak training data into the test. If both splits have files of their own, the
//! dataset is refused unless the spec keeps the duplicates. If validation and test are drawn from
//! the training split, equal examples may fall into different parts; these are only counted.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::parts::Parts;
use crate::error::{Fault, Result};

/// Number of pairs that an error names.
const NAMED: usize = 3;

/// A digest of an example's content: the first 128 bits of a SHA-256. Nobody can construct two different
/// examples with the same digest.
pub fn content_digest(hash: Sha256) -> u128 {
    hash.finalize().iter().take(16).fold(0, |all, byte| all << 8 | u128::from(*byte))
}

/// The examples of a split with files of its own.
pub struct SplitDigests {
    /// The split's name.
    pub name: String,
    /// A digest of each example's decoded content.
    pub digests: Vec<u128>,
}

/// The files of a split's examples, for errors.
#[derive(Clone, Debug)]
pub enum Origins {
    /// One file for each example.
    Single(Vec<String>),
    /// Tables, each with its number of examples.
    Tables(Vec<(String, usize)>),
}

/// Numbers of examples that are in two splits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Examples of a split that are also in the files of an earlier split. The order is training,
    /// validation, test.
    pub in_two_splits: u64,
    /// Examples of a part of the training split that are also in an earlier part, in the same
    /// order.
    pub in_two_parts: u64,
    /// Examples that were left out of a split, since a later one has them.
    pub removed: u64,
}

impl Shared {
    /// One sentence for each count above 0. `examples` names the examples, such as `Images`.
    pub fn notes(&self, examples: &str) -> Vec<String> {
        let all = [
            (
                self.in_two_splits,
                "in a split and also in the files of an earlier one (`duplicates: keep`)",
            ),
            (
                self.in_two_parts,
                "drawn for one part of the training split while another part has an equal one",
            ),
            (
                self.removed,
                "left out of training or validation, since a later split has an equal one \
                 (`duplicates: remove`)",
            ),
        ];
        notes(examples, &all)
    }
}

/// One sentence for each count above 0, from the count and what so many examples are.
pub fn notes(examples: &str, counts: &[(u64, &str)]) -> Vec<String> {
    let some = counts.iter().filter(|(count, _)| *count > 0);
    some.map(|(count, what)| match count {
        1 => format!("{examples}: 1 is {what}."),
        _ => format!("{examples}: {count} are {what}."),
    })
    .collect()
}

impl Origins {
    /// The file of the split's example `row`, and its row in that file.
    pub fn place(&self, row: usize) -> String {
        match self {
            Origins::Single(files) => files.get(row).cloned().unwrap_or_default(),
            Origins::Tables(tables) => {
                let mut first = 0;
                let holds = |(_, rows): &&(String, usize)| {
                    let here = row < first + rows;
                    first += if here { 0 } else { *rows };
                    here
                };
                let file = tables.iter().find(holds).map_or("", |(file, _)| file);
                format!("{file}: row {}", row - first)
            }
        }
    }
}

/// Counts examples that are also in an earlier split. Errors if there are any, unless `keep` is
/// set. `example` is the singular and plural for the message.
pub fn between(
    splits: &[(&SplitDigests, &Origins)],
    keep: bool,
    example: [&str; 2],
) -> Result<u64> {
    let mut seen: HashMap<u128, (usize, usize)> = HashMap::new();
    let mut pairs = Vec::new();
    for (at, (split, _)) in splits.iter().enumerate() {
        for (row, digest) in split.digests.iter().enumerate() {
            match seen.get(digest) {
                Some((other, first)) if *other != at => pairs.push(((at, row), (*other, *first))),
                Some(_) => {}
                None => {
                    seen.insert(*digest, (at, row));
                }
            }
        }
    }
    if pairs.is_empty() || keep {
        return Ok(pairs.len() as u64);
    }
    let place = |(split, row): (usize, usize)| {
        let (split, origins) = splits[split];
        format!("{} ({})", origins.place(row), split.name)
    };
    let named = pairs.iter().take(NAMED);
    let mut found: Vec<String> =
        named.map(|(a, b)| format!("{} is {}", place(*a), place(*b))).collect();
    if pairs.len() > NAMED {
        found.push(format!("{} more", pairs.len() - NAMED));
    }
    let [one, several] = example;
    let stand = match pairs.len() {
        1 => format!("{one} stands"),
        _ => format!("{several} stand"),
    };
    Err(Fault::new(format!("{} {stand} in two splits", pairs.len()))
        .within("data")
        .found_each(found)
        .expected(format!("no {one} in two splits"))
        .help(
            "`data.duplicates: keep` allows them and counts them in the notes; `remove` leaves them \
             out of the earlier split",
        )
        .into())
}

/// Counts validation examples that are also trained on, and test examples that are also trained on
/// or validated with. `digests` are those of the whole training split.
pub fn within(digests: &[u128], parts: &Parts) -> u64 {
    let mut seen = HashSet::new();
    let mut count = 0;
    for rows in [&parts.train, &parts.validation, &parts.test] {
        let of_part = || rows.iter().map(|row| digests[*row as usize]);
        count += of_part().filter(|digest| seen.contains(digest)).count() as u64;
        seen.extend(of_part());
    }
    count
}

/// The examples of a role: `rows` of those with these digests, or all of them.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub digests: &'a [u128],
    pub rows: Option<&'a [u32]>,
}

impl Rows<'_> {
    fn all(&self) -> Vec<u32> {
        self.rows.map_or_else(|| (0..self.digests.len() as u32).collect(), <[u32]>::to_vec)
    }
}

/// For training, validation and test: the rows that no later one has, and the number of the others. None
/// if there are no others.
pub fn remove(roles: &[Rows; 3]) -> [Option<(Vec<u32>, u64)>; 3] {
    let mut later: HashSet<u128> = HashSet::new();
    let mut kept = [None, None, None];
    for (role, kept) in roles.iter().zip(&mut kept).rev() {
        let all = role.all();
        let digest = |row: &u32| role.digests[*row as usize];
        let left: Vec<u32> =
            all.iter().filter(|row| !later.contains(&digest(row))).copied().collect();
        let removed = (all.len() - left.len()) as u64;
        later.extend(all.iter().map(digest));
        *kept = (removed > 0).then_some((left, removed));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_later_splits_are_removed() {
        let whole = |digests| Rows { digests, rows: None };
        let (train, validation, test) = ([1, 1, 2, 3, 4, 7, 7], [3, 5, 8], [1, 5, 6, 6]);
        let kept = remove(&[whole(&train), whole(&validation), whole(&test)]);
        // Two equal examples in one split are no leak.
        assert_eq!(kept, [Some((vec![2, 4, 5, 6], 3)), Some((vec![0, 2], 1)), None]);
        let part = |rows| Rows { digests: &train, rows: Some(rows) };
        let kept = remove(&[part(&[0, 2, 3, 5]), part(&[6]), part(&[1, 4])]);
        assert_eq!(kept, [Some((vec![2, 3], 2)), None, None]);
        assert_eq!(remove(&[whole(&[1]), part(&[]), whole(&[2])]), [None, None, None]);
    }

    fn split(name: &str, digests: &[u128], origins: Origins) -> (SplitDigests, Origins) {
        (SplitDigests { name: name.into(), digests: digests.to_vec() }, origins)
    }

    #[test]
    fn all_pairs_are_counted_and_the_error_names_the_first() {
        let table = |file: &str, rows| (file.to_string(), rows);
        let two = vec![table("a.parquet", 2), table("b.parquet", 3)];
        let single = vec!["x.png".to_string(), "y.png".to_string()];
        let splits = [
            split("train", &[1, 2, 3, 4, 4], Origins::Tables(two)),
            split("dev", &[9, 3], Origins::Single(single)),
            split("test", &[9, 1, 2, 5], Origins::Tables(vec![table("i-images", 4)])),
        ];
        let splits: Vec<_> = splits.iter().map(|(split, origins)| (split, origins)).collect();
        let noun = ["image", "images"];
        assert_eq!(between(&splits, true, noun).unwrap(), 4);
        let error = between(&splits, false, noun).unwrap_err().to_string();
        for part in [
            "data: 4 images stand in two splits",
            "y.png (dev) is b.parquet: row 0 (train)",
            "i-images: row 0 (test) is x.png (dev)",
            "i-images: row 1 (test) is a.parquet: row 0 (train)",
            "1 more",
            "data.duplicates: keep",
        ] {
            assert!(error.contains(part), "{error}");
        }
        // Two equal examples in one split are no leak.
        assert_eq!(between(&splits[..1], false, noun).unwrap(), 0);
    }

    #[test]
    fn examples_in_two_parts_are_counted() {
        let parts = Parts { train: vec![0, 1, 2], validation: vec![3, 4], test: vec![5, 6] };
        assert_eq!(within(&[1, 2, 3, 4, 5, 6, 7], &parts), 0);
        // Row 3 equals row 0, row 5 equals row 3, and row 6 equals row 4.
        assert_eq!(within(&[1, 1, 3, 1, 5, 1, 5], &parts), 3);
    }
}

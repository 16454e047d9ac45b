//! Images that stand in two splits, by their decoded content.
//!
//! A test image that was trained on makes the test say less than it claims. Between splits with files
//! of their own that is a fault of the dataset, which is refused unless the spec keeps it. Where parts
//! of the training split serve as other splits, an image that the training split holds twice may fall
//! on both sides; that is counted.

use std::collections::{HashMap, HashSet};

use super::decoded::Fact;
use super::parts::Parts;
use crate::error::{Error, Result};

/// Pairs that an error names.
const NAMED: usize = 3;

/// A split with files of its own.
pub struct Split {
    pub name: String,
    pub facts: Vec<Fact>,
    pub origins: Origins,
}

/// Where a split's images come from, for errors.
#[derive(Clone, Debug)]
pub enum Origins {
    /// Files of an image each.
    Single(Vec<String>),
    /// Tables, with how many images each has.
    Tables(Vec<(String, usize)>),
}

impl Origins {
    /// The file of image `row` of the split, and its place there.
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

/// Counts images of later splits that an earlier one holds, too. Errors if there are any, unless
/// they are kept.
pub fn between(splits: &[Split], keep: bool) -> Result<u64> {
    let mut seen: HashMap<u128, (usize, usize)> = HashMap::new();
    let mut pairs = Vec::new();
    for (at, split) in splits.iter().enumerate() {
        for (row, fact) in split.facts.iter().enumerate() {
            match seen.get(&fact.digest) {
                Some((other, first)) if *other != at => pairs.push(((at, row), (*other, *first))),
                Some(_) => {}
                None => {
                    seen.insert(fact.digest, (at, row));
                }
            }
        }
    }
    if pairs.is_empty() || keep {
        return Ok(pairs.len() as u64);
    }
    let place = |(split, row): (usize, usize)| {
        let split = &splits[split];
        format!("{} ({})", split.origins.place(row), split.name)
    };
    let named = pairs.iter().take(NAMED);
    let mut found: Vec<String> =
        named.map(|(a, b)| format!("{} is {}", place(*a), place(*b))).collect();
    if pairs.len() > NAMED {
        found.push(format!("{} more", pairs.len() - NAMED));
    }
    let images = if pairs.len() == 1 { "image stands" } else { "images stand" };
    Err(Error::Input(format!(
        "data: {} {images} in two splits\n  found:    {}\n  expected: no image in two splits\n  \
         help:     `data.duplicates: keep` counts them in the notes and goes on",
        pairs.len(),
        found.join(",\n            ")
    )))
}

/// Counts images of the parts that are elsewhere, too: those of the validation part that are trained
/// on, and those of the test part that are trained on or validated with.
pub fn within(facts: &[Fact], parts: &Parts) -> u64 {
    let mut seen = HashSet::new();
    let mut count = 0;
    for rows in [&parts.train, &parts.validation, &parts.test] {
        let digests = || rows.iter().map(|row| facts[*row as usize].digest);
        count += digests().filter(|digest| seen.contains(digest)).count() as u64;
        seen.extend(digests());
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::convert::Change;

    fn facts(digests: &[u128]) -> Vec<Fact> {
        let fact = |digest: &u128| Fact { width: 1, height: 1, digest: *digest, change: Change(0) };
        digests.iter().map(fact).collect()
    }

    fn split(name: &str, digests: &[u128], origins: Origins) -> Split {
        Split { name: name.into(), facts: facts(digests), origins }
    }

    #[test]
    fn pairs_are_counted_and_the_first_are_named() {
        let table = |file: &str, rows| (file.to_string(), rows);
        let two = vec![table("a.parquet", 2), table("b.parquet", 3)];
        let single = vec!["x.png".to_string(), "y.png".to_string()];
        let splits = [
            split("train", &[1, 2, 3, 4, 4], Origins::Tables(two)),
            split("dev", &[9, 3], Origins::Single(single)),
            split("test", &[9, 1, 2, 5], Origins::Tables(vec![table("i-images", 4)])),
        ];
        assert_eq!(between(&splits, true).unwrap(), 4);
        let told = between(&splits, false).unwrap_err().to_string();
        for part in [
            "data: 4 images stand in two splits",
            "y.png (dev) is b.parquet: row 0 (train)",
            "i-images: row 0 (test) is x.png (dev)",
            "i-images: row 1 (test) is a.parquet: row 0 (train)",
            "1 more",
            "data.duplicates: keep",
        ] {
            assert!(told.contains(part), "{told}");
        }
        // An image twice in one split is no leak.
        assert_eq!(between(&splits[..1], false).unwrap(), 0);
    }

    #[test]
    fn parts_that_share_an_image_are_counted() {
        let parts = Parts { train: vec![0, 1, 2], validation: vec![3, 4], test: vec![5, 6] };
        assert_eq!(within(&facts(&[1, 2, 3, 4, 5, 6, 7]), &parts), 0);
        // Row 3 is row 0's image, rows 5 and 6 are row 3's and row 4's.
        assert_eq!(within(&facts(&[1, 1, 3, 1, 5, 1, 5]), &parts), 3);
    }
}

//! Finds splits and shards in the names of files and folders.
//!
//! The words for splits and their separators are those of Hugging Face's `datasets` 5.2
//! (`data_files.py`), since datasets are usually laid out for that library.

/// Splits in the order of listings, each with its words.
pub const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The split of a word.
pub fn canonical(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    SPLITS.iter().find(|(_, words)| words.contains(&&word[..])).map(|(split, _)| *split)
}

/// The use of a split by its name: the first split with a separate word in the name, as in
/// `train.clean` or `test-other`.
pub fn role(split: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| places(split, word).next().is_some());
    let apart = || SPLITS.iter().find(|(_, words)| says(words)).map(|(name, _)| *name);
    canonical(split).or_else(apart)
}

/// Whether a byte separates words.
fn separates(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'_' | b' ' | b'0'..=b'9')
}

/// The position of a word in a name, in the order of the patterns of `datasets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Whole,
    Start,
    End,
    Inside,
}

/// The positions of `word` in `name`, where it must be separated from other words.
fn places<'a>(name: &'a str, word: &'a str) -> impl Iterator<Item = Place> + 'a {
    let bytes = name.as_bytes();
    name.match_indices(word).filter_map(move |(at, _)| {
        let before = at.checked_sub(1).map(|i| separates(bytes[i]));
        let after = bytes.get(at + word.len()).map(|b| separates(*b));
        match (before, after) {
            (None, None) => Some(Place::Whole),
            (None, Some(true)) => Some(Place::Start),
            (Some(true), None) => Some(Place::End),
            (Some(true), Some(true)) => Some(Place::Inside),
            _ => None,
        }
    })
}

/// The patterns of a split that a path matches, without repetition. Each is the word's index and
/// its position in the name.
pub type Matches = Vec<(usize, u8)>;

/// The patterns of a split that match a file by its own name. `words` are the split's.
pub fn in_file(path: &str, words: &[&str]) -> Matches {
    let name = path.rsplit('/').next().unwrap_or(path);
    // A name that ends with the word has no extension and is not read.
    let apart = |place: &Place| matches!(place, Place::Start | Place::Inside);
    patterns(words, |word| places(name, word).filter(apart).collect())
}

/// The patterns of a split that match a file by the names of its folders.
pub fn in_folders(path: &str, words: &[&str]) -> Matches {
    let Some((folders, _)) = path.rsplit_once('/') else { return Vec::new() };
    patterns(words, |word| folders.split('/').flat_map(|folder| places(folder, word)).collect())
}

fn patterns(words: &[&str], of: impl Fn(&str) -> Vec<Place>) -> Matches {
    let mut all: Matches = Vec::new();
    for (i, word) in words.iter().enumerate() {
        all.extend(of(word).into_iter().map(|place| (i, place as u8)));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether a folder's name contains the word of a split.
pub fn names_split(folder: &str) -> bool {
    SPLITS.iter().any(|(_, words)| words.iter().any(|word| places(folder, word).next().is_some()))
}

/// The split in an IDX file's name such as `t10k-images-idx3-ubyte.gz`, and whether the file holds
/// labels.
pub fn idx(path: &str) -> Option<(Option<&'static str>, bool)> {
    let name = path.rsplit('/').next()?;
    let (at, labels) = match (name.find("images"), name.find("labels")) {
        (Some(at), None) => (at, false),
        (None, Some(at)) => (at, true),
        _ => return None,
    };
    let front = &name[..at];
    if front.trim_end_matches(['-', '_', '.']) == "t10k" {
        return Some((Some("test"), labels));
    }
    let mut found = SPLITS.iter().filter(|(_, words)| {
        !in_file(front, words).is_empty() || !in_folders(path, words).is_empty()
    });
    Some((found.next().map(|(split, _)| *split), labels))
}

/// A file's place in a set of shards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard<'a> {
    /// The folder and the name before the number.
    pub prefix: &'a str,
    pub index: usize,
    /// Number of files in the set; None for a single file.
    pub count: Option<usize>,
}

impl<'a> Shard<'a> {
    /// Parses names such as `train.parquet`, `train-00000-of-00002.parquet` and
    /// `train-00000-of-00002-1a2b3c4d.parquet`.
    pub fn of(path: &'a str) -> Shard<'a> {
        let plain = path.strip_suffix(".gz").unwrap_or(path);
        let from = path.rfind('/').map_or(0, |slash| slash + 1);
        let end = plain[from..].rfind('.').map_or(plain.len(), |dot| from + dot);
        let stem = &path[..end];
        let numbered = || {
            let (front, back) = stem.rsplit_once("-of-")?;
            let (prefix, index) = front.rsplit_once('-')?;
            let digits = back.bytes().take_while(u8::is_ascii_digit).count();
            let rest = &back[digits..];
            let ends = rest.is_empty() || rest.starts_with(['-', '.']);
            let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
                true => text.parse().ok(),
                false => None,
            };
            let count = number(&back[..digits]).filter(|_| ends)?;
            Some(Shard { prefix, index: number(index)?, count: Some(count) })
        };
        numbered().unwrap_or(Shard { prefix: stem, index: 0, count: None })
    }
}

/// The split of a shard in `data/`: `train` for `data/train-00000-of-00002-1a2b.parquet`.
pub fn in_data(rest: &str) -> Option<&str> {
    let name = rest.strip_prefix("data/").filter(|name| !name.contains('/'))?;
    let five = |text: &str| text.len() >= 5 && text.bytes().take(5).all(|b| b.is_ascii_digit());
    let found = name.match_indices("-of-").filter(|(at, _)| {
        let (front, back) = (&name.as_bytes()[..*at], &name[at + 4..]);
        let numbered = front.len() > 6 && front[front.len() - 6] == b'-';
        let digits = front.iter().rev().take(5).all(u8::is_ascii_digit);
        numbered && digits && five(back) && back.get(5..).is_some_and(|rest| rest.contains('.'))
    });
    found.last().map(|(at, _)| &name[..at - 6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_recognised_by_their_numbers() {
        let shard = |path| {
            let shard = Shard::of(path);
            (shard.prefix, shard.index, shard.count)
        };
        assert_eq!(shard("d.x/train.parquet"), ("d.x/train", 0, None));
        assert_eq!(shard("d/train-00001-of-00002.csv.gz"), ("d/train", 1, Some(2)));
        assert_eq!(shard("train-00000-of-00001-0a1b2c3d4e.parquet"), ("train", 0, Some(1)));
        assert_eq!(shard("train-00000-of-00001.snappy.parquet"), ("train", 0, Some(1)));
        assert_eq!(shard("best-of-all.csv"), ("best-of-all", 0, None));
        assert_eq!(shard("train-00000-of-+2.csv"), ("train-00000-of-+2", 0, None));
        assert_eq!(shard("a.b.csv"), ("a.b", 0, None));
    }

    #[test]
    fn shards_in_data_name_their_split() {
        assert_eq!(in_data("data/train-00000-of-00002.parquet"), Some("train"));
        assert_eq!(in_data("data/my.x-00000-of-00002-1a2b.parquet"), Some("my.x"));
        for none in [
            "train-00000-of-00002.parquet",
            "data/x/train-00000-of-00002.parquet",
            "data/train-0-of-2.parquet",
            "data/train-00000-of-00002",
            "data/-00000-of-00002.csv",
            "data/train.csv",
        ] {
            assert_eq!(in_data(none), None, "{none}");
        }
    }

    #[test]
    fn splits_are_found_by_separate_words() {
        let of = |path: &str, at: fn(&str, &[&str]) -> Matches| -> Vec<&str> {
            let found = SPLITS.iter().filter(|(_, words)| !at(path, words).is_empty());
            found.map(|(split, _)| *split).collect()
        };
        for (path, want) in [
            ("a/my_train.csv", &["train"][..]),
            ("train_2.csv", &["train"]),
            ("train2.csv", &["train"]),
            ("0train1.csv", &["train"]),
            ("reviews-dev-00000-of-00003.parquet", &["validation"]),
            ("a eval b.csv", &["test"]),
            ("training_set.csv", &["train"]),
            ("train-val.csv", &["train", "validation"]),
            ("latest.csv", &[]),
            ("trainset.csv", &[]),
            ("mytrain.csv", &[]),
            ("Train.csv", &[]),
            ("train", &[]),
        ] {
            assert_eq!(of(path, in_file), want, "{path}");
        }
        for (path, want) in [
            ("train/1.png", &["train"][..]),
            ("x/old test/a/1.png", &["test"]),
            ("train_2/1.png", &["train"]),
            ("train/test/1.png", &["train", "test"]),
            ("trains/1.png", &[]),
            ("train.csv", &[]),
        ] {
            assert_eq!(of(path, in_folders), want, "{path}");
        }
        // `datasets` reads a file once for each pattern that matches.
        assert_eq!(in_folders("train/train 1/a.png", SPLITS[0].1).len(), 2);
        assert_eq!(in_folders("train/train/a.png", SPLITS[0].1).len(), 1);
        assert_eq!(in_file("train-training.csv", SPLITS[0].1).len(), 2);
    }

    #[test]
    fn the_use_of_a_split_is_found_in_its_name() {
        for (split, want) in [
            ("Train", Some("train")),
            ("train.clean", Some("train")),
            ("test-other", Some("test")),
            ("dev_2", Some("validation")),
            ("latest", None),
        ] {
            assert_eq!(role(split), want, "{split}");
        }
    }

    #[test]
    fn idx_files_name_their_split() {
        assert_eq!(idx("x/t10k-labels-idx1-ubyte.gz"), Some((Some("test"), true)));
        assert_eq!(idx("train-images-idx3-ubyte"), Some((Some("train"), false)));
        assert_eq!(idx("emnist-letters-test-images-idx3-ubyte"), Some((Some("test"), false)));
        assert_eq!(idx("a-images-idx3-ubyte"), Some((None, false)));
        assert_eq!(idx("x-ubyte"), None);
    }
}

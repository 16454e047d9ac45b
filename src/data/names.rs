//! What the names of files and folders say: the format, the split, the part of a set.

/// A format of files that hold rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    Parquet,
    Csv,
    Tsv,
    JsonLines,
    /// A file of images and one of their labels, as MNIST's.
    Idx,
    /// Images in a folder a class.
    ImageFolder,
}

impl Format {
    /// By a path's ending; None for what holds no rows.
    pub fn of(path: &str) -> Option<Format> {
        let name = path.rsplit('/').next()?.to_ascii_lowercase();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        if plain.ends_with("-ubyte") {
            return Some(Format::Idx);
        }
        let text = |ending: &str| match ending {
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            "jsonl" | "ndjson" | "json" => Some(Format::JsonLines),
            _ => None,
        };
        let (stem, ending) = plain.rsplit_once('.')?;
        // What describes a dataset is none of its rows.
        let about = ["dataset_infos", "metadata", "config", "package"].contains(&stem);
        match ending {
            _ if plain != name => text(ending),
            "parquet" => Some(Format::Parquet),
            "png" | "jpg" | "jpeg" | "webp" => Some(Format::ImageFolder),
            "json" if about => None,
            ending => text(ending),
        }
    }
}

/// The split that a word of a name means.
pub fn canonical(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "train" | "training" => "train",
        "validation" | "valid" | "val" | "dev" => "validation",
        "test" | "testing" | "eval" | "evaluation" => "test",
        _ => return None,
    })
}

/// The split in an IDX file's name, `t10k-images-idx3-ubyte.gz`, and whether it holds labels.
pub fn idx(path: &str) -> Option<(&str, bool)> {
    let name = path.rsplit('/').next()?;
    let (at, labels) = match (name.find("images"), name.find("labels")) {
        (Some(at), None) => (at, false),
        (None, Some(at)) => (at, true),
        _ => return None,
    };
    let split = name[..at].trim_end_matches(['-', '_', '.']);
    Some((if split == "t10k" { "test" } else { split }, labels))
}

/// Which part of a set of files one is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard<'a> {
    /// The folder and the name in front of the number.
    pub prefix: &'a str,
    pub index: usize,
    /// How many the set has; None for a file that is whole.
    pub count: Option<usize>,
}

impl<'a> Shard<'a> {
    /// `train.parquet`, `train-00000-of-00002.parquet`, `train-00000-of-00002-1a2b3c4d.parquet`.
    pub fn of(path: &'a str) -> Shard<'a> {
        let from = path.rfind('/').map_or(0, |slash| slash + 1);
        let stem = from + path[from..].find('.').unwrap_or(path.len() - from);
        let stem = &path[..stem];
        let numbered = || {
            let (front, back) = stem.rsplit_once("-of-")?;
            let (prefix, index) = front.rsplit_once('-')?;
            let count = back.split_once('-').map_or(back, |(count, _)| count);
            let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
                true => text.parse().ok(),
                false => None,
            };
            Some(Shard { prefix, index: number(index)?, count: Some(number(count)?) })
        };
        numbered().unwrap_or(Shard { prefix: stem, index: 0, count: None })
    }

    /// The prefix without its folder.
    pub fn name(&self) -> &'a str {
        self.prefix.rsplit('/').next().unwrap_or(self.prefix)
    }

    /// The split, if the name has one word for one.
    pub fn split_in_name(&self) -> Option<&'static str> {
        let words = self.name().split(|c: char| !c.is_ascii_alphanumeric());
        let mut found = words.filter_map(canonical);
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_tell_the_format() {
        for (path, format) in [
            ("a/train.parquet", Some(Format::Parquet)),
            ("train.CSV", Some(Format::Csv)),
            ("train.csv.gz", Some(Format::Csv)),
            ("t10k-images-idx3-ubyte.gz", Some(Format::Idx)),
            ("t10k-images.idx3-ubyte", Some(Format::Idx)),
            ("a.jpeg", Some(Format::ImageFolder)),
            ("dataset_infos.json", None),
            ("README.md", None),
            ("a.png.gz", None),
            ("LICENSE", None),
        ] {
            assert_eq!(Format::of(path), format, "{path}");
        }
    }

    #[test]
    fn numbers_tell_the_part_of_a_set() {
        let shard = |path| {
            let shard = Shard::of(path);
            (shard.prefix, shard.index, shard.count)
        };
        assert_eq!(shard("d.x/train.parquet"), ("d.x/train", 0, None));
        assert_eq!(shard("d/train-00001-of-00002.csv.gz"), ("d/train", 1, Some(2)));
        assert_eq!(shard("train-00000-of-00001-0a1b2c3d4e.parquet"), ("train", 0, Some(1)));
        assert_eq!(shard("best-of-all.csv"), ("best-of-all", 0, None));
        assert_eq!(shard("train-00000-of-+2.csv"), ("train-00000-of-+2", 0, None));
    }

    #[test]
    fn words_tell_the_split() {
        let split = |path| Shard::of(path).split_in_name();
        assert_eq!(split("a/my_train.csv"), Some("train"));
        assert_eq!(split("reviews-dev-00000-of-00003.parquet"), Some("validation"));
        assert_eq!(split("train-val.csv"), None);
        assert_eq!(split("training_set.csv"), Some("train"));
        assert_eq!(split("latest.csv"), None);
        assert_eq!(idx("x/t10k-labels-idx1-ubyte.gz"), Some(("test", true)));
        assert_eq!(idx("train-images-idx3-ubyte"), Some(("train", false)));
        assert_eq!(idx("x-ubyte"), None);
    }
}

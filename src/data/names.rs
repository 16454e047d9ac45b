//! What the names of files and folders say: the format, the split, the part of a set.
//!
//! Words for splits and what separates them are those of Hugging Face's `datasets` 5.2
//! (`data_files.py`), which is what people lay their folders out for.

use crate::hub::is_of_a_program;

/// A format of files that hold rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    Parquet,
    Csv,
    Tsv,
    JsonLines,
    /// A file of images and one of their labels, as MNIST's.
    Idx,
    /// Images in files of their own.
    ImageFolder,
}

impl Format {
    /// By a file's name, whatever its folders; None for what is not read. Endings of tables are in
    /// lower case, those of images in one case, as `datasets` knows them.
    pub fn of(path: &str) -> Option<Format> {
        match named(path) {
            Holds::Rows(format) => Some(format),
            _ => None,
        }
    }

    /// As messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Parquet => "Parquet",
            Format::Csv => "CSV",
            Format::Tsv => "TSV",
            Format::JsonLines => "JSON lines",
            Format::Idx => "IDX",
            Format::ImageFolder => "images",
        }
    }
}

/// What a file holds, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Rows(Format),
    /// Rows or images, it may be, in a format that is not read.
    Unread,
    /// The same under a hidden name, which `datasets` passes over.
    Hidden,
    /// Something of no known format.
    Unknown,
    /// Words about the dataset, programs, checksums: never rows.
    Nothing,
}

/// Files that describe a repository, as `datasets` and others write them.
const ABOUT: [&str; 12] = [
    "config.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "package.json",
    "package-lock.json",
    "croissant.json",
    "dummy_data.zip",
    "thumbs.db",
    "desktop.ini",
    "makefile",
];
/// Beginnings of the names of such files, whatever their ending.
const TITLES: [&str; 9] = [
    "readme",
    "license",
    "licence",
    "notice",
    "copying",
    "citation",
    "changelog",
    "authors",
    "contributing",
];
/// Endings of files that hold no rows.
const NO_ROWS: &[&str] = &[
    "md", "rst", "py", "pyc", "ipynb", "sh", "bat", "yaml", "yml", "toml", "lock", "cff", "bib",
    "tex", "html", "css", "js", "rs", "r", "log", "md5", "sha1", "sha256", "sha512", "asc", "sig",
];
/// Endings of files that may hold rows or images and are not read.
const UNREAD: &[&str] = &[
    // Tables and arrays.
    "arrow",
    "feather",
    "orc",
    "avro",
    "geoparquet",
    "gpq",
    "lance",
    "vortex",
    "xls",
    "xlsx",
    "ods",
    "xml",
    "h5",
    "hdf5",
    "hdf",
    "npy",
    "npz",
    "pkl",
    "pickle",
    "pt",
    "pth",
    "mat",
    "bin",
    "db",
    "sqlite",
    "sqlite3",
    "duckdb",
    "tfrecord",
    "tfrecords",
    "rec",
    "lmdb",
    "mdb",
    "msgpack",
    "conll",
    "conllu",
    "safetensors",
    "jsonld",
    // Archives.
    "zip",
    "tar",
    "tgz",
    "gz",
    "bz2",
    "xz",
    "zst",
    "lz4",
    "7z",
    "rar",
    // Images.
    "apng",
    "avif",
    "blp",
    "bmp",
    "bufr",
    "bw",
    "cur",
    "dcm",
    "dcx",
    "dds",
    "dib",
    "emf",
    "eps",
    "exr",
    "fit",
    "fits",
    "flc",
    "fli",
    "ftc",
    "ftu",
    "gbr",
    "gif",
    "grib",
    "hdr",
    "heic",
    "heif",
    "icb",
    "icns",
    "ico",
    "iim",
    "im",
    "j2c",
    "j2k",
    "jp2",
    "jpc",
    "jpf",
    "jpx",
    "jxl",
    "msp",
    "pbm",
    "pcd",
    "pcx",
    "pgm",
    "pnm",
    "ppm",
    "ps",
    "psd",
    "pxr",
    "ras",
    "rgb",
    "rgba",
    "sgi",
    "svg",
    "tga",
    "tif",
    "tiff",
    "vda",
    "vst",
    "wmf",
    "xbm",
    "xpm",
];

/// What the file at `path` of a dataset holds. What other programs leave behind holds nothing.
pub fn holds(path: &str) -> Holds {
    let left_behind =
        |folder: &str| folder == "__MACOSX" || folder == "__pycache__" || is_of_a_program(folder);
    if path.split('/').rev().skip(1).any(left_behind) {
        return Holds::Nothing;
    }
    let hidden = path.split('/').any(|part| part.starts_with('.'));
    match named(path) {
        Holds::Rows(_) | Holds::Unread if hidden => Holds::Hidden,
        _ if hidden => Holds::Nothing,
        holds => holds,
    }
}

/// Whether macOS wrote the file at `path` beside another: `._1.png` keeps attributes of `1.png`.
/// `exists` says whether the dataset has a file of a path.
pub fn is_apple_double(path: &str, exists: impl Fn(&str) -> bool) -> bool {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    name.strip_prefix("._").is_some_and(|name| match folder {
        "" => exists(name),
        folder => exists(&format!("{folder}/{name}")),
    })
}

/// What a file holds by its own name.
pub fn named(path: &str) -> Holds {
    let own = path.rsplit('/').next().unwrap_or(path);
    let name = own.to_ascii_lowercase();
    let titled = TITLES.iter().any(|title| {
        name.strip_prefix(title)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_']))
    });
    if ABOUT.contains(&&name[..]) {
        return Holds::Nothing;
    }
    if let Some(format) = format(own) {
        return Holds::Rows(format);
    }
    let mut endings = name.split('.').skip(1);
    let last = endings.clone().last().unwrap_or_default();
    if titled || NO_ROWS.contains(&last) {
        return Holds::Nothing;
    }
    // `datasets` reads `train.csv.bak` as CSV, and drops `train.CSV`.
    match UNREAD.contains(&last) || endings.any(|ending| known(ending).is_some()) {
        true => Holds::Unread,
        false => Holds::Unknown,
    }
}

/// The ending of a file that would be read if its ending were in another case.
pub fn in_another_case(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (_, ending) = name.rsplit_once('.')?;
    (format(name).is_none() && known(&ending.to_ascii_lowercase()).is_some()).then_some(ending)
}

/// Whether an ending, in any case, means an image.
pub fn is_image_ending(ending: &str) -> bool {
    known(&ending.to_ascii_lowercase()) == Some(Format::ImageFolder)
}

/// The format that an ending in lower case means.
fn known(ending: &str) -> Option<Format> {
    Some(match ending {
        "parquet" => Format::Parquet,
        "csv" => Format::Csv,
        "tsv" => Format::Tsv,
        "jsonl" | "ndjson" | "json" => Format::JsonLines,
        "png" | "jpg" | "jpeg" | "jpe" | "jfif" | "webp" => Format::ImageFolder,
        _ => return None,
    })
}

fn format(name: &str) -> Option<Format> {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    if plain.ends_with("-ubyte") {
        return Some(Format::Idx);
    }
    let (_, ending) = plain.rsplit_once('.')?;
    match known(ending) {
        // Those two are packed inside.
        Some(Format::Parquet | Format::ImageFolder) if plain != name => None,
        None if ending == ending.to_ascii_uppercase() => known(&ending.to_ascii_lowercase())
            .filter(|format| *format == Format::ImageFolder && plain == name),
        known => known,
    }
}

/// Whether the file describes images in a folder, an image a row, where there are images beside it.
pub fn is_metadata(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some("metadata.csv" | "metadata.jsonl" | "metadata.parquet"))
}

/// Splits in the order that they are listed in, each with the words that mean it.
pub const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The split that a word means.
pub fn canonical(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    SPLITS.iter().find(|(_, words)| words.contains(&&word[..])).map(|(split, _)| *split)
}

/// What a split of this name is meant for: the first split of which a word stands apart in the name,
/// as in `train.clean` or `test-other`.
pub fn role(split: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| places(split, word).next().is_some());
    let apart = || SPLITS.iter().find(|(_, words)| says(words)).map(|(name, _)| *name);
    canonical(split).or_else(apart)
}

/// What stands between words.
fn separates(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'_' | b' ' | b'0'..=b'9')
}

/// Where a word stands in a name, in the order in which `datasets` looks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Whole,
    Start,
    End,
    Inside,
}

/// The places where `word` stands apart in `name`.
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

/// Which of a split's patterns a path matches, each once: the word's place in the list of words, and
/// its place in the name.
pub type Matches = Vec<(usize, u8)>;

/// How the split of these words takes a file by its own name; empty where it does not.
pub fn in_file(path: &str, words: &[&str]) -> Matches {
    let name = path.rsplit('/').next().unwrap_or(path);
    // A name that ends with the word has no ending: nothing that is read.
    let apart = |place: &Place| matches!(place, Place::Start | Place::Inside);
    patterns(words, |word| places(name, word).filter(apart).collect())
}

/// The same by the names of the folders above it.
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

/// Whether a folder's name says a split.
pub fn names_split(folder: &str) -> bool {
    SPLITS.iter().any(|(_, words)| words.iter().any(|word| places(folder, word).next().is_some()))
}

/// The split in an IDX file's name, `t10k-images-idx3-ubyte.gz`, and whether it holds labels.
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

/// The split of a shard in `data/`, `data/train-00000-of-00002-1a2b.parquet`: `train`.
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
    fn names_say_what_a_file_holds() {
        use Format::*;
        for (path, want) in [
            ("a/train.parquet", Holds::Rows(Parquet)),
            ("train.csv.gz", Holds::Rows(Csv)),
            ("a.b.ndjson", Holds::Rows(JsonLines)),
            ("metadata.json", Holds::Rows(JsonLines)),
            ("t10k-images-idx3-ubyte.gz", Holds::Rows(Idx)),
            ("t10k-images.idx3-ubyte", Holds::Rows(Idx)),
            ("a.jpeg", Holds::Rows(ImageFolder)),
            ("a.PNG", Holds::Rows(ImageFolder)),
            ("a.jfif", Holds::Rows(ImageFolder)),
            ("train.CSV", Holds::Unread),
            ("a.Png", Holds::Unread),
            ("train.csv.bak", Holds::Unread),
            ("a.png.gz", Holds::Unread),
            ("a.parquet.gz", Holds::Unread),
            ("scan.tif", Holds::Unread),
            ("train.tar.gz", Holds::Unread),
            ("data_batch_1.bin", Holds::Unread),
            ("notes.txt", Holds::Unknown),
            ("data_batch_1", Holds::Unknown),
            ("dataset_infos.json", Holds::Nothing),
            ("README.md", Holds::Nothing),
            ("LICENSE", Holds::Nothing),
            ("LICENSE.txt", Holds::Nothing),
            ("licensed.csv", Holds::Rows(Csv)),
            ("readme.csv", Holds::Rows(Csv)),
            ("train.csv.sha256", Holds::Nothing),
            (".cache/train.csv", Holds::Nothing),
            (".git/x.png", Holds::Nothing),
            (".gitattributes", Holds::Nothing),
            ("a/.DS_Store", Holds::Nothing),
            ("a/.1.png", Holds::Hidden),
            (".more/1.png", Holds::Hidden),
            ("a/.more/x.zip", Holds::Hidden),
            (".train.csv", Holds::Hidden),
            ("__MACOSX/a.png", Holds::Nothing),
        ] {
            assert_eq!(holds(path), want, "{path}");
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
    fn words_that_stand_apart_tell_the_split() {
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
        // Each of these is a pattern of its own, and the file would be read once for each.
        assert_eq!(in_folders("train/train 1/a.png", SPLITS[0].1).len(), 2);
        assert_eq!(in_folders("train/train/a.png", SPLITS[0].1).len(), 1);
        assert_eq!(in_file("train-training.csv", SPLITS[0].1).len(), 2);
    }

    #[test]
    fn a_split_is_meant_for_what_its_name_says() {
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

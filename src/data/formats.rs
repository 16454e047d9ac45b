//! Recognises the content of files by their names.
//!
//! The endings are those of Hugging Face's `datasets` 5.2. Endings of tables must be in lower case,
//! those of images in lower or upper case.

use crate::hub::is_tool_folder;

/// A format of files that hold rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    Parquet,
    Csv,
    Tsv,
    JsonLines,
    /// A file of images and one of labels, like MNIST.
    Idx,
    /// One file for each image.
    ImageFolder,
    /// One document for each file.
    PlainText,
    /// A file of lines for each of two languages. A name alone does not tell it.
    AlignedLines,
}

impl Format {
    /// The format by a file's name; its folders do not matter. None for files that are not read.
    pub fn of(path: &str) -> Option<Format> {
        match named(path) {
            Holds::Rows(format) => Some(format),
            _ => None,
        }
    }

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Format::Parquet => "Parquet",
            Format::Csv => "CSV",
            Format::Tsv => "TSV",
            Format::JsonLines => "JSON lines",
            Format::Idx => "IDX",
            Format::ImageFolder => "images",
            Format::PlainText => "plain text",
            Format::AlignedLines => "aligned lines",
        }
    }
}

/// The content of a file, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Rows(Format),
    /// Possibly rows or images, in a format that is not read.
    Unread,
    /// Possibly rows or images, under a hidden name, which `datasets` ignores.
    Hidden,
    /// An unknown format.
    Unknown,
    /// Documentation, programs or checksums: never rows.
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
/// Beginnings of the names of such files; their endings do not matter.
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
/// Endings of files that never hold rows.
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

/// The content of the file at `path` in a dataset. Files that other programs leave behind count as
/// [`Holds::Nothing`].
pub fn holds(path: &str) -> Holds {
    let left_behind =
        |folder: &str| folder == "__MACOSX" || folder == "__pycache__" || is_tool_folder(folder);
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

/// Whether `path` is a file that macOS writes beside another one: `._1.png` stores attributes of
/// `1.png`. `exists` tells whether the dataset has a file at a path.
pub fn is_apple_double(path: &str, exists: impl Fn(&str) -> bool) -> bool {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    name.strip_prefix("._").is_some_and(|name| match folder {
        "" => exists(name),
        folder => exists(&format!("{folder}/{name}")),
    })
}

/// The content of a file by its own name, without its folders.
pub fn named(path: &str) -> Holds {
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let name = file_name.to_ascii_lowercase();
    let titled = TITLES.iter().any(|title| {
        name.strip_prefix(title)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_']))
    });
    if ABOUT.contains(&&name[..]) {
        return Holds::Nothing;
    }
    if let Some(format) = format(file_name)
        && !(titled && format == Format::PlainText)
    {
        return Holds::Rows(format);
    }
    let mut endings = name.split('.').skip(1);
    let last = endings.clone().last().unwrap_or_default();
    if titled || NO_ROWS.contains(&last) {
        return Holds::Nothing;
    }
    // `datasets` reads `train.csv.bak` as CSV, and drops `train.CSV`.
    let is_read = |ending| known(ending).is_some_and(|format| format != Format::PlainText);
    match UNREAD.contains(&last) || endings.any(is_read) {
        true => Holds::Unread,
        false => Holds::Unknown,
    }
}

/// The ending of a file that is not read only because its ending has the wrong case.
pub fn in_another_case(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (_, ending) = name.rsplit_once('.')?;
    (format(name).is_none() && known(&ending.to_ascii_lowercase()).is_some()).then_some(ending)
}

/// Whether an ending is that of an image, in any case.
pub fn is_image_ending(ending: &str) -> bool {
    known(&ending.to_ascii_lowercase()) == Some(Format::ImageFolder)
}

/// The format of an ending in lower case.
fn known(ending: &str) -> Option<Format> {
    Some(match ending {
        "parquet" => Format::Parquet,
        "csv" => Format::Csv,
        "tsv" => Format::Tsv,
        "jsonl" | "ndjson" | "json" => Format::JsonLines,
        "png" | "jpg" | "jpeg" | "jpe" | "jfif" | "webp" => Format::ImageFolder,
        "txt" => Format::PlainText,
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
        // These formats are compressed themselves, so .gz is not read.
        Some(Format::Parquet | Format::ImageFolder) if plain != name => None,
        None if ending == ending.to_ascii_uppercase() => known(&ending.to_ascii_lowercase())
            .filter(|format| *format == Format::ImageFolder && plain == name),
        known => known,
    }
}

/// Whether the file's name is that of a metadata file, which has a row for each image of a folder.
pub fn is_metadata(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some("metadata.csv" | "metadata.jsonl" | "metadata.parquet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_file_is_recognised_by_its_name() {
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
            ("notes.txt", Holds::Rows(PlainText)),
            ("train.txt.gz", Holds::Rows(PlainText)),
            ("notes.TXT", Holds::Unknown),
            ("notes.txt.old", Holds::Unknown),
            ("data_batch_1", Holds::Unknown),
            ("dataset_infos.json", Holds::Nothing),
            ("README.md", Holds::Nothing),
            ("LICENSE", Holds::Nothing),
            ("LICENSE.txt", Holds::Nothing),
            ("readme.txt.gz", Holds::Nothing),
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
}

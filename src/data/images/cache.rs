//! The cache of decoded splits. Each split is a file, named by a hash of everything that decides
//! its content, so a file can never be out of date.
//!
//! A file has the safetensors format with the tensors `pixels`, `labels`, `sizes` (width, height),
//! `digests` and `changes`. Its metadata holds facts about the split, and a checksum of everything.
//! Pixels are mapped into memory instead of read. A damaged file is ignored and written again.

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::convert::Change;
use super::pixels::{Mapped, Pixels};
use crate::atomic::temporary_in;
use crate::data::labels::Classes;
use crate::spec::hex;

/// Version of the file's layout and of the decoding. It is part of the file's name.
const VERSION: u32 = 4;
/// The name of the one entry of the file's metadata.
const RECORD: &str = "vlora";
/// Pixels are hashed in chunks of this many bytes, on all cores.
const CHUNK: usize = 4 << 20;
/// Splits with fewer bytes of pixels are not cached, since decoding them is fast.
const MIN_BYTES: usize = 8 << 20;

/// A decoded split.
#[derive(Debug)]
pub struct Decoded {
    /// \[image, row, column, channel\].
    pub pixels: Pixels,
    pub labels: Vec<u32>,
    /// One for each image.
    pub facts: Vec<ImageFacts>,
    pub about: SplitFacts,
}

/// Facts about an image besides its pixels and its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// Width and height of the stored pixels.
    pub width: u32,
    pub height: u32,
    /// Digest of the whole upright image before resizing and cropping
    /// ([`super::decode::Image::digest`]).
    pub digest: u128,
    /// How decoding changed the image.
    pub change: Change,
}

/// Facts about a split besides its images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitFacts {
    pub classes: Classes,
    /// Number of images in each table, in order.
    pub tables: Vec<usize>,
}

/// The cache's folder: `VLORA_CACHE`, else `vlora` in `XDG_CACHE_HOME`, else `vlora` in `~/.cache`.
/// None if `VLORA_CACHE` is empty or there is no home.
pub fn cache_folder() -> Option<PathBuf> {
    folder_by(|name| env::var_os(name).map(PathBuf::from))
}

fn folder_by(set: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    match set("VLORA_CACHE") {
        Some(folder) => (!folder.as_os_str().is_empty()).then_some(folder),
        None => {
            // The XDG specification says that relative paths must be ignored.
            let xdg = set("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
            let home = || set("HOME").filter(|folder| folder.is_absolute());
            Some(xdg.or_else(|| Some(home()?.join(".cache")))?.join("vlora"))
        }
    }
}

/// A split's name in the cache.
#[derive(Clone, Debug)]
pub struct Key([u8; 32]);

impl Key {
    /// A key from the files' hashes in order, how images are stored, the number of classes, and all
    /// other words that decoding depends on.
    pub fn of<'a>(
        files: impl IntoIterator<Item = &'a str>,
        store: &str,
        classes: usize,
        words: impl IntoIterator<Item = String>,
    ) -> Key {
        let mut hash = Sha256::new();
        hash.update(VERSION.to_le_bytes());
        hash.update((classes as u64).to_le_bytes());
        hash.update((store.len() as u64).to_le_bytes());
        hash.update(store);
        let mut list = |items: Vec<String>| {
            for item in items {
                hash.update([1]);
                hash.update((item.len() as u64).to_le_bytes());
                hash.update(item);
            }
            hash.update([0]);
        };
        list(files.into_iter().map(str::to_string).collect());
        list(words.into_iter().collect());
        Key(hash.finalize().into())
    }

    fn path(&self, cache: &Path) -> PathBuf {
        cache.join("decoded").join(format!("{}.safetensors", hex(&self.0)))
    }
}

/// The metadata of a file.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The file's own key. It shows if the file was renamed.
    key: String,
    about: SplitFacts,
    /// Checksum of everything else.
    checksum: String,
}

/// All tensors of a split except its pixels, as little-endian bytes.
struct Tensors {
    labels: Vec<u8>,
    sizes: Vec<u8>,
    digests: Vec<u8>,
    changes: Vec<u8>,
}

impl Tensors {
    fn of(decoded: &Decoded) -> Tensors {
        let facts = || decoded.facts.iter();
        Tensors {
            labels: decoded.labels.iter().flat_map(|label| label.to_le_bytes()).collect(),
            sizes: facts().flat_map(|f| [f.width, f.height]).flat_map(u32::to_le_bytes).collect(),
            digests: facts().flat_map(|fact| fact.digest.to_le_bytes()).collect(),
            changes: facts().map(|fact| fact.change.0).collect(),
        }
    }

    /// Converts the bytes to labels and facts of the images.
    fn read(&self) -> (Vec<u32>, Vec<ImageFacts>) {
        let words = |bytes: &[u8]| -> Vec<u32> {
            bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
        };
        let sizes = words(&self.sizes);
        let digests = self.digests.as_chunks().0.iter().map(|bytes| u128::from_le_bytes(*bytes));
        let images = sizes.as_chunks().0.iter().zip(digests).zip(&self.changes);
        let fact = |((size, digest), change): ((&[u32; 2], u128), &u8)| {
            let [width, height] = *size;
            ImageFacts { width, height, digest, change: Change(*change) }
        };
        (words(&self.labels), images.map(fact).collect())
    }
}

/// The split in the cache under the key; None if there is none or it is damaged.
pub fn load(cache: &Path, key: &Key) -> Option<Decoded> {
    let file = File::open(key.path(cache)).ok()?;
    let length = usize::try_from(file.metadata().ok()?.len()).ok()?;
    let map = Mapped::open(&file, length).ok()?;
    let (head, metadata) = SafeTensors::read_metadata(&map).ok()?;
    let record = metadata.metadata().as_ref()?.get(RECORD)?;
    let record: Record = serde_json::from_str(record).ok()?;
    let tensors = SafeTensors::deserialize(&map).ok()?;
    let bytes = |name: &str, dtype: Dtype, shape: &[usize]| -> Option<Vec<u8>> {
        let tensor = tensors.tensor(name).ok()?;
        let fits = (tensor.dtype(), tensor.shape()) == (dtype, shape);
        fits.then(|| tensor.data().to_vec())
    };
    let rows = metadata.info(LABELS)?.shape.first().copied()?;
    let read = Tensors {
        labels: bytes(LABELS, Dtype::U32, &[rows])?,
        sizes: bytes(SIZES, Dtype::U32, &[rows, 2])?,
        digests: bytes(DIGESTS, Dtype::U8, &[rows, 16])?,
        changes: bytes(CHANGES, Dtype::U8, &[rows])?,
    };
    let (from, to) = metadata.info(PIXELS).filter(|info| info.dtype == Dtype::U8)?.data_offsets;
    // The tensors follow the header's length (8 bytes) and the header.
    let start = head + 8;
    let pixels = map.narrowed(start + from..start + to)?;
    let sound = record.key == hex(&key.0)
        && record.checksum == checksum(key, &record.about, &read, &pixels)?;
    let (labels, facts) = read.read();
    sound.then(|| Decoded { pixels: Pixels::Mapped(pixels), labels, facts, about: record.about })
}

const PIXELS: &str = "pixels";
const LABELS: &str = "labels";
const SIZES: &str = "sizes";
const DIGESTS: &str = "digests";
const CHANGES: &str = "changes";

/// Writes a split to the cache if it is large enough. Errors are ignored: the next run then decodes
/// the split again.
pub fn store(cache: &Path, key: &Key, decoded: &Decoded) {
    if decoded.pixels.len() >= MIN_BYTES {
        let _ = write(&key.path(cache), key, decoded);
    }
}

fn write(path: &Path, key: &Key, decoded: &Decoded) -> io::Result<()> {
    let tensors = Tensors::of(decoded);
    let (rows, pixels) = (decoded.labels.len(), &decoded.pixels[..]);
    let about = decoded.about.clone();
    let checksum = checksum(key, &about, &tensors, pixels)
        .ok_or_else(|| io::Error::other("what is known of the split is no JSON"))?;
    let record = serde_json::to_string(&Record { key: hex(&key.0), about, checksum })?;
    let view = |dtype, shape: Vec<usize>, bytes| {
        TensorView::new(dtype, shape, bytes).map_err(io::Error::other)
    };
    let all = [
        (PIXELS, view(Dtype::U8, vec![pixels.len()], pixels)?),
        (LABELS, view(Dtype::U32, vec![rows], &tensors.labels)?),
        (SIZES, view(Dtype::U32, vec![rows, 2], &tensors.sizes)?),
        (DIGESTS, view(Dtype::U8, vec![rows, 16], &tensors.digests)?),
        (CHANGES, view(Dtype::U8, vec![rows], &tensors.changes)?),
    ];
    let file = temporary_in(path.parent().unwrap_or(Path::new(".")))?;
    // Only one entry, since the order of several would differ from file to file.
    let metadata = HashMap::from([(RECORD.to_string(), record)]);
    let permissions = file.as_file().metadata()?.permissions();
    serialize_to_file(all, Some(metadata), file.path()).map_err(io::Error::other)?;
    // The call above replaced the file by one that only its owner can read.
    let written = File::open(file.path())?;
    written.set_permissions(permissions)?;
    written.sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// A checksum of a file's content. None if the split's facts cannot be written as JSON.
fn checksum(key: &Key, about: &SplitFacts, tensors: &Tensors, pixels: &[u8]) -> Option<String> {
    let pieces: Vec<_> = pixels.par_chunks(CHUNK).map(Sha256::digest).collect();
    let about = serde_json::to_vec(about).ok()?;
    let Tensors { labels, sizes, digests, changes } = tensors;
    let mut hash = Sha256::new();
    for part in [&key.0[..], &about, labels, sizes, digests, changes] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    pieces.iter().for_each(|piece| hash.update(piece));
    Some(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn key(words: &[&str]) -> Key {
        Key::of(["a", "b"], "2", 2, words.iter().map(|word| word.to_string()))
    }

    fn decoded() -> Decoded {
        let fact = |digest| ImageFacts { width: 2, height: 2, digest, change: Change::TURNED };
        Decoded {
            pixels: Pixels::Owned((0..12).collect()),
            labels: vec![1, 0, 1],
            facts: vec![fact(u128::MAX - 7), fact(1 << 77), fact(3)],
            about: SplitFacts {
                classes: Classes { names: vec!["cat".into(), "dog".into()], named_labels: true },
                tables: vec![1, 2],
            },
        }
    }

    #[test]
    fn a_stored_split_is_loaded_and_any_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let key = key(&[]);
        let path = key.path(dir.path());
        assert!(load(dir.path(), &key).is_none());
        write(&path, &key, &decoded()).unwrap();
        let found = load(dir.path(), &key).unwrap();
        let want = decoded();
        assert_eq!(
            (&found.pixels[..], &found.labels, &found.facts, &found.about),
            (&want.pixels[..], &want.labels, &want.facts, &want.about)
        );
        assert!(matches!(found.pixels, Pixels::Mapped(_)));

        let whole = fs::read(&path).unwrap();
        for i in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[i] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            assert!(load(dir.path(), &key).is_none(), "byte {i}");
            fs::write(&path, &whole[..i]).unwrap();
            assert!(load(dir.path(), &key).is_none(), "{i} bytes");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(load(dir.path(), &key).is_none());
    }

    #[test]
    fn the_cache_folder_follows_the_environment() {
        let of = |set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
            folder_by(value).map(|folder| folder.display().to_string())
        };
        let home = ("HOME", "/home/me");
        assert_eq!(of(&[home]).unwrap(), "/home/me/.cache/vlora");
        assert_eq!(of(&[home, ("XDG_CACHE_HOME", "/x")]).unwrap(), "/x/vlora");
        assert_eq!(of(&[home, ("XDG_CACHE_HOME", "x")]).unwrap(), "/home/me/.cache/vlora");
        assert_eq!(of(&[home, ("XDG_CACHE_HOME", "/x"), ("VLORA_CACHE", "here")]).unwrap(), "here");
        assert_eq!(of(&[home, ("VLORA_CACHE", "")]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn different_files_stores_or_words_have_different_keys() {
        let of = |files: &[&str], store, words: &[&str]| {
            Key::of(files.iter().copied(), store, 2, words.iter().map(|w| w.to_string())).0
        };
        let all = [
            of(&["a", "b"], "2", &["c"]),
            of(&["b", "a"], "2", &["c"]),
            of(&["ab"], "2", &["c"]),
            of(&["a", "b", "c"], "2", &[]),
            of(&["a", "b"], "3", &["c"]),
        ];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn an_unwritable_cache_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let big = Decoded {
            pixels: Pixels::Owned(vec![7; MIN_BYTES]),
            labels: vec![0; MIN_BYTES / 4],
            facts: vec![decoded().facts[0]; MIN_BYTES / 4],
            ..decoded()
        };
        store(&file, &key(&[]), &big);
        assert_eq!(fs::read(&file).unwrap(), b"");
        store(dir.path(), &key(&[]), &big);
        assert!(load(dir.path(), &key(&[])).is_some());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Users who share a cache can read its files, as far as the umask allows.
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode(&key(&[]).path(dir.path())), mode(&file));
        }
        store(dir.path(), &key(&["small"]), &decoded());
        assert!(load(dir.path(), &key(&["small"])).is_none());
    }
}

//! The cache of decoded splits: a file each, named by a hash of everything that decides its
//! content, so that nothing in it can be out of date.
//!
//! A file is a head (magic, key, sizes, checksum), then class names as JSON, labels as little-endian
//! u32, and pixels, which are mapped into memory instead of read. A file that is damaged, short or
//! something else is passed over and made again.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::decode::Size;
use super::pixels::{Mapped, Pixels};
use crate::spec::hex;

/// Of this file's layout and of what decoding makes of images: another number, other files.
const VERSION: u32 = 2;
const MAGIC: &[u8; 16] = b"vlora decoded\x00\x01\n";
const HEAD: usize = 16 + 32 + 4 * 8 + 32;
/// Pixels are hashed in pieces of this size, on all cores.
const PIECE: usize = 4 << 20;
/// Splits of fewer bytes of pixels are decoded sooner than a file is worth its place.
const LEAST: usize = 8 << 20;

/// A decoded split.
#[derive(Debug)]
pub struct Decoded {
    pub pixels: Pixels,
    pub labels: Vec<u32>,
    /// Empty where nothing names the classes.
    pub class_names: Vec<String>,
    /// Labels were names, to which `class_names` gave their numbers.
    pub named_labels: bool,
}

/// `VLORA_CACHE`, else `vlora` in `XDG_CACHE_HOME`, else in `~/.cache`. None where `VLORA_CACHE`
/// is empty or there is no home.
pub fn cache_folder() -> Option<PathBuf> {
    folder_by(|name| env::var_os(name).map(PathBuf::from))
}

fn folder_by(set: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    match set("VLORA_CACHE") {
        Some(folder) => (!folder.as_os_str().is_empty()).then_some(folder),
        None => {
            // The XDG specification has relative paths ignored.
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
    /// Of files (their hashes, in order) and of all else that decoding depends on.
    pub fn of<'a>(
        files: impl Iterator<Item = &'a str>,
        size: Size,
        classes: usize,
        words: impl Iterator<Item = &'a str>,
    ) -> Key {
        let mut hash = Sha256::new();
        hash.update(VERSION.to_le_bytes());
        for number in [size.side, size.channels, classes] {
            hash.update((number as u64).to_le_bytes());
        }
        let mut list = |items: &mut dyn Iterator<Item = &'a str>| {
            for item in items {
                hash.update([1]);
                hash.update((item.len() as u64).to_le_bytes());
                hash.update(item);
            }
            hash.update([0]);
        };
        list(&mut { files });
        list(&mut { words });
        Key(hash.finalize().into())
    }

    fn path(&self, cache: &Path) -> PathBuf {
        cache.join("decoded").join(format!("{}.pixels", hex(&self.0)))
    }
}

/// The split that the cache has under the key; None if it has none, or none that is whole.
pub fn load(cache: &Path, key: &Key, size: Size) -> Option<Decoded> {
    let file = File::open(key.path(cache)).ok()?;
    let length = usize::try_from(file.metadata().ok()?.len()).ok()?;
    let mut reader = BufReader::new(&file);
    let mut head = [0; HEAD];
    reader.read_exact(&mut head).ok()?;
    let (facts, checksum) = head.split_at(HEAD - 32);
    let word = |i: usize| -> Option<usize> {
        let bytes = facts.get(48 + 8 * i..56 + 8 * i)?;
        usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let (rows, named, words, bytes) = (word(0)?, word(1)?, word(2)?, word(3)?);
    let fits = facts[..16] == *MAGIC
        && facts[16..48] == key.0
        && rows.checked_mul(size.bytes()) == Some(bytes)
        // Sums that wrap around are no file's length.
        && HEAD.checked_add(words)?.checked_add(rows.checked_mul(4)?)?.checked_add(bytes)? == length;
    if !fits {
        return None;
    }
    let mut names = vec![0; words];
    reader.read_exact(&mut names).ok()?;
    let mut labels = vec![0; 4 * rows];
    reader.read_exact(&mut labels).ok()?;
    let start = length - bytes;
    let pixels = Mapped::open(&file, length).ok()?.narrowed(start..length)?;
    if checksum != check(facts, &names, &labels, &pixels) {
        return None;
    }
    let labels = labels.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    Some(Decoded {
        labels: labels.collect(),
        pixels: Pixels::Mapped(pixels),
        class_names: serde_json::from_slice(&names).ok()?,
        named_labels: named == 1,
    })
}

/// Puts a split into the cache where it is worth it. A cache that cannot be written costs time at
/// the next start, nothing else.
pub fn store(cache: &Path, key: &Key, decoded: &Decoded) {
    if decoded.pixels.len() >= LEAST {
        let _ = write(&key.path(cache), key, decoded);
    }
}

fn write(path: &Path, key: &Key, decoded: &Decoded) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let names = serde_json::to_vec(&decoded.class_names)?;
    let labels: Vec<u8> = decoded.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let mut head = Vec::with_capacity(HEAD);
    head.extend(MAGIC);
    head.extend(key.0);
    let named = usize::from(decoded.named_labels);
    for number in [decoded.labels.len(), named, names.len(), decoded.pixels.len()] {
        head.extend((number as u64).to_le_bytes());
    }
    let checksum = check(&head, &names, &labels, &decoded.pixels);
    head.extend(checksum);
    let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder)?;
    for part in [&head[..], &names, &labels, &decoded.pixels] {
        file.write_all(part)?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Of everything but itself.
fn check(facts: &[u8], names: &[u8], labels: &[u8], pixels: &[u8]) -> [u8; 32] {
    let pieces: Vec<_> = pixels.par_chunks(PIECE).map(Sha256::digest).collect();
    let mut hash = Sha256::new();
    for part in [facts, names, labels] {
        hash.update(part);
    }
    pieces.iter().for_each(|piece| hash.update(piece));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { side: 2, channels: 1 };

    fn key(words: &[&str]) -> Key {
        Key::of(["a", "b"].into_iter(), SIZE, 2, words.iter().copied())
    }

    fn decoded() -> Decoded {
        Decoded {
            pixels: Pixels::Owned((0..12).collect()),
            labels: vec![1, 0, 1],
            class_names: vec!["cat".into(), "dog".into()],
            named_labels: true,
        }
    }

    #[test]
    fn what_is_stored_is_loaded_and_any_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let key = key(&[]);
        let path = key.path(dir.path());
        assert!(load(dir.path(), &key, SIZE).is_none());
        write(&path, &key, &decoded()).unwrap();
        let found = load(dir.path(), &key, SIZE).unwrap();
        let want = decoded();
        assert_eq!(
            (&found.pixels[..], &found.labels, &found.class_names, found.named_labels),
            (&want.pixels[..], &want.labels, &want.class_names, true)
        );
        assert!(matches!(found.pixels, Pixels::Mapped(_)));

        let whole = fs::read(&path).unwrap();
        for i in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[i] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            assert!(load(dir.path(), &key, SIZE).is_none(), "byte {i}");
            fs::write(&path, &whole[..i]).unwrap();
            assert!(load(dir.path(), &key, SIZE).is_none(), "{i} bytes");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(load(dir.path(), &key, SIZE).is_none());
    }

    #[test]
    fn the_cache_lies_where_the_user_says() {
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
    fn another_word_or_size_is_another_key() {
        let of = |files: &[&str], side, words: &[&str]| {
            let size = Size { side, channels: 1 };
            Key::of(files.iter().copied(), size, 2, words.iter().copied()).0
        };
        let all = [
            of(&["a", "b"], 2, &["c"]),
            of(&["b", "a"], 2, &["c"]),
            of(&["ab"], 2, &["c"]),
            of(&["a", "b", "c"], 2, &[]),
            of(&["a", "b"], 3, &["c"]),
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
            pixels: Pixels::Owned(vec![7; LEAST]),
            labels: vec![0; LEAST / 4],
            ..decoded()
        };
        store(&file, &key(&[]), &big);
        assert_eq!(fs::read(&file).unwrap(), b"");
        store(dir.path(), &key(&[]), &big);
        assert!(load(dir.path(), &key(&[]), SIZE).is_some());
        store(dir.path(), &key(&["small"]), &decoded());
        assert!(load(dir.path(), &key(&["small"]), SIZE).is_none());
    }
}

//! The cache of decoded splits: a file each, named by a hash of everything that decides its
//! content, so that nothing in it can be out of date.
//!
//! A file is a head (magic, key, sizes, checksum), then what is known of the split as JSON, a record
//! of each image (label, width, height, digest, change; little-endian), and pixels, which are mapped
//! into memory instead of read. A file that is damaged, short or something else is passed over and
//! made again.

use std::env;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::convert::Change;
use super::pixels::{Mapped, Pixels};
use crate::atomic::temporary_in;
use crate::spec::hex;

/// Of this file's layout and of what decoding makes of images: another number, other files.
const VERSION: u32 = 3;
const MAGIC: &[u8; 16] = b"vlora decoded\x00\x02\n";
const HEAD: usize = 16 + 32 + 3 * 8 + 32;
/// Bytes of an image's record.
const RECORD: usize = 29;
/// Pixels are hashed in pieces of this size, on all cores.
const PIECE: usize = 4 << 20;
/// Splits of fewer bytes of pixels are decoded sooner than a file is worth its place.
const LEAST: usize = 8 << 20;

/// A decoded split.
#[derive(Debug)]
pub struct Decoded {
    /// \[image, row, column, channel\].
    pub pixels: Pixels,
    pub labels: Vec<u32>,
    /// One for each image.
    pub facts: Vec<Fact>,
    pub about: About,
}

/// What is known of an image besides its pixels and its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Of the stored pixels.
    pub width: u32,
    pub height: u32,
    /// Of the whole image, upright, before it was resized or cropped: [`super::decode::Image`]'s.
    pub digest: u128,
    /// What was made of the encoded image.
    pub change: Change,
}

impl Fact {
    /// With the image's label.
    fn to_bytes(self, label: u32) -> [u8; RECORD] {
        let mut out = [0; RECORD];
        out[..4].copy_from_slice(&label.to_le_bytes());
        out[4..8].copy_from_slice(&self.width.to_le_bytes());
        out[8..12].copy_from_slice(&self.height.to_le_bytes());
        out[12..28].copy_from_slice(&self.digest.to_le_bytes());
        out[28] = self.change.0;
        out
    }

    fn of_bytes(bytes: &[u8; RECORD]) -> (u32, Fact) {
        let word = |at: usize| -> u32 {
            bytes[at..at + 4].iter().rev().fold(0, |n, b| n << 8 | u32::from(*b))
        };
        let digest = bytes[12..28].iter().rev().fold(0, |n, b| n << 8 | u128::from(*b));
        let change = Change(bytes[28]);
        (word(0), Fact { width: word(4), height: word(8), digest, change })
    }
}

/// What is known of a split besides its images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Empty where nothing names the classes.
    pub class_names: Vec<String>,
    /// Labels were names, to which `class_names` gave their numbers.
    pub named_labels: bool,
    /// Images of each table that was read, in order.
    pub tables: Vec<usize>,
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
    /// Of files (their hashes, in order), of what is stored of their images, and of all else that
    /// decoding depends on.
    pub fn of<'a>(
        files: impl Iterator<Item = &'a str>,
        store: &str,
        classes: usize,
        words: impl Iterator<Item = &'a str>,
    ) -> Key {
        let mut hash = Sha256::new();
        hash.update(VERSION.to_le_bytes());
        hash.update((classes as u64).to_le_bytes());
        hash.update((store.len() as u64).to_le_bytes());
        hash.update(store);
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
pub fn load(cache: &Path, key: &Key) -> Option<Decoded> {
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
    let (rows, words, bytes) = (word(0)?, word(1)?, word(2)?);
    let fits = facts[..16] == *MAGIC
        && facts[16..48] == key.0
        // Sums that wrap around are no file's length.
        && HEAD.checked_add(words)?.checked_add(rows.checked_mul(RECORD)?)?.checked_add(bytes)?
            == length;
    if !fits {
        return None;
    }
    let mut about = vec![0; words];
    reader.read_exact(&mut about).ok()?;
    let mut records = vec![0; RECORD * rows];
    reader.read_exact(&mut records).ok()?;
    let start = length - bytes;
    let pixels = Mapped::open(&file, length).ok()?.narrowed(start..length)?;
    if checksum != check(facts, &about, &records, &pixels) {
        return None;
    }
    let (labels, facts) = records.as_chunks().0.iter().map(Fact::of_bytes).unzip();
    let about = serde_json::from_slice(&about).ok()?;
    Some(Decoded { pixels: Pixels::Mapped(pixels), labels, facts, about })
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
    let about = serde_json::to_vec(&decoded.about)?;
    let images = decoded.labels.iter().zip(&decoded.facts);
    let records: Vec<u8> = images.flat_map(|(label, fact)| fact.to_bytes(*label)).collect();
    let mut head = Vec::with_capacity(HEAD);
    head.extend(MAGIC);
    head.extend(key.0);
    for number in [decoded.facts.len(), about.len(), decoded.pixels.len()] {
        head.extend((number as u64).to_le_bytes());
    }
    let checksum = check(&head, &about, &records, &decoded.pixels);
    head.extend(checksum);
    let mut file = temporary_in(folder)?;
    for part in [&head[..], &about, &records, &decoded.pixels] {
        file.write_all(part)?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Of everything but itself.
fn check(facts: &[u8], about: &[u8], records: &[u8], pixels: &[u8]) -> [u8; 32] {
    let pieces: Vec<_> = pixels.par_chunks(PIECE).map(Sha256::digest).collect();
    let mut hash = Sha256::new();
    for part in [facts, about, records] {
        hash.update(part);
    }
    pieces.iter().for_each(|piece| hash.update(piece));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn key(words: &[&str]) -> Key {
        Key::of(["a", "b"].into_iter(), "2", 2, words.iter().copied())
    }

    fn decoded() -> Decoded {
        let fact = |digest| Fact { width: 2, height: 2, digest, change: Change::TURNED };
        Decoded {
            pixels: Pixels::Owned((0..12).collect()),
            labels: vec![1, 0, 1],
            facts: vec![fact(u128::MAX - 7), fact(1 << 77), fact(3)],
            about: About {
                class_names: vec!["cat".into(), "dog".into()],
                named_labels: true,
                tables: vec![1, 2],
            },
        }
    }

    #[test]
    fn what_is_stored_is_loaded_and_any_changed_byte_is_noticed() {
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
    fn another_word_or_store_is_another_key() {
        let of = |files: &[&str], store, words: &[&str]| {
            Key::of(files.iter().copied(), store, 2, words.iter().copied()).0
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
            pixels: Pixels::Owned(vec![7; LEAST]),
            labels: vec![0; LEAST / 4],
            facts: vec![decoded().facts[0]; LEAST / 4],
            ..decoded()
        };
        store(&file, &key(&[]), &big);
        assert_eq!(fs::read(&file).unwrap(), b"");
        store(dir.path(), &key(&[]), &big);
        assert!(load(dir.path(), &key(&[])).is_some());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // A cache that several users share serves them all, as the umask lets.
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode(&key(&[]).path(dir.path())), mode(&file));
        }
        store(dir.path(), &key(&["small"]), &decoded());
        assert!(load(dir.path(), &key(&["small"])).is_none());
    }
}

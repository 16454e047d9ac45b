//! The Hub's cache on disk. It has the layout that Hugging Face's tools share:
//!
//! ```text
//! <cache>/datasets--<owner>--<name>/
//!   refs/<revision>              the commit that a branch or tag pointed to
//!   blobs/<etag>                 file contents, named by their hash
//!   blobs/<etag>.incomplete      an unfinished download
//!   snapshots/<commit>/<path>    links to the blobs
//!   listings/<commit>.json       all files of the commit; only this program writes it
//! <cache>/.locks/datasets--<owner>--<name>/<etag>.lock
//! ```
//!
//! A snapshot holds only the files of a commit that were requested. The listing names all of them.
//! A blob gets its final name only after its size and hash were checked, so a named blob is
//! complete. A lock is one of the operating system, which releases it even if the program crashes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::kind::Kind;
use super::names::is_commit;
use crate::atomic::write_atomic;
use crate::error::{Error, Result};
use crate::lock::try_lock;
use crate::spec::hex;

/// The hash that a file's content must have. The Hub names the file's blob by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Etag {
    /// SHA-256 of the content: large files (LFS, Xet).
    Sha256(String),
    /// SHA-1 of git's header and the content: small files.
    Git(String),
}

impl Etag {
    /// Parses 64 or 40 lower-case hexadecimal digits. Nothing else is accepted, since the text
    /// becomes a file name.
    pub fn parse(text: &str) -> Option<Etag> {
        let hexadecimal = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match text.len() {
            64 if hexadecimal => Some(Etag::Sha256(text.into())),
            40 if hexadecimal => Some(Etag::Git(text.into())),
            _ => None,
        }
    }

    pub fn text(&self) -> &str {
        match self {
            Etag::Sha256(text) | Etag::Git(text) => text,
        }
    }

    /// Whether this is the hash of `bytes`, whose SHA-256 is `sha256`.
    pub fn matches(&self, bytes: &[u8], sha256: &str) -> bool {
        match self {
            Etag::Sha256(expected) => expected == sha256,
            Etag::Git(expected) => {
                let mut hash = git_header(bytes.len() as u64);
                hash.update(bytes);
                *expected == hex(&hash.finalize())
            }
        }
    }

    /// The hash of a file's content, by the same algorithm as this etag.
    pub fn of_file(&self, path: &Path) -> io::Result<String> {
        let mut file = File::open(path)?;
        match self {
            Etag::Sha256(_) => digest(&mut file, Sha256::new()),
            Etag::Git(_) => {
                let header = git_header(file.metadata()?.len());
                digest(&mut file, header)
            }
        }
    }

    /// The algorithm's name in errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Etag::Sha256(_) => "SHA-256",
            Etag::Git(_) => "git blob SHA-1",
        }
    }
}

fn git_header(length: u64) -> Sha1 {
    Sha1::new().chain_update(format!("blob {length}\0"))
}

fn digest<D: Digest>(file: &mut File, mut hash: D) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// One repository's part of the cache.
#[derive(Clone, Debug)]
pub struct Cached {
    root: PathBuf,
    folder: String,
}

impl Cached {
    pub fn new(cache: &Path, kind: Kind, repository: &str) -> Cached {
        let id = repository.to_string();
        let repo = hf_hub::Repo::new(id, kind.repo_type());
        Cached { root: cache.to_path_buf(), folder: repo.folder_name() }
    }

    fn at(&self, part: &str) -> PathBuf {
        self.root.join(&self.folder).join(part)
    }

    /// Whether the cache has any snapshot of the repository.
    pub fn exists(&self) -> bool {
        self.at("snapshots").is_dir()
    }

    /// Names of all cached repositories of a kind.
    pub fn all(cache: &Path, kind: Kind) -> Vec<String> {
        let prefix = format!("{}--", kind.plural());
        let Ok(entries) = fs::read_dir(cache) else { return Vec::new() };
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        names.filter_map(|n| Some(n.strip_prefix(&prefix)?.replacen("--", "/", 1))).collect()
    }

    /// The commit that `revision` last pointed to, or `revision` itself if it is a commit. None if
    /// the cache has nothing of that commit.
    pub fn commit(&self, revision: &str) -> Option<String> {
        let text = match is_commit(revision) {
            true => revision.to_string(),
            false => fs::read_to_string(self.at("refs").join(revision)).ok()?,
        };
        let commit = text.trim();
        let there = || self.snapshot(commit).is_dir() || self.listing(commit).is_file();
        (is_commit(commit) && there()).then(|| commit.to_string())
    }

    /// Stores the commit that `revision` points to.
    pub fn note_commit(&self, revision: &str, commit: &str) -> Result<()> {
        let known = self.commit(revision).is_some_and(|known| known == commit);
        if known || is_commit(revision) {
            return Ok(());
        }
        write_atomic(&self.at("refs").join(revision), commit.as_bytes())
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.at("snapshots").join(commit)
    }

    /// Path of the list of a commit's files.
    pub fn listing(&self, commit: &str) -> PathBuf {
        self.at("listings").join(format!("{commit}.json"))
    }

    pub fn blob(&self, etag: &Etag) -> PathBuf {
        self.at("blobs").join(etag.text())
    }

    /// Path of a blob's unfinished download.
    pub fn incomplete(&self, etag: &Etag) -> PathBuf {
        self.at("blobs").join(format!("{}.incomplete", etag.text()))
    }

    /// The blob that a snapshot's file links to. Only the link is read, not the content.
    pub fn etag_of(&self, commit: &str, path: &str) -> Option<Etag> {
        let target = fs::read_link(self.snapshot(commit).join(path)).ok()?;
        Etag::parse(target.file_name()?.to_str()?)
    }

    /// Creates a snapshot's file as a relative link to its blob.
    pub fn link(&self, commit: &str, path: &str, etag: &Etag) -> Result<()> {
        let link = self.snapshot(commit).join(path);
        let failed = |e| Error::io("linking", &link, e);
        let up = "../".repeat(2 + path.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{}", etag.text()));
        if fs::read_link(&link).is_ok_and(|there| there == target) {
            return Ok(());
        }
        let folder = link.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(failed)?;
        // A rename replaces an old link, so that the path always has a link.
        let temporary = tempfile::Builder::new().prefix(".tmp-").tempdir_in(folder);
        let temporary = temporary.map_err(failed)?;
        let new = temporary.path().join("link");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&target, &new).map_err(failed)?;
        #[cfg(not(unix))]
        fs::copy(self.blob(etag), &new).map_err(failed)?;
        fs::rename(&new, &link).map_err(failed)
    }

    /// Locks a blob for writing. `waiting` is called once if another program holds the lock.
    pub fn lock(&self, etag: &Etag, waiting: impl FnOnce()) -> Result<File> {
        let path = self.root.join(".locks").join(&self.folder);
        let path = path.join(format!("{}.lock", etag.text()));
        let failed = |e| {
            let help = "HF_HUB_CACHE names a cache that may be written to";
            Error::io("making the lock", &path, e).map_fault(|fault| fault.help(help))
        };
        for folder in [path.parent(), self.blob(etag).parent()].into_iter().flatten() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed)?;
        let mut waiting = Some(waiting);
        while !try_lock(&file, &path)? {
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_hashes_and_nothing_else() {
        // `printf 'hello\n' | git hash-object --stdin` and `sha256sum`.
        let git = Etag::parse("ce013625030ba8dba906f756967f9e9ca394464a").unwrap();
        let text = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let sha256 = Etag::parse(text).unwrap();
        for etag in [&git, &sha256] {
            assert!(etag.matches(b"hello\n", text));
            assert!(!etag.matches(b"hello", &hex(&Sha256::digest(b"hello"))));
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("f"), b"hello\n").unwrap();
            assert_eq!(etag.of_file(&dir.path().join("f")).unwrap(), etag.text());
        }
        for bad in ["", "../../x", "abc", &"g".repeat(40), &"A".repeat(64), &"a".repeat(41)] {
            assert_eq!(Etag::parse(bad), None, "{bad}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_to_blobs_from_any_depth_and_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let cached = Cached::new(dir.path(), Kind::Dataset, "a/b");
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        for (etag, text) in [(&one, "one"), (&two, "two")] {
            let blob = cached.blob(&Etag::parse(etag).unwrap());
            fs::create_dir_all(blob.parent().unwrap()).unwrap();
            fs::write(blob, text).unwrap();
        }
        let commit = "c".repeat(40);
        assert_eq!(cached.commit(&commit), None);
        for path in ["x", "d/e/f.txt"] {
            for (etag, text) in [(&one, "one"), (&one, "one"), (&two, "two")] {
                cached.link(&commit, path, &Etag::parse(etag).unwrap()).unwrap();
                let there = cached.snapshot(&commit).join(path);
                assert_eq!(fs::read_to_string(there).unwrap(), text);
                assert_eq!(cached.etag_of(&commit, path).unwrap().text(), etag);
            }
        }
        assert_eq!(Cached::all(dir.path(), Kind::Dataset), ["a/b"]);
        cached.note_commit("refs/pr/1", &commit).unwrap();
        assert_eq!(cached.commit("refs/pr/1"), Some(commit.clone()));
        assert_eq!(cached.commit(&commit), Some(commit));
        assert_eq!(cached.commit("main"), None);
    }
}

//! The lock file of a spec: which commits and files of the Hub its runs read.
//!
//! `vlora fetch experiments/a.yaml` writes `experiments/a.lock`, JSON:
//!
//! ```text
//! {"version": 1, "repositories": [{"kind": "dataset", "repository": "owner/name",
//!   "revision": "main", "commit": "…", "licence": "mit",
//!   "files": [{"path": "…", "size": 1, "sha256": "…", "git": "…"}], "others": ["…"]}]}
//! ```
//!
//! `git` is the git blob SHA-1 of a small file, which names it in the Hub's cache. Large files are
//! named by their SHA-256 there.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cache::Etag;
use super::kind::Kind;
use super::names::{is_commit, is_safe, label};
use super::source::Source;
use crate::error::{Error, Fault, Result};
use crate::spec::HubName;

const VERSION: u32 = 1;

/// The files of the Hub that a spec's runs read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lockfile {
    version: u32,
    pub repositories: Vec<LockedRepository>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRepository {
    pub kind: Kind,
    pub repository: String,
    /// The revision in the spec; `main` by default.
    pub revision: String,
    pub commit: String,
    pub licence: Option<String>,
    pub files: Vec<LockedFile>,
    /// Paths of the files that are not read. They are kept because splits are found by the names of
    /// all files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    pub path: String,
    /// Bytes.
    pub size: u64,
    pub sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
}

impl LockedRepository {
    pub fn name(&self) -> HubName {
        let revision = Some(self.revision.clone());
        HubName { repository: self.repository.clone(), revision }
    }
}

impl LockedRepository {
    /// Errors if a file that `before` pins is missing now or has other content.
    pub fn check_against(&self, before: &LockedRepository) -> Result<()> {
        let fault = |path: &str, summary: &str| {
            Fault::new(summary)
                .source(format!("{}/{path}", label(&self.name())))
                .help("--update pins what there is now")
        };
        for known in &before.files {
            let now = self.files.iter().find(|file| file.path == known.path);
            if now.is_none() && !self.others.contains(&known.path) {
                let lost = fault(&known.path, "the lock pins this file, and it is not there");
                return Err(lost.into());
            }
            if let Some(now) = now.filter(|now| now.sha256 != known.sha256) {
                return Err(fault(&known.path, "not the file that the lock pins")
                    .found(format!("SHA-256 {}", now.sha256))
                    .expected(&known.sha256)
                    .into());
            }
        }
        Ok(())
    }

    /// Adds further files that are read from the same repository.
    fn merge(&mut self, more: LockedRepository) {
        for file in more.files {
            if !self.files.iter().any(|known| known.path == file.path) {
                self.files.push(file);
            }
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        let files = &self.files;
        self.others.retain(|path| !files.iter().any(|file| file.path == *path));
    }
}

impl LockedFile {
    /// The name of the file's blob.
    pub fn etag(&self) -> Etag {
        match &self.git {
            Some(git) => Etag::Git(git.clone()),
            None => Etag::Sha256(self.sha256.clone()),
        }
    }
}

impl Lockfile {
    /// Path of a spec's lock file.
    pub fn path(spec: &Path) -> PathBuf {
        spec.with_extension("lock")
    }

    /// A lock of everything that a spec's runs read. Parts of the same repository are merged.
    pub fn new(parts: Vec<LockedRepository>) -> Lockfile {
        let mut repositories: Vec<LockedRepository> = Vec::new();
        for part in parts {
            let same = |r: &&mut LockedRepository| r.kind == part.kind && r.name() == part.name();
            match repositories.iter_mut().find(same) {
                Some(there) => there.merge(part),
                None => repositories.push(part),
            }
        }
        repositories.sort_by_key(|r| (r.kind, r.name()));
        Lockfile { version: VERSION, repositories }
    }

    /// Reads the lock of a spec; None if there is none.
    pub fn read(spec: &Path) -> Result<Option<Lockfile>> {
        let path = Lockfile::path(spec);
        if fs::metadata(&path).is_ok_and(|meta| !meta.is_file()) {
            return Err(Fault::new("the spec's lock is no file")
                .source(path.display())
                .found("a folder, a device or a pipe")
                .into());
        }
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => {
                return Err(Fault::new(format!("cannot be read: {e}"))
                    .source(path.display())
                    .into());
            }
        };
        let refused = |found: String| {
            Error::from(
                Fault::new("the lock cannot be read").source(path.display()).found(found).help(
                    format!(
                        "remove the file and let `vlora fetch {}` write it again",
                        spec.display()
                    ),
                ),
            )
        };
        let lock: Lockfile = serde_json::from_str(&text).map_err(|e| refused(e.to_string()))?;
        lock.fault().map_or(Ok(Some(lock)), |fault| Err(refused(fault)))
    }

    /// The first fault of a lock that was edited by hand or damaged. It must be checked, since its
    /// texts become paths.
    fn fault(&self) -> Option<String> {
        if self.version != VERSION {
            return Some(format!("version {}; this program writes {VERSION}", self.version));
        }
        let hash = |text: &str, digits| Etag::parse(text).is_some() && text.len() == digits;
        for r in &self.repositories {
            let name = label(&r.name());
            if HubName::parse(&format!("{}@{}", r.repository, r.revision)).is_none() {
                return Some(format!("{name:?}, which is no repository's name"));
            }
            if !is_commit(&r.commit) {
                return Some(format!("{:?} for a commit of {name}", r.commit));
            }
            if let Some(path) = r.others.iter().find(|path| !is_safe(path)) {
                return Some(format!("a path of {name} that leaves its folder: {path:?}"));
            }
            for file in &r.files {
                let git = file.git.as_deref();
                if !is_safe(&file.path) {
                    return Some(format!(
                        "a path of {name} that leaves its folder: {:?}",
                        file.path
                    ));
                }
                if !hash(&file.sha256, 64) || git.is_some_and(|git| !hash(git, 40)) {
                    return Some(format!("{name}/{} with an invalid hash", file.path));
                }
            }
        }
        None
    }

    /// The pinned state of a repository.
    pub fn find(&self, kind: Kind, name: &HubName) -> Option<&LockedRepository> {
        let same = |r: &&LockedRepository| {
            r.kind == kind && r.repository == name.repository && r.revision == name.revision()
        };
        self.repositories.iter().find(same)
    }

    /// The pinned state of a source; None for sources that a lock does not pin.
    pub fn find_source(&self, kind: Kind, source: &Source) -> Option<&LockedRepository> {
        match source {
            Source::Hub(name) => self.find(kind, name),
            Source::Folder(_) | Source::Embedded(_) => None,
        }
    }

    /// The content of the lock file.
    pub fn to_text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self);
        text.map(|t| t + "\n")
            .map_err(|e| Error::from(Fault::failed(format!("the lock cannot be written: {e}"))))
    }
}

impl Source {
    /// The same source at the pinned commit, if there is one.
    pub fn at(&self, pinned: Option<&LockedRepository>) -> Source {
        match (self, pinned) {
            (Source::Hub(name), Some(pinned)) => Source::Hub(HubName {
                repository: name.repository.clone(),
                revision: Some(pinned.commit.clone()),
            }),
            (source, _) => source.clone(),
        }
    }
}

//! A repository of the Hub at one commit: the list of its files, and their contents from the cache.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cache::{Cached, Etag};
use super::client::Client;
use super::download::{Wanted, download};
use super::file::File;
use super::folder;
use super::kind::Kind;
use super::lockfile::{LockedFile, LockedRepository};
use super::names::{is_commit, is_safe, label};
use super::progress::Progress;
use super::settings::Settings;
use crate::atomic::write_atomic;
use crate::error::{Error, Fault, Result};
use crate::spec::{HubName, nearest};

/// A repository at a commit.
pub struct Snapshot {
    kind: Kind,
    /// The repository and revision that the spec names.
    requested: HubName,
    /// The same repository, with the commit as its revision.
    resolved: HubName,
    licence: Option<String>,
    entries: BTreeMap<String, Entry>,
    cached: Cached,
    /// None if the network must not be used.
    client: Option<Rc<Client>>,
    progress: Rc<dyn Progress>,
    /// Whether a lock pins the files.
    is_locked: bool,
}

/// Facts about a file before it is read. A lock also lists files that it does not pin; their fields
/// are all None.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// Size and etag may be None if only the cache, and no listing, has the file.
    size: Option<u64>,
    etag: Option<Etag>,
    /// The hash that the lock pins.
    sha256: Option<String>,
}

/// A commit's files.
struct Listed {
    commit: String,
    entries: BTreeMap<String, Entry>,
    licence: Option<String>,
}

/// The API's answer about a revision. The cache stores these fields.
#[derive(Serialize, Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(default, rename = "cardData")]
    card: Option<Value>,
}

#[derive(Serialize, Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Serialize, Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: Option<u64>,
}

impl Snapshot {
    /// The repository as it is on the Hub now.
    pub fn online(
        client: Rc<Client>,
        kind: Kind,
        requested: &HubName,
        progress: Rc<dyn Progress>,
    ) -> Result<Snapshot> {
        let info: Info = client.info(kind, requested, &*progress)?;
        if !is_commit(&info.sha) {
            return Err(bad_listing(requested, "the commit id is invalid", &info.sha));
        }
        let entries = info.entries(requested)?;
        let cached = Cached::new(&client.settings().cache, kind, &requested.repository);
        let listing = serde_json::to_vec(&info).map_err(|e| Error::from(Fault::failed(e)))?;
        // Listing and branch serve later offline runs. In a read-only cache both are skipped. The
        // branch is written last, so that it never points to a commit without a listing.
        if write_atomic(&cached.listing(&info.sha), &listing).is_ok() {
            let _ = cached.note_commit(requested.revision(), &info.sha);
        }
        let listed = Listed { commit: info.sha.clone(), entries, licence: info.licence() };
        Ok(Snapshot::unlocked(kind, requested, listed, cached, Some(client), progress))
    }

    /// The repository as a lock pins it. Without a client, files come only from the cache.
    pub fn locked(
        settings: &Settings,
        client: Option<Rc<Client>>,
        locked: &LockedRepository,
        progress: Rc<dyn Progress>,
    ) -> Snapshot {
        let entry = |file: &LockedFile| Entry {
            size: Some(file.size),
            etag: Some(file.etag()),
            sha256: Some(file.sha256.clone()),
        };
        let requested = locked.name();
        Snapshot {
            kind: locked.kind,
            resolved: at_commit(&requested, &locked.commit),
            licence: locked.licence.clone(),
            entries: locked
                .others
                .iter()
                .map(|path| (path.clone(), Entry::default()))
                .chain(locked.files.iter().map(|f| (f.path.clone(), entry(f))))
                .collect(),
            cached: Cached::new(&settings.cache, locked.kind, &requested.repository),
            client,
            progress,
            requested,
            is_locked: true,
        }
    }

    /// The repository as it is in the cache.
    pub fn offline(
        settings: &Settings,
        kind: Kind,
        requested: &HubName,
        progress: Rc<dyn Progress>,
    ) -> Result<Snapshot> {
        let cached = Cached::new(&settings.cache, kind, &requested.repository);
        let name = label(requested);
        let Some(commit) = cached.commit(requested.revision()) else {
            let found = match cached.exists() {
                true => "the repository, without this revision",
                false => "nothing of the repository",
            };
            return Err(Fault::new("not in the cache, and the network must not be used")
                .source(name)
                .found(format!("{found} in {}", settings.cache.display()))
                .help("`vlora fetch` with a network gets it; HF_HUB_CACHE names another cache")
                .into());
        };
        let (entries, licence) = match cached_info(&cached, &commit, requested) {
            Some(info) => (info.entries(requested)?, info.licence()),
            // Another program downloaded it. There is no listing, so files may be missing.
            None => {
                let entry = |path: String| {
                    let etag = cached.etag_of(&commit, &path);
                    (path, Entry { etag, ..Entry::default() })
                };
                let files = folder::list(&cached.snapshot(&commit))?;
                (files.into_iter().map(entry).collect(), None)
            }
        };
        let listed = Listed { commit, entries, licence };
        Ok(Snapshot::unlocked(kind, requested, listed, cached, None, progress))
    }

    fn unlocked(
        kind: Kind,
        requested: &HubName,
        listed: Listed,
        cached: Cached,
        client: Option<Rc<Client>>,
        progress: Rc<dyn Progress>,
    ) -> Snapshot {
        let Listed { commit, entries, licence } = listed;
        Snapshot {
            kind,
            resolved: at_commit(requested, &commit),
            requested: requested.clone(),
            licence,
            entries,
            cached,
            client,
            progress,
            is_locked: false,
        }
    }

    /// `hub:owner/name@` and the first digits of the commit.
    pub fn name(&self) -> String {
        label(&self.resolved)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn requested(&self) -> &HubName {
        &self.requested
    }

    pub fn commit(&self) -> &str {
        self.resolved.revision()
    }

    /// Paths of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    /// The folder that holds the files after they were downloaded.
    pub fn folder(&self) -> PathBuf {
        self.cached.snapshot(self.commit())
    }

    /// Makes sure that a file is in the cache. Its content is not checked.
    pub fn ensure(&self, path: &str) -> Result<()> {
        let Some(entry) = self.entries.get(path) else { return Err(self.missing(path)) };
        if self.is_locked && entry.size.is_none() {
            return Err(Fault::new("the spec's lock does not pin this file")
                .source(format!("{}/{path}", self.name()))
                .help("`vlora fetch SPEC` pins what the spec reads now")
                .into());
        }
        let there = fs::metadata(self.folder().join(path)).ok().filter(|m| m.is_file());
        if there.is_some_and(|m| entry.size.is_none_or(|size| size == m.len())) {
            return Ok(());
        }
        self.download(path, entry)
    }

    fn download(&self, path: &str, entry: &Entry) -> Result<()> {
        let (Some(client), Some(size), Some(etag)) = (&self.client, entry.size, &entry.etag) else {
            return Err(Fault::new(
                "missing or incomplete in the cache, and the network must not be used",
            )
            .source(format!("{}/{path}", self.name()))
            .help("`vlora fetch` with a network gets it")
            .into());
        };
        let wanted = Wanted { kind: self.kind, name: &self.resolved, path, size, etag };
        download(client, &self.cached, &wanted, &*self.progress)
    }

    /// A file's content, checked against the hashes of the Hub and the lock. A damaged file is
    /// downloaded again if the network may be used.
    pub fn read(&self, path: &str) -> Result<File> {
        self.ensure(path)?;
        match self.checked(path) {
            Err(_) if self.client.is_some() && !(self.is_locked && self.blob_is_sound(path)) => {
                self.download(path, &self.entries[path])?;
                self.checked(path)
            }
            other => other,
        }
    }

    /// Whether the content of a file's blob matches the hash in its name. If so, the cache is
    /// sound, and a different expected hash is wrong.
    fn blob_is_sound(&self, path: &str) -> bool {
        let Some(etag) = self.cached.etag_of(self.commit(), path) else { return false };
        etag.of_file(&self.cached.blob(&etag)).is_ok_and(|hash| hash == etag.text())
    }

    fn checked(&self, path: &str) -> Result<File> {
        let at = self.folder().join(path);
        let name = format!("{}/{path}", self.name());
        let bytes = fs::read(&at).map_err(|e| {
            Error::from(Fault::new(format!("cannot be read in the cache: {e}")).source(&name))
        })?;
        let file = File::new(name, path.into(), Cow::Owned(bytes));
        let entry = &self.entries[path];
        let damaged = |what: &str, expected: &str, help: &str| {
            Err(Fault::new(what)
                .source(&file.name)
                .found(format!("SHA-256 {}", file.sha256))
                .expected(expected)
                .help(help)
                .into())
        };
        let by_lock = entry.sha256.as_ref().filter(|sha256| **sha256 != file.sha256);
        let by_name = entry.etag.as_ref().filter(|e| !e.matches(&file.bytes, &file.sha256));
        if let Some(etag) = by_name.filter(|_| by_lock.is_none() || !self.blob_is_sound(path)) {
            let expected = format!("{} {}", etag.kind(), etag.text());
            let help = "`vlora fetch` with a network gets it anew";
            return damaged("the file is damaged in the cache", &expected, help);
        }
        if let Some(expected) = by_lock {
            let help = "`vlora fetch --update SPEC` pins what there is now";
            return damaged("not the file that the lock pins", expected, help);
        }
        Ok(file)
    }

    fn missing(&self, path: &str) -> Error {
        let files = self.files();
        let near = nearest(path, files.iter().map(String::as_str));
        let found = match files.len() {
            0..=12 => files.join(", "),
            n => format!("{n} others"),
        };
        Error::from(
            Fault::new(format!("there is no file `{path}`"))
                .source(self.name())
                .found(found)
                .did_you_mean(near),
        )
    }

    /// The lock's entry for a file that was read.
    pub fn pin(&self, file: &File) -> LockedFile {
        let git = match self.entries.get(&file.path).and_then(|e| e.etag.clone()) {
            Some(Etag::Git(git)) => Some(git),
            _ => None,
        };
        let (path, sha256) = (file.path.clone(), file.sha256.clone());
        LockedFile { path, size: file.bytes.len() as u64, sha256, git }
    }

    /// The lock's entry for the repository, with `files` as the files that are read.
    pub fn locked_with(&self, files: Vec<LockedFile>) -> LockedRepository {
        let pinned = |path: &&String| files.iter().any(|file| file.path == **path);
        let others = self.entries.keys().filter(|path| !pinned(path)).cloned().collect();
        LockedRepository {
            kind: self.kind,
            repository: self.requested.repository.clone(),
            revision: self.requested.revision().to_string(),
            commit: self.commit().to_string(),
            licence: self.licence.clone(),
            files,
            others,
        }
    }
}

impl Info {
    /// The files of the answer. Errors if a path leaves its folder or a size or hash is missing.
    fn entries(&self, requested: &HubName) -> Result<BTreeMap<String, Entry>> {
        let mut entries = BTreeMap::new();
        for file in &self.siblings {
            let path = &file.rfilename;
            if !is_safe(path) {
                return Err(bad_listing(
                    requested,
                    "a file has a name that is not safe to write",
                    path,
                ));
            }
            let (text, size) = match &file.lfs {
                Some(lfs) => (Some(&lfs.sha256), lfs.size.or(file.size)),
                None => (file.blob.as_ref(), file.size),
            };
            let etag = text.and_then(|text| Etag::parse(text));
            if etag.is_none() || size.is_none() {
                return Err(bad_listing(requested, "a file comes without its size and hash", path));
            }
            entries.insert(path.clone(), Entry { size, etag, sha256: None });
        }
        Ok(entries)
    }

    fn licence(&self) -> Option<String> {
        licence(self.card.as_ref()?.get("license")?)
    }
}

/// The Hub's answer about a commit that an earlier run stored in the cache.
fn cached_info(cached: &Cached, commit: &str, requested: &HubName) -> Option<Info> {
    let bytes = fs::read(cached.listing(commit)).ok()?;
    let info: Info = serde_json::from_slice(&bytes).ok()?;
    (info.sha == commit && info.entries(requested).is_ok()).then_some(info)
}

fn bad_listing(requested: &HubName, what: &str, found: &str) -> Error {
    Error::from(
        Fault::failed(format!("the Hub's list is refused: {what}"))
            .source(label(requested))
            .found(format!("{found:?}"))
            .help("check HF_ENDPOINT and any proxy"),
    )
}

fn at_commit(name: &HubName, commit: &str) -> HubName {
    HubName { repository: name.repository.clone(), revision: Some(commit.into()) }
}

/// The licence in a dataset or model card: a name, or a list of names.
fn licence(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Array(names) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            (!names.is_empty()).then(|| names.join(", "))
        }
        _ => None,
    }
}

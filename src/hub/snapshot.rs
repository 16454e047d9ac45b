//! A repository of the Hub at one commit: what it holds, and its files through the cache.

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
    /// As the spec names it.
    asked: HubName,
    /// The same with the commit for its revision.
    at: HubName,
    licence: Option<String>,
    entries: BTreeMap<String, Entry>,
    cached: Cached,
    /// None where the network is not to be used.
    client: Option<Rc<Client>>,
    progress: Rc<dyn Progress>,
    /// Read as a lock has it.
    is_locked: bool,
}

/// What is known of a file before it is read. In a lock's repository also of one that is not pinned,
/// of which nothing but the name is known.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// Both None where only the cache knows the file, and not by its hash.
    size: Option<u64>,
    etag: Option<Etag>,
    /// What the lock holds it to.
    sha256: Option<String>,
}

/// A commit's files.
struct Listed {
    commit: String,
    entries: BTreeMap<String, Entry>,
    licence: Option<String>,
}

/// The API's answer about a revision, and what the cache keeps of it.
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
    /// As the Hub has it now.
    pub fn online(
        client: Rc<Client>,
        kind: Kind,
        asked: &HubName,
        progress: Rc<dyn Progress>,
    ) -> Result<Snapshot> {
        let info: Info = client.info(kind, asked, &*progress)?;
        if !is_commit(&info.sha) {
            return Err(odd(asked, "its commit is no commit", &info.sha));
        }
        let entries = info.entries(asked)?;
        let cached = Cached::new(&client.settings().cache, kind, &asked.repository);
        // The branch is noted last: what it leads to is there.
        let listing = serde_json::to_vec(&info).map_err(|e| Error::from(Fault::failed(e)))?;
        // Both serve a later start without a network; a cache that is only to be read has to do
        // without them.
        if write_atomic(&cached.listing(&info.sha), &listing).is_ok() {
            let _ = cached.note_commit(asked.revision(), &info.sha);
        }
        let listed = Listed { commit: info.sha.clone(), entries, licence: info.licence() };
        Ok(Snapshot::unlocked(kind, asked, listed, cached, Some(client), progress))
    }

    /// As a lock has it. Without a client, from the cache alone.
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
        let asked = locked.name();
        Snapshot {
            kind: locked.kind,
            at: at(&asked, &locked.commit),
            licence: locked.licence.clone(),
            entries: locked
                .others
                .iter()
                .map(|path| (path.clone(), Entry::default()))
                .chain(locked.files.iter().map(|f| (f.path.clone(), entry(f))))
                .collect(),
            cached: Cached::new(&settings.cache, locked.kind, &asked.repository),
            client,
            progress,
            asked,
            is_locked: true,
        }
    }

    /// As the cache has it.
    pub fn offline(
        settings: &Settings,
        kind: Kind,
        asked: &HubName,
        progress: Rc<dyn Progress>,
    ) -> Result<Snapshot> {
        let cached = Cached::new(&settings.cache, kind, &asked.repository);
        let name = label(asked);
        let Some(commit) = cached.commit(asked.revision()) else {
            let found = match cached.exists() {
                true => "the repository, without this revision",
                false => "nothing of the repository",
            };
            return Err(Fault::new("not in the cache, and the network is not to be used")
                .source(name)
                .found(format!("{found} in {}", settings.cache.display()))
                .help("`vlora fetch` with a network gets it; HF_HUB_CACHE names another cache")
                .into());
        };
        let (entries, licence) = match listed(&cached, &commit, asked) {
            Some(info) => (info.entries(asked)?, info.licence()),
            // Another program's download, of which nothing says whether it is all there is.
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
        Ok(Snapshot::unlocked(kind, asked, listed, cached, None, progress))
    }

    fn unlocked(
        kind: Kind,
        asked: &HubName,
        listed: Listed,
        cached: Cached,
        client: Option<Rc<Client>>,
        progress: Rc<dyn Progress>,
    ) -> Snapshot {
        let Listed { commit, entries, licence } = listed;
        let (at, asked) = (at(asked, &commit), asked.clone());
        Snapshot { kind, asked, at, licence, entries, cached, client, progress, is_locked: false }
    }

    /// `hub:owner/name@` and the commit's first digits.
    pub fn name(&self) -> String {
        label(&self.at)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn asked(&self) -> &HubName {
        &self.asked
    }

    pub fn commit(&self) -> &str {
        self.at.revision()
    }

    /// Paths of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    /// The folder that has the files once they were asked for.
    pub fn folder(&self) -> PathBuf {
        self.cached.snapshot(self.commit())
    }

    /// Makes sure that a file is in the cache; its content is not looked at.
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
            return Err(Fault::new("not whole in the cache, and the network is not to be used")
                .source(format!("{}/{path}", self.name()))
                .help("`vlora fetch` with a network gets it")
                .into());
        };
        let wanted = Wanted { kind: self.kind, name: &self.at, path, size, etag };
        download(client, &self.cached, &wanted, &*self.progress)
    }

    /// A file's content, checked against what the Hub and the lock say. One that is damaged is
    /// downloaded again where the network may be used.
    pub fn read(&self, path: &str) -> Result<File> {
        self.ensure(path)?;
        match self.checked(path) {
            Err(_) if self.client.is_some() && !(self.is_locked && self.is_as_named(path)) => {
                self.download(path, &self.entries[path])?;
                self.checked(path)
            }
            other => other,
        }
    }

    /// Whether the blob that a file links to has the content of its name: then the cache is sound,
    /// and another hash that is asked for is wrong.
    fn is_as_named(&self, path: &str) -> bool {
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
        if let Some(etag) = by_name.filter(|_| by_lock.is_none() || !self.is_as_named(path)) {
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

    /// What a lock says about a file that was read.
    pub fn pin(&self, file: &File) -> LockedFile {
        let git = match self.entries.get(&file.path).and_then(|e| e.etag.clone()) {
            Some(Etag::Git(git)) => Some(git),
            _ => None,
        };
        let (path, sha256) = (file.path.clone(), file.sha256.clone());
        LockedFile { path, size: file.bytes.len() as u64, sha256, git }
    }

    /// What a lock says about the repository, of which `files` are read.
    pub fn locked_with(&self, files: Vec<LockedFile>) -> LockedRepository {
        let pinned = |path: &&String| files.iter().any(|file| file.path == **path);
        let others = self.entries.keys().filter(|path| !pinned(path)).cloned().collect();
        LockedRepository {
            kind: self.kind,
            repository: self.asked.repository.clone(),
            revision: self.asked.revision().to_string(),
            commit: self.commit().to_string(),
            licence: self.licence.clone(),
            files,
            others,
        }
    }
}

impl Info {
    /// Its files. Errors if one would leave its folder, or comes without what it is checked by.
    fn entries(&self, asked: &HubName) -> Result<BTreeMap<String, Entry>> {
        let mut entries = BTreeMap::new();
        for file in &self.siblings {
            let path = &file.rfilename;
            if !is_safe(path) {
                return Err(odd(asked, "a file has a name that is not safe to write", path));
            }
            let (text, size) = match &file.lfs {
                Some(lfs) => (Some(&lfs.sha256), lfs.size.or(file.size)),
                None => (file.blob.as_ref(), file.size),
            };
            let etag = text.and_then(|text| Etag::parse(text));
            if etag.is_none() || size.is_none() {
                return Err(odd(asked, "a file comes without its size and hash", path));
            }
            entries.insert(path.clone(), Entry { size, etag, sha256: None });
        }
        Ok(entries)
    }

    fn licence(&self) -> Option<String> {
        licence(self.card.as_ref()?.get("license")?)
    }
}

/// What the Hub listed of a commit when it was asked.
fn listed(cached: &Cached, commit: &str, asked: &HubName) -> Option<Info> {
    let bytes = fs::read(cached.listing(commit)).ok()?;
    let info: Info = serde_json::from_slice(&bytes).ok()?;
    (info.sha == commit && info.entries(asked).is_ok()).then_some(info)
}

fn odd(asked: &HubName, what: &str, found: &str) -> Error {
    Error::from(
        Fault::failed(format!("the Hub's list is refused: {what}"))
            .source(label(asked))
            .found(format!("{found:?}"))
            .help("check HF_ENDPOINT and any proxy"),
    )
}

fn at(name: &HubName, commit: &str) -> HubName {
    HubName { repository: name.repository.clone(), revision: Some(commit.into()) }
}

/// A card's licence: a name, or a list of them.
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

//! Files of datasets and models by (repository, revision, path), with their hashes: from the
//! Hugging Face Hub through its cache, from a folder, or out of the program.
//!
//! Nothing above this module knows which. A [`Repository`] lists its files and reads them; those of
//! the Hub are downloaded when they are first asked for.

mod cache;
mod client;
mod download;
mod embedded;
mod expand;
mod folder;
mod lockfile;
mod refusal;
mod settings;
mod snapshot;
mod source;

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use client::Client;
pub use folder::is_of_a_program;
pub use lockfile::{LockedFile, LockedRepository, Lockfile};
pub use settings::{Settings, Token};
use snapshot::Snapshot;
pub use source::Source;

use crate::error::{Error, Fault, Result};
use crate::spec::{HubName, hex};

/// One file's content.
#[derive(Clone, Debug)]
pub struct File {
    /// As errors and provenance name it.
    pub name: String,
    /// Its path in the repository, `/` between folders.
    pub path: String,
    pub bytes: Cow<'static, [u8]>,
    pub sha256: String,
}

impl File {
    pub fn new(name: String, path: String, bytes: Cow<'static, [u8]>) -> File {
        let sha256 = hex(&Sha256::digest(&bytes));
        File { name, path, bytes, sha256 }
    }
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Dataset,
    Model,
}

/// Displays what happens on the network.
pub trait Progress {
    /// Something that the user may want to know.
    fn note(&self, _text: &str) {}
    /// A file's download begins; its size in bytes.
    fn start(&self, _path: &str, _size: u64) {}
    /// So many bytes of it are there.
    fn at(&self, _path: &str, _bytes: u64) {}
    fn done(&self, _path: &str) {}
}

/// Displays nothing.
pub struct Silent;

impl Progress for Silent {}

/// Opens repositories, by the environment's settings and a lock file, and reports what it does.
pub struct Hub {
    access: Access,
    settings: OnceCell<Settings>,
    client: OnceCell<Rc<Client>>,
    lock: Option<Lockfile>,
    progress: Rc<dyn Progress>,
    /// Each repository is listed once.
    open: RefCell<Vec<Rc<Snapshot>>>,
    /// Notes that were shown.
    notes: RefCell<Vec<String>>,
}

/// Where settings come from.
enum Access {
    /// Folders and embedded datasets alone.
    None,
    /// The environment, looked at when the Hub is first named.
    Environment {
        offline: bool,
    },
    Settings(Settings),
}

impl Default for Hub {
    /// Folders and embedded datasets alone.
    fn default() -> Hub {
        Hub::with_access(Access::None, None, Rc::new(Silent))
    }
}

impl Hub {
    /// With a lock, its repositories alone, at its commits.
    pub fn new(settings: Settings, lock: Option<Lockfile>, progress: Rc<dyn Progress>) -> Hub {
        Hub::with_access(Access::Settings(settings), lock, progress)
    }

    /// The same with the environment's settings; `offline` forbids the network whatever they say.
    pub fn from_env(offline: bool, lock: Option<Lockfile>, progress: Rc<dyn Progress>) -> Hub {
        Hub::with_access(Access::Environment { offline }, lock, progress)
    }

    fn with_access(access: Access, lock: Option<Lockfile>, progress: Rc<dyn Progress>) -> Hub {
        let (settings, client, open) = (OnceCell::new(), OnceCell::new(), RefCell::default());
        Hub { access, settings, client, lock, progress, open, notes: RefCell::default() }
    }

    /// Shows a note to the user; the same text once.
    pub fn note(&self, text: &str) {
        let mut notes = self.notes.borrow_mut();
        if !notes.iter().any(|note| note == text) {
            notes.push(text.to_string());
            self.progress.note(text);
        }
    }

    /// A dataset's or a model's files.
    pub fn open(&self, source: &Source, kind: Kind) -> Result<Repository> {
        match source {
            Source::Folder(root) => folder::open(root),
            Source::Embedded(name) => embedded::open(name),
            Source::Hub(name) => {
                let snapshot = self.snapshot(kind, name)?;
                let files = snapshot.files();
                Ok(Repository { name: snapshot.name(), files, place: Place::Hub(snapshot) })
            }
        }
    }

    fn snapshot(&self, kind: Kind, name: &HubName) -> Result<Rc<Snapshot>> {
        let same = |s: &&Rc<Snapshot>| s.kind() == kind && s.asked() == name;
        if let Some(snapshot) = self.open.borrow().iter().find(same) {
            return Ok(Rc::clone(snapshot));
        }
        let settings = self.settings(name)?;
        let progress = Rc::clone(&self.progress);
        let snapshot = match &self.lock {
            Some(lock) => {
                let locked = lock.find(kind, name).ok_or_else(|| drift(lock, kind, name))?;
                Snapshot::locked(settings, self.client(settings)?, locked, progress)
            }
            None => match self.client(settings)? {
                Some(client) => Snapshot::online(client, kind, name, progress)?,
                None => Snapshot::offline(settings, kind, name, progress)?,
            },
        };
        let snapshot = Rc::new(snapshot);
        self.open.borrow_mut().push(Rc::clone(&snapshot));
        Ok(snapshot)
    }

    fn settings(&self, name: &HubName) -> Result<&Settings> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings);
        }
        let settings = match &self.access {
            Access::None => {
                let name = client::label(name);
                return Err(Fault::new("the Hub is not to be used here").source(name).into());
            }
            Access::Settings(settings) => settings.clone(),
            Access::Environment { offline } => {
                let settings = Settings::from_env()?;
                Settings { offline: settings.offline || *offline, ..settings }
            }
        };
        Ok(self.settings.get_or_init(|| settings))
    }

    /// None where the network is not to be used.
    fn client(&self, settings: &Settings) -> Result<Option<Rc<Client>>> {
        if settings.offline {
            return Ok(None);
        }
        if let Some(client) = self.client.get() {
            return Ok(Some(Rc::clone(client)));
        }
        let client = Rc::new(Client::new(settings)?);
        Ok(Some(Rc::clone(self.client.get_or_init(|| client))))
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Hub").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The spec names what its lock does not have.
fn drift(lock: &Lockfile, kind: Kind, name: &HubName) -> Error {
    let locked: Vec<String> = lock
        .repositories
        .iter()
        .map(|r| format!("{} {}@{}", r.kind.name(), r.repository, r.revision))
        .collect();
    Error::from(
        Fault::new(format!("the spec's lock does not pin this {}", kind.name()))
            .source(client::label(name))
            .found(if locked.is_empty() { "nothing".into() } else { locked.join(", ") })
            .expected(format!("{} {}@{}", kind.name(), name.repository, name.revision()))
            .help(
                "`vlora fetch SPEC` pins what the spec names; --unlocked reads \
                 what --set names, unpinned",
            ),
    )
}

/// A dataset's or a model's files, in one state.
#[derive(Debug)]
pub struct Repository {
    name: String,
    files: Vec<String>,
    place: Place,
}

enum Place {
    Hub(Rc<Snapshot>),
    Folder(PathBuf),
    Embedded(&'static embedded::Dataset),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Place::Hub(snapshot) => f.write_str(&snapshot.name()),
            Place::Folder(root) => root.fmt(f),
            Place::Embedded(dataset) => dataset.fmt(f),
        }
    }
}

impl Repository {
    /// As errors name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The licence, where it is known without the files.
    pub fn licence(&self) -> Option<&'static str> {
        match &self.place {
            Place::Embedded(dataset) => Some(dataset.licence),
            Place::Hub(_) | Place::Folder(_) => None,
        }
    }

    /// Paths of all files, sorted, `/` between folders.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// A file's content and hash. Errors if there is no such file, or it is not what it should be.
    pub fn read(&self, path: &str) -> Result<File> {
        match &self.place {
            Place::Hub(snapshot) => snapshot.read(path),
            Place::Folder(root) => folder::read(root, path),
            Place::Embedded(dataset) => dataset.read(path),
        }
    }

    /// A folder on disk that has these files, checked. None: an embedded dataset has no folder.
    pub fn folder_with(&self, paths: &[String]) -> Result<Option<PathBuf>> {
        match &self.place {
            Place::Hub(snapshot) => {
                for path in paths {
                    snapshot.read(path)?;
                }
                Ok(Some(snapshot.folder()))
            }
            Place::Folder(root) => Ok(Some(root.clone())),
            Place::Embedded(_) => Ok(None),
        }
    }

    /// Gets and checks these files of what `asked` names, and says how a lock pins them. None where
    /// nothing is locked.
    pub fn pin(&self, asked: &Source, paths: &[String]) -> Result<Option<LockedRepository>> {
        let (Place::Hub(snapshot), Source::Hub(asked)) = (&self.place, asked) else {
            return Ok(None);
        };
        let pin = |path: &String| snapshot.read(path).map(|file| snapshot.pin(&file));
        let files = paths.iter().map(pin).collect::<Result<_>>()?;
        let revision = asked.revision().to_string();
        Ok(Some(LockedRepository { revision, ..snapshot.locked_with(files) }))
    }
}

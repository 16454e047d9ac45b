//! Opens repositories: chooses the place, the settings and the commit.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;

use super::client::Client;
use super::kind::Kind;
use super::lockfile::Lockfile;
use super::names::label;
use super::progress::{Progress, Silent};
use super::repository::Repository;
use super::settings::Settings;
use super::snapshot::Snapshot;
use super::source::Source;
use crate::error::{Error, Fault, Result};
use crate::spec::HubName;

/// Opens repositories by the environment's settings and a lock file, and reports its progress.
pub struct Hub {
    access: Access,
    settings: OnceCell<Settings>,
    client: OnceCell<Rc<Client>>,
    lock: Option<Lockfile>,
    progress: Rc<dyn Progress>,
    /// The open repositories, so that each is listed only once.
    open: RefCell<Vec<Rc<Snapshot>>>,
    /// Notes that were already shown.
    notes: RefCell<Vec<String>>,
}

/// Where the settings come from.
enum Access {
    /// There are none: only folders and embedded datasets can be opened.
    None,
    /// The environment, which is read when the Hub is first used.
    Environment {
        offline: bool,
    },
    Settings(Settings),
}

impl Default for Hub {
    /// Opens only folders and embedded datasets.
    fn default() -> Hub {
        Hub::with_access(Access::None, None, Rc::new(Silent))
    }
}

impl Hub {
    /// With a lock, only its repositories can be opened, at its commits.
    pub fn new(settings: Settings, lock: Option<Lockfile>, progress: Rc<dyn Progress>) -> Hub {
        Hub::with_access(Access::Settings(settings), lock, progress)
    }

    /// The same with the environment's settings. `offline` overrides them and forbids the network.
    pub fn from_env(offline: bool, lock: Option<Lockfile>, progress: Rc<dyn Progress>) -> Hub {
        Hub::with_access(Access::Environment { offline }, lock, progress)
    }

    fn with_access(access: Access, lock: Option<Lockfile>, progress: Rc<dyn Progress>) -> Hub {
        let (settings, client, open) = (OnceCell::new(), OnceCell::new(), RefCell::default());
        Hub { access, settings, client, lock, progress, open, notes: RefCell::default() }
    }

    /// Shows a note to the user. The same text is shown only once.
    pub fn note(&self, text: &str) {
        let mut notes = self.notes.borrow_mut();
        if !notes.iter().any(|note| note == text) {
            notes.push(text.to_string());
            self.progress.note(text);
        }
    }

    /// Opens a dataset's or a model's files.
    pub fn open(&self, source: &Source, kind: Kind) -> Result<Repository> {
        match source {
            Source::Folder(root) => Repository::of_folder(root),
            Source::Embedded(name) => Repository::embedded(name),
            Source::Hub(name) => Ok(Repository::of_hub(self.snapshot(kind, name)?)),
        }
    }

    fn snapshot(&self, kind: Kind, name: &HubName) -> Result<Rc<Snapshot>> {
        let same = |s: &&Rc<Snapshot>| s.kind() == kind && s.requested() == name;
        if let Some(snapshot) = self.open.borrow().iter().find(same) {
            return Ok(Rc::clone(snapshot));
        }
        let settings = self.settings(name)?;
        let progress = Rc::clone(&self.progress);
        let snapshot = match &self.lock {
            Some(lock) => {
                let locked = lock.find(kind, name).ok_or_else(|| not_pinned(lock, kind, name))?;
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
                let name = label(name);
                return Err(Fault::new("the Hub must not be used here").source(name).into());
            }
            Access::Settings(settings) => settings.clone(),
            Access::Environment { offline } => {
                let settings = Settings::from_env()?;
                Settings { offline: settings.offline || *offline, ..settings }
            }
        };
        Ok(self.settings.get_or_init(|| settings))
    }

    /// None if the network must not be used.
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

/// The error for a repository that the spec names and its lock does not pin.
fn not_pinned(lock: &Lockfile, kind: Kind, name: &HubName) -> Error {
    let locked: Vec<String> = lock
        .repositories
        .iter()
        .map(|r| format!("{} {}@{}", r.kind.name(), r.repository, r.revision))
        .collect();
    Error::from(
        Fault::new(format!("the spec's lock does not pin this {}", kind.name()))
            .source(label(name))
            .found(if locked.is_empty() { "nothing".into() } else { locked.join(", ") })
            .expected(format!("{} {}@{}", kind.name(), name.repository, name.revision()))
            .help(
                "`vlora fetch SPEC` pins what the spec names; if --set names it, \
                 --unlocked reads it without the lock",
            ),
    )
}

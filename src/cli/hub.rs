//! Options for access to the Hub, and the progress of downloads.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::eprint_line;
use crate::error::Result;
use crate::hub::{Hub, Kind, Lockfile, Progress, Silent, Source};
use crate::runner::{as_named, model_path};
use crate::terminal::{draws_bars, set_message};

#[derive(Clone, Copy, Debug, Args)]
pub struct HubArgs {
    /// Use no network: files of the Hub must be in its cache, as `vlora fetch` leaves them
    ///
    /// HF_HUB_OFFLINE=1 does the same. HF_HUB_CACHE and HF_HOME set the cache's folder, HF_TOKEN the access
    /// token, and HF_ENDPOINT the Hub's address.
    #[arg(long)]
    offline: bool,
}

/// How commands that read a spec's data reach the Hub.
#[derive(Clone, Copy, Debug, Args)]
pub struct LockedHubArgs {
    #[command(flatten)]
    hub: HubArgs,
    /// Ignore the spec's lock and use what the Hub has now
    #[arg(long)]
    unlocked: bool,
}

impl LockedHubArgs {
    /// Whether locks are ignored.
    pub fn is_unlocked(self) -> bool {
        self.unlocked
    }

    /// The Hub, pinned by the lock of `spec` if there is one.
    pub fn open(self, spec: &Path, quiet: bool) -> Result<Hub> {
        let lock = if self.unlocked { None } else { Lockfile::read(spec)? };
        Ok(Hub::from_env(self.hub.offline, lock, progress(quiet)))
    }
}

impl LockedHubArgs {
    /// Reads a checkpoint named by a path or by `hub:owner/name`. The lock of `spec` may pin its
    /// commit.
    pub fn checkpoint<T>(
        self,
        spec: &Path,
        name: &Path,
        read: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<T> {
        let lock = if self.unlocked { None } else { Lockfile::read(spec)? };
        let source = name.to_str().map(|text| Source::of_hub(text, Kind::Model)).transpose()?;
        let is_pinned = |lock: &Lockfile| {
            let source = source.as_ref().and_then(Option::as_ref);
            source.is_some_and(|source| lock.find_source(Kind::Model, source).is_some())
        };
        let hub = Hub::from_env(self.hub.offline, lock.filter(is_pinned), progress(false));
        checkpoint(&hub, name, read)
    }
}

impl HubArgs {
    /// The Hub without a lock.
    pub fn unlocked(self) -> Hub {
        Hub::from_env(self.offline, None, progress(false))
    }

    /// Reads a checkpoint named by a path or by `hub:owner/name`.
    pub fn checkpoint<T>(self, name: &Path, read: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        checkpoint(&self.unlocked(), name, read)
    }
}

fn checkpoint<T>(hub: &Hub, name: &Path, read: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let Some(text) = name.to_str() else { return read(name) };
    let path = model_path(text, hub)?;
    read(&path).map_err(|e| as_named(text, &path, e))
}

fn progress(quiet: bool) -> Rc<dyn Progress> {
    match quiet {
        true => Rc::new(Silent),
        false => Rc::new(Shown { current: RefCell::default() }),
    }
}

/// Shows each file on standard error: a bar on a terminal, a line elsewhere.
struct Shown {
    current: RefCell<Option<Current>>,
}

struct Current {
    bar: ProgressBar,
    size: u64,
    started: Instant,
}

impl Progress for Shown {
    fn note(&self, text: &str) {
        match &*self.current.borrow() {
            Some(current) => current.bar.suspend(|| eprint_line(&format!("note: {text}"))),
            None => eprint_line(&format!("note: {text}")),
        }
    }

    fn start(&self, path: &str, size: u64) {
        let bar = match draws_bars() {
            true => ProgressBar::new(size),
            false => ProgressBar::hidden(),
        };
        let style = "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}  {msg}";
        let style = ProgressStyle::with_template(style);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        set_message(&bar, path);
        *self.current.borrow_mut() = Some(Current { bar, size, started: Instant::now() });
    }

    fn at(&self, _path: &str, bytes: u64) {
        if let Some(current) = &*self.current.borrow() {
            current.bar.set_position(bytes);
        }
    }

    fn done(&self, path: &str) {
        let Some(Current { bar, size, started }) = self.current.borrow_mut().take() else { return };
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        eprint_line(&format!("downloaded {path}  {}  {seconds:.1} s", HumanBytes(size)));
    }
}

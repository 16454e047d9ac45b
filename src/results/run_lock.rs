//! Locks of runs: which process works on a run.
//!
//! A lock is a file that is made in one step if there is none, so no locks of the file system are needed. Its
//! holder renews it while it works. The lock of a holder that has died is taken over: at once if the
//! holder was a process of this machine, else after [`DEAD_AFTER`] without a sign of life.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Fault, Result};

/// The file of a lock, in the folder of what is locked.
pub const LOCK: &str = ".claim";

/// The beginning of the names of files that are made while a lock is taken over.
pub const ASIDE: &str = ".tmp-claim-";

/// A holder renews its lock this often.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// A lock that was not renewed for this long belongs to a dead holder. Many times [`RENEW_EVERY`], since a
/// shared file system may show a change late.
const DEAD_AFTER: Duration = Duration::from_secs(120);

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub host: String,
    pub process: u32,
    /// When the process started, in the system's own units; with the number it names the process. 0 if
    /// the system does not say.
    started: u64,
    /// The boot and the process table that `process` belongs to; empty if the system does not say.
    boot: String,
    /// Differs from lock to lock.
    token: String,
}

/// How far a run is, as its holder last wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimiser steps done.
    pub step: u64,
    /// Those of the whole run.
    pub steps: u64,
    /// Steps that the holder did itself.
    pub own_steps: u64,
    /// The seconds that these took.
    pub seconds: f64,
}

/// A lock as other processes see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LockRecord {
    #[serde(flatten)]
    pub holder: Holder,
    #[serde(default)]
    pub progress: Progress,
}

/// A lock that this process holds, until it is dropped.
#[derive(Debug)]
pub struct RunLock {
    path: PathBuf,
    record: Arc<Mutex<LockRecord>>,
    is_lost: Arc<AtomicBool>,
    /// Ends the renewal when it is dropped.
    end: Option<Sender<()>>,
    renewal: Option<JoinHandle<()>>,
}

impl RunLock {
    /// Locks a folder, which is created if missing. None if another process, or this one, holds it.
    pub fn new(folder: &Path) -> Result<Option<RunLock>> {
        fs::create_dir_all(folder).map_err(|e| Error::io("making the folder", folder, e))?;
        let path = folder.join(LOCK);
        let record = LockRecord { holder: Holder::here(), progress: Progress::default() };
        // Each turn either locks, finds a live holder, or removes a dead one's lock.
        for _ in 0..16 {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    if let Err(e) = write(&mut file, &record) {
                        let _ = fs::remove_file(&path);
                        return Err(Error::io("writing", &path, e));
                    }
                    return RunLock::renewed(path, file, record).map(Some);
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => match look(folder, &path) {
                    Found::Alive => return Ok(None),
                    Found::Gone => {}
                    Found::Dead(dead) => {
                        take_away(&path, dead.as_ref(), &record.holder.token)?;
                    }
                },
                Err(e) => return Err(Error::io("locking", &path, e)),
            }
        }
        // Between the attempts others took it and died, each time.
        Ok(None)
    }

    fn renewed(path: PathBuf, mut file: File, record: LockRecord) -> Result<RunLock> {
        let (end, ended) = channel::<()>();
        let is_lost = Arc::new(AtomicBool::new(false));
        let record = Arc::new(Mutex::new(record));
        let renewal = {
            let (path, record, is_lost) = (path.clone(), Arc::clone(&record), Arc::clone(&is_lost));
            let renew = move || {
                while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(RENEW_EVERY) {
                    let now = record.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if !renew(&path, &mut file, &now) {
                        is_lost.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            };
            thread::Builder::new().name("lock".into()).spawn(renew)
        };
        let renewal = renewal.map_err(|e| {
            let _ = fs::remove_file(&path);
            Error::from(Fault::failed(format!("a thread cannot be started: {e}")))
        })?;
        Ok(RunLock { path, record, is_lost, end: Some(end), renewal: Some(renewal) })
    }

    /// Whether another process took the lock over, since this one gave no sign of life. Then this
    /// process must leave the run alone. Known from the last renewal.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// The same by a look at the file, before something is written: this process may have been
    /// suspended since the last renewal.
    pub fn is_lost_by_now(&self) -> bool {
        let is_lost = self.is_lost() || !is_of(&self.path, &self.token());
        self.is_lost.store(is_lost, Ordering::Relaxed);
        is_lost
    }

    /// Says how far the run is. Others see it when the lock is renewed.
    pub fn set_progress(&self, progress: Progress) {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).progress = progress;
    }

    fn token(&self) -> String {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).holder.token.clone()
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(renewal) = self.renewal.take() {
            let _ = renewal.join();
        }
        // Not another's that has taken it over.
        if read(&self.path).is_some_and(|there| there.holder.token == self.token()) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Who holds the lock of a folder, if a live process does. By the clock of this machine: nothing is made
/// in the folder.
pub fn held(folder: &Path) -> Option<LockRecord> {
    let path = folder.join(LOCK);
    let record = read(&path)?;
    let modified = fs::metadata(&path).and_then(|meta| meta.modified()).ok()?;
    let is_late = age(modified, SystemTime::now()) >= DEAD_AFTER;
    match record.holder.is_alive_here() {
        Some(is_alive) => is_alive,
        None => !is_late,
    }
    .then_some(record)
}

/// Writes the lock again, with its progress. False if it is another's by now.
fn renew(path: &Path, file: &mut File, record: &LockRecord) -> bool {
    // Into the file that was made, so that a lock which was moved aside never replaces another's. Its
    // time is that of the file system's server. A disk that is full, or away for a moment, does not end
    // the run: others see that it is late.
    let _ = write(file, record);
    is_of(path, &record.holder.token)
}

/// Whether the lock has this token. What cannot be read at the moment counts as unchanged.
fn is_of(path: &Path, token: &str) -> bool {
    match read(path) {
        Some(there) => there.holder.token == token,
        None => path.try_exists().unwrap_or(true),
    }
}

/// Writes the record in place of the one before, which is as long.
fn write(file: &mut File, record: &LockRecord) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&json(record))?;
    file.sync_all()
}

/// The record as a text that is padded to one length, so that no reader sees the end of an older one.
fn json(record: &LockRecord) -> Vec<u8> {
    const LENGTH: usize = 1024;
    let mut text = serde_json::to_vec(record).unwrap_or_default();
    text.resize(text.len().max(LENGTH - 1), b' ');
    text.push(b'\n');
    text
}

fn read(path: &Path) -> Option<LockRecord> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// What a lock that is there comes to.
enum Found {
    Alive,
    /// With its record, if that can be read.
    Dead(Option<LockRecord>),
    /// It was given back just now.
    Gone,
}

fn look(folder: &Path, path: &Path) -> Found {
    let record = read(path);
    match record.as_ref().and_then(|record| record.holder.is_alive_here()) {
        Some(true) => return Found::Alive,
        Some(false) => return Found::Dead(record),
        None => {}
    }
    let modified = match fs::metadata(path).and_then(|meta| meta.modified()) {
        Ok(modified) => modified,
        Err(e) if e.kind() == ErrorKind::NotFound => return Found::Gone,
        Err(_) => return Found::Alive,
    };
    // By the clock of the file system's server, which the lock's time is from, too.
    let probe = tempfile::Builder::new().prefix(ASIDE).tempfile_in(folder);
    match probe.and_then(|file| file.as_file().metadata()?.modified()) {
        Ok(now) if age(modified, now) >= DEAD_AFTER => Found::Dead(record),
        _ => Found::Alive,
    }
}

fn age(modified: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(modified).unwrap_or_default()
}

/// Removes the lock of a dead holder. Another process may do so at the same moment, and lock anew: its
/// lock is put back.
fn take_away(path: &Path, dead: Option<&LockRecord>, own_token: &str) -> Result<()> {
    let aside = path.with_file_name(format!("{ASIDE}{own_token}"));
    match fs::rename(path, &aside) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("taking over", path, e)),
        Ok(()) => {}
    }
    let moved = read(&aside);
    let is_dead = match (&moved, dead) {
        (Some(moved), Some(dead)) => moved.holder.token == dead.holder.token,
        (None, None) => true,
        _ => false,
    };
    if !is_dead {
        // If somebody locked in between, its holder finds that it has lost it.
        let _ = fs::hard_link(&aside, path);
    }
    fs::remove_file(&aside).map_err(|e| Error::io("removing", &aside, e))
}

impl Holder {
    /// This process.
    fn here() -> Holder {
        static CLAIMS: AtomicU64 = AtomicU64::new(0);
        let process = std::process::id();
        let nanoseconds = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        let number = CLAIMS.fetch_add(1, Ordering::Relaxed);
        Holder {
            host: host(),
            process,
            started: started(process).flatten().unwrap_or(0),
            boot: boot(),
            token: format!("{process}-{nanoseconds:x}-{number}"),
        }
    }

    /// Whether the process lives, if it is one of this machine; None if that cannot be known here.
    fn is_alive_here(&self) -> Option<bool> {
        let is_here = !self.boot.is_empty() && self.started > 0 && self.boot == boot();
        if !is_here {
            return None;
        }
        match started(self.process) {
            Some(started) => Some(started == Some(self.started)),
            // A system may hide processes of other users.
            None => is_gone(self.process).then_some(false),
        }
    }
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    name.map_or_else(|| "unknown".into(), |name| name.trim().to_string())
}

/// Names the boot of this machine and the process table that this process is in.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let table = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    match id.trim() {
        "" => String::new(),
        id => format!("{id} {}", table.display()),
    }
}

/// When a process started: None if that cannot be read, Some(None) if it is dead and not yet waited for.
fn started(process: u32) -> Option<Option<u64>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the program's name, which may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    match fields.first() {
        Some(&("Z" | "X")) => Some(None),
        _ => fields.get(19)?.parse().ok().map(Some),
    }
}

/// Whether there is surely no process of this number.
fn is_gone(process: u32) -> bool {
    #[cfg(unix)]
    {
        // SAFETY: signal 0 only asks whether the process is there.
        let asked = unsafe { libc::kill(process as libc::pid_t, 0) };
        asked == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
    }
    #[cfg(not(unix))]
    {
        let _ = process;
        false
    }
}

/// Leaves the lock of a process that has died.
#[cfg(test)]
pub fn abandon(folder: &Path) {
    let mut holder = Holder::here();
    // The number of this process, which an earlier process had.
    holder.started += 1;
    let record = LockRecord { holder, progress: Progress::default() };
    fs::write(folder.join(LOCK), json(&record)).unwrap();
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    /// A lock of a process with these changes, as if it had been left behind.
    fn leave(folder: &Path, change: impl Fn(&mut Holder)) {
        let mut holder = Holder::here();
        change(&mut holder);
        let record = LockRecord { holder, progress: Progress::default() };
        fs::write(folder.join(LOCK), json(&record)).unwrap();
    }

    fn make_old(folder: &Path, seconds: u64) {
        let file = File::options().write(true).open(folder.join(LOCK)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    #[test]
    fn a_locked_folder_is_not_locked_again() {
        let dir = folder();
        let lock = RunLock::new(dir.path()).unwrap().unwrap();
        assert!(held(dir.path()).is_some());
        assert!(RunLock::new(dir.path()).unwrap().is_none());
        lock.set_progress(Progress { step: 3, steps: 10, own_steps: 3, seconds: 1.5 });
        let mut file = File::options().write(true).open(&lock.path).unwrap();
        assert!(renew(&lock.path, &mut file, &lock.record.lock().unwrap()));
        let seen = held(dir.path()).unwrap();
        assert_eq!((seen.progress.step, seen.holder.process), (3, std::process::id()));
        drop(lock);
        assert!(held(dir.path()).is_none() && fs::read_dir(dir.path()).unwrap().next().is_none());
        assert!(RunLock::new(dir.path()).unwrap().is_some());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_lock_of_a_dead_process_of_this_machine_is_taken_over_at_once() {
        let dir = folder();
        let mut child = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
        let (process, of_child) = (child.id(), started(child.id()).flatten().unwrap());
        leave(dir.path(), |holder| (holder.process, holder.started) = (process, of_child));
        assert!(RunLock::new(dir.path()).unwrap().is_none());
        // A process that lives is not taken for dead, however late it is.
        make_old(dir.path(), 10_000);
        assert!(RunLock::new(dir.path()).unwrap().is_none() && held(dir.path()).is_some());
        child.kill().unwrap();
        // Dead, and not yet waited for.
        while started(process).flatten().is_some() {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(held(dir.path()).is_none());
        let lock = RunLock::new(dir.path()).unwrap();
        assert!(lock.is_some() && RunLock::new(dir.path()).unwrap().is_none());
        child.wait().unwrap();
        // Another process that got the same number.
        drop(lock);
        abandon(dir.path());
        assert!(RunLock::new(dir.path()).unwrap().is_some());
    }

    #[test]
    fn the_lock_of_another_machine_is_taken_over_when_it_is_late() {
        let dir = folder();
        let elsewhere = |holder: &mut Holder| {
            (holder.host, holder.boot) = ("far".into(), "another boot".into());
        };
        leave(dir.path(), elsewhere);
        assert!(RunLock::new(dir.path()).unwrap().is_none());
        assert_eq!(held(dir.path()).unwrap().holder.host, "far");
        make_old(dir.path(), 60);
        assert!(RunLock::new(dir.path()).unwrap().is_none());
        make_old(dir.path(), 121);
        assert!(held(dir.path()).is_none());
        assert!(RunLock::new(dir.path()).unwrap().is_some());
        // What cannot be read counts by its age, too.
        fs::write(dir.path().join(LOCK), b"").unwrap();
        assert!(RunLock::new(dir.path()).unwrap().is_none());
        make_old(dir.path(), 121);
        assert!(RunLock::new(dir.path()).unwrap().is_some());
    }

    /// A holder that was taken for dead learns that it has lost its lock, and leaves the new one alone.
    #[test]
    fn a_holder_that_was_taken_for_dead_finds_out() {
        let dir = folder();
        let lock = RunLock::new(dir.path()).unwrap().unwrap();
        leave(dir.path(), |holder| holder.token = "another".into());
        // As a process that was suspended finds it, before the next renewal.
        assert!(!lock.is_lost() && lock.is_lost_by_now() && lock.is_lost());
        // A renewal goes to the lock's own file, which has been moved aside.
        fs::rename(dir.path().join(LOCK), dir.path().join("moved")).unwrap();
        let mut file = File::options().write(true).open(dir.path().join("moved")).unwrap();
        leave(dir.path(), |holder| holder.token = "another".into());
        assert!(!renew(&lock.path, &mut file, &lock.record.lock().unwrap()));
        drop(lock);
        assert_eq!(read(&dir.path().join(LOCK)).unwrap().holder.token, "another");
    }

    /// A lock that was made while a dead one was taken away is put back.
    #[test]
    fn a_fresh_lock_is_put_back() {
        let dir = folder();
        let lock = RunLock::new(dir.path()).unwrap().unwrap();
        let mut dead = lock.record.lock().unwrap().clone();
        dead.holder.token = "dead".into();
        take_away(&lock.path, Some(&dead), "mine").unwrap();
        assert_eq!(read(&lock.path).unwrap().holder.token, lock.token());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        take_away(&lock.path, Some(&lock.record.lock().unwrap()), "mine").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// Threads that lock one folder again and again, and leave dead locks at times: never do two hold
    /// it.
    #[test]
    fn two_never_hold_one_folder() {
        let dir = folder();
        let inside = AtomicU64::new(0);
        let most = AtomicU64::new(0);
        let locked = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Some(lock) = RunLock::new(dir.path()).unwrap() {
                            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            let n = locked.fetch_add(1, Ordering::SeqCst);
                            thread::sleep(Duration::from_micros(50));
                            inside.fetch_sub(1, Ordering::SeqCst);
                            if n.is_multiple_of(7) {
                                // As a process that dies.
                                abandon(dir.path());
                            }
                            drop(lock);
                        }
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
        assert!(locked.into_inner() >= 4);
    }
}

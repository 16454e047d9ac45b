//! Folders of experiments and runs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::integrity::{Look, TRAIN_AGAIN};
use super::record::ExperimentRecord;
use crate::atomic::write_atomic;
use crate::error::{Error, Fault, Result};
use crate::lock::try_lock;

/// `results/<experiment>`.
#[derive(Clone, Debug)]
pub struct ExperimentFolder {
    root: PathBuf,
    /// The folder of all experiments, where this is one of several.
    tree: Option<PathBuf>,
}

impl ExperimentFolder {
    /// A folder by itself.
    pub fn new(root: impl Into<PathBuf>) -> ExperimentFolder {
        ExperimentFolder { root: root.into(), tree: None }
    }

    /// One of a tree, whose experiments use each other's runs.
    pub fn in_tree(tree: &Path, name: &str) -> ExperimentFolder {
        ExperimentFolder { root: tree.join(name), tree: Some(tree.to_path_buf()) }
    }

    /// The other experiments of its tree, by name.
    pub fn siblings(&self) -> Vec<ExperimentFolder> {
        let Some(tree) = &self.tree else { return Vec::new() };
        let mut all = ExperimentFolder::all(tree);
        all.retain(|other| other.root != self.root);
        all
    }

    /// The experiments of a tree, by name: folders with a record or runs.
    pub fn all(tree: &Path) -> Vec<ExperimentFolder> {
        let Ok(entries) = fs::read_dir(tree) else { return Vec::new() };
        let mut roots: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        roots.sort();
        let folder = |root: PathBuf| ExperimentFolder { root, tree: Some(tree.to_path_buf()) };
        roots.into_iter().map(folder).filter(ExperimentFolder::is_experiment).collect()
    }

    /// Whether it is the folder of an experiment.
    pub fn is_experiment(&self) -> bool {
        self.file(EXPERIMENT).is_file() || self.file("runs").is_dir()
    }

    /// The ids of the runs that have a folder, in order.
    pub fn run_ids(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.file("runs")) else { return Vec::new() };
        let folders = entries.filter_map(|e| e.ok().filter(|e| e.path().is_dir()));
        let names = folders.filter_map(|e| e.file_name().into_string().ok());
        let mut ids: Vec<String> = names.filter(|name| is_run_id(name)).collect();
        ids.sort();
        ids
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    /// A file of the report.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn run(&self, id: &str) -> RunFolder {
        RunFolder { root: self.root.join("runs").join(id) }
    }

    /// Removes a file of the report if it is there.
    pub fn remove(&self, name: &str) -> Result<()> {
        remove(&self.file(name))
    }

    pub fn write_record(&self, record: &ExperimentRecord) -> Result<()> {
        write_json(&self.file(EXPERIMENT), record)
    }

    /// Keeps the spec's file as it was written, byte for byte.
    pub fn write_spec(&self, yaml: &str) -> Result<()> {
        write_atomic(&self.file("experiment.yaml"), yaml.as_bytes())
    }

    pub fn read_record(&self) -> Result<ExperimentRecord> {
        let path = self.file(EXPERIMENT);
        if !path.exists() {
            return Err(Fault::of_file(&self.root, "there are no results here")
                .found("no experiment.json")
                .expected("the folder of an experiment, as `vlora run` leaves it under results/")
                .into());
        }
        read_json(&path)
    }
}

/// Whether a folder's name is one that [`run_id`](crate::spec::run_id) makes.
pub(super) fn is_run_id(name: &str) -> bool {
    name.len() == 12 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// What has become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    Planned,
    /// A process works on it.
    Running,
    /// Has a checkpoint to go on from.
    Interrupted,
    Failed,
    /// Was finished, and its files are no longer as they were left.
    Damaged,
    Finished,
}

impl RunState {
    pub fn name(self) -> &'static str {
        match self {
            RunState::Planned => "planned",
            RunState::Running => "running",
            RunState::Interrupted => "interrupted",
            RunState::Failed => "failed",
            RunState::Damaged => "damaged",
            RunState::Finished => "finished",
        }
    }
}

/// What became of a folder that was to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    Done,
    /// A process works on it.
    Running,
    /// It holds a file that is not a run's.
    Foreign(String),
}

const LOCK: &str = ".lock";
const EXPERIMENT: &str = "experiment.json";

/// `results/<experiment>/runs/<id>`.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    pub const SPEC: &str = "spec.json";
    pub const PROVENANCE: &str = "provenance.json";
    pub const START: &str = "start.json";
    pub const STEPS: &str = "steps.jsonl";
    pub const EPOCHS: &str = "epochs.jsonl";
    pub const TEST: &str = "test.jsonl";
    pub const CHECKPOINT: &str = "checkpoint.safetensors";
    pub const MODEL: &str = "model.safetensors";
    pub const RESULT: &str = "result.json";
    pub const FAILURE: &str = "failure.json";

    /// All of them.
    const FILES: [&str; 10] = [
        Self::RESULT,
        Self::MODEL,
        Self::CHECKPOINT,
        Self::TEST,
        Self::EPOCHS,
        Self::STEPS,
        Self::START,
        Self::PROVENANCE,
        Self::SPEC,
        Self::FAILURE,
    ];

    /// The run whose folder, or whose weights' file, this is. None of what no run left.
    pub fn of_weights(path: &Path) -> Option<RunFolder> {
        let path = path.canonicalize().ok()?;
        let root = match path.file_name() {
            Some(name) if name == Self::MODEL => path.parent()?.to_path_buf(),
            _ => path,
        };
        let run = RunFolder { root };
        let is_named = run.root.file_name()?.to_str().is_some_and(is_run_id);
        let has = |name: &str| run.file(name).is_file();
        (run.root.is_dir() && (is_named || has(Self::SPEC) && has(Self::RESULT))).then_some(run)
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn state(&self) -> RunState {
        let has = |name| self.file(name).exists();
        if has(Self::RESULT) {
            match self.whole(Look::Quick) {
                Ok(_) => RunState::Finished,
                Err(_) => RunState::Damaged,
            }
        } else if self.is_claimed() {
            RunState::Running
        } else if has(Self::FAILURE) {
            RunState::Failed
        } else if has(Self::CHECKPOINT) {
            RunState::Interrupted
        } else {
            RunState::Planned
        }
    }

    /// Claims the run for this process until the lock is dropped or the process ends, however
    /// it ends. None where another process has it.
    pub fn claim(&self) -> Result<Option<RunLock>> {
        let path = self.file(LOCK);
        fs::create_dir_all(&self.root)
            .map_err(|e| Error::io("making the folder", &self.root, e))?;
        let file = File::create(&path).map_err(|e| Error::io("making the lock", &path, e))?;
        Ok(try_lock(&file, &path)?.then_some(RunLock { _file: file }))
    }

    fn is_claimed(&self) -> bool {
        File::open(self.file(LOCK))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// When a file of it was last changed, and the bytes of all its files.
    pub fn extent(&self) -> (Option<SystemTime>, u64) {
        let Ok(entries) = fs::read_dir(&self.root) else { return (None, 0) };
        let metas = entries.filter_map(|e| e.ok()?.metadata().ok().filter(|m| m.is_file()));
        let add = |(newest, bytes): (Option<SystemTime>, u64), meta: fs::Metadata| {
            (newest.max(meta.modified().ok()), bytes + meta.len())
        };
        metas.fold((None, 0), add)
    }

    /// Removes the run's folder, unless a process works on it or it holds what is not a run's.
    pub fn delete(&self) -> Result<Deletion> {
        // Else the claim would make it.
        if !self.root.is_dir() {
            return Ok(Deletion::Done);
        }
        let Some(lock) = self.claim()? else { return Ok(Deletion::Running) };
        let failed = |e| Error::io("removing", &self.root, e);
        let mut scratch = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.starts_with(".tmp-") {
                true => scratch.push(entry.path()),
                false if name == LOCK || Self::FILES.contains(&name.as_str()) => {}
                false => return Ok(Deletion::Foreign(name)),
            }
        }
        for path in scratch {
            let is_folder = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
            let removed =
                if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|e| Error::io("removing", &path, e))?;
        }
        // The result first: a run that is removed in part is not finished.
        for name in Self::FILES {
            self.remove(name)?;
        }
        // While it is still held, so that nobody claims what goes.
        self.remove(LOCK)?;
        fs::remove_dir(&self.root).map_err(failed)?;
        drop(lock);
        Ok(Deletion::Done)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_atomic(&self.file(name), bytes)
    }

    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        write_json(&self.file(name), value)
    }

    /// One JSON object a line.
    pub fn write_lines<T: Serialize>(&self, name: &str, items: &[T]) -> Result<()> {
        self.write(name, &lines(&self.file(name), items)?)
    }

    /// Makes a file of JSON lines that grows, `items` its first; replaces what is there.
    pub fn grow_lines<T: Serialize>(&self, name: &str, items: &[T]) -> Result<Lines> {
        self.write_lines(name, items)?;
        Lines::open(self.file(name))
    }

    /// The first `count` lines of a file that may have been cut while it grew; what follows them is
    /// not read. An error where there are fewer.
    pub fn read_first_lines<T: DeserializeOwned>(&self, name: &str, count: u64) -> Result<Vec<T>> {
        let path = self.file(name);
        let bytes = fs::read(&path).map_err(|e| unreadable(&path, &e))?;
        let (mut items, mut rest) = (Vec::new(), &bytes[..]);
        while (items.len() as u64) < count {
            let number = items.len() + 1;
            let Some(end) = rest.iter().position(|b| *b == b'\n') else {
                return Err(Fault::of_file(&path, "the file ends before its checkpoint")
                    .found(format!("{} lines", items.len()))
                    .expected(count)
                    .into());
            };
            items
                .push(serde_json::from_slice(&rest[..end]).map_err(|e| broken(&path, number, &e))?);
            rest = &rest[end + 1..];
        }
        Ok(items)
    }

    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        read_json(&self.file(name))
    }

    pub fn read_lines<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        let path = self.file(name);
        let text = read_text(&path)?;
        text.lines()
            .enumerate()
            .map(|(i, line)| serde_json::from_str(line).map_err(|e| broken(&path, i + 1, &e)))
            .collect()
    }

    /// Removes a file if it is there.
    pub fn remove(&self, name: &str) -> Result<()> {
        remove(&self.file(name))
    }
}

/// A file of JSON lines that grows while a run is trained. Appended lines reach the file with the
/// first one that comes two seconds after the last write, so that the run can be followed.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: File,
    /// Not yet in the file.
    waiting: Vec<u8>,
    flushed: Instant,
    every: Duration,
}

impl Lines {
    fn open(path: PathBuf) -> Result<Lines> {
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|e| Error::io("opening", &path, e))?;
        let every = Duration::from_secs(2);
        Ok(Lines { path, file, waiting: Vec::new(), flushed: Instant::now(), every })
    }

    pub fn append<T: Serialize>(&mut self, item: &T) -> Result<()> {
        to_json(&mut self.waiting, item, &self.path, false)?;
        self.waiting.push(b'\n');
        match self.flushed.elapsed() >= self.every {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Puts into the file what waits.
    pub fn flush(&mut self) -> Result<()> {
        let written = self.file.write_all(&self.waiting);
        written.map_err(|e| Error::io("writing", &self.path, e))?;
        self.waiting.clear();
        self.flushed = Instant::now();
        Ok(())
    }

    /// The same, and has the system put it on the disk.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.file.sync_data().map_err(|e| Error::io("syncing", &self.path, e))
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", path, e)),
        _ => Ok(()),
    }
}

/// Holds a run while it is worked on.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// Items as JSON, a line each; `path` names the file in errors.
pub fn lines<T: Serialize>(path: &Path, items: &[T]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for item in items {
        to_json(&mut out, item, path, false)?;
        out.push(b'\n');
    }
    Ok(out)
}

fn to_json<T: Serialize>(out: &mut Vec<u8>, value: &T, path: &Path, pretty: bool) -> Result<()> {
    let written = match pretty {
        true => serde_json::to_writer_pretty(&mut *out, value),
        false => serde_json::to_writer(&mut *out, value),
    };
    written
        .map_err(|e| Error::Failed(format!("{}: cannot be written as JSON: {e}", path.display())))
}

pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut out = Vec::new();
    to_json(&mut out, value, path, true)?;
    out.push(b'\n');
    write_atomic(path, &out)
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|e| broken(path, e.line(), &e))
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let fault = Fault::of_file(path, format!("cannot be read: {error}"));
    fault.help(help_for(path)).into()
}

fn broken(path: &Path, line: usize, error: &serde_json::Error) -> Error {
    Fault::of_file(path, "the record is damaged")
        .line(line)
        .found(error)
        .expected("what `vlora` writes")
        .help(help_for(path))
        .into()
}

/// What to do about a record that cannot be read.
fn help_for(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        EXPERIMENT => "`vlora run` with its spec writes it anew; no run is trained again for it",
        name if RunFolder::FILES.contains(&name) => TRAIN_AGAIN,
        _ => "remove its folder and run the command that made it again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_follows_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let run = ExperimentFolder::new(dir.path()).run("abc");
        assert_eq!(run.state(), RunState::Planned);
        run.write(RunFolder::CHECKPOINT, b"x").unwrap();
        assert_eq!(run.state(), RunState::Interrupted);
        run.write(RunFolder::FAILURE, b"x").unwrap();
        assert_eq!(run.state(), RunState::Failed);
        run.write(RunFolder::RESULT, b"x").unwrap();
        assert_eq!(run.state(), RunState::Damaged);
    }

    #[test]
    fn a_claimed_run_cannot_be_claimed_again() {
        let dir = tempfile::tempdir().unwrap();
        let run = ExperimentFolder::new(dir.path()).run("abc");
        let lock = run.claim().unwrap();
        assert!(lock.is_some());
        assert_eq!(run.state(), RunState::Running);
        assert!(run.claim().unwrap().is_none());
        drop(lock);
        assert_eq!(run.state(), RunState::Planned);
        assert!(run.claim().unwrap().is_some());
    }

    #[test]
    fn lines_grow_and_what_was_cut_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let run = ExperimentFolder::new(dir.path()).run("abc");
        let path = run.file("steps.jsonl");
        run.write("steps.jsonl", b"of before").unwrap();
        let mut lines = run.grow_lines("steps.jsonl", &[1, 2]).unwrap();
        lines.append(&3).unwrap();
        // A line that has just come waits for others.
        assert_eq!(fs::read(&path).unwrap(), b"1\n2\n");
        lines.every = Duration::ZERO;
        lines.append(&4).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1\n2\n3\n4\n");
        lines.every = Duration::MAX;
        lines.append(&5).unwrap();
        lines.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1\n2\n3\n4\n5\n");
        // Cut within a line, with what a crash may leave.
        fs::write(&path, b"1\n2\n3\n{\"st\xff\0").unwrap();
        let first = |count| run.read_first_lines::<u64>("steps.jsonl", count);
        assert_eq!(first(3).unwrap(), [1, 2, 3]);
        assert_eq!(first(0).unwrap(), [0u64; 0]);
        let told = first(4).unwrap_err().to_string();
        assert!(told.contains("steps.jsonl: the file ends before its checkpoint"), "{told}");
        fs::write(&path, b"1\nx\n3\n").unwrap();
        let told = first(3).unwrap_err().to_string();
        assert!(told.contains("steps.jsonl:2: the record is damaged"), "{told}");
    }

    #[test]
    fn only_a_runs_own_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::new(dir.path());
        let run = folder.run("0123456789ab");
        assert_eq!(run.delete().unwrap(), Deletion::Done);
        assert!(!run.path().exists());
        RunFolder::FILES.iter().for_each(|name| run.write(name, b"x").unwrap());
        fs::create_dir(run.file(".tmp-left")).unwrap();
        run.write("notes.txt", b"mine").unwrap();
        assert_eq!(folder.run_ids(), ["0123456789ab"]);
        assert_eq!(run.delete().unwrap(), Deletion::Foreign("notes.txt".into()));
        run.remove("notes.txt").unwrap();
        let lock = run.claim().unwrap();
        assert_eq!(run.delete().unwrap(), Deletion::Running);
        assert_eq!(run.extent().1, RunFolder::FILES.len() as u64);
        drop(lock);
        assert_eq!(run.delete().unwrap(), Deletion::Done);
        assert!(!run.path().exists());
    }

    #[test]
    fn damaged_records_name_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let run = ExperimentFolder::new(dir.path()).run("abc");
        run.write("epochs.jsonl", b"{\"a\": 1}\n{\"a\": \n").unwrap();
        let error = run.read_lines::<serde_json::Value>("epochs.jsonl").unwrap_err().to_string();
        assert!(error.contains("epochs.jsonl:2: the record is damaged"), "{error}");
    }
}

//! Folders of experiments and runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::journal::{Journal, JournalWriter};
use super::json::{lines, read_json, write_json};
use super::record::ExperimentRecord;
use super::run_lock::{ASIDE, LOCK, LockRecord, RunLock, held};
use crate::atomic::write_atomic;
use crate::error::{Error, Fault, Result};

/// `results/<experiment>`.
#[derive(Clone, Debug)]
pub struct ExperimentFolder {
    root: PathBuf,
    /// The parent folder, where this is one of several experiments.
    tree: Option<PathBuf>,
}

impl ExperimentFolder {
    /// A single folder without siblings.
    pub fn new(root: impl Into<PathBuf>) -> ExperimentFolder {
        ExperimentFolder { root: root.into(), tree: None }
    }

    /// An experiment of a results tree. Experiments of a tree reuse each other's runs.
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

    /// Whether any run of the record has ended, well or not.
    pub fn has_ended_run(&self, record: &ExperimentRecord) -> bool {
        record.run_ids().into_iter().any(|id| self.run(id).state().has_ended())
    }

    /// Whether this folder belongs to an experiment. A folder of results may have an experiment called
    /// `runs`.
    pub fn is_experiment(&self) -> bool {
        self.file(EXPERIMENT).is_file() || !self.run_ids().is_empty()
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

    /// A file of this folder, such as a table or chart.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn run(&self, id: &str) -> RunFolder {
        RunFolder { root: self.root.join("runs").join(id) }
    }

    /// The names of what is directly in this folder.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Removes a file of this folder if it exists.
    pub fn remove(&self, name: &str) -> Result<()> {
        remove(&self.file(name))
    }

    pub fn write_record(&self, record: &ExperimentRecord) -> Result<()> {
        write_json(&self.file(EXPERIMENT), record)
    }

    /// Saves the spec file, byte for byte.
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
        let help = "`vlora run` with its spec writes it anew; no run is trained again for it";
        read_json(&path).map_err(|e| e.map_fault(|fault| fault.help(help)))
    }
}

/// Whether a folder's name has the form of a [run id](crate::spec::SpecIdentity::run_id).
pub(super) fn is_run_id(name: &str) -> bool {
    name.len() == 12 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The outcome of [`RunFolder::delete`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    Done,
    /// Kept: a process is working on it.
    Running,
    /// Kept: it has a file that no run writes.
    Foreign(String),
}

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
    /// Also the usual name of a tokenizer beside other programs' weights.
    pub const TOKENIZER: &str = "tokenizer.json";
    pub const STEPS: &str = "steps.jsonl";
    pub const EPOCHS: &str = "epochs.jsonl";
    pub const TEST: &str = "test.jsonl";
    pub const CHECKPOINT: &str = "checkpoint.safetensors";
    /// The checkpoint before.
    pub const PREVIOUS: &str = "checkpoint-previous.safetensors";
    pub const MODEL: &str = "model.safetensors";
    pub const RESULT: &str = "result.json";
    pub const FAILURE: &str = "failure.json";
    pub const VERIFIED: &str = "verified.json";
    pub const LOGIT_LENS: &str = "layers.json";
    /// The same of the test split.
    pub const TEST_LOGIT_LENS: &str = "layers-test.json";

    /// All of them, as far as they are not compressed.
    const FILES: [&str; 15] = [
        Self::RESULT,
        Self::VERIFIED,
        Self::LOGIT_LENS,
        Self::TEST_LOGIT_LENS,
        Self::MODEL,
        Self::CHECKPOINT,
        Self::PREVIOUS,
        Self::TEST,
        Self::EPOCHS,
        Self::STEPS,
        Self::START,
        Self::TOKENIZER,
        Self::PROVENANCE,
        Self::SPEC,
        Self::FAILURE,
    ];

    /// Every file that a run may have. [`RunFolder::delete`] removes them in this order.
    fn files() -> impl Iterator<Item = &'static str> {
        Self::FILES.into_iter().chain(Self::compressed_names())
    }

    /// The run that a path belongs to: its folder or its weights file. None for any other path.
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

    /// Whether a path names a file that runs write, in the folder of a run.
    pub fn is_evidence(path: &Path) -> bool {
        let is_named = path.file_name().is_some_and(|name| Self::files().any(|file| name == file));
        let folder = path.parent().map(|folder| match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        });
        let run = folder.and_then(Self::of_weights);
        is_named && run.is_some_and(|run| run.file(Self::SPEC).is_file())
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Locks the run for this process, until the lock is dropped. None where another process holds it.
    pub fn lock(&self) -> Result<Option<RunLock>> {
        RunLock::new(&self.root)
    }

    /// Who works on the run, if a live process does, and how far it is.
    pub fn held(&self) -> Option<LockRecord> {
        held(&self.root)
    }

    /// The time of the latest change to a file, and the bytes of all files.
    pub fn extent(&self) -> (Option<SystemTime>, u64) {
        let Ok(entries) = fs::read_dir(&self.root) else { return (None, 0) };
        let metas = entries.filter_map(|e| e.ok()?.metadata().ok().filter(|m| m.is_file()));
        let add = |(newest, bytes): (Option<SystemTime>, u64), meta: fs::Metadata| {
            (newest.max(meta.modified().ok()), bytes + meta.len())
        };
        metas.fold((None, 0), add)
    }

    /// Removes the run's folder, unless a process is working on it or it has a file that no run
    /// writes.
    pub fn delete(&self) -> Result<Deletion> {
        // Claiming would create the folder.
        if !self.root.is_dir() {
            return Ok(Deletion::Done);
        }
        let Some(lock) = self.lock()? else { return Ok(Deletion::Running) };
        let failed = |e| Error::io("removing", &self.root, e);
        let mut scratch = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.starts_with(".tmp-") {
                true => scratch.push(entry.path()),
                false if name == LOCK || Self::files().any(|file| file == name) => {}
                false => return Ok(Deletion::Foreign(name)),
            }
        }
        scratch.iter().try_for_each(|path| remove_all(path))?;
        // The result goes first: a partly removed run must not count as finished.
        for name in Self::files() {
            self.remove(name)?;
        }
        // The folder is empty but for the lock. A process that locks it now finds nothing to lose.
        drop(lock);
        match fs::remove_dir(&self.root) {
            Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
            removed => removed.map_err(failed)?,
        }
        Ok(Deletion::Done)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_atomic(&self.file(name), bytes)
    }

    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        write_json(&self.file(name), value)
    }

    /// Writes one JSON object per line.
    pub fn write_lines<T: Serialize>(&self, name: &str, items: &[T]) -> Result<()> {
        self.write(name, &lines(&self.file(name), items)?)
    }

    /// Continues a journal from a checkpoint; an empty one starts anew.
    pub fn resume_journal(&self, name: &str, journal: &Journal) -> Result<JournalWriter> {
        JournalWriter::resume(self.file(name), journal).map_err(with_help)
    }

    /// Removes what a process left that was killed while it wrote. Only the holder of the lock may.
    pub fn remove_scratch(&self) -> Result<()> {
        let entries = fs::read_dir(&self.root).map_err(|e| Error::io("reading", &self.root, e))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".tmp-") && !name.starts_with(ASIDE) {
                remove_all(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Writes a checkpoint. The one before is kept as [`RunFolder::PREVIOUS`] until the next: if the new
    /// file is damaged, the run resumes from it.
    pub fn write_checkpoint(&self, bytes: &[u8]) -> Result<()> {
        let (newest, previous) = (self.file(Self::CHECKPOINT), self.file(Self::PREVIOUS));
        match fs::rename(&newest, &previous) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("renaming", &newest, e));
            }
            _ => {}
        }
        write_atomic(&newest, bytes)
    }

    /// Removes the checkpoints of a finished run.
    pub fn remove_checkpoints(&self) -> Result<()> {
        self.remove(Self::CHECKPOINT)?;
        self.remove(Self::PREVIOUS)
    }

    /// Whether there is a checkpoint to resume from.
    pub fn has_checkpoint(&self) -> bool {
        [Self::CHECKPOINT, Self::PREVIOUS].into_iter().any(|name| self.file(name).exists())
    }

    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        read_json(&self.file(name)).map_err(with_help)
    }

    /// Removes a file if it exists.
    pub fn remove(&self, name: &str) -> Result<()> {
        remove(&self.file(name))
    }
}

/// The help for a damaged run.
pub const TRAIN_AGAIN: &str =
    "remove the run's folder, and `vlora run` trains it again, to the same results";

/// Adds the help to an error about a run's record.
pub fn with_help(error: Error) -> Error {
    error.map_fault(|fault| fault.help(TRAIN_AGAIN))
}

/// Removes a file or a folder, which another process may remove at the same moment.
pub(super) fn remove_all(path: &Path) -> Result<()> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    match if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", path, e)),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", path, e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_run_cannot_be_locked_again() {
        let dir = tempfile::tempdir().unwrap();
        let run = ExperimentFolder::new(dir.path()).run("abc");
        let lock = run.lock().unwrap();
        assert!(lock.is_some());
        assert!(run.held().is_some());
        assert!(run.lock().unwrap().is_none());
        drop(lock);
        assert!(run.held().is_none());
        assert!(run.lock().unwrap().is_some());
    }

    #[test]
    fn the_checkpoint_before_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let run = ExperimentFolder::new(dir.path()).run("abc");
        let read = |name: &str| fs::read(run.file(name)).unwrap();
        assert!(!run.has_checkpoint());
        run.write_checkpoint(b"one").unwrap();
        assert!(run.has_checkpoint() && !run.file(RunFolder::PREVIOUS).exists());
        run.write_checkpoint(b"two").unwrap();
        run.write_checkpoint(b"three").unwrap();
        assert_eq!(read(RunFolder::CHECKPOINT), b"three");
        assert_eq!(read(RunFolder::PREVIOUS), b"two");
        run.remove(RunFolder::CHECKPOINT).unwrap();
        assert!(run.has_checkpoint());
        run.remove_checkpoints().unwrap();
        assert!(!run.has_checkpoint());
    }

    #[test]
    fn delete_removes_only_the_files_of_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::new(dir.path());
        let run = folder.run("0123456789ab");
        assert_eq!(run.delete().unwrap(), Deletion::Done);
        assert!(!run.path().exists());
        RunFolder::files().for_each(|name| run.write(name, b"x").unwrap());
        fs::create_dir(run.file(".tmp-left")).unwrap();
        run.write("notes.txt", b"mine").unwrap();
        assert_eq!(folder.run_ids(), ["0123456789ab"]);
        assert_eq!(run.delete().unwrap(), Deletion::Foreign("notes.txt".into()));
        run.remove("notes.txt").unwrap();
        let lock = run.lock().unwrap();
        assert_eq!(run.delete().unwrap(), Deletion::Running);
        drop(lock);
        assert_eq!(run.extent().1, RunFolder::files().count() as u64);
        assert_eq!(run.delete().unwrap(), Deletion::Done);
        assert!(!run.path().exists());
    }
}

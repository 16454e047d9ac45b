//! Folders of experiments and runs.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::ExperimentRecord;
use crate::atomic::write_atomic;
use crate::error::{Error, Result};
use crate::lock::try_lock;

/// `results/<experiment>`.
#[derive(Clone, Debug)]
pub struct ExperimentFolder {
    root: PathBuf,
}

impl ExperimentFolder {
    pub fn new(root: impl Into<PathBuf>) -> ExperimentFolder {
        ExperimentFolder { root: root.into() }
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
        write_json(&self.file("experiment.json"), record)
    }

    /// Keeps the spec's file as it was written, byte for byte.
    pub fn write_spec(&self, yaml: &str) -> Result<()> {
        write_atomic(&self.file("experiment.yaml"), yaml.as_bytes())
    }

    pub fn read_record(&self) -> Result<ExperimentRecord> {
        let path = self.file("experiment.json");
        if !path.exists() {
            return Err(Error::Input(format!(
                "{}: there are no results here\n  found:    no experiment.json\n  \
                 expected: the folder of an experiment, as `vlora run` leaves it under results/",
                self.root.display()
            )));
        }
        read_json(&path)
    }
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
    Finished,
}

impl RunState {
    pub fn name(self) -> &'static str {
        match self {
            RunState::Planned => "planned",
            RunState::Running => "running",
            RunState::Interrupted => "interrupted",
            RunState::Failed => "failed",
            RunState::Finished => "finished",
        }
    }
}

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

    pub fn path(&self) -> &Path {
        &self.root
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn state(&self) -> RunState {
        let has = |name| self.file(name).exists();
        if has(Self::RESULT) {
            RunState::Finished
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
        let path = self.file(".lock");
        fs::create_dir_all(&self.root)
            .map_err(|e| Error::io("making the folder", &self.root, e))?;
        let file = File::create(&path).map_err(|e| Error::io("making the lock", &path, e))?;
        Ok(try_lock(&file, &path)?.then_some(RunLock { _file: file }))
    }

    fn is_claimed(&self) -> bool {
        File::open(self.file(".lock"))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_atomic(&self.file(name), bytes)
    }

    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        write_json(&self.file(name), value)
    }

    /// One JSON object a line.
    pub fn write_lines<T: Serialize>(&self, name: &str, items: &[T]) -> Result<()> {
        let mut out = Vec::new();
        for item in items {
            to_json(&mut out, item, &self.file(name), false)?;
            out.push(b'\n');
        }
        self.write(name, &out)
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
    fs::read_to_string(path).map_err(|e| {
        let path = path.display();
        Error::Input(format!(
            "{path}: cannot be read: {e}\n  help: remove its folder and run the command that made \
             it again"
        ))
    })
}

fn broken(path: &Path, line: usize, error: &serde_json::Error) -> Error {
    Error::Input(format!(
        "{}:{line}: the record is damaged\n  found:    {error}\n  expected: what `vlora` \
         writes; remove its folder and run the command that made it again",
        path.display()
    ))
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
        assert_eq!(run.state(), RunState::Finished);
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
    fn damaged_records_name_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let run = ExperimentFolder::new(dir.path()).run("abc");
        run.write("epochs.jsonl", b"{\"a\": 1}\n{\"a\": \n").unwrap();
        let error = run.read_lines::<serde_json::Value>("epochs.jsonl").unwrap_err().to_string();
        assert!(error.contains("epochs.jsonl:2: the record is damaged"), "{error}");
    }
}

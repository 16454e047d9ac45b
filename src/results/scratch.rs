//! A folder beside an experiment's runs, in which runs are repeated.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::folder::{ExperimentFolder, remove_all};
use super::run_lock::{LOCK, RunLock};
use crate::error::{Error, Fault, Result};

const PREFIX: &str = ".tmp-verify-";

/// Removed when it is dropped. The folder of a process that was killed is removed by the next one.
#[derive(Debug)]
pub struct Scratch {
    /// Says that a process uses the folder. It is given back before the folder is removed.
    _lock: RunLock,
    folder: TempDir,
}

impl Scratch {
    /// Makes a folder in that of an experiment: on the same file system, so that weights can be linked, and
    /// where there is room for runs.
    pub fn new(experiment: &ExperimentFolder) -> Result<Scratch> {
        remove_abandoned(experiment.path());
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(experiment.path());
        let folder = folder.map_err(|e| Error::io("making a folder in", experiment.path(), e))?;
        let lock = RunLock::new(folder.path())?.ok_or_else(|| {
            Fault::failed("another process has locked a folder that was just made")
                .file(folder.path())
        })?;
        Ok(Scratch { _lock: lock, folder })
    }

    pub fn experiment(&self) -> ExperimentFolder {
        ExperimentFolder::new(self.folder.path())
    }
}

/// Removes the folders of processes that have died. One without a lock may be in the making. What cannot be
/// removed, such as another user's, is in nobody's way.
fn remove_abandoned(experiment: &Path) {
    for entry in fs::read_dir(experiment).into_iter().flatten().flatten() {
        let is_scratch = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let path = entry.path();
        if is_scratch && path.join(LOCK).exists()
            // Whoever can lock it knows that its process is dead.
            && let Ok(Some(lock)) = RunLock::new(&path)
        {
            // It holds a file open, which a network's file system may not let go.
            drop(lock);
            let _ = remove_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::run_lock::abandon;
    use super::*;

    fn folders(experiment: &ExperimentFolder) -> usize {
        fs::read_dir(experiment.path()).unwrap().count()
    }

    #[test]
    fn only_folders_of_dead_processes_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let experiment = ExperimentFolder::new(dir.path());
        let first = Scratch::new(&experiment).unwrap();
        let second = Scratch::new(&experiment).unwrap();
        assert_eq!(folders(&experiment), 2);
        drop(second);
        assert_eq!(folders(&experiment), 1);

        let dead = dir.path().join(format!("{PREFIX}dead"));
        fs::create_dir_all(dead.join("runs/abc")).unwrap();
        abandon(&dead);
        let in_the_making = dir.path().join(format!("{PREFIX}new"));
        fs::create_dir(&in_the_making).unwrap();
        let third = Scratch::new(&experiment).unwrap();
        assert!(!dead.exists() && in_the_making.exists());
        assert!(first.experiment().path().exists() && third.experiment().path().exists());
    }
}

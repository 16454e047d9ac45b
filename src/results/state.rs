//! The state of a run, derived from the files it has left.

use serde::Serialize;

use super::folder::RunFolder;
use super::integrity::CheckLevel;
use super::run_lock::LockRecord;

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    Planned,
    /// A process is working on it.
    Running,
    /// Not finished, but a checkpoint to resume from exists.
    Interrupted,
    Failed,
    /// It was finished, but its files have changed since.
    Damaged,
    Finished,
}

impl RunState {
    /// Whether the run has been trained to its end. It is not trained again, even if it is damaged since.
    pub fn has_result(self) -> bool {
        matches!(self, RunState::Finished | RunState::Damaged)
    }

    /// Whether it has a result, or has failed.
    pub fn has_ended(self) -> bool {
        self.has_result() || self == RunState::Failed
    }

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

impl RunFolder {
    pub fn state(&self) -> RunState {
        self.state_and_lock().0
    }

    /// The state, and the lock if the run is running: both from one look at the files, since the run may
    /// be locked or end at any moment.
    pub fn state_and_lock(&self) -> (RunState, Option<LockRecord>) {
        let has = |name| self.file(name).exists();
        if has(Self::RESULT) {
            let state = match self.verify(CheckLevel::Quick) {
                Ok(_) => RunState::Finished,
                Err(_) => RunState::Damaged,
            };
            return (state, None);
        }
        if let Some(lock) = self.held() {
            return (RunState::Running, Some(lock));
        }
        let state = if has(Self::FAILURE) {
            RunState::Failed
        } else if self.has_checkpoint() {
            RunState::Interrupted
        } else {
            RunState::Planned
        };
        // The run ended between the look for a result and that for a lock.
        if has(Self::RESULT) { self.state_and_lock() } else { (state, None) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ExperimentFolder;
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
    fn a_locked_run_is_running() {
        let dir = tempfile::tempdir().unwrap();
        let run = ExperimentFolder::new(dir.path()).run("abc");
        let lock = run.lock().unwrap();
        assert_eq!(run.state(), RunState::Running);
        drop(lock);
        assert_eq!(run.state(), RunState::Planned);
    }
}

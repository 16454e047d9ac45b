//! The state of a run, derived from the files it has left.

use serde::Serialize;

use super::folder::RunFolder;
use super::integrity::CheckLevel;

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
        let has = |name| self.file(name).exists();
        if has(Self::RESULT) {
            match self.verify(CheckLevel::Quick) {
                Ok(_) => RunState::Finished,
                Err(_) => RunState::Damaged,
            }
        } else if self.held().is_some() {
            RunState::Running
        } else if has(Self::FAILURE) {
            RunState::Failed
        } else if self.has_checkpoint() {
            RunState::Interrupted
        } else {
            RunState::Planned
        }
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
    fn a_claimed_run_is_running() {
        let dir = tempfile::tempdir().unwrap();
        let run = ExperimentFolder::new(dir.path()).run("abc");
        let claim = run.claim().unwrap();
        assert_eq!(run.state(), RunState::Running);
        drop(claim);
        assert_eq!(run.state(), RunState::Planned);
    }
}

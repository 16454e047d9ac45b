//! Why a run ended early.

use crate::error::{Error, Fault};
use crate::train::TrainError;

/// Why a run ended early.
pub enum RunError {
    /// The run failed. The reason is recorded, and the next run starts.
    Failed(String),
    /// The same, with an error from training as the reason.
    Training(TrainError),
    /// Another process took the run over. It is left alone.
    LockLost,
    /// The whole execution stops.
    Stopped(Error),
}

impl RunError {
    /// Of a record that cannot be used: bad content fails the run, with what `add` adds to the
    /// fault. What cannot be read at the moment is not damaged, and stops the execution.
    pub fn of_record(error: Error, add: impl FnOnce(Fault) -> Fault) -> RunError {
        match error.exit_code() {
            2 => RunError::Failed(error.map_fault(add).to_string()),
            _ => RunError::Stopped(error),
        }
    }
}

impl From<Error> for RunError {
    fn from(error: Error) -> RunError {
        RunError::Stopped(error)
    }
}

impl From<TrainError> for RunError {
    fn from(error: TrainError) -> RunError {
        RunError::Training(error)
    }
}

pub type RunOutcome<T> = Result<T, RunError>;

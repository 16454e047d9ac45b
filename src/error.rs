//! The program's error: one message for the user and an exit code.

use std::path::Path;

use crate::spec::SpecError;

pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can stop a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A fault in a spec. Exit code 2.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Other bad input: an argument, a dataset, stored evidence. Exit code 2.
    #[error("{0}")]
    Input(String),
    /// Something that went wrong although the input was good. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Stopped by the user. Exit code 130.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Spec(_) | Error::Input(_) => 2,
            Error::Failed(_) => 1,
            Error::Interrupted => 130,
        }
    }

    /// A failed file operation: what was tried on which path.
    pub fn io(action: &str, path: &Path, error: std::io::Error) -> Error {
        Error::Failed(format!("{}: {action} failed: {error}", path.display()))
    }
}

/// A tensor error's message without the backtrace that candle adds where `RUST_BACKTRACE` is set.
pub fn plain(error: &candle_core::Error) -> String {
    let text = error.to_string();
    let message: Vec<&str> =
        text.lines().take_while(|line| !line.trim_start().starts_with("0: ")).collect();
    message.join("\n").trim_end().to_string()
}

/// Tensor operations fail only for want of memory or of a device, or by a fault of ours.
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Error {
        Error::Failed(format!("tensor operation failed: {}", plain(&error)))
    }
}

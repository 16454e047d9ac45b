//! Why a request to the Hub failed.

use std::time::Duration;

use crate::error::Error;

/// Why a request failed, and whether to try again.
pub enum RequestError {
    /// Another attempt may succeed, not before the time that the server asks for.
    Retryable {
        what: String,
        wait: Option<Duration>,
    },
    Final(Error),
}

impl RequestError {
    /// Of one whose answer says nothing of a wait.
    pub fn retryable(what: String) -> RequestError {
        RequestError::Retryable { what, wait: None }
    }
}

//! Why a request to the Hub failed.

use std::time::Duration;

use crate::error::Error;

/// Why a request failed, and whether to try again.
pub enum RequestError {
    /// Another attempt may succeed, after the wait that the server asks for.
    Retryable {
        what: String,
        wait: Option<Duration>,
    },
    Final(Error),
}

impl RequestError {
    /// An error without a wait that the server asks for.
    pub fn retryable(what: String) -> RequestError {
        RequestError::Retryable { what, wait: None }
    }
}

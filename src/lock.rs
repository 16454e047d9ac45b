//! Locks between processes. They are locks of the operating system (flock on Linux), which end with
//! the process that holds them.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use crate::error::{Error, Fault, Result};

/// If set to 1, no locks are taken. For file systems without locks.
const WITHOUT: &str = "VLORA_NO_LOCKS";

/// Locks an open file. `path` is used in errors. False if another process holds the lock.
pub fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match std::env::var_os(WITHOUT).is_some_and(|value| !value.is_empty() && value != "0") {
        true => Ok(true),
        false => lock_result(file.try_lock(), path),
    }
}

fn lock_result(tried: std::result::Result<(), TryLockError>, path: &Path) -> Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(lock_error(&e, path)),
    }
}

fn lock_error(error: &io::Error, path: &Path) -> Error {
    Error::from(
        Fault::failed("cannot be locked")
            .source(path.display())
            .found(error)
            .expected(
                "a file system with locks (flock), which keep two programs from using \
                 the same files",
            )
            .help(format!(
                "choose another file system with HF_HUB_CACHE; or set {WITHOUT}=1 to work without \
                 locks, and then start no second program there at the same time"
            )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_file_locks_the_error_names_the_alternatives() {
        // The error codes on Linux of NFS without its lock daemon, and of Lustre mounted without
        // flock.
        for code in [37, 38, 95] {
            let error = io::Error::from_raw_os_error(code);
            let error =
                lock_result(Err(TryLockError::Error(error)), Path::new("a/x.lock")).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("a/x.lock: cannot be locked\n  found:    "), "{error}");
            assert!(
                error.contains("VLORA_NO_LOCKS=1") && error.contains("HF_HUB_CACHE"),
                "{error}"
            );
        }
        assert!(!lock_result(Err(TryLockError::WouldBlock), Path::new("a")).unwrap());
    }
}

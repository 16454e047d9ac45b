//! Locks between processes: the operating system's (flock on Linux), which end with the process that
//! holds them, however that ends.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use crate::error::{Error, Fault, Result};

/// Set to 1, no locks are taken: the way out where a file system has none.
const WITHOUT: &str = "VLORA_NO_LOCKS";

/// Takes the lock of an open file, whose path is for errors. False where another process has it.
pub fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match std::env::var_os(WITHOUT).is_some_and(|value| !value.is_empty() && value != "0") {
        true => Ok(true),
        false => taken(file.try_lock(), path),
    }
}

fn taken(tried: std::result::Result<(), TryLockError>, path: &Path) -> Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(refused(&e, path)),
    }
}

fn refused(error: &io::Error, path: &Path) -> Error {
    Error::from(
        Fault::failed("cannot be locked")
            .source(path.display())
            .found(error)
            .expected(
                "a file system with locks (flock), by which two programs keep off \
                 each other",
            )
            .help(format!(
                "choose another file system, by --out for results or HF_HUB_CACHE \
                 for the Hub's files; or set {WITHOUT}=1 to go without locks, and \
                 then start no second program there meanwhile"
            )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_gets_a_way_out() {
        // As NFS without its daemon, and Lustre mounted without flock, answer on Linux.
        for code in [37, 38, 95] {
            let error = io::Error::from_raw_os_error(code);
            let told = taken(Err(TryLockError::Error(error)), Path::new("a/.lock")).unwrap_err();
            let told = told.to_string();
            assert!(told.starts_with("a/.lock: cannot be locked\n  found:    "), "{told}");
            assert!(told.contains("VLORA_NO_LOCKS=1") && told.contains("--out"), "{told}");
        }
        assert!(!taken(Err(TryLockError::WouldBlock), Path::new("a")).unwrap());
    }
}

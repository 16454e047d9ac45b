//! The real binary.

use std::path::Path;
use std::process::Command;

use assert_cmd::prelude::*;
use tempfile::TempDir;

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A folder with this spec in `tiny.yaml`.
pub fn folder_with(text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tiny.yaml"), text).unwrap();
    dir
}

/// Runs the program in a folder to its end.
pub fn vlora(dir: &Path, args: &[&str]) -> Ran {
    let mut command = Command::cargo_bin("vlora").unwrap();
    // Tables are in full into a pipe, unless it says how wide they may be.
    let output = command.current_dir(dir).args(args).env_remove("COLUMNS").output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

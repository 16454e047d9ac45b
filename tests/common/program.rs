//! The real binary.

use std::path::Path;
use std::process::Command;

use assert_cmd::prelude::*;

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
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

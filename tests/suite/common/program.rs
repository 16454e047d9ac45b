//! The real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A folder with this spec in `tiny.yaml`.
pub fn folder_with(text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tiny.yaml"), text).unwrap();
    dir
}

/// The file of the program.
pub fn binary() -> PathBuf {
    assert_cmd::cargo::cargo_bin("vlora")
}

/// The program in a folder. Into a pipe it prints tables in full, since no COLUMNS say how wide they may be.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(dir).env_remove("COLUMNS");
    command
}

/// Runs the program in a folder to its end.
pub fn vlora(dir: &Path, args: &[&str]) -> Ran {
    Ran::of(command(dir).args(args).output().unwrap())
}

/// Runs a command as on a file system without locks: a library takes flock's place, and answers as Linux
/// does there. It is built in `dir`.
#[cfg(target_os = "linux")]
pub fn without_locks(command: &mut Command, dir: &Path) {
    let library = dir.join("without-locks.so");
    if !library.exists() {
        let source = dir.join("without-locks.c");
        let text = "#include <errno.h>\nint flock(int f, int o) { errno = ENOLCK; return -1; }\n";
        std::fs::write(&source, text).unwrap();
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(built.unwrap().success());
    }
    command.env("LD_PRELOAD", &library);
}

//! Records as JSON, a file each or a line each. Errors name file and line; what to do about it depends
//! on whose record it is, which the caller knows.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::atomic::write_atomic;
use crate::error::{Error, Fault, Result};

/// A file of JSON lines that grows while a run is trained. Appended lines reach the file with the
/// first one that comes two seconds after the last write, so that the run can be followed.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: File,
    /// Not yet in the file.
    waiting: Vec<u8>,
    flushed: Instant,
    every: Duration,
}

impl Lines {
    /// Of a file that is there.
    pub fn open(path: PathBuf) -> Result<Lines> {
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|e| Error::io("opening", &path, e))?;
        let every = Duration::from_secs(2);
        Ok(Lines { path, file, waiting: Vec::new(), flushed: Instant::now(), every })
    }

    pub fn append<T: Serialize>(&mut self, item: &T) -> Result<()> {
        to_json(&mut self.waiting, item, &self.path, false)?;
        self.waiting.push(b'\n');
        match self.flushed.elapsed() >= self.every {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Puts into the file what waits.
    pub fn flush(&mut self) -> Result<()> {
        let written = self.file.write_all(&self.waiting);
        written.map_err(|e| Error::io("writing", &self.path, e))?;
        self.waiting.clear();
        self.flushed = Instant::now();
        Ok(())
    }

    /// The same, and has the system put it on the disk.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.file.sync_data().map_err(|e| Error::io("syncing", &self.path, e))
    }
}

/// Items as JSON, a line each; `path` names the file in errors.
pub fn lines<T: Serialize>(path: &Path, items: &[T]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for item in items {
        to_json(&mut out, item, path, false)?;
        out.push(b'\n');
    }
    Ok(out)
}

fn to_json<T: Serialize>(out: &mut Vec<u8>, value: &T, path: &Path, pretty: bool) -> Result<()> {
    let written = match pretty {
        true => serde_json::to_writer_pretty(&mut *out, value),
        false => serde_json::to_writer(&mut *out, value),
    };
    written.map_err(|e| {
        Error::from(Fault::failed(format!("cannot be written as JSON: {e}")).source(path.display()))
    })
}

pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut out = Vec::new();
    to_json(&mut out, value, path, true)?;
    out.push(b'\n');
    write_atomic(path, &out)
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|e| broken(path, e.line(), &e))
}

/// The first `count` lines of a file that may have been cut while it grew. What follows them is not
/// read. An error where there are fewer.
pub fn read_first_lines<T: DeserializeOwned>(path: &Path, count: u64) -> Result<Vec<T>> {
    let bytes = fs::read(path).map_err(|e| unreadable(path, &e))?;
    let (mut items, mut rest) = (Vec::new(), &bytes[..]);
    while (items.len() as u64) < count {
        let number = items.len() + 1;
        let Some(end) = rest.iter().position(|b| *b == b'\n') else {
            return Err(Fault::of_file(path, "the file ends before its checkpoint")
                .found(format!("{} lines", items.len()))
                .expected(count)
                .into());
        };
        items.push(serde_json::from_slice(&rest[..end]).map_err(|e| broken(path, number, &e))?);
        rest = &rest[end + 1..];
    }
    Ok(items)
}

/// All lines of a file.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = read_text(path)?;
    text.lines()
        .enumerate()
        .map(|(i, line)| serde_json::from_str(line).map_err(|e| broken(path, i + 1, &e)))
        .collect()
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Fault::of_file(path, format!("cannot be read: {error}")).into()
}

fn broken(path: &Path, line: usize, error: &serde_json::Error) -> Error {
    Fault::of_file(path, "the record is damaged")
        .line(line)
        .found(error)
        .expected("what `vlora` writes")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_grow_and_a_line_that_was_cut_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.jsonl");
        fs::write(&path, b"1\n2\n").unwrap();
        let mut lines = Lines::open(path.clone()).unwrap();
        lines.append(&3).unwrap();
        // A line that has just come waits for others.
        assert_eq!(fs::read(&path).unwrap(), b"1\n2\n");
        lines.every = Duration::ZERO;
        lines.append(&4).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1\n2\n3\n4\n");
        lines.every = Duration::MAX;
        lines.append(&5).unwrap();
        lines.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1\n2\n3\n4\n5\n");
        // Cut within a line, with bytes that a crash may leave.
        fs::write(&path, b"1\n2\n3\n{\"st\xff\0").unwrap();
        let first = |count| read_first_lines::<u64>(&path, count);
        assert_eq!(first(3).unwrap(), [1, 2, 3]);
        assert_eq!(first(0).unwrap(), [0u64; 0]);
        let told = first(4).unwrap_err().to_string();
        assert!(told.contains("steps.jsonl: the file ends before its checkpoint"), "{told}");
        fs::write(&path, b"1\nx\n3\n").unwrap();
        let told = first(3).unwrap_err().to_string();
        assert!(told.contains("steps.jsonl:2: the record is damaged"), "{told}");
    }

    #[test]
    fn damaged_records_name_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epochs.jsonl");
        fs::write(&path, b"{\"a\": 1}\n{\"a\": \n").unwrap();
        let error = read_lines::<serde_json::Value>(&path).unwrap_err().to_string();
        assert!(error.contains("epochs.jsonl:2: the record is damaged"), "{error}");
    }
}

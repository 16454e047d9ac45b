//! Records as JSON: one per file, or one per line. Errors name file and line. The caller adds the
//! help, since it knows whose record it is.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::atomic::write_atomic;
use crate::error::{Error, Fault, Result};

/// Items as JSON, one per line; `path` names the file in errors.
pub fn lines<T: Serialize>(path: &Path, items: &[T]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for item in items {
        to_json(&mut out, item, path, false)?;
        out.push(b'\n');
    }
    Ok(out)
}

/// Appends a value as JSON to `out`; `path` names the file in errors.
pub fn to_json<T: Serialize>(
    out: &mut Vec<u8>,
    value: &T,
    path: &Path,
    pretty: bool,
) -> Result<()> {
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
    parse(path, &read_text(path)?)
}

/// A record of which the text has been read.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| broken(path, e.line(), &e))
}

/// The records of a file's lines.
pub fn lines_of<T: DeserializeOwned>(path: &Path, text: &str) -> Result<Vec<T>> {
    text.lines()
        .enumerate()
        .map(|(i, line)| serde_json::from_str(line).map_err(|e| broken(path, i + 1, &e)))
        .collect()
}

pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| unreadable(path, &e))
}

pub fn unreadable(path: &Path, error: &std::io::Error) -> Error {
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
    fn damaged_records_name_file_and_line() {
        let path = Path::new("epochs.jsonl");
        let text = "{\"a\": 1}\n{\"a\": \n";
        let error = lines_of::<serde_json::Value>(path, text).unwrap_err().to_string();
        assert!(error.contains("epochs.jsonl:2: the record is damaged"), "{error}");
    }
}

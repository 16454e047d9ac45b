//! Evidence with a line for each step or example, compressed where it is large: a finished run has
//! `test.jsonl.zst` instead of `test.jsonl`. pandas and polars read both.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use zstd::stream::read::Decoder;

use super::folder::{RunFolder, with_help};
use super::json::{lines_of, read_text, unreadable};
use super::record::RunResult;
use crate::atomic::write_atomic;
use crate::error::{Error, Result};

/// The size in bytes from which on a file is compressed.
const LARGE: u64 = 256 << 10;

/// zstd's level. It makes 600 kB of tested images a sixth in 20 ms. The highest usual one, 19, takes 350 ms and
/// saves a fifth of that.
const LEVEL: i32 = 9;

impl RunFolder {
    /// Files of lines, which may be compressed.
    const OF_LINES: [(&str, &str); 3] = [
        (Self::STEPS, "steps.jsonl.zst"),
        (Self::EPOCHS, "epochs.jsonl.zst"),
        (Self::TEST, "test.jsonl.zst"),
    ];

    /// The names of compressed files.
    pub(super) fn compressed_names() -> impl Iterator<Item = &'static str> {
        Self::OF_LINES.into_iter().map(|(_, compressed)| compressed)
    }

    fn compressed_name(name: &str) -> Option<&'static str> {
        let found = Self::OF_LINES.into_iter().find(|(plain, _)| *plain == name);
        found.map(|(_, compressed)| compressed)
    }

    /// The name of the file that has the content of `name`, which differs where it is compressed.
    pub(super) fn stored_name(&self, name: &'static str) -> &'static str {
        Self::compressed_name(name).filter(|other| self.file(other).exists()).unwrap_or(name)
    }

    /// The name of the file that had the content of `name` when the run ended.
    pub(super) fn recorded_name(name: &'static str, result: &RunResult) -> &'static str {
        let compressed = Self::compressed_name(name);
        compressed.filter(|other| result.files.contains_key(*other)).unwrap_or(name)
    }

    /// Compresses the large files of lines of a run that ends. The others stay beside them until
    /// [`RunFolder::remove_uncompressed`], since without a result the run may have to go on from them.
    pub fn compress(&self) -> Result<()> {
        for (name, compressed) in Self::OF_LINES {
            let path = self.file(name);
            let failed = |e| Error::io("compressing", &path, e);
            if fs::metadata(&path).map_err(failed)?.len() < LARGE {
                self.remove(compressed)?;
                continue;
            }
            let content = fs::read(&path).map_err(failed)?;
            let packed = zstd::bulk::compress(&content, LEVEL).map_err(failed)?;
            write_atomic(&self.file(compressed), &packed)?;
        }
        Ok(())
    }

    /// Removes the files of which the result names compressed ones.
    pub fn remove_uncompressed(&self, result: &RunResult) -> Result<()> {
        for (name, compressed) in Self::OF_LINES {
            if result.files.contains_key(compressed) {
                self.remove(name)?;
            }
        }
        Ok(())
    }

    /// Removes the files of lines, compressed and not, before those of another run take their place.
    pub(super) fn remove_lines(&self) -> Result<()> {
        for (name, compressed) in Self::OF_LINES {
            self.remove(name)?;
            self.remove(compressed)?;
        }
        Ok(())
    }

    /// A compressed file that the result does not name. It would be read in the place of the one that is named.
    pub(super) fn foreign_compressed(&self, result: &RunResult) -> Option<&'static str> {
        let is_foreign =
            |name: &&str| !result.files.contains_key(*name) && self.file(name).exists();
        Self::compressed_names().find(is_foreign)
    }

    /// The content of a file of lines, compressed or not.
    pub fn read_whole(&self, name: &'static str) -> Result<String> {
        let path = self.file(self.stored_name(name));
        read_whole(&path).map_err(with_help)
    }

    pub fn read_lines<T: DeserializeOwned>(&self, name: &'static str) -> Result<Vec<T>> {
        let path = self.file(self.stored_name(name));
        lines_of(&path, &self.read_whole(name)?).map_err(with_help)
    }

    /// The records of a journal whose run has not ended. A last line without its end is left out: a process
    /// is writing it, or was killed while it did. Empty without the file.
    pub fn read_whole_lines<T: DeserializeOwned>(&self, name: &'static str) -> Result<Vec<T>> {
        let path = self.file(name);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(|e| with_help(unreadable(&path, &e)))?,
        };
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        // What is no UTF-8 is no record either, and is reported as such.
        let text = String::from_utf8_lossy(&bytes[..end]);
        lines_of(&path, &text).map_err(with_help)
    }
}

fn read_whole(path: &Path) -> Result<String> {
    if path.extension().is_none_or(|ending| ending != "zst") {
        return read_text(path);
    }
    let read = || -> io::Result<String> {
        let mut text = String::new();
        Decoder::new(File::open(path)?)?.read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|e| unreadable(path, &e))
}

#[cfg(test)]
mod tests {
    use super::super::{CheckLevel, ExperimentFolder};
    use super::*;

    #[test]
    fn large_files_are_compressed_and_read_as_before() {
        let dir = tempfile::tempdir().unwrap();
        let run = ExperimentFolder::new(dir.path()).run("abc");
        let numbers: Vec<u64> = (0..300_000).collect();
        run.write_lines(RunFolder::TEST, &numbers).unwrap();
        run.write_lines(RunFolder::STEPS, &numbers[..10]).unwrap();
        run.write_lines(RunFolder::EPOCHS, &numbers[..1]).unwrap();
        let before = run.read_whole(RunFolder::TEST).unwrap();
        run.compress().unwrap();
        // Both are there until the result is written.
        assert!(run.file(RunFolder::TEST).exists() && run.file("test.jsonl.zst").exists());
        let mut result = RunResult::least();
        run.remove_uncompressed(&result).unwrap();
        assert!(run.file(RunFolder::TEST).exists());
        assert_eq!(run.foreign_compressed(&result), Some("test.jsonl.zst"));
        let names = [RunFolder::STEPS, RunFolder::EPOCHS, RunFolder::TEST];
        result.files = run.records(names).unwrap();
        assert_eq!(run.foreign_compressed(&result), None);
        run.remove_uncompressed(&result).unwrap();
        assert!(!run.file(RunFolder::TEST).exists() && run.file(RunFolder::STEPS).exists());
        assert!(fs::metadata(run.file("test.jsonl.zst")).unwrap().len() * 4 < before.len() as u64);
        assert_eq!(run.read_whole(RunFolder::TEST).unwrap(), before);
        assert_eq!(run.read_lines::<u64>(RunFolder::TEST).unwrap(), numbers);
        assert_eq!(run.read_lines::<u64>(RunFolder::STEPS).unwrap(), numbers[..10]);
        // The error names the file that is there.
        run.write("test.jsonl.zst", b"no such format").unwrap();
        let error = run.read_lines::<u64>(RunFolder::TEST).unwrap_err().to_string();
        assert!(error.contains("test.jsonl.zst: cannot be read"), "{error}");
        assert!(run.verify(CheckLevel::Quick).is_err());
    }

    #[test]
    fn a_journal_is_read_up_to_its_last_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let run = ExperimentFolder::new(dir.path()).run("abc");
        let read = || run.read_whole_lines::<u64>(RunFolder::STEPS);
        assert!(read().unwrap().is_empty());
        let cases: [(&[u8], &[u64]); 4] =
            [(b"", &[]), (b"1", &[]), (b"1\n", &[1]), (b"1\n2\n{\"st\xff\0", &[1, 2])];
        for (content, want) in cases {
            run.write(RunFolder::STEPS, content).unwrap();
            assert_eq!(read().unwrap(), want);
        }
        run.write(RunFolder::STEPS, b"1\n\xff\n3\n").unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains("steps.jsonl:2: the record is damaged"), "{error}");
    }
}

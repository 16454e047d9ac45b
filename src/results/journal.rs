//! A file of JSON lines that grows during a run: the journal of its steps, and that of its epochs.
//!
//! A checkpoint says how long the file was and what it held. A run that resumes checks that, cuts the file
//! there and appends to it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::json::to_json;
use crate::atomic::write_atomic;
use crate::error::{Error, Fault, Result};
use crate::spec::hex;

/// What a journal's file held at a checkpoint. The default is an empty file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Its length in bytes.
    end: u64,
    /// Of these bytes; empty for an empty file.
    sha256: String,
}

impl Journal {
    /// The journal of a file whose first `lines` lines count. Checkpoints of earlier versions say no
    /// more.
    pub fn of_first_lines(path: &Path, lines: u64) -> Result<Journal> {
        if lines == 0 {
            return Ok(Journal::default());
        }
        let bytes = fs::read(path).map_err(|e| unreadable(path, e))?;
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let end = ends.map(|(at, _)| at + 1).nth(lines as usize - 1).ok_or_else(|| cut(path))?;
        Ok(Journal { end: end as u64, sha256: hex(&Sha256::digest(&bytes[..end])) })
    }

    /// Checks that the file still begins with what it held.
    pub fn verify(&self, path: &Path) -> Result<()> {
        self.digest(path).map(drop)
    }

    /// The same; returns the digest, to which more is added.
    fn digest(&self, path: &Path) -> Result<Sha256> {
        let mut hash = Sha256::new();
        if self.end == 0 {
            return Ok(hash);
        }
        let file = File::open(path).map_err(|e| unreadable(path, e))?;
        let (mut part, mut bytes, mut read) = (file.take(self.end), vec![0; 1 << 16], 0);
        loop {
            match part.read(&mut bytes).map_err(|e| unreadable(path, e))? {
                0 => break,
                n => {
                    hash.update(&bytes[..n]);
                    read += n as u64;
                }
            }
        }
        if read < self.end {
            return Err(cut(path));
        }
        let found = hex(&hash.clone().finalize());
        match found == self.sha256 {
            true => Ok(hash),
            false => Err(Fault::of_file(path, "the file has changed since the checkpoint")
                .found(format!("SHA-256 {found} of the first {} bytes", self.end))
                .expected(&self.sha256)
                .into()),
        }
    }
}

fn cut(path: &Path) -> Error {
    Fault::of_file(path, "the file ends before the records of the checkpoint").into()
}

/// A file that is not there is damage; one that cannot be read at the moment is none.
fn unreadable(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Fault::of_file(path, "the file is missing").into(),
        _ => Error::io("reading", path, error),
    }
}

/// Appends to a journal. Lines are buffered and written at most every two seconds, so that the run can
/// be followed.
#[derive(Debug)]
pub struct JournalWriter {
    path: PathBuf,
    file: File,
    /// Bytes that are not yet in the file.
    buffer: Vec<u8>,
    /// Of all bytes up to `end`.
    hash: Sha256,
    /// The bytes of the file up to the end of the buffer.
    end: u64,
    last_flush: Instant,
    interval: Duration,
}

impl JournalWriter {
    /// Continues a journal from a checkpoint. What the file holds beyond it is removed: those steps are
    /// trained again. An empty journal starts a new file.
    pub fn resume(path: PathBuf, journal: &Journal) -> Result<JournalWriter> {
        let hash = journal.digest(&path)?;
        // A file of its own: the old one may be linked elsewhere, where it is evidence, or a process that
        // was suspended may still write to it.
        let mut bytes = match journal.end {
            0 => Vec::new(),
            _ => fs::read(&path).map_err(|e| unreadable(&path, e))?,
        };
        bytes.truncate(journal.end as usize);
        write_atomic(&path, &bytes)?;
        let file = OpenOptions::new().write(true).open(&path);
        let mut file = file.map_err(|e| Error::io("opening", &path, e))?;
        file.seek(SeekFrom::End(0)).map_err(|e| Error::io("reading", &path, e))?;
        Ok(JournalWriter {
            path,
            file,
            buffer: Vec::new(),
            hash,
            end: journal.end,
            last_flush: Instant::now(),
            interval: Duration::from_secs(2),
        })
    }

    pub fn append<T: Serialize>(&mut self, item: &T) -> Result<()> {
        let before = self.buffer.len();
        to_json(&mut self.buffer, item, &self.path, false)?;
        self.buffer.push(b'\n');
        let line = &self.buffer[before..];
        self.hash.update(line);
        self.end += line.len() as u64;
        match self.last_flush.elapsed() >= self.interval {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Writes the buffered lines to the file.
    pub fn flush(&mut self) -> Result<()> {
        let written = self.file.write_all(&self.buffer);
        written.map_err(|e| Error::io("writing", &self.path, e))?;
        self.buffer.clear();
        self.last_flush = Instant::now();
        Ok(())
    }

    /// Writes the buffered lines, syncs them to disk, and returns what a checkpoint has to say of the
    /// file.
    pub fn sync(&mut self) -> Result<Journal> {
        self.flush()?;
        self.file.sync_data().map_err(|e| Error::io("syncing", &self.path, e))?;
        let sha256 = match self.end {
            0 => String::new(),
            _ => hex(&self.hash.clone().finalize()),
        };
        Ok(Journal { end: self.end, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_buffered_and_written_by_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.jsonl");
        let mut journal = JournalWriter::resume(path.clone(), &Journal::default()).unwrap();
        journal.append(&3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        journal.interval = Duration::ZERO;
        journal.append(&4).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"3\n4\n");
        journal.interval = Duration::MAX;
        journal.append(&5).unwrap();
        journal.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"3\n4\n5\n");
    }

    /// A journal that continues from any of its checkpoints ends as one that was never left.
    #[test]
    fn a_journal_continues_from_each_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.jsonl");
        // What an earlier run left is no part of a new journal.
        fs::write(&path, b"left\n").unwrap();
        let mut checkpoints = vec![Journal::default()];
        let mut writer = JournalWriter::resume(path.clone(), &Journal::default()).unwrap();
        for step in 0..6 {
            writer.append(&step).unwrap();
            checkpoints.push(writer.sync().unwrap());
            // Without a new line it is the same.
            assert_eq!(Some(&writer.sync().unwrap()), checkpoints.last());
        }
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole, b"0\n1\n2\n3\n4\n5\n");
        for (done, checkpoint) in checkpoints.iter().enumerate() {
            // A crash leaves lines after the checkpoint, the last one cut.
            fs::write(&path, [&whole[..], b"{\"st\xff\0"].concat()).unwrap();
            let mut writer = JournalWriter::resume(path.clone(), checkpoint).unwrap();
            for step in done..6 {
                writer.append(&step).unwrap();
            }
            let end = writer.sync().unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole);
            end.verify(&path).unwrap();
        }
    }

    #[test]
    fn a_changed_or_cut_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.jsonl");
        let mut writer = JournalWriter::resume(path.clone(), &Journal::default()).unwrap();
        for step in 0..3 {
            writer.append(&step).unwrap();
            writer.sync().unwrap();
        }
        let journal = writer.sync().unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            let error = journal.verify(&path).unwrap_err().to_string();
            assert!(error.contains("has changed since the checkpoint"), "{at}: {error}");
            assert!(JournalWriter::resume(path.clone(), &journal).is_err(), "{at}");
            fs::write(&path, &whole[..at]).unwrap();
            let error = journal.verify(&path).unwrap_err().to_string();
            assert!(error.contains("ends before the records"), "{at}: {error}");
            assert!(JournalWriter::resume(path.clone(), &journal).is_err(), "{at}");
        }
    }

    /// Checkpoints of earlier versions say how many lines there are.
    #[test]
    fn a_journal_is_found_by_the_number_of_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.jsonl");
        fs::write(&path, b"1\n2\n3\n{\"st\xff\0").unwrap();
        let first = |lines| Journal::of_first_lines(&path, lines);
        assert_eq!((first(0).unwrap().end, first(2).unwrap().end), (0, 4));
        assert_eq!(first(3).unwrap().end, 6);
        let error = first(4).unwrap_err().to_string();
        assert!(error.contains("steps.jsonl: the file ends before"), "{error}");
        let mut writer = JournalWriter::resume(path.clone(), &first(2).unwrap()).unwrap();
        writer.append(&9).unwrap();
        writer.sync().unwrap().verify(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1\n2\n9\n");
    }

    /// Another experiment may hold the same file by a hard link. It keeps what it has.
    #[test]
    fn a_linked_file_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("steps.jsonl"), dir.path().join("other"));
        for lines in [0, 1] {
            fs::write(&path, b"1\n2\n").unwrap();
            let _ = fs::remove_file(&other);
            if fs::hard_link(&path, &other).is_err() {
                return;
            }
            let journal = Journal::of_first_lines(&path, lines).unwrap();
            let mut writer = JournalWriter::resume(path.clone(), &journal).unwrap();
            writer.append(&9).unwrap();
            writer.sync().unwrap();
            assert_eq!(fs::read(&other).unwrap(), b"1\n2\n");
            let want: &[u8] = if lines == 0 { b"9\n" } else { b"1\n9\n" };
            assert_eq!(fs::read(&path).unwrap(), want);
        }
    }
}

//! A file of JSON lines that grows during a run: the journal of its steps.
//!
//! A checkpoint says how long the file was and what it held, as a list of [`Segment`]s, one for each
//! checkpoint. A run that resumes cuts the file there and appends to it. So resuming reads only the last
//! segment, however long the run is, and a file that has changed since is noticed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::json::to_json;
use crate::error::{Error, Fault, Result};
use crate::spec::hex;

/// What a journal's file held at a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Journal {
    segments: Vec<Segment>,
}

/// What was appended between two checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Segment {
    /// The bytes of the file up to the segment's end.
    end: u64,
    sha256: String,
}

impl Journal {
    /// The file's length.
    fn end(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.end)
    }

    /// The journal of a file whose first `lines` lines count. Checkpoints of earlier versions say no
    /// more.
    pub fn of_first_lines(path: &Path, lines: u64) -> Result<Journal> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("reading", path, e))?;
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let mut ends = ends.map(|(at, _)| at + 1);
        let end = match lines {
            0 => 0,
            lines => ends.nth(lines as usize - 1).ok_or_else(|| cut(path))?,
        };
        let sha256 = hex(&Sha256::digest(&bytes[..end]));
        Ok(Journal { segments: vec![Segment { end: end as u64, sha256 }] })
    }

    /// Checks that the last segment of the file is as it was written. It takes no longer for a longer
    /// run.
    pub fn check_end(&self, path: &Path) -> Result<()> {
        let Some((last, before)) = self.segments.split_last() else { return Ok(()) };
        let mut file = File::open(path).map_err(|e| Error::io("opening", path, e))?;
        check(path, &mut file, before.last().map_or(0, |segment| segment.end), last)
    }

    /// Checks that the whole file is as it was written.
    pub fn verify(&self, path: &Path) -> Result<()> {
        let mut file = File::open(path).map_err(|e| Error::io("opening", path, e))?;
        let mut start = 0;
        for segment in &self.segments {
            check(path, &mut file, start, segment)?;
            start = segment.end;
        }
        Ok(())
    }
}

/// Checks a segment of a file that begins at `start`.
fn check(path: &Path, file: &mut File, start: u64, segment: &Segment) -> Result<()> {
    let failed = |e| Error::io("reading", path, e);
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut part = file.take(segment.end.saturating_sub(start));
    let (mut hash, mut bytes, mut read) = (Sha256::new(), [0; 1 << 16], start);
    loop {
        match part.read(&mut bytes).map_err(failed)? {
            0 => break,
            n => {
                hash.update(&bytes[..n]);
                read += n as u64;
            }
        }
    }
    if read < segment.end {
        return Err(cut(path));
    }
    let found = hex(&hash.finalize());
    match found == segment.sha256 {
        true => Ok(()),
        false => Err(Fault::of_file(path, "the file has changed since the checkpoint")
            .found(format!("SHA-256 {found} of the bytes {start} to {}", segment.end))
            .expected(&segment.sha256)
            .into()),
    }
}

fn cut(path: &Path) -> Error {
    Fault::of_file(path, "the file ends before the records of the checkpoint").into()
}

/// Appends to a journal. Lines are buffered and written at most every two seconds, so that the run can
/// be followed.
#[derive(Debug)]
pub struct JournalWriter {
    path: PathBuf,
    file: File,
    /// Bytes that are not yet in the file.
    buffer: Vec<u8>,
    /// Of the segment that is being written.
    hash: Sha256,
    /// The bytes of the file up to the end of the buffer.
    end: u64,
    journal: Journal,
    last_flush: Instant,
    interval: Duration,
}

impl JournalWriter {
    /// Continues a journal from a checkpoint. What the file holds beyond it is removed: those steps are
    /// trained again. An empty journal starts a new file.
    pub fn resume(path: PathBuf, journal: Journal) -> Result<JournalWriter> {
        let is_new = journal.segments.is_empty();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(is_new).truncate(false);
        let mut file = options.open(&path).map_err(|e| Error::io("opening", &path, e))?;
        journal.check_end(&path)?;
        let end = journal.end();
        let failed = |e| Error::io("cutting", &path, e);
        file.set_len(end).map_err(failed)?;
        file.seek(SeekFrom::Start(end)).map_err(failed)?;
        Ok(JournalWriter {
            path,
            file,
            buffer: Vec::new(),
            hash: Sha256::new(),
            end,
            journal,
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
        if self.end > self.journal.end() {
            let sha256 = hex(&std::mem::take(&mut self.hash).finalize());
            self.journal.segments.push(Segment { end: self.end, sha256 });
        }
        Ok(self.journal.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_are_buffered_and_written_by_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.jsonl");
        let mut journal = JournalWriter::resume(path.clone(), Journal::default()).unwrap();
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
        let mut writer = JournalWriter::resume(path.clone(), Journal::default()).unwrap();
        for step in 0..6 {
            writer.append(&step).unwrap();
            checkpoints.push(writer.sync().unwrap());
            // Without a new line there is no new segment.
            assert_eq!(Some(&writer.sync().unwrap()), checkpoints.last());
        }
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole, b"0\n1\n2\n3\n4\n5\n");
        for (done, checkpoint) in checkpoints.iter().enumerate() {
            // A crash leaves lines after the checkpoint, the last one cut.
            fs::write(&path, [&whole[..], b"{\"st\xff\0"].concat()).unwrap();
            let mut writer = JournalWriter::resume(path.clone(), checkpoint.clone()).unwrap();
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
        let mut writer = JournalWriter::resume(path.clone(), Journal::default()).unwrap();
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
            // Resuming reads the last segment alone.
            let resumed = JournalWriter::resume(path.clone(), journal.clone());
            assert_eq!(resumed.is_err(), at >= 4, "{at}");
            fs::write(&path, &whole[..at]).unwrap();
            let error = journal.verify(&path).unwrap_err().to_string();
            assert!(error.contains("ends before the records"), "{at}: {error}");
            assert!(JournalWriter::resume(path.clone(), journal.clone()).is_err(), "{at}");
        }
    }

    /// Checkpoints of earlier versions say how many lines there are.
    #[test]
    fn a_journal_is_found_by_the_number_of_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.jsonl");
        fs::write(&path, b"1\n2\n3\n{\"st\xff\0").unwrap();
        let first = |lines| Journal::of_first_lines(&path, lines);
        assert_eq!((first(0).unwrap().end(), first(2).unwrap().end()), (0, 4));
        assert_eq!(first(3).unwrap().end(), 6);
        let error = first(4).unwrap_err().to_string();
        assert!(error.contains("steps.jsonl: the file ends before"), "{error}");
        let mut writer = JournalWriter::resume(path.clone(), first(2).unwrap()).unwrap();
        writer.append(&9).unwrap();
        writer.sync().unwrap().verify(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1\n2\n9\n");
    }
}

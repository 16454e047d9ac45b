//! Checks that a finished run is intact: the one rule for which runs count as finished.
//!
//! - `result.json` and `spec.json` can be read and have this version's schema. `spec.json` belongs
//!   to the run that the folder is named after.
//! - Each evidence file has the size that `result.json` recorded. Records of earlier versions have
//!   no sizes; there the file must not be empty and must end with a line break. `start.json` is
//!   required where the spec starts from other weights, `tokenizer.json` where the spec has a
//!   tokenizer trained.
//! - The tokenizer is needed only together with the weights, so it may be missing where they are. Its hash is
//!   in `provenance.json`.
//! - The weights have their recorded size, or in earlier records the size that their own header
//!   gives. They may be missing, since evidence is kept and published without them. Then the result
//!   is [`Weights::Missing`], and commands that need the weights refuse the run.
//! - The thorough check also compares SHA-256 hashes, so that a file of another run is detected.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::digest::is_as_written;
use super::folder::{RunFolder, TRAIN_AGAIN, is_run_id, with_help};
use super::json::{parse, read_text};
use super::record::{FileRecord, RunResult, SCHEMA_VERSION, SpecRecord, Verification};
use crate::error::{Error, Fault, Result};
use crate::spec::{RunSpec, hex};

/// How thoroughly a run is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckLevel {
    /// By file sizes: fast enough to list thousands of runs.
    Quick,
    /// Also by hashes, which reads every file.
    Thorough,
}

/// Whether a run with intact evidence still has its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    Present,
    Missing,
}

/// A finished run that passed the check.
#[derive(Clone, Debug, PartialEq)]
pub struct IntactRun {
    pub spec: SpecRecord,
    pub result: RunResult,
    pub weights: Weights,
}

/// The evidence files of a finished run of this spec, besides `result.json` and the weights.
/// `has_tokenizer`: the run saved the tokenizer that it read, as a run does with one that it
/// trains.
pub fn evidence_files(spec: &RunSpec, has_tokenizer: bool) -> impl Iterator<Item = &'static str> {
    let start = spec.start.is_some().then_some(RunFolder::START);
    let has_tokenizer = has_tokenizer || spec.data.trains_tokenizer();
    let tokenizer = has_tokenizer.then_some(RunFolder::TOKENIZER);
    let always = [
        RunFolder::SPEC,
        RunFolder::PROVENANCE,
        RunFolder::STEPS,
        RunFolder::EPOCHS,
        RunFolder::TEST,
    ];
    always.into_iter().chain(start).chain(tokenizer)
}

impl RunFolder {
    /// Checks a finished run. The error names the first file that has changed.
    pub fn verify(&self, level: CheckLevel) -> Result<IntactRun> {
        if !self.file(Self::RESULT).exists() {
            return Err(Fault::of_file(self.path(), "the run is not finished")
                .found("no result.json")
                .expected("a finished run")
                .help("`vlora run` with its spec resumes it")
                .into());
        }
        let path = self.file(Self::RESULT);
        let text = read_text(&path).map_err(with_help)?;
        let result: RunResult = parse(&path, &text).map_err(with_help)?;
        if !is_as_written(&text) {
            let changed =
                self.changed(Self::RESULT).found("content that does not match its digest");
            return Err(changed.expected("what `vlora run` left").into());
        }
        let spec: SpecRecord = self.read_json(Self::SPEC)?;
        for (name, schema) in [(Self::RESULT, result.schema), (Self::SPEC, spec.schema)] {
            if schema != SCHEMA_VERSION {
                return Err(self
                    .fault(name, "the record was written by another version")
                    .found(format!("schema {schema}"))
                    .expected(format!("schema {SCHEMA_VERSION}"))
                    .into());
            }
        }
        let folder_name = self.path().file_name().and_then(|name| name.to_str());
        let folder_name = folder_name.unwrap_or_default();
        // A copied folder may have any other name.
        if is_run_id(folder_name) && folder_name != spec.id {
            return Err(self
                .fault(Self::SPEC, "the record belongs to another run")
                .found(format!("run {}", spec.id))
                .expected(format!("run {folder_name}"))
                .into());
        }
        if let Some(name) = self.foreign_compressed(&result) {
            let changed = self.changed(name).found("a file that result.json does not name");
            let expected = changed.expected("no such file");
            return Err(expected
                .only_help("remove the file: what the run left has other names")
                .into());
        }
        let has_tokenizer = result.files.contains_key(Self::TOKENIZER);
        let is_there = |name: &str| fs::symlink_metadata(self.file(name)).is_ok();
        for name in evidence_files(&spec.spec, has_tokenizer) {
            if name == Self::TOKENIZER && !is_there(name) && !is_there(Self::MODEL) {
                continue;
            }
            let stored = Self::recorded_name(name, &result);
            self.check(stored, result.files.get(stored), level)?;
        }
        let weights = self.weights(&result, level)?;
        Ok(IntactRun { spec, result, weights })
    }

    /// Checks a run whose weights are needed: missing weights are an error.
    pub fn verify_with_weights(&self, level: CheckLevel) -> Result<IntactRun> {
        let run = self.verify(level)?;
        match run.weights {
            Weights::Present => Ok(run),
            Weights::Missing => Err(self
                .fault(Self::MODEL, "the weights of the finished run are missing")
                .expected("the weights that were tested")
                .into()),
        }
    }

    fn weights(&self, result: &RunResult, level: CheckLevel) -> Result<Weights> {
        let path = self.file(Self::MODEL);
        if fs::symlink_metadata(&path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return Ok(Weights::Missing);
        }
        let recorded = result.files.get(Self::MODEL);
        let checked = self.check(Self::MODEL, recorded, level).and_then(|()| match recorded {
            Some(_) => Ok(()),
            None => self.check_by_header(&result.model_sha256, level),
        });
        let help = "remove the file, and the run's evidence counts without its weights; or remove the \
                    run's folder, and `vlora run` trains it again";
        checked.map_err(|e| e.map_fault(|fault| fault.only_help(help)))?;
        Ok(Weights::Present)
    }

    /// Checks weights by their own header, since records of earlier versions have no size for them.
    fn check_by_header(&self, want: &str, level: CheckLevel) -> Result<()> {
        let path = self.file(Self::MODEL);
        let found = fs::metadata(&path).map_err(|e| unreadable(&path, &e))?.len();
        let length = length_by_header(&path);
        if length != Some(found) {
            let expected = match length {
                Some(length) => format!("{length} bytes, as its header says"),
                None => "a header of safetensors".into(),
            };
            let found = format!("{found} bytes");
            return Err(self.changed(Self::MODEL).found(found).expected(expected).into());
        }
        match level {
            CheckLevel::Quick => Ok(()),
            CheckLevel::Thorough => self.check_hash(Self::MODEL, want),
        }
    }

    fn check(&self, name: &str, recorded: Option<&FileRecord>, level: CheckLevel) -> Result<()> {
        let path = self.file(name);
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(self
                    .fault(name, "the file of a finished run is missing")
                    .expected("what `vlora run` left")
                    .into());
            }
            Err(e) => return Err(unreadable(&path, &e)),
        };
        if !meta.is_file() {
            return Err(self.changed(name).found("not a regular file").expected("a file").into());
        }
        let sound = recorded.map_or(meta.len() > 0, |recorded| recorded.bytes == meta.len());
        if !sound {
            let expected = match recorded {
                Some(recorded) => format!("{} bytes, as result.json has it", recorded.bytes),
                None => "a file with content".into(),
            };
            let found = format!("{} bytes", meta.len());
            return Err(self.changed(name).found(found).expected(expected).into());
        }
        match recorded {
            Some(recorded) if level == CheckLevel::Thorough => {
                self.check_hash(name, &recorded.sha256)
            }
            None if name != Self::MODEL && !ends_a_line(&path) => Err(self
                .changed(name)
                .found("a file that ends within a line")
                .expected("whole lines")
                .into()),
            _ => Ok(()),
        }
    }

    fn check_hash(&self, name: &str, want: &str) -> Result<()> {
        let path = self.file(name);
        let found = sha256_of(&path).map_err(|e| unreadable(&path, &e))?;
        match found == want {
            true => Ok(()),
            false => Err(self
                .changed(name)
                .found(format!("SHA-256 {found}"))
                .expected(format!("{want}, as result.json has it"))
                .into()),
        }
    }

    /// SHA-256 of a file.
    pub fn sha256(&self, name: &str) -> Result<String> {
        let path = self.file(name);
        sha256_of(&path).map_err(|e| unreadable(&path, &e))
    }

    /// What came of repeating the run; None if nobody has, or if the result is another by now.
    pub fn verification(&self) -> Result<Option<Verification>> {
        if !self.file(Self::VERIFIED).exists() {
            return Ok(None);
        }
        let found: Verification = self.read_json(Self::VERIFIED)?;
        Ok((found.result == self.sha256(Self::RESULT)?).then_some(found))
    }

    fn changed(&self, name: &str) -> Fault {
        self.fault(name, "the file is not as the finished run left it")
    }

    fn fault(&self, name: &str, summary: &str) -> Fault {
        Fault::of_file(&self.file(name), summary).help(TRAIN_AGAIN)
    }

    /// Sizes and hashes of the named files, for `result.json`.
    pub fn records(
        &self,
        names: impl IntoIterator<Item = &'static str>,
    ) -> Result<BTreeMap<String, FileRecord>> {
        let record = |name: &'static str| {
            let name = self.stored_name(name);
            let path = self.file(name);
            let read = || -> io::Result<FileRecord> {
                Ok(FileRecord { bytes: fs::metadata(&path)?.len(), sha256: sha256_of(&path)? })
            };
            Ok((name.to_string(), read().map_err(|e| Error::io("reading", &path, e))?))
        };
        names.into_iter().map(record).collect()
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Fault::of_file(path, format!("cannot be read: {error}")).help(TRAIN_AGAIN).into()
}

/// Whether the last byte is a line break. All evidence files (JSON and JSON lines) end with one.
fn ends_a_line(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    last().is_ok_and(|byte| byte == b'\n')
}

/// The length of a safetensors file according to its header. The file starts with eight bytes that
/// give the header's length. The header is a JSON object in which each tensor has its
/// `data_offsets`; the last offset ends the file. None where this is not such a header.
fn length_by_header(path: &Path) -> Option<u64> {
    /// The largest header that the format allows.
    const MAX_HEADER_BYTES: u64 = 100_000_000;
    let mut file = File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    let rest = file.metadata().ok()?.len().checked_sub(8)?;
    if length > rest.min(MAX_HEADER_BYTES) {
        return None;
    }
    let mut header = vec![0; usize::try_from(length).ok()?];
    file.read_exact(&mut header).ok()?;
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&header).ok()?;
    let ends = header.values().filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    (8 + length).checked_add(ends.max()?)
}

/// SHA-256 of a file's content, in hexadecimal digits.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

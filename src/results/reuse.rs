//! Equal runs of two experiments: one that an experiment of the same results tree has finished is
//! taken over, not trained again.
//!
//! Files become hard links where the file system has them, and copies elsewhere. `result.json`, which
//! makes a run finished, comes last; so a crash at any moment leaves a run that is finished, or is not.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::folder::{RunFolder, RunState};
use super::record::{RunResult, SCHEMA_VERSION, SpecRecord};
use crate::atomic::temporary_in;
use crate::error::{Error, Result};
use crate::spec::hex;

/// What every finished run has, but for its result.
const EVIDENCE: [&str; 6] = [
    RunFolder::SPEC,
    RunFolder::PROVENANCE,
    RunFolder::STEPS,
    RunFolder::EPOCHS,
    RunFolder::TEST,
    RunFolder::MODEL,
];

/// Makes `to`, which this process has claimed, the run that `from` is. None where that is not whole:
/// unfinished, of another version, or without the weights whose SHA-256 its result has.
pub fn take_over(id: &str, from: &RunFolder, to: &RunFolder) -> Result<Option<RunResult>> {
    let Some(result) = whole(id, from) else { return Ok(None) };
    link(&from.file(RunFolder::MODEL), &to.file(RunFolder::MODEL))?;
    // What has arrived counts, whatever becomes of the other meanwhile.
    if sha256_of(&to.file(RunFolder::MODEL)).ok().as_ref() != Some(&result.model_sha256) {
        return Ok(None);
    }
    // Before the other run's evidence arrives: a crash must not leave it beside this run's own
    // checkpoint, from which training would go on.
    to.remove(RunFolder::CHECKPOINT)?;
    let start = from.file(RunFolder::START).exists().then_some(RunFolder::START);
    let others = EVIDENCE.into_iter().filter(|name| *name != RunFolder::MODEL);
    for name in others.chain(start) {
        link(&from.file(name), &to.file(name))?;
    }
    sync(to.path())?;
    link(&from.file(RunFolder::RESULT), &to.file(RunFolder::RESULT))?;
    sync(to.path())?;
    to.remove(RunFolder::FAILURE)?;
    Ok(Some(result))
}

fn whole(id: &str, run: &RunFolder) -> Option<RunResult> {
    if run.state() != RunState::Finished || EVIDENCE.iter().any(|name| !run.file(name).is_file()) {
        return None;
    }
    let result: RunResult = run.read_json(RunFolder::RESULT).ok()?;
    let spec: SpecRecord = run.read_json(RunFolder::SPEC).ok()?;
    let same = spec.id == id && [spec.schema, result.schema] == [SCHEMA_VERSION; 2];
    (same && sha256_of(&run.file(RunFolder::MODEL)).ok()? == result.model_sha256).then_some(result)
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Puts a file's content under another name, in place of what is there.
fn link(from: &Path, to: &Path) -> Result<()> {
    let failed = |e| Error::io("taking over", to, e);
    let folder = to.parent().unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new().prefix(".tmp-").tempdir_in(folder).map_err(failed)?;
    let new = scratch.path().join("link");
    if fs::hard_link(from, &new).is_ok() {
        return fs::rename(&new, to).map_err(failed);
    }
    let mut copy = temporary_in(folder).map_err(failed)?;
    io::copy(&mut File::open(from).map_err(failed)?, copy.as_file_mut()).map_err(failed)?;
    copy.as_file().sync_all().map_err(failed)?;
    copy.persist(to).map_err(|e| failed(e.error))?;
    Ok(())
}

/// A name lasts only once its folder is synced.
fn sync(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|f| f.sync_all());
    synced.map_err(|e| Error::io("syncing", folder, e))
}

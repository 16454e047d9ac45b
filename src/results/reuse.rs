//! Reuse of equal runs: a run that another experiment of the same results tree has finished is
//! taken over instead of trained again.
//!
//! Files become hard links where the file system supports them, and copies elsewhere. `result.json`
//! marks a run as finished and comes last, so a crash at any moment leaves the run either finished
//! or unfinished.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::folder::RunFolder;
use super::integrity::{CheckLevel, IntactRun, Weights, evidence_files, sha256_of};
use super::record::RunResult;
use super::state::RunState;
use crate::atomic::temporary_in;
use crate::error::{Error, Result};

/// Copies the run `from` to `to`, which this process has claimed. None where `from` is unfinished,
/// damaged, of another version, or without its weights.
pub fn take_over(id: &str, from: &RunFolder, to: &RunFolder) -> Result<Option<RunResult>> {
    let Some(IntactRun { spec, result, .. }) = verified(id, from) else { return Ok(None) };
    link(&from.file(RunFolder::MODEL), &to.file(RunFolder::MODEL))?;
    // The copy is checked, since the other folder may have changed meanwhile.
    if sha256_of(&to.file(RunFolder::MODEL)).ok().as_ref() != Some(&result.model_sha256) {
        return Ok(None);
    }
    // Removed before the other run's evidence arrives: after a crash, training must not resume from
    // this run's checkpoint beside the other's evidence.
    to.remove_checkpoints()?;
    to.remove_lines()?;
    let has_tokenizer = result.files.contains_key(RunFolder::TOKENIZER);
    for name in evidence_files(&spec.spec, has_tokenizer) {
        let name = from.stored_name(name);
        link(&from.file(name), &to.file(name))?;
    }
    sync(to.path())?;
    link(&from.file(RunFolder::RESULT), &to.file(RunFolder::RESULT))?;
    sync(to.path())?;
    to.remove(RunFolder::FAILURE)?;
    Ok(Some(result))
}

fn verified(id: &str, run: &RunFolder) -> Option<IntactRun> {
    // The quick check by sizes comes first; it avoids hashing damaged runs.
    if run.state() != RunState::Finished {
        return None;
    }
    let run = run.verify(CheckLevel::Thorough).ok()?;
    (run.spec.id == id && run.weights == Weights::Present).then_some(run)
}

/// Links or copies a file to another name, replacing an existing file.
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

/// A rename is durable only after its folder is synced.
fn sync(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|f| f.sync_all());
    synced.map_err(|e| Error::io("syncing", folder, e))
}

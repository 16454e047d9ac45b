//! Equal runs of two experiments: one that an experiment of the same results tree has finished is
//! taken over, not trained again.
//!
//! Files become hard links where the file system has them, and copies elsewhere. `result.json`, which
//! makes a run finished, comes last; so a crash at any moment leaves a run that is finished, or is not.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::folder::RunFolder;
use super::integrity::{Look, Weights, WholeRun, evidence_files, sha256_of};
use super::record::RunResult;
use super::state::RunState;
use crate::atomic::temporary_in;
use crate::error::{Error, Result};

/// Makes `to`, which this process has claimed, the run that `from` is. None where that is not whole:
/// unfinished, damaged, of another version, or without its weights.
pub fn take_over(id: &str, from: &RunFolder, to: &RunFolder) -> Result<Option<RunResult>> {
    let Some(WholeRun { spec, result, .. }) = whole(id, from) else { return Ok(None) };
    link(&from.file(RunFolder::MODEL), &to.file(RunFolder::MODEL))?;
    // What has arrived counts, whatever becomes of the other meanwhile.
    if sha256_of(&to.file(RunFolder::MODEL)).ok().as_ref() != Some(&result.model_sha256) {
        return Ok(None);
    }
    // Before the other run's evidence arrives: a crash must not leave it beside this run's own
    // checkpoint, from which training would go on.
    to.remove(RunFolder::CHECKPOINT)?;
    let has_tokenizer = result.files.contains_key(RunFolder::TOKENIZER);
    for name in evidence_files(&spec.spec, has_tokenizer) {
        link(&from.file(name), &to.file(name))?;
    }
    sync(to.path())?;
    link(&from.file(RunFolder::RESULT), &to.file(RunFolder::RESULT))?;
    sync(to.path())?;
    to.remove(RunFolder::FAILURE)?;
    Ok(Some(result))
}

fn whole(id: &str, run: &RunFolder) -> Option<WholeRun> {
    // Hashes are looked at only where sizes agree.
    if run.state() != RunState::Finished {
        return None;
    }
    let run = run.whole(Look::Thorough).ok()?;
    (run.spec.id == id && run.weights == Weights::Whole).then_some(run)
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

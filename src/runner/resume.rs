//! Where a run resumes: its newest checkpoint, or the one before.

use std::path::Path;

use super::out_of_memory::is_out_of_memory_of;
use super::run_error::{RunError, RunOutcome};
use crate::error::{Error, Fault, plain};
use crate::results::{Journal, RunFolder};
use crate::tasks::Task;
use crate::train::{Checkpoint, Journals, Trainer};

/// Where a run resumes.
pub struct Resumed {
    /// The records up to there.
    pub journals: Journals,
    /// Why the newest checkpoint was not used, if so.
    pub recovered: Option<String>,
}

/// Loads the newest checkpoint of a run, if there is one. If that is damaged, the one before is loaded.
pub fn resume<T: Task>(folder: &RunFolder, trainer: &mut Trainer<T>) -> RunOutcome<Resumed> {
    let mut damage = Vec::new();
    for name in [RunFolder::CHECKPOINT, RunFolder::PREVIOUS] {
        let path = folder.file(name);
        if !path.exists() {
            continue;
        }
        match resume_from(folder, &path, trainer) {
            Ok(journals) => {
                let recovered = (!damage.is_empty()).then(|| damage.join("\n"));
                return Ok(Resumed { journals, recovered });
            }
            Err(RunError::Failed(reason)) => damage.push(reason),
            Err(other) => return Err(other),
        }
    }
    match damage.is_empty() {
        true => Ok(Resumed { journals: Journals::default(), recovered: None }),
        // A damaged run fails alone; the other runs continue.
        false => {
            let fault = Fault::of_lines(damage.join("; "))
                .prefixed("the run cannot be resumed: ")
                .file(folder.path())
                .help("remove the run's folder to train it again");
            Err(RunError::Failed(fault.to_string()))
        }
    }
}

/// Loads a checkpoint, after a check of the records that it was written with.
fn resume_from<T: Task>(
    folder: &RunFolder,
    path: &Path,
    trainer: &mut Trainer<T>,
) -> RunOutcome<Journals> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("reading", path, e))?;
    let damaged = |fault: Fault| RunError::Failed(fault.file(path).to_string());
    let checked = |e: Error| RunError::of_record(e, |fault| fault.under(path.display()));
    let checkpoint = Checkpoint::from_bytes(&bytes).map_err(|e| damaged(Fault::new(plain(&e))))?;
    let state = &checkpoint.state;
    let (steps, epochs) = (folder.file(RunFolder::STEPS), folder.file(RunFolder::EPOCHS));
    let journals = match &state.journals {
        Some(journals) => journals.clone(),
        None => Journals {
            steps: Journal::of_first_lines(&steps, state.step).map_err(checked)?,
            epochs: Journal::of_first_lines(&epochs, state.epoch as u64).map_err(checked)?,
        },
    };
    journals.steps.verify(&steps).map_err(checked)?;
    journals.epochs.verify(&epochs).map_err(checked)?;
    trainer.resume(checkpoint).map_err(|e| match is_out_of_memory_of(&e) {
        true => RunError::Training(e),
        false => damaged(e.fault()),
    })?;
    Ok(journals)
}

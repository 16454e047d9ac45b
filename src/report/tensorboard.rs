//! The recorded numbers of runs as event files of TensorBoard, a folder for each run:
//!
//! ```text
//! <arm>/seed-<n>/events.out.tfevents.<second of the start>.vlora
//! ```
//!
//! | tag | of | step |
//! | :--- | :--- | :--- |
//! | `train/loss`, `train/learning_rate`, `train/gradient_norm` | each optimiser step | its own |
//! | `epoch/train_loss`, `validation/loss`, `validation/<metric>` | each epoch | its last |
//! | `test/loss`, `test/<metric>` for each metric | the tested weights | the last of the run |
//!
//! Evidence has no times of single steps, so that equal runs leave equal files. The wall time of an event is
//! an estimate: the start of the run's first process, and the run's training time in proportion to the
//! steps. It leaves out evaluation and interruptions. Before a run has ended, its training time is not known,
//! and all its events have the time of the start. So the files follow from the evidence, to the byte.

mod event_file;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chrono::DateTime;

use crate::atomic::write_atomic;
use crate::error::{Error, Fault, Result};
use crate::results::{
    CheckLevel, EpochRecord, EvidenceOf, ExperimentFolder, ExperimentRecord, Provenance, RunFolder,
    RunResult, StepRecord, TRAIN_AGAIN,
};
use event_file::EventFile;

/// What the name of an event file begins with. TensorBoard reads no others.
const BEGINNING: &str = "events.out.tfevents.";
/// What the name of ours ends with.
const ENDING: &str = ".vlora";
/// The most characters of a folder's name: file systems take 255 bytes.
const LONGEST: usize = 120;

/// What [`write_tensorboard`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFiles {
    /// The number of files written: one a run, and one for each arm of a run that several arms share.
    pub written: usize,
    /// Why runs were left out whose records cannot be read.
    pub left_out: Vec<String>,
}

/// Writes the event files of the runs that `record` names into folders of `out`. Runs without a recorded
/// step have none. `damaged` are the ids of runs that count for nothing, so that they are left out.
///
/// Event files that an earlier call left for the same arm and seed are removed, since TensorBoard would show
/// them as one run. Other files stay.
pub fn write_tensorboard(
    folder: &ExperimentFolder,
    record: &ExperimentRecord,
    evidence: EvidenceOf,
    damaged: &[&str],
    out: &Path,
) -> Result<EventFiles> {
    let mut files = EventFiles::default();
    let names = folder_names(record.variants.iter().map(|variant| variant.label.as_str()));
    for (variant, name) in record.variants.iter().zip(names) {
        let metric = evidence(&variant.spec).primary().name;
        for (seed, id) in record.seeds.iter().zip(&variant.runs) {
            let recorded = match damaged.contains(&id.as_str()) {
                true => Ok(None),
                false => Recorded::read(&folder.run(id)),
            };
            let recorded = recorded.unwrap_or_else(|error| {
                let reason = error.to_string();
                if !files.left_out.contains(&reason) {
                    files.left_out.push(reason);
                }
                None
            });
            let into = out.join(&name).join(format!("seed-{seed}"));
            let written = recorded.as_ref().map(Recorded::file_name);
            if let (Some(recorded), Some(file)) = (&recorded, &written) {
                write_atomic(&into.join(file), &recorded.events(metric))?;
                files.written += 1;
            }
            remove_others(&into, written.as_deref())?;
        }
    }
    Ok(files)
}

/// Folder names for labels, in their order. No two are the same, on file systems that ignore case either.
fn folder_names<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let free = |label: &str| {
        let plain = folder_name(label);
        let (mut name, mut number) = (plain.clone(), 1);
        while !taken.insert(name.to_lowercase()) {
            number += 1;
            name = format!("{plain}-{number}");
        }
        name
    };
    labels.map(free).collect()
}

/// A label as the name of a folder: `vlora rank=4` is `vlora_rank=4`.
fn folder_name(label: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-=".contains(c);
    let plain = label.chars().map(|c| if is_plain(c) { c } else { '_' });
    let name: String = plain.take(LONGEST).collect();
    // A folder that begins with a dot is hidden, and `..` is another one.
    match name.starts_with('.') || name.is_empty() {
        true => format!("_{name}"),
        false => name,
    }
}

/// Removes our event files of a folder except `kept`.
fn remove_others(folder: &Path, kept: Option<&str>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = name.starts_with(BEGINNING) && name.ends_with(ENDING);
        if is_ours && kept != Some(name.as_str()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|e| Error::io("removing", &path, e))?;
        }
    }
    Ok(())
}

/// What a run has recorded so far.
struct Recorded {
    steps: Vec<StepRecord>,
    epochs: Vec<EpochRecord>,
    /// None before the run has ended.
    result: Option<RunResult>,
    /// When its first process began, in seconds since 1970.
    start: i64,
}

impl Recorded {
    /// None for a run that has neither a recorded step nor an end.
    fn read(run: &RunFolder) -> Result<Option<Recorded>> {
        let has_ended = || run.file(RunFolder::RESULT).exists();
        let (result, steps, epochs): (_, Vec<StepRecord>, Vec<EpochRecord>) = match has_ended() {
            true => (
                Some(run.verify(CheckLevel::Quick)?.result),
                run.read_lines(RunFolder::STEPS)?,
                run.read_lines(RunFolder::EPOCHS)?,
            ),
            false => (
                None,
                run.read_whole_lines(RunFolder::STEPS)?,
                run.read_whole_lines(RunFolder::EPOCHS)?,
            ),
        };
        if steps.is_empty() && result.is_none() {
            // A run that ends compresses its steps; this one did while it was read.
            return if has_ended() { Recorded::read(run) } else { Ok(None) };
        }
        Ok(Some(Recorded { steps, epochs, result, start: start(run)? }))
    }

    fn file_name(&self) -> String {
        format!("{BEGINNING}{:010}{ENDING}", self.start)
    }

    /// The content of the event file, by step. `metric`: what the validation metric is called.
    fn events(&self, metric: &str) -> Vec<u8> {
        let named = |tag: &str, value: f64| (tag.to_string(), value);
        let mut events: Vec<(u64, Vec<(String, f64)>)> = Vec::new();
        for record in &self.steps {
            let values = vec![
                named("train/loss", record.loss),
                named("train/learning_rate", record.learning_rate),
                named("train/gradient_norm", record.gradient_norm),
            ];
            events.push((record.step, values));
        }
        for record in &self.epochs {
            let mut values = vec![named("epoch/train_loss", record.train_loss)];
            values.extend(record.validation_loss.map(|loss| named("validation/loss", loss)));
            let validation = format!("validation/{metric}");
            values.extend(record.validation_metric.map(|value| named(&validation, value)));
            // The metric may be the loss itself.
            values.dedup_by(|a, b| a.0 == b.0);
            events.push((record.step, values));
        }
        if let Some(result) = &self.result {
            let mut values = vec![named("test/loss", result.test_loss)];
            values.push((format!("test/{}", result.metric_name), result.test_metric));
            values.dedup_by(|a, b| a.0 == b.0);
            let others = result.test_metrics.iter();
            values.extend(others.map(|(name, value)| (format!("test/{name}"), *value)));
            events.push((result.steps, values));
        }
        // Those of one step stay in their order: the step, its epoch, the test.
        events.sort_by_key(|(step, _)| *step);
        let mut file = EventFile::new(self.wall_time(0));
        for (step, values) in &events {
            file.add(self.wall_time(*step), *step, values);
        }
        file.into_bytes()
    }

    /// About when a step was done, in seconds since 1970; see the module.
    fn wall_time(&self, step: u64) -> f64 {
        let trained = self.result.as_ref().map_or(0.0, |result| {
            step as f64 / result.steps.max(1) as f64 * result.training_seconds
        });
        self.start as f64 + trained
    }
}

/// When the first process of a run began, in seconds since 1970.
fn start(run: &RunFolder) -> Result<i64> {
    let provenance: Provenance = run.read_json(RunFolder::PROVENANCE)?;
    let first = provenance.sessions.first().map(|session| session.started.as_str());
    let time = first.and_then(|started| DateTime::parse_from_rfc3339(started).ok());
    time.map(|time| time.timestamp()).ok_or_else(|| {
        let path = run.file(RunFolder::PROVENANCE);
        let fault = Fault::of_file(&path, "the record is damaged").within("sessions");
        let found = first.map_or("no session".to_string(), |started| format!("`{started}`"));
        fault.found(found).expected("when the run's first process began").help(TRAIN_AGAIN).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_plain_names() {
        assert_eq!(folder_name("vlora-r8"), "vlora-r8");
        assert_eq!(folder_name("vlora rank=4"), "vlora_rank=4");
        assert_eq!(folder_name("a targets=[attn.qkv, mlp.fc1]"), "a_targets=_attn.qkv__mlp.fc1_");
        assert_eq!(folder_name("../../x"), "_.._.._x");
        assert_eq!(folder_name(".."), "_..");
        assert_eq!(folder_name("a/b\\c:d\0é"), "a_b_c_d__");
        assert_eq!(folder_name(""), "_");
        assert_eq!(folder_name(&"x".repeat(1000)).len(), LONGEST);
    }

    #[test]
    fn no_two_arms_share_a_folder() {
        let (long, longer) = ("x".repeat(500), "x".repeat(501));
        let labels =
            ["a b", "a_b", "A_B", "a_b-2", "a/b", long.as_str(), longer.as_str(), "..", "_.."];
        let names = folder_names(labels.into_iter());
        assert_eq!(names[..5], ["a_b", "a_b-2", "A_B-3", "a_b-2-2", "a_b-4"]);
        let lower: BTreeSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
        assert_eq!(lower.len(), labels.len());
    }

    #[test]
    fn only_our_event_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = ("events.out.tfevents.0000000001.vlora", "events.out.tfevents.2.vlora");
        let others = ["events.out.tfevents.0000000001.host", "notes.vlora"];
        for name in [old, new].into_iter().chain(others) {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        remove_others(dir.path(), Some(new)).unwrap();
        let is_there = |name: &str| dir.path().join(name).exists();
        assert!(!is_there(old) && is_there(new) && others.into_iter().all(is_there));
        remove_others(dir.path(), None).unwrap();
        assert!(!is_there(new) && others.into_iter().all(is_there));
        // A folder that was never written.
        remove_others(&dir.path().join("none"), None).unwrap();
    }

    fn recorded(result: Option<RunResult>) -> Recorded {
        let step = |step| StepRecord {
            step,
            epoch: 1,
            loss: 0.5,
            learning_rate: 0.25,
            gradient_norm: 2.0,
        };
        let epoch = EpochRecord {
            epoch: 1,
            step: 2,
            train_loss: 0.75,
            validation_loss: Some(1.0),
            validation_metric: Some(0.125),
        };
        let steps = (1..=4).map(step).collect();
        Recorded { steps, epochs: vec![epoch], result, start: 1_000_000_000 }
    }

    #[test]
    fn events_stand_by_step_with_the_test_at_the_end() {
        let result = RunResult {
            steps: 4,
            training_seconds: 8.0,
            test_metrics: [("other".to_string(), 3.0)].into(),
            ..RunResult::least()
        };
        let mut want = EventFile::new(1e9);
        let train =
            [("train/loss", 0.5), ("train/learning_rate", 0.25), ("train/gradient_norm", 2.0)];
        let epoch =
            [("epoch/train_loss", 0.75), ("validation/loss", 1.0), ("validation/score", 0.125)];
        let test = [("test/loss", 1.0), ("test/score", 0.1), ("test/other", 3.0)];
        for (seconds, step, values) in [
            (2.0, 1, train),
            (4.0, 2, train),
            (4.0, 2, epoch),
            (6.0, 3, train),
            (8.0, 4, train),
            (8.0, 4, test),
        ] {
            let values = values.map(|(tag, value)| (tag.to_string(), value));
            want.add(1e9 + seconds, step, &values);
        }
        let run = recorded(Some(result));
        assert_eq!(run.events("score"), want.into_bytes());
        assert_eq!(run.file_name(), "events.out.tfevents.1000000000.vlora");
    }

    #[test]
    fn an_unfinished_run_has_the_time_of_its_start_alone() {
        let run = recorded(None);
        assert_eq!([0, 1, 4].map(|step| run.wall_time(step)), [1e9; 3]);
    }
}

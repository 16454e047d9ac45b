//! `vlora report --tensorboard`. What TensorBoard itself reads in the files is compared with the evidence by
//! scripts/check_tensorboard.py.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;
use vlora::results::{ExperimentFolder, RunFolder};

use crate::common::evidence::{Outcome, leave};
use crate::common::program::vlora;
use crate::common::results::{copy_evidence, json as read_json};
use crate::common::spec::Spec;

/// The name of the file of a run that [`leave`] makes: its process began with the year 2026.
const FILE: &str = "events.out.tfevents.1767225600.vlora";

/// All files below a folder, by their path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        match path.is_dir() {
            true => found
                .extend(files(&path).into_iter().map(|(below, b)| (format!("{name}/{below}"), b))),
            false => drop(found.insert(name, fs::read(&path).unwrap())),
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    files(folder).into_keys().collect()
}

/// The number of records of an event file.
fn records(bytes: &[u8]) -> usize {
    let (mut at, mut n) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        // The length and its checksum, the data and its checksum.
        at += 8 + 4 + length as usize + 4;
        n += 1;
    }
    assert_eq!(at, bytes.len(), "the last record is cut");
    n
}

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

/// What a run leaves before it ends, with these lines of steps.
fn begin(folder: &ExperimentFolder, id: &str, steps: &str) -> RunFolder {
    let run = folder.run(id);
    run.write(RunFolder::STEPS, steps.as_bytes()).unwrap();
    let epoch = json!({"epoch": 1, "step": 2, "train_loss": 0.5});
    run.write_lines(RunFolder::EPOCHS, &[epoch]).unwrap();
    let provenance = json!({
        "data_sha256": "", "files": {}, "train_examples": 1, "validation_examples": 1,
        "test_examples": 1,
        "sessions": [{
            "program": "vlora 0.0.0", "numerics_version": 3, "device": "cpu", "processor": "",
            "threads": 1, "system": "", "started": "2026-01-01T00:00:00Z",
        }],
    });
    run.write_json(RunFolder::PROVENANCE, &provenance).unwrap();
    run
}

/// Two steps and the beginning of a third.
fn cut_journal() -> String {
    let step = |step: u64| {
        let record = json!({
            "step": step, "epoch": 1, "loss": 0.5, "learning_rate": 1e-3, "gradient_norm": 1.0,
        });
        format!("{record}\n")
    };
    step(1) + &step(2) + &step(3)[..20]
}

#[test]
fn committed_results_become_the_same_files_each_time() {
    let dir = tempfile::tempdir().unwrap();
    // A copy, since a report also writes its tables.
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/reading");
    copy_evidence(&committed, &dir.path().join("reading"));
    for out in ["one", "two"] {
        let ran = vlora(dir.path(), &["report", "reading", "--tensorboard", out]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let told =
            format!("Wrote 27 event files to {out}; `tensorboard --logdir {out}` shows them\n");
        assert!(ran.out.ends_with(&told), "{}", ran.out);
    }
    let written = files(&dir.path().join("one"));
    assert!(written == files(&dir.path().join("two")));

    let record = read_json(&committed.join("experiment.json"));
    for variant in record["variants"].as_array().unwrap() {
        let arm = variant["label"].as_str().unwrap().replace(' ', "_");
        for (seed, id) in variant["runs"].as_array().unwrap().iter().enumerate() {
            let folder = format!("{arm}/seed-{}/", record["seeds"][seed]);
            let mut own = written.iter().filter(|(name, _)| name.starts_with(&folder));
            let (Some((name, bytes)), None) = (own.next(), own.next()) else {
                panic!("{folder} is not the folder of one file")
            };
            let start = name.strip_prefix(&format!("{folder}events.out.tfevents.")).unwrap();
            let start = start.strip_suffix(".vlora").unwrap();
            assert!(start.len() == 10 && start.parse::<u64>().is_ok(), "{name}");
            let run = ExperimentFolder::new(&committed).run(id.as_str().unwrap());
            let lines = |name| run.read_whole(name).unwrap().lines().count();
            // The version, the steps, the epochs, the test.
            let want = 1 + lines(RunFolder::STEPS) + lines(RunFolder::EPOCHS) + 1;
            assert_eq!(records(bytes), want, "{name}");
        }
    }
}

#[test]
fn unfinished_runs_are_written_as_far_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec::tiny().set("training.epochs=3");
    let (folder, _) = leave(&dir.path().join("tiny"), &spec, &|variant, _| match variant {
        0 => Outcome::Right(700),
        _ => Outcome::Unfinished,
    });
    let events = dir.path().join("events");
    let of = |arm: &str| format!("{arm}/seed-0/{FILE}");
    let export = || vlora(dir.path(), &["report", "tiny", "--tensorboard", "events"]);

    // Of the other run there is nothing yet.
    let ran = export();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("Wrote 1 event file to events"), "{}", ran.out);
    assert_eq!(names(&events), [of("baseline")]);

    let run = begin(&folder, "000001000000", &cut_journal());
    // What an earlier export left of the run goes; what others left stays.
    let seed = events.join("baseline/seed-0");
    fs::write(seed.join("events.out.tfevents.0000000001.vlora"), "x").unwrap();
    fs::write(seed.join("notes.txt"), "x").unwrap();
    let ran = export();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let written = files(&events);
    let want = [of("baseline"), "baseline/seed-0/notes.txt".into(), of("vlora")];
    assert_eq!(written.keys().cloned().collect::<Vec<_>>(), want);
    let (baseline, other) = (&written[&want[0]], &written[&want[2]]);
    // The version, one recorded step, three epochs, the test. The other has two steps and an epoch.
    assert_eq!((records(baseline), records(other)), (6, 4));
    for tag in ["train/gradient_norm", "validation/accuracy", "test/accuracy", "test/loss"] {
        assert!(contains(baseline, tag), "{tag} is missing");
    }
    assert!(contains(other, "epoch/train_loss") && !contains(other, "validation/"));
    assert!(!contains(other, "test/"));

    // A damaged journal is named, and what was written of it before goes.
    run.write(RunFolder::STEPS, b"{\"step\": 1}\n").unwrap();
    let ran = export();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let told = "note: a run is left out of the event files: tiny/runs/000001000000/steps.jsonl:1: \
                the record is damaged";
    assert!(ran.err.contains(told), "{}", ran.err);
    assert_eq!(names(&events), want[..2]);

    // So is a damaged finished run, by the report itself.
    run.write(RunFolder::STEPS, cut_journal().as_bytes()).unwrap();
    fs::write(dir.path().join("tiny/runs/000000000000/test.jsonl"), "").unwrap();
    let ran = export();
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("1 finished run is damaged"), "{}", ran.err);
    assert!(!ran.err.contains("note: a run is left out"), "{}", ran.err);
    assert_eq!(names(&events), want[1..]);
}

#[test]
fn curves_need_no_run_that_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _) = leave(&dir.path().join("tiny"), &Spec::tiny(), &|_, _| Outcome::Unfinished);
    let args = ["report", "tiny", "--tensorboard", "events", "--format", "csv"];
    let ran = vlora(dir.path(), &args);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("tiny: there are no curves to write"), "{}", ran.err);
    assert!(names(&dir.path().join("events")).is_empty());

    begin(&folder, "000000000000", &cut_journal());
    let ran = vlora(dir.path(), &args);
    // Standard output is for the table, which is not there yet.
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert_eq!(ran.err, "Wrote 1 event file to events; `tensorboard --logdir events` shows them\n");
    assert_eq!(names(&dir.path().join("events")), [format!("baseline/seed-0/{FILE}")]);
    let ran = vlora(dir.path(), &args[..2]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("no run has ended yet"), "{}", ran.err);
}

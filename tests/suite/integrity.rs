//! Finished runs whose files are no longer as they were left: no command counts them as finished
//! without a word.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use vlora::results::{CheckLevel, ExperimentFolder, RunFolder, RunState, Weights, take_over};

use crate::common::program::{Ran, folder_with, vlora};
use crate::common::results::{json, run_of};
use crate::common::spec::Spec;

/// Everything that a finished run with a start leaves.
const FILES: [&str; 8] = [
    RunFolder::RESULT,
    RunFolder::SPEC,
    RunFolder::PROVENANCE,
    RunFolder::START,
    RunFolder::STEPS,
    RunFolder::EPOCHS,
    RunFolder::TEST,
    RunFolder::MODEL,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    Missing,
    Empty,
    Cut,
    /// The file of the same arm's run with another seed. Where both runs left the same bytes, one digit
    /// is changed instead.
    OfAnotherRun,
}

const DAMAGES: [Damage; 4] = [Damage::Missing, Damage::Empty, Damage::Cut, Damage::OfAnotherRun];

/// A folder with the finished runs of an arm that starts from another, with two seeds.
struct Trained {
    dir: TempDir,
    /// The arm's runs: what is damaged, and the other one.
    runs: [PathBuf; 2],
}

impl Trained {
    fn new() -> Trained {
        let spec = Spec::tiny()
            .without("arms.vlora")
            .arm("tuned", "{start: {arm: baseline}, lora: {rank: 2}}")
            .set("seeds=[0, 1]");
        let dir = folder_with(&spec.text());
        let ran = vlora(dir.path(), &["run", "tiny.yaml", "-q", "--device", "cpu"]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        let record = json(&dir.path().join("results/tiny/experiment.json"));
        let id = |seed: usize| record["variants"][1]["runs"][seed].as_str().unwrap();
        let runs = [0, 1].map(|seed| dir.path().join("results/tiny/runs").join(id(seed)));
        Trained { dir, runs }
    }

    /// Takes from the records what earlier versions did not have.
    fn made_older(self) -> Trained {
        for run in &self.runs {
            let mut result = json(&run.join(RunFolder::RESULT));
            assert!(result.as_object_mut().unwrap().remove("files").is_some());
            fs::write(run.join(RunFolder::RESULT), result.to_string()).unwrap();
        }
        self
    }

    /// With one file damaged, which is mended behind it.
    fn with(&self, file: &str, damage: Damage, look: impl FnOnce()) {
        let path = self.runs[0].join(file);
        let sound = fs::read(&path).unwrap();
        match damage {
            Damage::Missing => fs::remove_file(&path).unwrap(),
            Damage::Empty => fs::write(&path, "").unwrap(),
            Damage::Cut => fs::write(&path, &sound[..sound.len() / 2]).unwrap(),
            Damage::OfAnotherRun => {
                let mut other = fs::read(self.runs[1].join(file)).unwrap();
                if other == sound {
                    let digit = other.iter_mut().rfind(|byte| byte.is_ascii_digit()).unwrap();
                    *digit = if *digit == b'0' { b'1' } else { b'0' };
                }
                fs::write(&path, other).unwrap()
            }
        }
        look();
        fs::write(&path, sound).unwrap();
    }

    fn folder(&self) -> ExperimentFolder {
        ExperimentFolder::new(self.dir.path().join("results/tiny"))
    }

    fn id(&self) -> &str {
        self.runs[0].file_name().unwrap().to_str().unwrap()
    }

    fn run(&self) -> RunFolder {
        self.folder().run(self.id())
    }

    fn command(&self, args: &[&str]) -> Ran {
        vlora(self.dir.path(), args)
    }

    /// What `vlora runs` says of the damaged run.
    fn row(&self) -> Value {
        let ran = self.command(&["runs", "--format", "json"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let rows: Value = serde_json::from_str(&ran.out).unwrap();
        let rows = rows.as_array().unwrap();
        rows.iter().find(|row| row["run"] == self.id()).unwrap().clone()
    }
}

/// The rule itself, for records of this version and of earlier ones: what is whole, and what names the
/// file that is not.
#[test]
fn a_run_is_whole_or_names_the_file_that_is_not() {
    // What an earlier record has nothing to compare with.
    let unknown = [RunFolder::PROVENANCE, RunFolder::START, RunFolder::STEPS, RunFolder::EPOCHS];
    for (trained, older) in [(Trained::new(), false), (Trained::new().made_older(), true)] {
        let run = trained.run();
        for look in [CheckLevel::Quick, CheckLevel::Thorough] {
            assert_eq!(run.verify(look).unwrap().weights, Weights::Present);
        }
        let to = trained.folder().run("0123456789ab");
        for file in FILES {
            for damage in DAMAGES {
                let case = format!("{file} {damage:?}, older {older}");
                trained.with(file, damage, || {
                    let passes = damage == Damage::OfAnotherRun
                        && older
                        && [&unknown[..], &[RunFolder::TEST]].concat().contains(&file);
                    let looked = run.verify(CheckLevel::Thorough);
                    match (file, damage) {
                        (RunFolder::MODEL, Damage::Missing) => {
                            assert_eq!(looked.unwrap().weights, Weights::Missing, "{case}");
                            let refused = run.verify_with_weights(CheckLevel::Quick).unwrap_err();
                            assert!(refused.to_string().contains("weights of the finished run"));
                            assert_eq!(run.state(), RunState::Finished, "{case}");
                        }
                        _ if passes => assert!(looked.is_ok(), "{case}"),
                        _ => {
                            let told = looked.unwrap_err().to_string();
                            let other = damage == Damage::OfAnotherRun && file == RunFolder::RESULT;
                            let named = if other { "finished run left it" } else { file };
                            assert!(told.contains(named), "{case}: {told}");
                            assert!(told.contains("\n  help:     "), "{case}: {told}");
                        }
                    }
                    if damage != Damage::OfAnotherRun && file != RunFolder::MODEL {
                        let want = match (file, damage) {
                            (RunFolder::RESULT, Damage::Missing) => RunState::Planned,
                            _ => RunState::Damaged,
                        };
                        assert_eq!(run.state(), want, "{case}");
                    }
                    // Nothing of it is taken over by another experiment.
                    if !passes {
                        to.lock().unwrap();
                        assert_eq!(take_over(trained.id(), &run, &to).unwrap(), None, "{case}");
                        assert_eq!(to.state(), RunState::Planned, "{case}");
                    }
                });
            }
        }
        assert!(take_over(trained.id(), &run, &to).unwrap().is_some());
    }
}

/// The commands, by the real program: each refuses what is damaged or leaves it out, and says what to do, or
/// says what is missing.
#[test]
fn no_command_passes_over_damage() {
    let trained = Trained::new();
    let run = trained.runs[0].to_str().unwrap();
    let evaluate = ["evaluate", run, "--spec", "tiny.yaml", "--device", "cpu"];
    let train = ["run", "tiny.yaml", "-q", "--device", "cpu"];
    let report = ["report", "results/tiny"];
    for file in FILES {
        for damage in DAMAGES {
            // What `run` trains again is below.
            if (file, damage) == (RunFolder::RESULT, Damage::Missing) {
                continue;
            }
            trained.with(file, damage, || {
                let case = format!("{file} {damage:?}");
                let bare = (file, damage) == (RunFolder::MODEL, Damage::Missing);
                for args in [&train[..], &report, &evaluate] {
                    let ran = trained.command(args);
                    let case = format!("{case}, {}: {}", args[0], ran.err);
                    assert!(!ran.err.contains("panicked"), "{case}");
                    if bare && args[0] != "evaluate" {
                        assert_eq!(ran.code, 0, "{case}");
                        let note = "note: results/tiny: 1 of 4 finished runs without weights";
                        assert!(ran.err.starts_with(note), "{case}");
                    } else if args[0] == "evaluate" {
                        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{case}");
                        assert!(ran.err.contains("trains it again"), "{case}");
                    } else {
                        // The table is of the other runs, and names this one.
                        assert_eq!(ran.code, 1, "{case}");
                        assert!(ran.err.contains("trains it again"), "{case}");
                        let note = format!("run {}, left out: ", trained.id());
                        assert!(ran.out.contains(&note), "{case}: {}", ran.out);
                        let arms = ["baseline", "vlora"].map(|arm| ran.out.contains(arm));
                        assert_eq!(arms, [true, true], "{case}");
                    }
                }
                let row = trained.row();
                match (bare, damage) {
                    (true, _) => {
                        let want = (&"finished".into(), &"missing".into());
                        assert_eq!((&row["state"], &row["weights"]), want, "{case}");
                    }
                    // A list looks at sizes alone.
                    (_, Damage::OfAnotherRun) => {}
                    _ => {
                        assert_eq!(row["state"], "damaged", "{case}");
                        let shown = trained.command(&["runs"]).out;
                        assert!(
                            shown.contains(&format!("{} is damaged: ", trained.id())),
                            "{case}"
                        );
                        assert!(shown.contains("3 finished, 1 damaged"), "{case}: {shown}");
                    }
                }
            });
        }
    }
    assert_eq!(trained.command(&report).err, "");
    // Without a result the run is not finished, and is trained again to what it was.
    let want = fs::read(trained.runs[0].join(RunFolder::TEST)).unwrap();
    fs::remove_file(trained.runs[0].join(RunFolder::RESULT)).unwrap();
    let refused = trained.command(&evaluate);
    assert!(
        refused.code == 2 && refused.err.contains("the run is not finished"),
        "{}",
        refused.err
    );
    assert_eq!(trained.command(&train).code, 0);
    assert_eq!(fs::read(trained.runs[0].join(RunFolder::TEST)).unwrap(), want);
}

/// An arm that starts from a run needs its weights.
#[test]
fn an_arm_that_starts_from_missing_weights_fails_with_a_way_out() {
    let trained = Trained::new();
    let source = run_of(&trained.dir.path().join("results/tiny"), "baseline");
    fs::remove_file(source.join(RunFolder::MODEL)).unwrap();
    fs::remove_dir_all(&trained.runs[0]).unwrap();
    let ran = trained.command(&["run", "tiny.yaml", "--device", "cpu"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    let part = "model.safetensors: the weights of the finished run are missing";
    assert!(ran.err.contains(part) && ran.err.contains("trains it again"), "{}", ran.err);
}

/// One record that cannot be read hides no other experiment, and lets nothing be removed.
#[test]
fn a_damaged_experiment_is_named_and_the_others_are_listed() {
    let trained = Trained::new();
    let other = trained.dir.path().join("results/other");
    fs::create_dir_all(&other).unwrap();
    for text in ["", "{", "{\"schema\": 2}", "\u{0}\u{1}"] {
        fs::write(other.join("experiment.json"), text).unwrap();
        let ran = trained.command(&["runs"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.err.starts_with("note: results/other/experiment.json:"), "{}", ran.err);
        assert!(ran.err.contains("the record is damaged"), "{}", ran.err);
        assert!(ran.out.contains(": 4 finished") && ran.out.contains(trained.id()), "{}", ran.out);
        // A run that no sound record names may be the damaged one's.
        let stray = trained.folder().run("0123456789ab");
        stray.write_json(RunFolder::FAILURE, &"x").unwrap();
        let ran = trained.command(&["runs", "--remove-stale", "--yes"]);
        assert!(ran.err.contains("may name any of them"), "{}", ran.err);
        assert!(stray.path().is_dir());
    }
    let named = trained.command(&["runs", "results/other"]);
    assert!(named.code == 0 && named.err.contains("the record is damaged"), "{}", named.err);
}

/// Each damaged run is named, and the table is of the others.
#[test]
fn a_report_names_all_damaged_runs_and_goes_on() {
    let trained = Trained::new();
    let report = ["report", "results/tiny"];
    let whole = trained.command(&report);
    assert_eq!(whole.code, 0, "{}", whole.err);
    for run in &trained.runs {
        fs::remove_file(run.join(RunFolder::TEST)).unwrap();
    }
    let ran = trained.command(&report);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("2 finished runs are damaged and left out"), "{}", ran.err);
    for run in &trained.runs {
        let id = run.file_name().unwrap().to_str().unwrap();
        assert!(ran.err.contains(id) && ran.out.contains(id), "{}", ran.err);
    }
}

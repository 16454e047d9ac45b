//! Several experiments, and several of their runs, under one folder of results: what they take from each
//! other, what a table may lose, what is listed and removed, what a large plan says.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use vlora::results::RunLock;

use crate::common::program::{Ran, command, vlora};
use crate::common::results::{json, run_folders};
use crate::common::spec::Spec;

/// The tiny spec, called as its file is.
fn nameless() -> Spec {
    Spec::tiny().without("name")
}

fn with_rank(rank: u32) -> Spec {
    nameless().set(&format!("vlora.rank={rank}"))
}

/// A folder with specs by name.
fn folder_with(specs: &[(&str, Spec)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, spec) in specs {
        fs::write(dir.path().join(format!("{name}.yaml")), spec.text()).unwrap();
    }
    dir
}

fn done(dir: &Path, args: &[&str]) -> Ran {
    let ran = vlora(dir, args);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
    ran
}

fn refused(dir: &Path, args: &[&str]) -> String {
    let ran = vlora(dir, args);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {}", ran.err);
    ran.err
}

fn rows(dir: &Path, args: &[&str]) -> Vec<Value> {
    let ran = done(dir, &[args, &["--format", "json"]].concat());
    serde_json::from_str::<Value>(&ran.out).unwrap().as_array().unwrap().clone()
}

fn texts(rows: &[Value], key: &str) -> Vec<String> {
    rows.iter().map(|row| row[key].as_str().unwrap_or("-").to_string()).collect()
}

#[test]
fn an_equal_run_of_another_experiment_is_taken_over() {
    let dir = folder_with(&[("a", nameless()), ("b", with_rank(3)), ("c", nameless())]);
    let dir = dir.path();
    done(dir, &["run", "a.yaml", "-q"]);
    // The plan knows it, too.
    let plan = done(dir, &["plan", "b.yaml"]).out;
    assert!(plan.contains("1 of them is finished in another experiment here"), "{plan}");
    let ran = done(dir, &["run", "b.yaml"]);
    let taken = "[1/2] baseline seed 0: taken from results/a, which has finished the same run";
    assert!(ran.err.contains(taken), "{}", ran.err);
    assert_eq!(ran.err.matches("taken from").count(), 1, "{}", ran.err);
    let shared: Vec<PathBuf> = run_folders(&dir.join("results/b"))
        .into_iter()
        .filter(|run| dir.join("results/a/runs").join(run.file_name().unwrap()).exists())
        .collect();
    let [baseline] = &shared[..] else { panic!("{shared:?}") };
    let of_a = dir.join("results/a/runs").join(baseline.file_name().unwrap());
    for entry in fs::read_dir(&of_a).unwrap() {
        let name = entry.unwrap().file_name();
        let same = fs::read(of_a.join(&name)).unwrap() == fs::read(baseline.join(&name)).unwrap();
        assert!(same, "{name:?}");
    }
    // Neither depends on the other.
    fs::remove_dir_all(&of_a).unwrap();
    done(dir, &["report", "results/b"]);

    // Weights that are not those that were tested, and a run that is half there, are trained anew.
    let model = baseline.join("model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::remove_file(&model).unwrap();
    fs::write(&model, bytes).unwrap();
    let other = run_folders(&dir.join("results/a"));
    fs::remove_file(other[0].join("test.jsonl")).unwrap();
    let ran = done(dir, &["run", "c.yaml"]);
    assert_eq!(ran.err.matches("taken from").count(), 0, "{}", ran.err);
}

/// A run without its weights is not taken over, and a damaged one is neither trained over nor replaced: the
/// plan says what `run` will do.
#[test]
fn a_plan_knows_what_is_left_to_train() {
    let dir = folder_with(&[("a", nameless()), ("b", nameless())]);
    let dir = dir.path();
    done(dir, &["run", "a.yaml", "-q"]);
    let plan = |name: &str| done(dir, &["plan", name]).out;
    assert!(plan("b.yaml").contains("nothing is left to train"));
    let runs = run_folders(&dir.join("results/a"));
    fs::remove_file(runs[0].join("model.safetensors")).unwrap();
    let said = plan("b.yaml");
    assert!(said.contains("1 of them is finished in another experiment here"), "{said}");
    let ran = done(dir, &["run", "b.yaml"]);
    assert_eq!(ran.err.matches("taken from").count(), 1, "{}", ran.err);
    // Damage in both forms: a file that is missing, and one that the run did not leave.
    fs::remove_file(runs[0].join("test.jsonl")).unwrap();
    fs::write(runs[1].join("test.jsonl.zst"), "no such format").unwrap();
    let said = plan("a.yaml");
    let ids = runs.iter().map(|run| run.file_name().unwrap().to_str().unwrap());
    let ids = ids.collect::<Vec<_>>().join(", ");
    assert!(said.contains("2 damaged") && said.contains("nothing is left to train"), "{said}");
    assert!(ids.split(", ").all(|id| said.contains(id)), "{said}");
    assert!(said.contains("no table counts them"), "{said}");
    let err = vlora(dir, &["run", "a.yaml", "-q"]).err;
    assert!(err.contains("not name") || err.contains("is missing"), "{err}");
    fs::remove_file(runs[1].join("test.jsonl.zst")).unwrap();
    assert!(plan("a.yaml").contains("1 damaged"));
}

/// Which changes of what was asked for leave a table as it is, and which need a word.
#[test]
fn a_table_loses_no_runs_in_silence() {
    let seeds = "seeds=[0, 1]";
    let dir = folder_with(&[("a", nameless())]);
    let dir = dir.path();
    done(dir, &["run", "a.yaml", "-q"]);
    let note = "no longer in its table";
    let table = || fs::read_to_string(dir.join("results/a/experiment.json")).unwrap();
    // More of it is growth, and the same again is nothing.
    let grown = ["run", "a.yaml", "-q", "--set", seeds];
    for _ in 0..2 {
        assert!(!done(dir, &grown).err.contains(note));
    }
    let whole = table();
    for (set, lost) in [
        ("seeds=[0]", "2 runs"),
        ("seeds=[1, 2]", "2 runs"),
        ("training.epochs=2", "4 runs"),
        ("vlora.rank=3", "3 runs"),
    ] {
        let told = refused(dir, &["run", "a.yaml", "--set", set]);
        let start = format!("error: results/a: its table would lose {lost}\n");
        assert!(told.starts_with(&start), "{set}: {told}");
        assert!(told.contains(&format!("--set {set}")), "{told}");
        assert!(told.contains("--out FOLDER") && told.contains("--replace"), "{told}");
        assert_eq!(table(), whole, "{set}");
    }
    // Elsewhere it is nobody's loss, and nor is it when it is meant.
    done(dir, &["run", "a.yaml", "-q", "--set", "seeds=[0]", "--out", "other"]);
    let ran = done(dir, &["run", "a.yaml", "-q", "--set", "seeds=[0]", "--replace"]);
    assert!(ran.err.contains("results/a: 2 runs are no longer in its table"), "{}", ran.err);
    assert_ne!(table(), whole);
    // All are there still.
    assert_eq!(run_folders(&dir.join("results/a")).len(), 4);
    // The spec without changes may always be run, and an edited one says what it leaves behind.
    done(dir, &grown);
    let ran = done(dir, &["run", "a.yaml", "-q", "--set", seeds]);
    assert!(!ran.err.contains(note), "{}", ran.err);
    fs::write(dir.join("a.yaml"), with_rank(1).text()).unwrap();
    let ran = done(dir, &["run", "a.yaml", "-q", "--set", seeds]);
    assert!(ran.err.contains("2 runs are no longer in its table"), "{}", ran.err);
    let ran = done(dir, &["run", "a.yaml", "-q"]);
    assert!(ran.err.contains("2 runs are no longer in its table"), "{}", ran.err);
}

#[test]
fn runs_are_listed_and_stale_ones_removed() {
    let dir = folder_with(&[("a", nameless()), ("b", with_rank(3))]);
    let dir = dir.path();
    assert!(refused(dir, &["runs"]).contains("results: there are no results here"));
    done(dir, &["run", "a.yaml", "-q"]);
    done(dir, &["run", "b.yaml", "-q"]);
    let all = rows(dir, &["runs"]);
    assert_eq!(texts(&all, "experiment"), ["a", "a", "b", "b"]);
    assert_eq!(texts(&all, "arm"), ["baseline", "vlora", "baseline", "vlora"]);
    assert_eq!(texts(&all, "state"), ["finished"; 4]);
    assert_eq!(texts(&all, "metric"), ["accuracy"; 4]);
    for row in &all {
        assert!(row["test_metric"].as_f64().unwrap() > 0.0 && row["bytes"].as_u64().unwrap() > 0);
        assert_eq!((&row["seed"], &row["stale"]), (&Value::from(0), &Value::from(false)));
        assert!(row["modified"].as_str().unwrap().ends_with('Z'), "{row}");
    }
    let shown = done(dir, &["runs"]).out;
    let id = texts(&all, "run")[0].clone();
    assert!(shown.contains(&format!("{id} is the same run in a and b")), "{shown}");
    assert!(shown.contains("4 runs, ") && shown.contains(": 4 finished"), "{shown}");
    assert_eq!(rows(dir, &["runs", "results/b"]).len(), 2);
    assert!(vlora(dir, &["runs", "--remove-stale", "--yes"]).err.contains("no run is stale"));

    // Two runs that are named no more, of which b has one; a third is not begun.
    fs::write(dir.join("a.yaml"), with_rank(1).set("model.dim=32").text()).unwrap();
    let edited = vlora(dir, &["run", "a.yaml", "-q"]);
    assert!(edited.err.contains("2 runs are no longer in its table"), "{}", edited.err);
    let stale: BTreeSet<String> = rows(dir, &["runs"])
        .iter()
        .filter(|row| row["stale"] == true)
        .map(|row| row["run"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(stale, BTreeSet::from([texts(&all, "run")[1].clone()]), "b's table has the other");
    let folder = dir.join("results/a/runs").join(stale.first().unwrap());

    let answered = |answer: &str| {
        let mut child = command(dir)
            .args(["runs", "results/a", "--remove-stale"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.err
    };
    for answer in ["", "\n", "n\n", "maybe\n"] {
        let said = answered(answer);
        assert!(said.contains("Remove 1 folder") && said.contains("nothing was removed"), "{said}");
        assert!(folder.join("result.json").is_file(), "{answer:?}");
    }
    // One that is worked on stays, and one with something of the user's.
    let claim = RunLock::new(&folder).unwrap().unwrap();
    assert!(answered("y\n").contains("kept, a process works on it"));
    drop(claim);
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    assert!(answered("y\n").contains("kept, it holds `notes.txt`"));
    fs::remove_file(folder.join("notes.txt")).unwrap();
    assert!(answered("yes\n").contains("removed 1 folder"));
    assert!(!folder.exists());
    done(dir, &["report", "results/b"]);

    // Where the record is lost, nothing is called stale.
    fs::remove_file(dir.join("results/b/experiment.json")).unwrap();
    let shown = done(dir, &["runs"]).out;
    assert!(shown.contains("b has no experiment.json"), "{shown}");
    assert!(rows(dir, &["runs", "results/b"]).iter().all(|row| row["stale"] == false));
}

/// A plan of thousands of runs is a page; each run is listed when asked for.
#[test]
fn a_large_plan_is_short() {
    let dir = folder_with(&[("a", nameless().set("sweep={vlora.rank: [1, 2, 4]}"))]);
    let dir = dir.path();
    let seeds: Vec<String> = (0..1300).map(|n| n.to_string()).collect();
    let seeds = format!("seeds=[{}]", seeds.join(", "));
    let large = done(dir, &["plan", "a.yaml", "--set", &seeds]).out;
    assert!(large.lines().count() < 30, "{large}");
    for part in [
        "a: 5,200 runs",
        "arms     baseline, vlora, 4 pairs of arms and swept values; 1,300 seeds",
        "sweep    vlora.rank: 1, 2, 4",
        "state    5,200 planned",
        "work     ",
        "memory   at most ",
        "time     at least ",
        "a lower bound from the speed of matrix products, measured now",
        "vlora rank=4",
        "--details lists every run",
    ] {
        assert!(large.contains(part), "{part} is missing in\n{large}");
    }
    let details = done(dir, &["plan", "a.yaml", "--set", &seeds, "--details"]).out;
    assert!(details.lines().count() > 5200 && details.contains("clip_norm: 1.0"));
    assert_eq!(rows(dir, &["plan", "a.yaml", "--set", &seeds]).len(), 5200);
}

/// Times come from runs that are finished, where there are any.
#[test]
fn a_plan_estimates_by_finished_runs() {
    let dir = folder_with(&[("a", nameless()), ("b", nameless().set("training.epochs=40"))]);
    let dir = dir.path();
    let none = done(dir, &["plan", "a.yaml"]).out;
    assert!(none.contains("measured now"), "{none}");
    done(dir, &["run", "a.yaml", "-q"]);
    let finished = done(dir, &["plan", "a.yaml"]).out;
    assert!(finished.contains("nothing is left to train"), "{finished}");
    assert!(finished.contains("state    2 finished"), "{finished}");
    // Whatever this machine is busy with.
    note_load(dir, "other_programs", 0.0);
    // Another experiment of the same results, with the same models, and with others.
    let same = done(dir, &["plan", "b.yaml"]).out;
    assert!(same.contains("by finished runs of the same models"), "{same}");
    let wider = done(dir, &["plan", "b.yaml", "--set", "model.dim=32"]).out;
    assert!(
        wider.contains("by the operations a second of finished runs of other models"),
        "{wider}"
    );
    // Not by those whose machine was busy with something else.
    for field in ["other_programs", "other_vlora"] {
        for (share, counts) in [(0.001, true), (0.4, false)] {
            note_load(dir, field, share);
            let plan = done(dir, &["plan", "b.yaml"]).out;
            assert_eq!(
                plan.contains("finished runs of the same models"),
                counts,
                "{field} {share}"
            );
        }
    }
}

/// Has the records of `a` say that other programs used this share of the machine.
fn note_load(dir: &Path, field: &str, share: f64) {
    for run in run_folders(&dir.join("results/a")) {
        let path = run.join("result.json");
        let mut result = json(&path);
        for name in ["other_programs", "other_vlora"] {
            result[name] = if name == field { share } else { 0.0 }.into();
        }
        fs::write(&path, result.to_string()).unwrap();
    }
}

/// Where progress is no terminal, a run is heard of between its epochs.
#[test]
fn lines_come_between_epochs() {
    let dir = folder_with(&[("a", nameless())]);
    let dir = dir.path();
    let ran = done(dir, &["run", "a.yaml", "--log-every", "0"]);
    let lines: Vec<&str> = ran.err.lines().filter(|line| line.contains(" step ")).collect();
    // Of sixty steps a run; the last is the epoch's.
    assert_eq!(lines.len(), 2 * 59, "{}", ran.err);
    let first = lines[0].trim_start();
    assert!(first.starts_with("step 1/60, epoch 1/1: loss 2."), "{first}");
    assert!(first.contains("/s, about ") && first.ends_with(" left"), "{first}");
    let quiet = folder_with(&[("a", nameless())]);
    let ran = done(quiet.path(), &["run", "a.yaml", "--log-every", "0", "-q"]);
    assert_eq!(ran.err, "");
}

//! Runs as jobs of a real Slurm, which scripts/slurm.sh starts. Its arrays have at most five tasks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use vlora::results::RunFolder;

use crate::common::program::{Ran, binary, command, folder_with, vlora};
use crate::common::results::{evidence, json, run_folders};
use crate::common::spec::Spec;

const LAUNCH: [&str; 5] = ["launch", "slurm", "tiny.yaml", "--device", "cpu"];
const RUN: [&str; 5] = ["run", "tiny.yaml", "-q", "--device", "cpu"];

/// What a command of Slurm says.
fn slurm(args: &[&str]) -> String {
    // These tests take nodes out of service.
    assert!(
        std::env::var_os("VLORA_TEST_SLURM").is_some(),
        "for the Slurm of scripts/slurm.sh alone"
    );
    let ran = Ran::of(Command::new(args[0]).args(&args[1..]).output().unwrap());
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
    ran.out
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > Duration::from_secs(120) {
            let queue = slurm(&["squeue", "--array"]);
            panic!("{what}: not within two minutes\n{queue}");
        }
        sleep(Duration::from_millis(100));
    }
}

fn wait_for_the_end_of_all_jobs() {
    wait_until("the end of all jobs", || slurm(&["squeue", "--noheader"]).trim().is_empty());
}

/// The jobs that a launch submitted.
fn launch(dir: &Path, more: &[&str]) -> Vec<u64> {
    let ran = vlora(dir, &[&LAUNCH[..], more].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let jobs = ran.out.lines().filter_map(|line| line.strip_prefix("job "));
    jobs.map(|rest| rest.split(':').next().unwrap().parse().unwrap()).collect()
}

fn state(job: u64) -> String {
    slurm(&["squeue", "--noheader", "--array", "--format=%T", &format!("--jobs={job}")])
        .trim()
        .to_string()
}

/// The log of a job's first task.
fn log(dir: &Path, job: u64) -> String {
    fs::read_to_string(dir.join(format!("results/tiny/slurm/{job}_0.log"))).unwrap_or_default()
}

/// The runs in `dir` have left what those in `whole` have, where nothing happened. Else the log of `job` is
/// shown.
fn assert_same_bits(dir: &Path, whole: &Path, job: u64) {
    let of = |dir: &Path| evidence(&dir.join("results/tiny"));
    assert!(of(dir) == of(whole), "{}", log(dir, job));
}

fn sessions(run: &Path) -> Vec<Value> {
    json(&run.join(RunFolder::PROVENANCE))["sessions"].as_array().unwrap().clone()
}

/// Takes the node out of service, as far as `state` says.
fn set_node(state: &str) {
    let node = slurm(&["sinfo", "--noheader", "--format=%n"]).trim().to_string();
    let node = format!("NodeName={node}");
    slurm(&["scontrol", "update", &node, &format!("State={state}"), "Reason=test"]);
}

/// Puts the node into service, if it is not by itself.
fn resume_node() {
    let node = slurm(&["sinfo", "--noheader", "--format=%n"]).trim().to_string();
    wait_until("the node is in service", || {
        let state = slurm(&["sinfo", "--noheader", "--format=%T"]);
        let is_in_service = ["idle", "mixed", "allocated"].contains(&state.trim());
        if !is_in_service {
            // Slurm refuses it for a moment.
            let mut resume = Command::new("scontrol");
            let _ = resume.args(["update", &format!("NodeName={node}"), "State=RESUME"]).output();
        }
        is_in_service
    });
}

/// One run of a few seconds, and the evidence of it where nothing happened.
fn long_run() -> (TempDir, TempDir) {
    let spec = Spec::tiny().set("training.epochs=40").without("arms.vlora").text();
    let whole = folder_with(&spec);
    let ran = vlora(whole.path(), &RUN);
    assert_eq!(ran.code, 0, "{}", ran.err);
    (whole, folder_with(&spec))
}

/// The folder of the only run, once it has a checkpoint.
fn wait_for_a_checkpoint(dir: &Path) -> PathBuf {
    let runs = dir.join("results/tiny/runs");
    wait_until("a checkpoint", || {
        let entries = fs::read_dir(&runs).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().join(RunFolder::CHECKPOINT)).any(|path| path.exists())
    });
    run_folders(&dir.join("results/tiny")).remove(0)
}

/// What would be submitted is printed, whether there is a Slurm or not.
#[test]
fn a_dry_run_prints_the_scripts() {
    let spec = Spec::tiny()
        .arm("after", "{start: {arm: baseline}, lora: {rank: 2}}")
        .set("slurm={partition: gpu, time: '1-00:00:00', mem: 16G, runs_per_job: 2}")
        .set("seeds=[0, 1]")
        .text();
    let dir = tempfile::Builder::new().prefix("it's 100% a \"folder\" #").tempdir().unwrap();
    fs::write(dir.path().join("tiny.yaml"), spec).unwrap();
    // Variables of a job that this runs in are no part of it.
    let mut command = command(dir.path());
    command.args(LAUNCH).args(["--dry-run", "--partition", "big", "--at-once", "4"]);
    command.args([
        "--option=--constraint=a100|h100",
        "--set",
        "model.dim=32",
        "--out",
        "my results",
    ]);
    command.args(["--warning", "60", "--checkpoint-minutes", "2.5", "--keep", "none"]);
    // Without a Slurm, whose limit would decide how many arrays there are.
    let ran = Ran::of(command.env("PATH", "").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let home = dir.path().to_str().unwrap();
    let text = ran.out.replace(&home.replace('%', "%%"), "FOLDER").replace(home, "FOLDER");
    let text = text.replace(&home.replace('"', "\\\""), "FOLDER");
    let text = text.replace(&home.replace('"', "\\\"").replace('%', "%%"), "FOLDER");
    let text = text.replace(binary().to_str().unwrap(), "PROGRAM");
    assert!(!dir.path().join("my results").exists());
    insta::assert_snapshot!(text);
    // A shell takes every script.
    for script in ran.out.split("#!/bin/sh").skip(1) {
        let checked = Command::new("sh").args(["-n", "-c", script]).status().unwrap();
        assert!(checked.success(), "{script}");
    }
    for (arguments, what) in [
        (&["--time", "3"][..], "no time before it is warned"),
        (&["--time", "never"], "minutes or hours:minutes:seconds"),
        (&["--time", "1-"], "minutes or hours:minutes:seconds"),
        (&["--partition", "a b"], "without spaces"),
        (&["--option=--arr=0-3"], "does not set itself"),
        (&["--option=--comment=run#1"], "without spaces, quotes, `#`"),
        (&["--option=-p"], "a long option"),
        (&["--cpus", "0"], "at least 1"),
        (&["--device", "cpu,cpu"], "only GPUs"),
    ] {
        let ran = vlora(
            dir.path(),
            &[&["launch", "slurm", "tiny.yaml", "--dry-run"], arguments].concat(),
        );
        assert!(ran.code == 2 && ran.err.contains(what), "{arguments:?}: {}", ran.err);
    }
}

/// Twelve runs: arrays of five, and those that start from others' weights after them. While they wait, they
/// are not submitted again.
#[test]
#[ignore = "needs a Slurm, as scripts/slurm.sh starts it"]
fn a_sweep_is_trained_by_arrays_of_jobs() {
    let spec = Spec::tiny()
        .arm("lora", "{start: {arm: baseline}, lora: {rank: 2}}")
        .set("seeds=[0, 1, 2, 3]")
        .set("slurm={time: '5:00', cpus: 1}")
        .text();
    let whole = folder_with(&spec);
    assert_eq!(vlora(whole.path(), &RUN).code, 0);
    let dir = folder_with(&spec);
    let jobs = launch(dir.path(), &["--option=--nice=3", "--option=--begin=now+4"]);
    // Eight runs of the first stage, then four.
    assert_eq!(jobs.len(), 3);
    let again = vlora(dir.path(), &LAUNCH);
    assert!(
        again.code == 0 && again.out.contains("nothing to submit; 12 queued or running in Slurm"),
        "{}",
        again.out
    );
    let status = vlora(dir.path(), &["status", "--format", "json"]);
    let runs: Vec<Value> = serde_json::from_str(&status.out).unwrap();
    assert_eq!(runs.len(), 12);
    assert!(runs.iter().all(|run| run["job_state"] == "PENDING"), "{}", status.out);
    let first = runs.iter().find(|run| run["arm"] == "baseline" && run["seed"] == 0).unwrap();
    assert_eq!(first["job"], format!("{}_0", jobs[0]));
    wait_for_the_end_of_all_jobs();
    let results = dir.path().join("results/tiny");
    assert_same_bits(dir.path(), whole.path(), jobs[0]);
    assert!(run_folders(&results).iter().all(|run| sessions(run).len() == 1));
    let status = vlora(dir.path(), &["status"]);
    assert_eq!(status.out, "tiny: 12 of 12 finished (100.0 %); 12 finished\n");
    let done = vlora(dir.path(), &LAUNCH);
    assert_eq!(done.out, "tiny: nothing to submit; 12 finished\n");
    // One job can train several.
    let few = folder_with(&spec);
    assert_eq!(launch(few.path(), &["--runs-per-job", "4"]).len(), 2);
    wait_for_the_end_of_all_jobs();
    assert!(
        evidence(&few.path().join("results/tiny")) == evidence(&whole.path().join("results/tiny"))
    );
}

/// Slurm's warning, as it comes before the time ends.
#[test]
#[ignore = "needs a Slurm, as scripts/slurm.sh starts it"]
fn a_warned_job_gets_another_turn_and_ends_in_the_same_bits() {
    let (whole, dir) = long_run();
    let job = launch(dir.path(), &[])[0];
    for _ in 0..2 {
        let run = wait_for_a_checkpoint(dir.path());
        let before = sessions(&run).len();
        slurm(&["scancel", "--signal=USR1", "--batch", &job.to_string()]);
        wait_until("the job waits again", || state(job) == "PENDING");
        wait_until("the next turn", || {
            sessions(&run).len() > before || run.join(RunFolder::RESULT).exists()
        });
    }
    wait_for_the_end_of_all_jobs();
    let results = dir.path().join("results/tiny");
    assert_same_bits(dir.path(), whole.path(), job);
    let run = run_folders(&results).remove(0);
    let begun: Vec<u64> =
        sessions(&run).iter().map(|session| session["resumed_at"].as_u64().unwrap()).collect();
    assert!(begun.len() == 3 && begun.is_sorted(), "{begun:?}");
    // A job that is cancelled gets no other turn, and leaves its checkpoint.
    fs::remove_dir_all(&run).unwrap();
    let job = launch(dir.path(), &[])[0];
    let run = wait_for_a_checkpoint(dir.path());
    slurm(&["scancel", &job.to_string()]);
    wait_for_the_end_of_all_jobs();
    assert!(run.join(RunFolder::CHECKPOINT).exists() && !run.join(RunFolder::RESULT).exists());
    assert_eq!(vlora(dir.path(), &RUN).code, 0);
    assert!(evidence(&results) == evidence(&whole.path().join("results/tiny")));
}

/// A node that fails gives no warning: the program is killed with it. Slurm begins its job again.
#[test]
#[ignore = "needs a Slurm, as scripts/slurm.sh starts it"]
fn a_job_whose_node_fails_goes_on_from_its_checkpoint() {
    let (whole, dir) = long_run();
    let job = launch(dir.path(), &[])[0];
    let run = wait_for_a_checkpoint(dir.path());
    let claim = json(&run.join(".claim"));
    // SAFETY: the process of the claim is of this test.
    unsafe { libc::kill(claim["process"].as_i64().unwrap() as libc::pid_t, libc::SIGSTOP) };
    set_node("DOWN");
    // SAFETY: as above; it is stopped, so its number is still its own.
    unsafe { libc::kill(claim["process"].as_i64().unwrap() as libc::pid_t, libc::SIGKILL) };
    wait_until("the job waits", || state(job) == "PENDING");
    assert!(!run.join(RunFolder::RESULT).exists());
    resume_node();
    wait_for_the_end_of_all_jobs();
    assert_same_bits(dir.path(), whole.path(), job);
    assert!(sessions(&run)[1]["resumed_at"].as_u64().unwrap() > 0);
}

/// A node that is drained ends what it runs and begins nothing new.
#[test]
#[ignore = "needs a Slurm, as scripts/slurm.sh starts it"]
fn jobs_wait_for_a_node_that_is_drained() {
    let spec = Spec::tiny().set("seeds=[0, 1, 2]").text();
    let whole = folder_with(&spec);
    assert_eq!(vlora(whole.path(), &RUN).code, 0);
    let dir = folder_with(&spec);
    // One after another.
    let jobs = launch(dir.path(), &["--at-once", "1"]);
    let results = dir.path().join("results/tiny");
    wait_until("the first run", || results.join("runs").exists());
    set_node("DRAIN");
    wait_until("only waiting jobs", || {
        jobs.iter().all(|job| state(*job).lines().all(|state| state == "PENDING"))
    });
    let finished =
        || run_folders(&results).iter().filter(|run| run.join(RunFolder::RESULT).exists()).count();
    let done = finished();
    assert!((1..6).contains(&done), "{done}");
    let status = vlora(dir.path(), &["status"]);
    assert!(status.out.contains("PENDING ("), "{}", status.out);
    resume_node();
    wait_for_the_end_of_all_jobs();
    assert!(evidence(&results) == evidence(&whole.path().join("results/tiny")));
}

/// The last task of an array has the array's own job number. A warning is about one task.
#[test]
#[ignore = "needs a Slurm, as scripts/slurm.sh starts it"]
fn a_warned_task_leaves_the_others_of_its_array_alone() {
    let spec =
        Spec::tiny().set("training.epochs=24").without("arms.vlora").set("seeds=[0, 1, 2]").text();
    let whole = folder_with(&spec);
    assert_eq!(vlora(whole.path(), &RUN).code, 0);
    let dir = folder_with(&spec);
    let job = launch(dir.path(), &[])[0];
    let results = dir.path().join("results/tiny");
    let has_checkpoint = |run: &PathBuf| run.join(RunFolder::CHECKPOINT).exists();
    wait_until("three checkpoints", || {
        results.join("runs").exists()
            && run_folders(&results).iter().filter(|run| has_checkpoint(run)).count() == 3
    });
    slurm(&["scancel", "--signal=USR1", "--batch", &format!("{job}_2")]);
    wait_for_the_end_of_all_jobs();
    assert_same_bits(dir.path(), whole.path(), job);
    let mut turns: Vec<usize> =
        run_folders(&results).iter().map(|run| sessions(run).len()).collect();
    turns.sort();
    assert_eq!(turns, [1, 1, 2]);
}

/// Runs whose start fails, fail alone and say why; the others of their job are trained.
#[test]
#[ignore = "needs a Slurm, as scripts/slurm.sh starts it"]
fn a_failed_start_fails_what_starts_from_it() {
    let spec = Spec::tiny()
        .set("arms.baseline.training={learning_rate: 1.0e+30}")
        .set("training.warmup_ratio=0")
        .arm("after", "{start: {arm: baseline}, lora: {rank: 2}}")
        .arm("other", "{start: {arm: vlora}, lora: {rank: 2}}")
        .text();
    let dir = folder_with(&spec);
    assert_eq!(launch(dir.path(), &["--runs-per-job", "4"]).len(), 2);
    wait_for_the_end_of_all_jobs();
    let status = vlora(dir.path(), &["status", "--format", "json"]);
    let runs: Vec<Value> = serde_json::from_str(&status.out).unwrap();
    let states: Vec<(&str, &str)> = runs
        .iter()
        .map(|run| (run["arm"].as_str().unwrap(), run["state"].as_str().unwrap()))
        .collect();
    assert_eq!(
        states,
        [("baseline", "failed"), ("vlora", "finished"), ("after", "failed"), ("other", "finished")]
    );
    let after = runs.iter().find(|run| run["arm"] == "after").unwrap();
    assert!(
        after["reason"].as_str().unwrap().contains("whose run with seed 0 has failed"),
        "{after}"
    );
}

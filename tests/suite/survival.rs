//! Runs that are stopped at any moment end as if they had not been.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use vlora::random::{Purpose, Stream};
use vlora::results::RunFolder;

use crate::common::program::{command, folder_with, vlora};
use crate::common::results::{evidence, json, run_folders};
use crate::common::spec::Spec;

const RUN: [&str; 5] = ["run", "tiny.yaml", "-q", "--device", "cpu"];

/// Three arms, with what has a state or random numbers of its own: augmentation, a best epoch, LoRA's
/// dropout, and a run that starts from another's weights.
fn sweep() -> String {
    Spec::tiny()
        .set("training.epochs=2")
        .set("training.select=best")
        .arm("lora", "{start: {arm: baseline}, lora: {rank: 2, dropout: 0.2}}")
        .text()
}

fn start(dir: &Path, more: &[&str]) -> Child {
    command(dir).args(RUN).args(more).spawn().unwrap()
}

/// Waits until a run of the experiment has recorded steps, or the program has ended.
fn wait_for_steps(dir: &Path, child: &mut Child) {
    let runs = dir.join("results/tiny/runs");
    let has_steps =
        |run: &Path| fs::metadata(run.join(RunFolder::STEPS)).is_ok_and(|m| m.len() > 0);
    let any = || {
        let entries = fs::read_dir(&runs).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).any(|run| has_steps(&run))
    };
    while !any() && child.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(2));
    }
}

/// `kill -9` at random moments of a sweep, within epochs, too: every run ends in the bits of one that was
/// left alone. VLORA_KILLS says how often.
#[test]
fn a_sweep_that_is_killed_again_and_again_ends_in_the_same_bits() {
    let kills = std::env::var("VLORA_KILLS").map_or(6, |n| n.parse().unwrap());
    let whole = folder_with(&sweep());
    let ran = vlora(whole.path(), &RUN);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let want = evidence(&whole.path().join("results/tiny"));

    let dir = folder_with(&sweep());
    let mut stream = Stream::new(20, Purpose::Noise, "kills");
    let mut ended_by_itself = 0;
    for _ in 0..kills {
        let mut child = start(dir.path(), &["--checkpoint-steps", "5"]);
        // Its start takes some time, in which nothing can be lost.
        sleep(Duration::from_secs_f64(0.02 + 0.8 * stream.uniform()));
        ended_by_itself += u32::from(child.try_wait().unwrap().is_some());
        let _ = child.kill();
        child.wait().unwrap();
    }
    let ran = vlora(dir.path(), &RUN);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(evidence(&dir.path().join("results/tiny")) == want, "some run ended elsewhere");
    // Nothing that is half written is left.
    for run in run_folders(&dir.path().join("results/tiny")) {
        let names = fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name());
        let odd: Vec<_> = names.filter(|n| n.to_string_lossy().contains("checkpoint")).collect();
        assert!(odd.is_empty(), "{odd:?}");
        let sessions = json(&run.join(RunFolder::PROVENANCE))["sessions"].clone();
        let recovered = sessions.as_array().unwrap().iter().any(|s| s["recovered"] != Value::Null);
        assert!(!recovered, "a checkpoint was damaged: {sessions}");
    }
    assert!(ended_by_itself < kills.max(1), "the sweep is over before it is killed");
}

/// A signal that asks for an end is answered by a checkpoint, within a second on an idle machine, and no
/// step is trained twice.
#[cfg(unix)]
#[test]
fn a_signal_leaves_a_checkpoint_of_the_step_that_was_trained() {
    let spec = Spec::tiny().set("training.epochs=30").without("arms.vlora").text();
    let whole = folder_with(&spec);
    assert_eq!(vlora(whole.path(), &RUN).code, 0);
    let want = evidence(&whole.path().join("results/tiny"));
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1] {
        let dir = folder_with(&spec);
        let mut child = start(dir.path(), &[]);
        wait_for_steps(dir.path(), &mut child);
        let sent = Instant::now();
        // SAFETY: the child has not been waited for, so its number is still its own.
        unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        let status = child.wait().unwrap();
        // Machines under load are slow, but not this slow.
        assert!(sent.elapsed() < Duration::from_secs(30), "{signal}");
        assert_eq!(status.code(), Some(130), "{signal}");
        let run = run_folders(&dir.path().join("results/tiny")).remove(0);
        assert!(run.join(RunFolder::CHECKPOINT).exists() && !run.join(RunFolder::RESULT).exists());
        let done = fs::read_to_string(run.join(RunFolder::STEPS)).unwrap();
        let ran = vlora(dir.path(), &RUN);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let steps = fs::read_to_string(run.join(RunFolder::STEPS)).unwrap();
        assert!(steps.starts_with(&done), "{signal}: a recorded step was dropped");
        assert!(evidence(&dir.path().join("results/tiny")) == want, "{signal}");
    }
}

/// Several processes divide the runs of a folder among them; one of them is killed. VLORA_PROCESSES says
/// how many.
#[test]
fn processes_divide_the_runs_of_a_folder() {
    let processes = std::env::var("VLORA_PROCESSES").map_or(3, |n| n.parse().unwrap());
    let seeds = format!("seeds={:?}", (0..processes + 2).collect::<Vec<usize>>());
    let spec = Spec::tiny().set(&seeds).text();
    let whole = folder_with(&spec);
    assert_eq!(vlora(whole.path(), &RUN).code, 0);
    let dir = folder_with(&spec);
    let mut children: Vec<Child> = (0..processes).map(|_| start(dir.path(), &[])).collect();
    wait_for_steps(dir.path(), &mut children[0]);
    // What is under way is told, with its process.
    let status = vlora(dir.path(), &["status", "--format", "json"]);
    let runs: Vec<Value> = serde_json::from_str(&status.out).unwrap();
    assert_eq!(runs.len(), 2 * (processes + 2));
    let numbers: Vec<u64> = children.iter().map(|child| u64::from(child.id())).collect();
    for run in runs.iter().filter(|run| run["state"] == "running") {
        assert!(numbers.contains(&run["process"].as_u64().unwrap()), "{run}");
    }
    let mut killed = children.remove(0);
    let _ = killed.kill();
    killed.wait().unwrap();
    for mut child in children {
        // A process that ends while another trains its last run says so.
        assert!(matches!(child.wait().unwrap().code(), Some(0 | 1)));
    }
    let ran = vlora(dir.path(), &RUN);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let results = dir.path().join("results/tiny");
    assert!(evidence(&results) == evidence(&whole.path().join("results/tiny")));
    // No run was done twice: but for those of the process that was killed, each has one session.
    let sessions = |run: &PathBuf| {
        let provenance = json(&run.join(RunFolder::PROVENANCE));
        provenance["sessions"].as_array().unwrap().len()
    };
    let runs = run_folders(&results);
    assert!(runs.iter().filter(|run| sessions(run) > 1).count() <= 1);
    assert!(runs.iter().all(|run| sessions(run) <= 2 && !run.join(".claim").exists()));
    let status = vlora(dir.path(), &["status"]);
    let all = 2 * (processes + 2);
    let want = format!("tiny: {all} of {all} finished (100.0 %); {all} finished\n");
    assert_eq!(status.out, want);
}

/// A sweep that is carried run by run, as a scheduler would, and within budgets of time, is the same.
#[test]
fn a_sweep_is_carried_by_one_command_a_run() {
    let whole = folder_with(&sweep());
    assert_eq!(vlora(whole.path(), &RUN).code, 0);
    let dir = folder_with(&sweep());
    let plan = vlora(dir.path(), &["plan", "tiny.yaml", "--format", "json"]);
    let runs: Vec<Value> = serde_json::from_str(&plan.out).unwrap();
    let id = |arm: &str, field: &str| {
        let run = runs.iter().find(|run| run["arm"] == arm).unwrap();
        run[field].as_str().map(str::to_string)
    };
    assert_eq!(
        (id("lora", "starts_from"), id("vlora", "starts_from")),
        (id("baseline", "run"), None)
    );
    let lora = id("lora", "run").unwrap();
    let early = vlora(dir.path(), &[&RUN[..], &["--only", &lora]].concat());
    assert!(early.code == 2 && early.err.contains("is not finished"), "{}", early.err);
    let unknown = vlora(dir.path(), &[&RUN[..], &["--only", "0123456789ab"]].concat());
    assert!(unknown.code == 2 && unknown.err.contains("the plan has no run"), "{}", unknown.err);
    for arm in ["vlora", "baseline", "lora"] {
        let id = id(arm, "run").unwrap();
        let mut tries = 0;
        loop {
            let ran =
                vlora(dir.path(), &[&RUN[..], &["--only", &id, "--time-budget", "0.6s"]].concat());
            tries += 1;
            match ran.code {
                0 => break,
                130 if tries < 200 => {}
                code => panic!("{arm}: {code} {}", ran.err),
            }
        }
    }
    assert!(
        evidence(&dir.path().join("results/tiny")) == evidence(&whole.path().join("results/tiny"))
    );
}

/// The first failure ends the command if that is wanted, and names its run.
#[test]
fn a_failure_stops_the_others_if_it_is_wanted() {
    let spec = Spec::tiny()
        .set("arms.baseline.training={learning_rate: 1.0e+30}")
        .set("training.warmup_ratio=0")
        .text();
    let dir = folder_with(&spec);
    let ran = vlora(dir.path(), &[&RUN[..], &["--fail-fast"]].concat());
    assert!(ran.code == 1 && ran.err.contains("baseline seed 0: a run failed"), "{}", ran.err);
    assert_eq!(run_folders(&dir.path().join("results/tiny")).len(), 1);
    let ran = vlora(dir.path(), &RUN);
    assert!(ran.code == 1 && ran.err.contains("1 of 2 runs failed"), "{}", ran.err);
}

/// How often checkpoints are written changes no result and no id.
#[test]
fn the_interval_of_checkpoints_changes_nothing() {
    let spec = Spec::tiny().without("arms.vlora").text();
    let of = |more: &[&str]| {
        let dir = folder_with(&spec);
        let ran = vlora(dir.path(), &[&RUN[..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        evidence(&dir.path().join("results/tiny"))
    };
    let want = of(&[]);
    assert!(of(&["--checkpoint-steps", "1"]) == want);
    assert!(of(&["--checkpoint-minutes", "0.00001"]) == want);
    for faulty in [["--checkpoint-steps", "0"], ["--checkpoint-minutes", "-1"]] {
        let refused = vlora(folder_with(&spec).path(), &[&RUN[..], &faulty].concat());
        assert_eq!(refused.code, 2, "{}", refused.err);
    }
}

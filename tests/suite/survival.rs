//! Runs that are stopped at any moment end as if they had not been.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use vlora::random::{Purpose, Stream};
use vlora::results::RunFolder;
use vlora::train::Checkpoint;

use crate::common::hash::sha256;
#[cfg(target_os = "linux")]
use crate::common::program::without_locks;
use crate::common::program::{Ran, command, folder_with, vlora};
use crate::common::results::{self, evidence, json, run_folders};
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

/// Bytes of the records of steps, and the checkpoints' times, of all runs of the experiment.
fn trace(dir: &Path) -> Vec<(u64, Option<SystemTime>)> {
    let entries = fs::read_dir(dir.join("results/tiny/runs")).into_iter().flatten().flatten();
    let of_run = |run: PathBuf| {
        let steps = fs::metadata(run.join(RunFolder::STEPS)).map_or(0, |meta| meta.len());
        let checkpoint = fs::metadata(run.join(RunFolder::CHECKPOINT)).and_then(|m| m.modified());
        (steps, checkpoint.ok())
    };
    entries.map(|entry| of_run(entry.path())).collect()
}

/// Waits until a run of the experiment leaves another trace than `before`, of which some steps are
/// recorded, or the program has ended.
fn wait_for_progress(dir: &Path, child: &mut Child, before: &[(u64, Option<SystemTime>)]) {
    let has_gone_on = |now: &[(u64, Option<SystemTime>)]| {
        now != before && now.iter().any(|(steps, _)| *steps > 0)
    };
    while !has_gone_on(&trace(dir)) && child.try_wait().unwrap().is_none() {
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
    for _ in 0..kills {
        let before = trace(dir.path());
        let mut child = start(dir.path(), &["--checkpoint-steps", "5"]);
        wait_for_progress(dir.path(), &mut child, &before);
        sleep(Duration::from_secs_f64(0.1 * stream.uniform()));
        let _ = child.kill();
        child.wait().unwrap();
    }
    let ran = vlora(dir.path(), &RUN);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(evidence(&dir.path().join("results/tiny")) == want, "some run ended elsewhere");
    // Nothing that is half written is left, and no checkpoint was damaged.
    let mut resumed = 0;
    for run in run_folders(&dir.path().join("results/tiny")) {
        let names = fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        let odd = |name: &String| name.contains("checkpoint") || name.starts_with('.');
        assert_eq!(names.filter(odd).collect::<Vec<_>>(), [""; 0]);
        let sessions = json(&run.join(RunFolder::PROVENANCE))["sessions"].clone();
        let sessions = sessions.as_array().unwrap();
        assert!(sessions.iter().all(|session| session["recovered"].is_null()), "{sessions:?}");
        resumed += usize::from(sessions.len() > 1);
    }
    assert!(resumed > 0, "no run was killed while it was trained");
}

/// A signal that asks for an end is answered by a checkpoint, within a second on an idle machine, and no
/// step is trained twice.
#[cfg(unix)]
#[test]
fn a_signal_leaves_a_checkpoint_of_the_step_that_was_trained() {
    let spec = Spec::tiny().set("training.epochs=8").without("arms.vlora").text();
    let whole = folder_with(&spec);
    assert_eq!(vlora(whole.path(), &RUN).code, 0);
    let want = evidence(&whole.path().join("results/tiny"));
    // Who runs the tests may ignore INT and HUP.
    for signal in [libc::SIGTERM, libc::SIGUSR1] {
        let dir = folder_with(&spec);
        let mut child = start(dir.path(), &[]);
        wait_for_progress(dir.path(), &mut child, &[]);
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
        // The checkpoint is of the last step that was recorded: none is trained again.
        let bytes = fs::read(run.join(RunFolder::CHECKPOINT)).unwrap();
        let checkpoint = Checkpoint::from_bytes(&bytes).unwrap();
        assert_eq!(checkpoint.state.step, done.lines().count() as u64, "{signal}");
        let ran = vlora(dir.path(), &RUN);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let steps = fs::read_to_string(run.join(RunFolder::STEPS)).unwrap();
        assert!(steps.starts_with(&done), "{signal}: a recorded step was dropped");
        assert!(evidence(&dir.path().join("results/tiny")) == want, "{signal}");
    }
}

/// Several processes divide the runs of a folder among them; a quarter of them is killed. No process can lock
/// a file, as on some shared file systems. VLORA_PROCESSES and VLORA_SEEDS say how many processes and seeds.
#[test]
fn processes_divide_the_runs_of_a_folder() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let processes: usize = number("VLORA_PROCESSES", 3);
    let seeds: usize = number("VLORA_SEEDS", 5);
    let spec = Spec::tiny().set(&format!("seeds={:?}", (0..seeds).collect::<Vec<usize>>())).text();
    let whole = folder_with(&spec);
    assert_eq!(vlora(whole.path(), &RUN).code, 0);
    let dir = folder_with(&spec);
    let piped = || {
        let mut command = command(dir.path());
        #[cfg(target_os = "linux")]
        without_locks(&mut command, dir.path());
        command.args(RUN).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut children: Vec<Child> = (0..processes).map(|_| piped()).collect();
    wait_for_progress(dir.path(), &mut children[0], &[]);
    // The status names the process of each running run.
    let status = vlora(dir.path(), &["status", "--format", "json"]);
    let runs: Vec<Value> = serde_json::from_str(&status.out).unwrap();
    assert_eq!(runs.len(), 2 * seeds);
    let numbers: Vec<u64> = children.iter().map(|child| u64::from(child.id())).collect();
    for run in runs.iter().filter(|run| run["state"] == "running") {
        assert!(numbers.contains(&run["process"].as_u64().unwrap()), "{run}");
    }
    let killed = processes.div_ceil(4);
    for mut child in children.drain(..killed) {
        let _ = child.kill();
        child.wait().unwrap();
    }
    for child in children {
        // A process that ends while another trains its last run says so.
        let ended = Ran::of(child.wait_with_output().unwrap());
        let is_held = ended.code == 1 && ended.err.contains("are being trained by another process");
        assert!(ended.code == 0 || is_held, "{}: {}", ended.code, ended.err);
    }
    let ran = vlora(dir.path(), &RUN);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let results = dir.path().join("results/tiny");
    assert!(evidence(&results) == evidence(&whole.path().join("results/tiny")));
    // No run was done twice: but for those of the processes that were killed, each has one session.
    let sessions = |run: &PathBuf| {
        let provenance = json(&run.join(RunFolder::PROVENANCE));
        provenance["sessions"].as_array().unwrap().len()
    };
    let runs = run_folders(&results);
    assert!(runs.iter().filter(|run| sessions(run) > 1).count() <= killed);
    assert!(runs.iter().all(|run| sessions(run) <= 2 && !run.join(".claim").exists()));
    let status = vlora(dir.path(), &["status"]);
    let all = 2 * seeds;
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
    let mut stopped = 0;
    for arm in ["vlora", "baseline", "lora"] {
        let id = id(arm, "run").unwrap();
        // However small the budget is, each try trains a step.
        let mut budget = 0.01;
        loop {
            let seconds = format!("{budget}s");
            let arguments = ["--only", &id, "--time-budget", &seconds];
            let ran = vlora(dir.path(), &[&RUN[..], &arguments].concat());
            match ran.code {
                0 => break,
                130 => budget *= 2.0,
                code => panic!("{arm}: {code} {}", ran.err),
            }
            stopped += 1;
        }
    }
    assert!(stopped > 0, "no budget was too small");
    assert!(
        evidence(&dir.path().join("results/tiny")) == evidence(&whole.path().join("results/tiny"))
    );
}

/// A scheduler that starts a run again and again, each time killed before its first checkpoint, comes to an
/// end.
#[test]
fn a_run_that_never_keeps_a_step_fails_for_a_scheduler() {
    let spec = Spec::tiny().set("training.batch_size=1").without("arms.vlora").text();
    let dir = folder_with(&spec);
    let loud = ["run", "tiny.yaml", "--device", "cpu", "--require-progress"];
    // What tells of each start, before the first step.
    let provenance = || {
        let runs =
            fs::read_dir(dir.path().join("results/tiny/runs")).into_iter().flatten().flatten();
        let texts =
            runs.map(|run| fs::read(run.path().join(RunFolder::PROVENANCE)).unwrap_or_default());
        texts.collect::<Vec<_>>().concat()
    };
    for _ in 0..3 {
        let before = provenance();
        let mut child = start(dir.path(), &["--require-progress"]);
        while provenance() == before && child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(2));
        }
        let _ = child.kill();
        assert_eq!(child.wait().unwrap().code(), None, "the run was done too soon");
    }
    let run = run_folders(&dir.path().join("results/tiny")).remove(0);
    assert!(!run.join(RunFolder::CHECKPOINT).exists());
    let ran = vlora(dir.path(), &loud);
    assert_eq!(ran.code, 1);
    let reason = "no step was kept, though the run was started 3 times at step 0";
    assert!(ran.err.contains(reason), "{}", ran.err);
    let status = vlora(dir.path(), &["status"]);
    assert!(status.out.contains(reason), "{}", status.out);
    // With checkpoints it goes on, however often it is killed.
    for _ in 0..4 {
        let written =
            || fs::metadata(run.join(RunFolder::CHECKPOINT)).and_then(|m| m.modified()).ok();
        let before = written();
        let mut child = start(dir.path(), &["--checkpoint-steps", "20"]);
        while written() == before && child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(2));
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    let ran = vlora(dir.path(), &loud);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let provenance = json(&run.join(RunFolder::PROVENANCE));
    let begun = provenance["sessions"].as_array().unwrap().iter();
    let begun: Vec<u64> = begun.map(|session| session["resumed_at"].as_u64().unwrap()).collect();
    assert!(begun.len() == 5 && begun[0] == 0 && begun.is_sorted(), "{begun:?}");
}

/// A run that fails is tried again if that is wanted, and so are those that start from it.
#[test]
fn a_failed_run_is_tried_again() {
    let spec = Spec::tiny()
        .set("training.warmup_ratio=0")
        .set("arms.baseline.training={learning_rate: 1.0e+30}")
        .without("arms.vlora")
        .arm("after", "{start: {arm: baseline}, lora: {rank: 2}}")
        .text();
    let dir = folder_with(&spec);
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "--device", "cpu", "--retries", "2"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.err.matches("baseline seed 0: FAILED").count(), 3, "{}", ran.err);
    let record = json(&dir.path().join("results/tiny/experiment.json"));
    let failure = dir
        .path()
        .join("results/tiny/runs")
        .join(record["variants"][0]["runs"][0].as_str().unwrap());
    assert_eq!(json(&failure.join(RunFolder::FAILURE))["tries"], 3);
    let both = vlora(dir.path(), &[&RUN[..], &["--retries", "1", "--fail-fast"]].concat());
    assert_eq!(both.code, 2);
}

/// A process that waits for the runs of another trains them when that one dies.
#[test]
fn a_process_that_waits_takes_over_the_runs_of_one_that_dies() {
    let spec = Spec::tiny().set("training.epochs=40").without("arms.vlora").text();
    let whole = folder_with(&spec);
    assert_eq!(vlora(whole.path(), &RUN).code, 0);
    let dir = folder_with(&spec);
    let mut first = start(dir.path(), &[]);
    wait_for_progress(dir.path(), &mut first, &[]);
    let mut second = command(dir.path());
    second.args(["run", "tiny.yaml", "--device", "cpu", "--wait"]);
    let mut second = second.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines().map_while(Result::ok);
    let waits = lines.by_ref().any(|line| line.contains("another process is training it"));
    assert!(waits, "the first process was done too soon");
    let _ = first.kill();
    assert_eq!(first.wait().unwrap().code(), None, "the first process was done too soon");
    let told: Vec<String> = lines.collect();
    assert!(second.wait().unwrap().success(), "{told:?}");
    let results = dir.path().join("results/tiny");
    assert!(evidence(&results) == evidence(&whole.path().join("results/tiny")));
}

/// A bit that changes in what an interrupted run has left never changes what the run comes to. The checkpoint
/// before the newest is used, which the run records; or the run fails and names the file. VLORA_FLIPS says how
/// often it is tried.
#[test]
fn a_bit_that_changes_is_noticed() {
    let flips = std::env::var("VLORA_FLIPS").map_or(8, |n| n.parse().unwrap());
    let spec = Spec::tiny().set("training.epochs=3").without("arms.vlora").text();
    let whole = folder_with(&spec);
    assert_eq!(vlora(whole.path(), &RUN).code, 0);
    let want = evidence(&whole.path().join("results/tiny"));
    let dir = folder_with(&spec);
    let mut child = start(dir.path(), &["--checkpoint-steps", "5"]);
    let results = dir.path().join("results/tiny");
    let has_epoch = || {
        let runs = fs::read_dir(results.join("runs")).into_iter().flatten().flatten();
        let mut epochs =
            runs.map(|run| fs::read(run.path().join(RunFolder::EPOCHS)).unwrap_or_default());
        epochs.any(|text| !text.is_empty())
    };
    while !has_epoch() && child.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    assert_eq!(child.wait().unwrap().code(), None, "the run was done too soon");
    let run = run_folders(&results).remove(0);
    let names = [RunFolder::CHECKPOINT, RunFolder::PREVIOUS, RunFolder::STEPS, RunFolder::EPOCHS];
    // It may have been killed while one took the other's place.
    while !names.iter().all(|name| run.join(name).exists()) {
        let before = trace(dir.path());
        let mut child = start(dir.path(), &["--checkpoint-steps", "5"]);
        wait_for_progress(dir.path(), &mut child, &before);
        let _ = child.kill();
        assert_eq!(child.wait().unwrap().code(), None, "the run was done too soon");
    }
    let files = names.map(|name| (name, fs::read(run.join(name)).unwrap()));
    // How much of the records the newest checkpoint counts on.
    let newest = Checkpoint::from_bytes(&files[0].1).unwrap();
    let mut stream = Stream::new(15, Purpose::Noise, "flips");
    let (mut recovered, mut failed) = (0, 0);
    for flip in 0..flips {
        for (name, bytes) in &files {
            fs::write(run.join(name), bytes).unwrap();
        }
        for name in [RunFolder::RESULT, RunFolder::FAILURE, RunFolder::MODEL, RunFolder::TEST] {
            let _ = fs::remove_file(run.join(name));
        }
        // Each file in its turn; every second time both checkpoints.
        let (name, bytes) = &files[flip % files.len()];
        let mut flipped = vec![(*name, bytes.clone())];
        if flip % 8 == 4 {
            flipped.push((files[1].0, files[1].1.clone()));
        }
        for (name, bytes) in &mut flipped {
            let at = (stream.uniform() * bytes.len() as f64) as usize;
            bytes[at] ^= 1 << ((stream.uniform() * 8.0) as u32);
            fs::write(run.join(*name), &*bytes).unwrap();
        }
        let ran = vlora(dir.path(), &["run", "tiny.yaml", "--device", "cpu"]);
        match ran.code {
            0 => {
                assert!(evidence(&results) == want, "flip {flip} in {name}");
                let sessions = json(&run.join(RunFolder::PROVENANCE))["sessions"].clone();
                let last = sessions.as_array().unwrap().last().unwrap()["recovered"].clone();
                // A record behind those that the newest checkpoint counts on is trained again anyway.
                assert!(
                    *name != RunFolder::CHECKPOINT || last.is_string(),
                    "flip {flip} in {name}"
                );
                recovered += usize::from(last.is_string());
            }
            1 => {
                assert!(
                    ran.err.contains("cannot be resumed"),
                    "flip {flip} in {name}: {}",
                    ran.err
                );
                failed += 1;
            }
            code => panic!("flip {flip} in {name}: {code} {}", ran.err),
        }
    }
    assert!(recovered > 0 && failed > 0 && newest.state.step > 0, "{recovered} {failed}");
}

/// A full disk stops the program with what to do about it. What was there stays, and the run goes on when
/// there is room.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs the right to mount a file system"]
fn a_full_disk_stops_the_run_and_loses_nothing() {
    let spec = sweep();
    let whole = folder_with(&spec);
    assert_eq!(vlora(whole.path(), &RUN).code, 0);
    let want = evidence(&whole.path().join("results/tiny"));
    let dir = folder_with(&spec);
    let results = dir.path().join("results");
    fs::create_dir(&results).unwrap();
    let mounted = |program: &str, args: &[&str]| {
        let status = std::process::Command::new(program).args(args).arg(&results).status().unwrap();
        assert!(status.success(), "{program} {args:?}");
    };
    mounted("mount", &["-t", "tmpfs", "-o", "size=4m", "tmpfs"]);
    let mut refused = 0;
    // So many bytes are free at first, and more each time.
    for free in (0..12).map(|i| 20_000 + 15_000 * i) {
        let ballast = results.join("ballast");
        let mut bytes = 4 << 20;
        while fs::write(&ballast, vec![1; bytes]).is_err() {
            bytes -= 4096;
        }
        fs::write(&ballast, vec![1; bytes.saturating_sub(free)]).unwrap();
        let ran =
            vlora(dir.path(), &["run", "tiny.yaml", "--device", "cpu", "--checkpoint-steps", "5"]);
        if ran.code != 0 {
            assert!(ran.err.contains("No space left on device"), "{free}: {}", ran.err);
            refused += 1;
        }
    }
    assert!(refused > 2, "the disk was never full");
    fs::remove_file(results.join("ballast")).unwrap();
    let ran = vlora(dir.path(), &RUN);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let is_equal = evidence(&results.join("tiny")) == want;
    let mut sessions = run_folders(&results.join("tiny")).into_iter().flat_map(|run| {
        json(&run.join(RunFolder::PROVENANCE))["sessions"].as_array().unwrap().clone()
    });
    let is_sound = sessions.all(|session| session["recovered"].is_null());
    mounted("umount", &[]);
    assert!(is_equal && is_sound);
}

/// The first failure ends the command if that is wanted, and names its run.
#[test]
fn a_failure_stops_the_others_if_it_is_wanted() {
    let spec = Spec::tiny()
        .set("arms.baseline.training={learning_rate: 1.0e+30}")
        .set("training.warmup_ratio=0")
        .without("arms.vlora")
        .arm("after", "{start: {arm: baseline}, lora: {rank: 2}}")
        .arm("vlora", "{method: vlora, training: {epochs: 20}}")
        .text();
    for jobs in ["1", "2"] {
        let dir = folder_with(&spec);
        let ran = vlora(dir.path(), &[&RUN[..], &["--fail-fast", "--jobs", jobs]].concat());
        assert!(ran.code == 1 && ran.err.contains("baseline seed 0: a run failed"), "{}", ran.err);
        let states = vlora(dir.path(), &["status", "--format", "json"]).out;
        let runs: Vec<Value> = serde_json::from_str(&states).unwrap();
        let state = |arm: &str| runs.iter().find(|r| r["arm"] == arm).unwrap()["state"].clone();
        assert_eq!((state("baseline"), state("after")), ("failed".into(), "planned".into()));
        assert_ne!(state("vlora"), "finished");
    }
    let dir = folder_with(&spec);
    let ran = vlora(dir.path(), &[&RUN[..], &["--set", "arms.vlora.training.epochs=1"]].concat());
    assert!(ran.code == 1 && ran.err.contains("2 of 3 runs failed"), "{}", ran.err);
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

/// A finished run is repeated, in full or its first steps, and the verdict stands under the table. A record
/// of it that was changed, with its hash, is found.
#[test]
fn a_run_is_repeated_and_compared_to_the_bit() {
    let dir = folder_with(&sweep());
    assert_eq!(vlora(dir.path(), &RUN).code, 0);
    let results = dir.path().join("results/tiny");
    let id = |arm: &str| {
        let run = results::run_of(&results, arm);
        format!("results/tiny/runs/{}", run.file_name().unwrap().to_str().unwrap())
    };
    let verify = |arm: &str, more: &[&str]| {
        vlora(dir.path(), &[&["verify", &id(arm), "--device", "cpu"][..], more].concat())
    };
    let first = verify("baseline", &[]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.out.contains("its first 20 steps, interrupted and resumed"), "{}", first.out);
    let full = verify("lora", &["--full"]);
    assert_eq!(full.code, 0, "{}", full.err);
    assert!(full.out.contains("the whole run"), "{}", full.out);
    let table = vlora(dir.path(), &["report", "results/tiny"]).out;
    assert!(table.contains("1 of 3 runs were repeated in full"), "{table}");
    assert!(table.contains("1 of 3 runs were repeated in their first steps"), "{table}");
    // Nothing of the repetition is left.
    let left = fs::read_dir(&results).unwrap().map(|e| e.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with('.')));

    // Another value in the third step, with the hash that belongs to it.
    let run = dir.path().join(id("vlora"));
    let steps = fs::read_to_string(run.join(RunFolder::STEPS)).unwrap();
    let third = steps.lines().nth(2).unwrap();
    let other = third.replacen("\"loss\":", "\"loss\":1", 1);
    let forged = steps.replacen(third, &other, 1);
    fs::write(run.join(RunFolder::STEPS), &forged).unwrap();
    let mut result = json(&run.join(RunFolder::RESULT));
    let record = &mut result["files"][RunFolder::STEPS];
    record["bytes"] = forged.len().into();
    record["sha256"] = sha256(forged.as_bytes()).into();
    fs::write(run.join(RunFolder::RESULT), result.to_string()).unwrap();
    let found = verify("vlora", &[]);
    assert!(found.code == 1 && found.err.contains("the record of step 3 differs"), "{}", found.err);
    let table = vlora(dir.path(), &["report", "results/tiny"]).out;
    assert!(table.contains("was repeated and is not the same: the record of step 3"), "{table}");
    let nothing = vlora(dir.path(), &["verify", "results/tiny", "--device", "cpu"]);
    assert!(
        nothing.code == 2 && nothing.err.contains("not the folder of a run"),
        "{}",
        nothing.err
    );
}

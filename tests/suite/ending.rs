//! Trainings that end early, and what is kept of runs afterwards.

use std::path::Path;

use serde_json::Value;
use vlora::results::RunFolder;

use crate::common::program::{Ran, command, folder_with, vlora};
use crate::common::results::{evidence, json, run_folders, run_of};
use crate::common::spec::Spec;

const RUN: [&str; 5] = ["run", "tiny.yaml", "-q", "--device", "cpu"];

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs the spec in turns, each with more time than the one before.
fn interrupted_again_and_again(dir: &Path, seconds: f64) {
    let mut budget = seconds;
    let mut turns = 0;
    loop {
        let ran = vlora(dir, &[&RUN[..], &["--time-budget", &format!("{budget}s")]].concat());
        match ran.code {
            0 => break,
            130 => turns += 1,
            code => panic!("{code}: {}", ran.err),
        }
        budget *= 1.4;
    }
    assert!(turns > 0, "it was never interrupted");
}

/// Training may end within an epoch. What is trained by then is that of a training with the same schedule.
#[test]
fn a_training_ends_after_its_steps() {
    let tiny = Spec::tiny().set("training.epochs=3").without("arms.vlora");
    let dir = folder_with(&tiny.clone().text());
    assert_eq!(vlora(dir.path(), &RUN).code, 0);
    let whole = run_of(&dir.path().join("results/tiny"), "baseline");
    let all = lines(&whole.join(RunFolder::STEPS)).len();
    let an_epoch = all / 3;
    for (steps, epochs) in [(an_epoch + 5, 2), (an_epoch, 1), (3, 1)] {
        let dir = folder_with(&tiny.clone().set(&format!("training.steps={steps}")).text());
        let ran = vlora(dir.path(), &RUN);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.contains(&format!("3 epochs, ended after {steps} steps")), "{}", ran.out);
        let run = run_of(&dir.path().join("results/tiny"), "baseline");
        let of_steps = lines(&run.join(RunFolder::STEPS));
        assert_eq!(of_steps.len(), steps);
        // The schedule comes to its end.
        assert!(of_steps[steps - 1]["learning_rate"].as_f64().unwrap() < 1.5e-3);
        let of_epochs = lines(&run.join(RunFolder::EPOCHS));
        assert_eq!(of_epochs.len(), epochs);
        assert_eq!(of_epochs[epochs - 1]["step"], steps);
        let result = json(&run.join(RunFolder::RESULT));
        assert_eq!((&result["steps"], &result["selected_epoch"]), (&steps.into(), &epochs.into()));
        // Images: batches of 100, of which an epoch's last may have fewer.
        let images =
            result["throughput"].as_f64().unwrap() * result["training_seconds"].as_f64().unwrap();
        let train =
            json(&run.join(RunFolder::PROVENANCE))["train_examples"].as_u64().unwrap() as usize;
        let rest = if steps % an_epoch == 0 { 0 } else { 100 * (steps % an_epoch) };
        assert_eq!(images.round() as usize, train * (steps / an_epoch) + rest);
        // Interrupted in its last, cut epoch, it ends the same.
        let again = folder_with(&tiny.clone().set(&format!("training.steps={steps}")).text());
        interrupted_again_and_again(again.path(), 0.01);
        assert!(
            evidence(&again.path().join("results/tiny"))
                == evidence(&dir.path().join("results/tiny"))
        );
    }
    // As many as there are change nothing of the training.
    let dir = folder_with(&tiny.clone().set(&format!("training.steps={all}")).text());
    assert_eq!(vlora(dir.path(), &RUN).code, 0);
    let run = run_of(&dir.path().join("results/tiny"), "baseline");
    let steps = |run: &Path| std::fs::read(run.join(RunFolder::STEPS)).unwrap();
    assert!(steps(&run) == steps(&whole));
    let dir = folder_with(&tiny.set(&format!("training.steps={}", all + 1)).text());
    let ran = vlora(dir.path(), &RUN);
    assert!(ran.code == 2 && ran.err.contains("the epochs have fewer steps"), "{}", ran.err);
    assert!(ran.err.contains("`training.epochs: 4` has as many"), "{}", ran.err);
    // A step ends with its epoch, so that it cannot have more batches.
    let plan = ["plan", "tiny.yaml", "--device", "cpu", "--set"];
    let with = |batches: usize| {
        let set = format!("training.accumulation={batches}");
        vlora(dir.path(), &[&plan[..], &[&set, "--set", "training.steps=null"]].concat())
    };
    assert_eq!(with(an_epoch).code, 0, "{}", with(an_epoch).err);
    let ran = with(an_epoch + 1);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("arm baseline: training.accumulation: an epoch has fewer batches"),
        "{}",
        ran.err
    );
}

/// Out of patience: the last epochs were no better, and the best one is tested.
#[test]
fn a_training_ends_when_it_gets_no_better() {
    let spec = Spec::tiny()
        .set(
            "training={epochs: 40, patience: 2, select: best, learning_rate: 0.3, batch_size: 200}",
        )
        .without("arms.vlora");
    let dir = folder_with(&spec.clone().text());
    let ran = vlora(dir.path(), &RUN);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("no better for 2 epochs"), "{}", ran.out);
    let results = dir.path().join("results/tiny");
    let run = run_of(&results, "baseline");
    let epochs = lines(&run.join(RunFolder::EPOCHS));
    let metrics: Vec<f64> =
        epochs.iter().map(|epoch| epoch["validation_metric"].as_f64().unwrap()).collect();
    let best = |metrics: &[f64]| {
        let most = metrics.iter().copied().fold(f64::MIN, f64::max);
        metrics.iter().position(|metric| *metric == most).unwrap() + 1
    };
    assert!(epochs.len() < 40, "{metrics:?}");
    assert_eq!(epochs.len(), best(&metrics) + 2);
    // Not sooner: before, a better one was at most an epoch back.
    for epoch in 1..epochs.len() {
        assert!(best(&metrics[..epoch]) + 2 > epoch, "{metrics:?}");
    }
    assert_eq!(json(&run.join(RunFolder::RESULT))["selected_epoch"], best(&metrics));
    assert_eq!(vlora(dir.path(), &["report", "results/tiny"]).code, 0);
    // The same with an interruption in between.
    let again = folder_with(&spec.clone().text());
    interrupted_again_and_again(again.path(), 0.2);
    assert!(evidence(&again.path().join("results/tiny")) == evidence(&results));
    let dir = folder_with(&spec.set("training.select=last").text());
    let ran = vlora(dir.path(), &RUN);
    assert!(
        ran.code == 2 && ran.err.contains("patience needs weights that validation selects"),
        "{}",
        ran.err
    );
}

/// Weights are removed once nothing starts from them, and no sooner.
#[test]
fn weights_that_nothing_needs_are_not_kept() {
    let spec = Spec::tiny().arm("after", "{start: {arm: baseline}, lora: {rank: 2}}").text();
    let dir = folder_with(&spec);
    let results = dir.path().join("results/tiny");
    let with_weights = || {
        let runs = run_folders(&results);
        runs.into_iter().filter(|run| run.join(RunFolder::MODEL).exists()).collect::<Vec<_>>()
    };
    let plan = vlora(dir.path(), &["plan", "tiny.yaml", "--format", "json"]);
    let plan: Vec<Value> = serde_json::from_str(&plan.out).unwrap();
    let id =
        |arm: &str| plan.iter().find(|run| run["arm"] == arm).unwrap()["run"].as_str().unwrap();
    let run = |only: &str| {
        let ran = vlora(dir.path(), &[&RUN[..], &["--keep", "none", "--only", only]].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
    };
    run(id("baseline"));
    assert_eq!(with_weights(), [results.join("runs").join(id("baseline"))]);
    run(id("vlora"));
    assert_eq!(with_weights(), [results.join("runs").join(id("baseline"))]);
    run(id("after"));
    assert!(with_weights().is_empty());
    // They count as finished, and nothing is trained again.
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "--device", "cpu"]);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.err.matches("finished before").count(), 3, "{}", ran.err);
    let listed = vlora(dir.path(), &["runs"]);
    assert!(listed.out.contains("3 finished runs without weights"), "{}", listed.out);
}

#[test]
fn a_run_says_what_its_id_is_made_of() {
    let dir = folder_with(&Spec::tiny().text());
    assert_eq!(vlora(dir.path(), &RUN).code, 0);
    let run = run_of(&dir.path().join("results/tiny"), "vlora");
    let why = |run: &Path| {
        let ran = Ran::of(command(dir.path()).arg("why").arg(run).output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    let text = why(&run);
    assert!(text.contains("vlora seed 0 of tiny (finished)"), "{text}");
    assert!(text.contains("\n  vlora.rank: 2\n") && text.contains("\n  seed: 0\n"), "{text}");
    assert!(text.contains("  baseline\n    method: dense there, vlora here\n"), "{text}");
    // Of a run that is compared no more.
    let ran = vlora(dir.path(), &[&RUN[..], &["--set", "vlora.rank=3", "--replace"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let text = why(&run);
    assert!(text.contains("no longer compares it"), "{text}");
    assert!(text.contains("  vlora\n    vlora.rank: 3 there, 2 here\n"), "{text}");
    let missing = vlora(dir.path(), &["why", "results/tiny"]);
    assert!(
        missing.code == 2 && missing.err.contains("not the folder of a run"),
        "{}",
        missing.err
    );
}

/// A finished run's large records are compressed, and everything that reads them goes on.
#[test]
fn large_records_are_compressed() {
    // 3,000 steps.
    let spec = Spec::tiny().without("arms.vlora").set("training.batch_size=2");
    let dir = folder_with(&spec.set("training.epochs=1").text());
    let ran = vlora(dir.path(), &RUN);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let run = run_of(&dir.path().join("results/tiny"), "baseline");
    let packed = run.join("steps.jsonl.zst");
    assert!(packed.exists() && !run.join(RunFolder::STEPS).exists());
    assert!(run.join(RunFolder::TEST).exists() && run.join(RunFolder::EPOCHS).exists());
    let result = json(&run.join(RunFolder::RESULT));
    assert!(result["files"]["steps.jsonl.zst"]["bytes"].as_u64().unwrap() < 256 << 10);
    assert!(result["files"][RunFolder::STEPS].is_null());
    for command in [&["report", "results/tiny"][..], &["verify", run.to_str().unwrap()], &RUN] {
        let ran = vlora(dir.path(), command);
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.err);
    }
    assert!(!run.join(RunFolder::STEPS).exists());
    // Another experiment takes the run over.
    let text = std::fs::read_to_string(dir.path().join("tiny.yaml")).unwrap();
    std::fs::write(dir.path().join("other.yaml"), text.replace("name: tiny", "name: other"))
        .unwrap();
    let ran = vlora(dir.path(), &["run", "other.yaml", "-q", "--device", "cpu"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(run_of(&dir.path().join("results/other"), "baseline").join("steps.jsonl.zst").exists());
    // Changed content is noticed.
    let mut bytes = std::fs::read(&packed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&packed).unwrap();
    std::fs::write(&packed, bytes).unwrap();
    let ran = vlora(dir.path(), &["report", "results/tiny"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("steps.jsonl.zst"), "{}", ran.err);
}

//! Runs that start from other weights: LoRA on top, dense models turned into compounds, files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/workers.rs"]
mod workers;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};
use common::TINY;
use vlora::error::Error;
use vlora::hub::Hub;
use vlora::models;
use vlora::report::Summary;
use vlora::results::{Conversion, ExperimentFolder, RunFolder, RunResult, StartRecord};
use vlora::runner::{Observer, Outcome, Plan, PlannedRun, execute};
use vlora::spec::{self, Experiment, Rank, Target};
use vlora::train::Step;
use workers::ALONE;

const ARMS: &str = "\
arms:
  tuned: {method: vlora, start: {arm: vlora}, lora: {rank: 2, alpha: 4, dropout: 0.1, also_train: [head]}}
  baseline: {method: dense}
  vlora: {method: vlora}
  baseline-tuned: {start: {arm: baseline}, lora: {rank: 1, targets: [attn.qkv]}}
  compressed: {method: vlora, start: {arm: baseline}}
  whole: {start: {arm: vlora}}
";

fn experiment(arms: &str, overrides: &[&str]) -> Experiment {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    let text = TINY.replace("arms:\n  baseline: {method: dense}\n  vlora: {method: vlora}\n", arms);
    assert!(text.contains(arms));
    spec::parse(text.as_bytes(), "tiny.yaml", "tiny", &overrides, &models::parameters).unwrap()
}

struct Silent;
impl Observer for Silent {}

/// Runs everything; the outcomes by label.
fn run(dir: &Path, experiment: Experiment) -> (Plan, BTreeMap<String, Outcome>) {
    let folder = ExperimentFolder::new(dir);
    let plan = Plan::new(experiment, &folder, &Hub::default()).unwrap();
    let go = AtomicBool::new(false);
    let outcomes = execute(&plan, &folder, ALONE, &go, &mut Silent).unwrap();
    let order = plan.experiment.in_order_of_start();
    let labels = order.iter().map(|i| plan.variants[*i].variant.label.clone());
    let outcomes = labels.zip(outcomes).collect();
    (plan, outcomes)
}

fn folder_of(dir: &Path, plan: &Plan, label: &str) -> RunFolder {
    let variant = plan.variants.iter().find(|v| v.variant.label == label).unwrap();
    ExperimentFolder::new(dir).run(&variant.runs[0].id)
}

fn weights(run: &RunFolder) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(run.file(RunFolder::MODEL)).unwrap();
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    tensors.iter().map(|(name, t)| (name.clone(), values(t))).collect()
}

#[test]
fn lora_trains_what_it_says_and_freezes_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, outcomes) = run(dir.path(), experiment(ARMS, &[]));
    assert!(outcomes.values().all(|o| matches!(o, Outcome::Finished(_))), "{outcomes:?}");
    for (label, base, trains_head, rank) in
        [("tuned", "vlora", true, 2), ("baseline-tuned", "baseline", false, 1)]
    {
        let (before, after) = (
            weights(&folder_of(dir.path(), &plan, base)),
            weights(&folder_of(dir.path(), &plan, label)),
        );
        let added: Vec<&String> = after.keys().filter(|n| !before.contains_key(*n)).collect();
        assert!(!added.is_empty() && added.iter().all(|n| n.contains(".lora_")), "{added:?}");
        for (name, value) in &before {
            let moves = trains_head && name.starts_with("head.");
            assert_eq!(*value != after[name], moves, "{label}: {name}");
        }
        for name in &added {
            assert!(after[*name].iter().any(|v| *v != 0.0), "{label}: {name} was not trained");
        }
        let Outcome::Finished(result) = &outcomes[label] else { panic!() };
        let head = if trains_head { 10 * 16 + 10 } else { 0 };
        let shapes: &[usize] = if rank == 2 { &[64, 32, 48, 48] } else { &[64] };
        let pairs: usize = 2 * rank * shapes.iter().sum::<usize>();
        assert_eq!(result.trained as usize, head + pairs, "{label}");
        let base: RunResult =
            folder_of(dir.path(), &plan, base).read_json(RunFolder::RESULT).unwrap();
        assert_eq!(result.parameters - base.parameters, pairs as u64);
        let start: StartRecord =
            folder_of(dir.path(), &plan, label).read_json(RunFolder::START).unwrap();
        assert_eq!(start.sha256, base.model_sha256);
        assert!(start.kept.is_empty());
    }

    // Turning a dense model into compounds says what was kept, a matrix each.
    let start: StartRecord =
        folder_of(dir.path(), &plan, "compressed").read_json(RunFolder::START).unwrap();
    let targets: Vec<Target> = start.kept.iter().map(|k| k.target).collect();
    assert_eq!(targets, Target::MATRICES);
    for kept in &start.kept {
        assert!(kept.layer == 1 && kept.rank == Rank::Of(2), "{kept:?}");
        assert!(kept.energy_kept > 0.0 && kept.energy_kept < 1.0, "{kept:?}");
        assert!(kept.relative_error > 0.0, "{kept:?}");
    }

    let summary = Summary::read(&ExperimentFolder::new(dir.path())).unwrap();
    let table = summary.markdown();
    assert!(table.contains("| trained |"), "{table}");
    for note in [
        "`tuned` starts from the tested weights of `vlora` with the same seed; those are frozen \
         and LoRA, the head are trained: rank 2, alpha 4, dropout 0.1",
        "`whole` starts from the tested weights of `vlora` with the same seed, its increments \
         and LoRA added up to dense layers; all weights are trained on",
        "`compressed` keeps",
    ] {
        assert!(table.contains(note), "{note}\n{table}");
    }
    let (_, again) = run(dir.path(), experiment(ARMS, &[]));
    assert!(again.values().all(|o| matches!(o, Outcome::AlreadyFinished(_))), "{again:?}");
}

/// Raises the flag at the n-th step of all.
struct StopAt<'a> {
    steps: u64,
    at: u64,
    stop: &'a AtomicBool,
}

impl Observer for StopAt<'_> {
    fn step(&mut self, _: &PlannedRun, _: &Step) {
        self.steps += 1;
        if self.steps == self.at {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Arms and files may be renamed: finished runs stay theirs.
#[test]
fn a_renamed_source_is_the_same_source() {
    let dir = tempfile::tempdir().unwrap();
    let (_, outcomes) = run(dir.path(), experiment(ARMS, &[]));
    assert!(outcomes.values().all(|o| matches!(o, Outcome::Finished(_))), "{outcomes:?}");
    let renamed =
        ARMS.replace("  vlora: {", "  vertical: {").replace("arm: vlora}", "arm: vertical}");
    let (plan, outcomes) = run(dir.path(), experiment(&renamed, &[]));
    assert!(outcomes.values().all(|o| matches!(o, Outcome::AlreadyFinished(_))), "{outcomes:?}");
    let folder = ExperimentFolder::new(dir.path());
    let table = Summary::of(plan.record(), &folder).unwrap().markdown();
    assert!(table.contains("`tuned` starts from the tested weights of `vertical`"), "{table}");

    // A source that was trained to other weights since is told.
    let start = folder_of(dir.path(), &plan, "tuned").file(RunFolder::START);
    let text = fs::read_to_string(&start).unwrap();
    let record: StartRecord = serde_json::from_str(&text).unwrap();
    fs::write(&start, text.replace(&record.sha256, &"0".repeat(64))).unwrap();
    let told = Summary::of(plan.record(), &folder).unwrap_err().to_string();
    assert!(told.contains("started from other weights than `vertical` now has"), "{told}");
}

/// Points of a sweep that mean the same are one variant, also for those that start from it.
#[test]
fn starts_of_merged_points_are_the_variant_that_is_kept() {
    let arms = "\
arms:
  baseline: {method: dense}
  tuned: {method: vlora, start: {arm: vlora}, lora: {rank: 1}}
  vlora: {method: vlora}
sweep:
  vlora.targets: [[attn.qkv, mlp.fc2], [mlp.fc2, attn.qkv], [attn.qkv]]
";
    let e = experiment(arms, &[]);
    let labels: Vec<&str> = e.variants.iter().map(|v| v.label.as_str()).collect();
    assert_eq!(labels.len(), 5, "{labels:?}");
    assert_eq!(e.variants[1].start.as_deref(), Some(labels[3]));
    assert_eq!(e.variants[2].start.as_deref(), Some(labels[4]));
    assert_eq!(e.in_order_of_start(), [0, 3, 1, 4, 2]);
}

/// With dropout, whose masks need no stored generator.
#[test]
fn an_interrupted_lora_run_ends_as_an_uninterrupted_one() {
    let arms = "\
arms:
  baseline: {method: dense}
  tuned: {start: {arm: baseline}, lora: {rank: 2, dropout: 0.2}}
";
    let settings = ["training.epochs=2", "training.batch_size=300"];
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (plan, _) = run(whole.path(), experiment(arms, &settings));
    let folder = ExperimentFolder::new(parts.path());
    let stop = AtomicBool::new(false);
    // Twenty steps an epoch: in the second epoch of the second run.
    let mut observer = StopAt { steps: 0, at: 70, stop: &stop };
    let interrupted = Plan::new(experiment(arms, &settings), &folder, &Hub::default()).unwrap();
    let stopped = execute(&interrupted, &folder, ALONE, &stop, &mut observer);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert!(folder_of(parts.path(), &plan, "tuned").file(RunFolder::CHECKPOINT).exists());
    run(parts.path(), experiment(arms, &settings));
    for label in ["baseline", "tuned"] {
        for file in [RunFolder::MODEL, RunFolder::STEPS, RunFolder::TEST, RunFolder::START] {
            let read = |dir: &Path| fs::read(folder_of(dir, &plan, label).file(file)).ok();
            assert!(read(whole.path()) == read(parts.path()), "{label}: {file} differs");
        }
    }
}

#[test]
fn a_run_fails_with_the_one_it_starts_from() {
    let dir = tempfile::tempdir().unwrap();
    let arms = "\
arms:
  baseline: {training: {learning_rate: 1.0e+30, warmup_ratio: 0}}
  tuned: {start: {arm: baseline}, lora: {rank: 2}}
  vlora: {method: vlora}
";
    let (_, outcomes) = run(dir.path(), experiment(arms, &[]));
    let Outcome::Failed(reason) = &outcomes["tuned"] else { panic!("{outcomes:?}") };
    assert_eq!(reason, "it starts from `baseline`, whose run with seed 0 has failed");
    assert!(matches!(outcomes["vlora"], Outcome::Finished(_)));
}

/// A run's folder and a copy of its file start the same run, whatever they are called: the id
/// follows the weights.
#[test]
fn a_checkpoint_on_disk_is_a_start_and_decides_the_id() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, _) = run(&dir.path().join("first"), experiment(ARMS, &[]));
    let made = folder_of(&dir.path().join("first"), &plan, "vlora");
    let id = |from: &Path, more: &[&str]| {
        let checkpoint =
            format!("arms.tuned.start={{arm: null, checkpoint: '{}'}}", from.display());
        let settings: Vec<&str> =
            [checkpoint.as_str()].into_iter().chain(more.iter().copied()).collect();
        let folder = ExperimentFolder::new(dir.path().join("second"));
        let plan = Plan::new(experiment(ARMS, &settings), &folder, &Hub::default());
        plan.map(|p| p.variants[0].runs[0].id.clone()).map_err(|e| e.to_string())
    };
    let copy = dir.path().join("copy.safetensors");
    fs::copy(made.file(RunFolder::MODEL), &copy).unwrap();
    let same = id(made.path(), &[]).unwrap();
    assert_eq!(id(&copy, &[]).unwrap(), same);
    assert_ne!(id(folder_of(&dir.path().join("first"), &plan, "whole").path(), &[]).unwrap(), same);

    let other = id(&copy, &["model.heads=4"]).unwrap_err();
    assert!(other.contains("the checkpoint is of another model"), "{other}");
    assert!(other.contains("model.heads: 2") && other.contains("expected: 4"), "{other}");
    let missing = id(&dir.path().join("none.safetensors"), &[]).unwrap_err();
    assert!(missing.contains("none.safetensors"), "{missing}");
}

/// `vlora compress` and `start` convert alike, and a checkpoint of the same increments under
/// other words is taken as it is.
#[test]
fn a_compressed_file_is_what_a_start_makes() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, _) = run(&dir.path().join("first"), experiment(ARMS, &[]));
    let dense = folder_of(&dir.path().join("first"), &plan, "baseline");
    let file = dir.path().join("compressed.safetensors");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_vlora"))
        .args(["compress", "--compound-size", "2", "--rank", "2", "--format", "csv", "--out"])
        .arg(&file)
        .arg(dense.path())
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert_eq!(out.lines().count(), 1 + 4, "{out}");
    let start: StartRecord = folder_of(&dir.path().join("first"), &plan, "compressed")
        .read_json(RunFolder::START)
        .unwrap();
    assert_eq!((start.kept.len(), start.conversion), (4, Conversion::Decomposed));
    for (line, kept) in out.lines().skip(1).zip(&start.kept) {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!((fields[0], fields[1]), (kept.layer.to_string().as_str(), kept.target.name()));
        assert_eq!(fields[3].parse::<f64>().unwrap(), kept.energy_kept);
        assert_eq!(fields[4].parse::<f64>().unwrap(), kept.relative_error);
    }
    let arms = format!(
        "arms:\n  baseline: {{method: dense}}\n  again: {{method: vlora, start: {{checkpoint: '{}'}}, \
         vlora: {{rank: 3, alpha: 1.5, targets: [mlp.fc1, mlp.fc2, attn.qkv, \
         {{target: attn.proj, rank: 2, alpha: 1}}]}}}}\n",
        file.display()
    );
    let settings = ["arms.again.vlora.rank=2", "arms.again.vlora.alpha=1"];
    let folder = dir.path().join("second");
    let (plan, outcomes) = run(&folder, experiment(&arms, &settings));
    assert!(matches!(outcomes["again"], Outcome::Finished(_)), "{outcomes:?}");
    let start: StartRecord =
        folder_of(&folder, &plan, "again").read_json(RunFolder::START).unwrap();
    assert_eq!(start.conversion, Conversion::None, "the same increments were decomposed again");
    assert!(start.kept.is_empty());
}

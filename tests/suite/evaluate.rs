//! `vlora evaluate`: what a checkpoint does, without training, by the real program.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;
use vlora::checkpoints::{Hints, read_checkpoint};

use crate::common::program::{Ran, folder_with, vlora};
use crate::common::results::json;
use crate::common::spec::Spec;

/// A folder with `tiny.yaml` and its runs; their folders by arm. There are arms of every kind of weights:
/// dense, compounds, LoRA on both.
fn trained() -> (tempfile::TempDir, Vec<(String, PathBuf)>) {
    let tuned = "{method: vlora, start: {arm: vlora}, lora: {rank: 2, also_train: [head]}}";
    let dir = folder_with(&Spec::tiny().arm("tuned", tuned).text());
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "-q", "--device", "cpu"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let record = json(&dir.path().join("results/tiny/experiment.json"));
    let runs = record["variants"].as_array().unwrap().iter().map(|variant| {
        let id = variant["runs"][0].as_str().unwrap();
        let path = Path::new("results/tiny/runs").join(id);
        (variant["label"].as_str().unwrap().to_string(), path)
    });
    let runs = runs.collect();
    (dir, runs)
}

fn evaluate(dir: &Path, checkpoint: &Path, more: &[&str]) -> Ran {
    let checkpoint = checkpoint.to_str().unwrap();
    let args = ["evaluate", checkpoint, "--spec", "tiny.yaml", "--device", "cpu"];
    vlora(dir, &[&args[..], more].concat())
}

/// The one row that is printed.
fn row(dir: &Path, checkpoint: &Path, more: &[&str]) -> Value {
    let ran = evaluate(dir, checkpoint, &[&["--format", "json"], more].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let rows: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    rows[0].clone()
}

/// A run's own checkpoint, as a folder and as a file, and a dense one in other programs' formats: each
/// has the outcomes of the run's test, to the bit.
#[test]
fn a_runs_checkpoint_has_the_outcomes_of_its_test() {
    let (dir, runs) = trained();
    let dir = dir.path();
    let outcomes = |checkpoint: &Path, more: &[&str]| {
        let ran = evaluate(dir, checkpoint, &[&["--out", "out.jsonl", "--force"], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.contains("wrote out.jsonl"), "{}", ran.out);
        fs::read(dir.join("out.jsonl")).unwrap()
    };
    for (label, run) in &runs {
        let want = fs::read(dir.join(run).join("test.jsonl")).unwrap();
        assert!(outcomes(run, &[]) == want, "{label}");
        assert!(outcomes(&run.join("model.safetensors"), &["--arm", label]) == want, "{label}");
        let result = json(&dir.join(run).join("result.json"));
        let printed = row(dir, run, &[]);
        for (ours, theirs) in [
            ("value", "test_metric"),
            ("loss", "test_loss"),
            ("metric", "metric_name"),
            ("parameters", "parameters"),
            ("sha256", "model_sha256"),
        ] {
            assert_eq!(printed[ours], result[theirs], "{label}: {ours}");
        }
        assert_eq!((&printed["split"], &printed["examples"]), (&"test".into(), &1000.into()));
        // The last epoch's weights were tested.
        let epochs = fs::read_to_string(dir.join(run).join("epochs.jsonl")).unwrap();
        let last: Value = serde_json::from_str(epochs.lines().last().unwrap()).unwrap();
        let validation = row(dir, run, &["--split", "validation"]);
        assert_eq!(validation["value"], last["validation_metric"], "{label}");
        assert_eq!(validation["loss"], last["validation_loss"], "{label}");
    }
    let (_, dense) = &runs[0];
    let want = fs::read(dir.join(dense).join("test.jsonl")).unwrap();
    for (format, out) in
        [("hf-vit", "hf"), ("timm", "timm.safetensors"), ("compact", "c.safetensors")]
    {
        let ran = vlora(dir, &["export", dense.to_str().unwrap(), "--to", format, "--out", out]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(outcomes(Path::new(out), &[]) == want, "{format}");
    }
    // With other figures it is another result, and says so.
    let other = ["--set", "data.normalize={mean: [0.9], std: [0.1]}"];
    assert!(outcomes(dense, &other) != want);
    let told = evaluate(dir, dense, &other).out;
    assert!(
        told.contains("normalised by the spec's figures (mean 0.900, deviation 0.100)"),
        "{told}"
    );
    // Nothing is left behind but what was asked for.
    assert!(!dir.join("runs").exists() && !dir.join("tiny.lock").exists());
}

/// Rows of a classifier follow the names of the data's classes, and the output says so.
#[test]
fn classes_in_another_order_are_the_same_result() {
    let (dir, runs) = trained();
    let dir = dir.path();
    let mut other = read_checkpoint(&dir.join(&runs[0].1), &Hints::default()).unwrap().checkpoint;
    let reversed: Vec<u32> = (0..10).rev().collect();
    let index = Tensor::new(reversed.as_slice(), &Device::Cpu).unwrap();
    for name in ["head.weight", "head.bias"] {
        other.tensors.insert(name.into(), other.tensors[name].index_select(&index, 0).unwrap());
    }
    other.metadata.class_names.reverse();
    let put = |name: &str, checkpoint: &vlora::checkpoints::Checkpoint| {
        fs::write(dir.join(name), checkpoint.to_bytes().unwrap()).unwrap();
        PathBuf::from(name)
    };
    let path = put("reversed.safetensors", &other);
    let (own, permuted) = (row(dir, &runs[0].1, &[]), row(dir, &path, &[]));
    assert_eq!((&own["value"], &own["loss"]), (&permuted["value"], &permuted["loss"]));
    let told = evaluate(dir, &path, &[]).out;
    assert!(told.contains("put by name into the order of the data's classes"), "{told}");
    other.metadata.class_names.clear();
    let path = put("nameless.safetensors", &other);
    assert_ne!(row(dir, &path, &[])["value"], own["value"]);
    let told = evaluate(dir, &path, &[]).out;
    assert!(told.contains("by number, since it does not name them"), "{told}");
}

/// A run's weights are evaluated as the arm that it is a run of, whichever others they would fit.
#[test]
fn a_runs_weights_have_its_own_arm() {
    let (dir, runs) = trained();
    let dir = dir.path();
    for (label, run) in &runs {
        for path in [run.clone(), run.join("model.safetensors")] {
            let printed = row(dir, &path, &[]);
            assert_eq!(printed["arm"], label.as_str());
            assert_eq!(printed["run"], run.file_name().unwrap().to_str().unwrap());
            // On other data it is still that arm's.
            let other = ["--set", "data.normalize={mean: [0.9], std: [0.1]}"];
            assert_eq!(row(dir, &path, &other)["arm"], label.as_str());
        }
    }
    // Chosen is chosen, and a copy is nobody's.
    assert_eq!(row(dir, &runs[1].1, &["--arm", "baseline"])["arm"], "baseline");
    fs::copy(dir.join(&runs[1].1).join("model.safetensors"), dir.join("c.safetensors")).unwrap();
    let copy = row(dir, Path::new("c.safetensors"), &[]);
    assert_eq!((&copy["arm"], &copy["run"]), (&"baseline".into(), &Value::Null));
    // A spec without the arm says so.
    let ran = evaluate(dir, &runs[1].1, &["--set", "training.epochs=7"]);
    assert_eq!(ran.code, 2);
    for part in ["none of the spec's arms", "a run with increments", "--arm"] {
        assert!(ran.err.contains(part), "{}", ran.err);
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused_with_a_reason() {
    let (dir, runs) = trained();
    let (dir, run) = (dir.path(), &runs[0].1);
    let refused = |more: &[&str], parts: &[&str]| {
        let Ran { code, out, err } = evaluate(dir, run, more);
        assert_eq!((code, out.as_str()), (2, ""), "{more:?}: {err}");
        for part in parts {
            assert!(err.contains(part) && !err.contains("panicked"), "{more:?}: {err}");
        }
    };
    let other = "the checkpoint is of another model";
    refused(&["--set", "model.heads=4"], &[other, "model.heads: 2", "expected: 4"]);
    refused(&["--set", "model.pool=mean"], &[other, "model.pool"]);
    refused(&["--set", "model.depth=4"], &[other, "model.depth: 2"]);
    refused(&["--heads", "4"], &["the file has 2 heads", "leave --heads out"]);
    refused(&["--alpha", "5"], &["the file has no increments", "leave --alpha out"]);
    refused(&["--arm", "basline"], &["no such arm", "did you mean `baseline`"]);
    refused(&["--split", "train"], &["possible values: test, validation"]);
    let none = ["--split", "validation", "--set", "data.validation=null"];
    refused(&none, &["nothing to validate on", "--split test"]);
    // Weights that are nobody's, on which arms differ; a run's have an arm of their own.
    fs::copy(dir.join(run).join("model.safetensors"), dir.join("copy.safetensors")).unwrap();
    let copy = Path::new("copy.safetensors");
    let differ = ["--set", "arms.vlora.data={normalize: {mean: [0.5], std: [0.5]}}"];
    let Ran { code, err, .. } = evaluate(dir, copy, &differ);
    assert!(code == 2 && err.contains("--arm") && err.contains("data.normalize"), "{err}");
    let chosen = [&differ[..], &["--arm", "baseline"]].concat();
    assert_eq!(evaluate(dir, copy, &chosen).code, 0);
    assert_eq!(row(dir, run, &differ)["arm"], "baseline");
    // A note names an override that changes nothing in the chosen arm, and no other.
    let smoothed = "arms.vlora.training={label_smoothing: 0.5}";
    let told = evaluate(dir, run, &["--arm", "baseline", "--set", smoothed]).err;
    assert!(told.contains("changes nothing in `baseline`"), "{told}");
    let told =
        evaluate(dir, run, &["--arm", "baseline", "--set", "training.label_smoothing=0.5"]).err;
    assert!(!told.contains("changes nothing"), "{told}");
    // Arms of other sizes are not in question.
    let sizes = ["--set", "arms={baseline: {}, wide: {model: {dim: 32}}}"];
    assert_eq!(row(dir, run, &sizes)["arm"], "baseline");
    assert_eq!(row(dir, copy, &sizes)["arm"], "baseline");
    fs::write(dir.join("there.jsonl"), "").unwrap();
    refused(&["--out", "there.jsonl"], &["the file exists", "--force"]);
    refused(&["--force"], &["--out"]);
    // Not even with --force.
    let own = run.join("test.jsonl");
    let evidence = ["--out", own.to_str().unwrap(), "--force"];
    refused(&evidence, &["the evidence of a run, which is kept"]);
    // Nor in place of a file that is compressed, nor by its bare name.
    let packed = run.join("steps.jsonl.zst");
    refused(&["--out", packed.to_str().unwrap()], &["the evidence of a run, which is kept"]);
    let checkpoint = dir.join(run).join("model.safetensors");
    let out = [
        "export",
        checkpoint.to_str().unwrap(),
        "--to",
        "timm",
        "--out",
        "model.safetensors",
        "--force",
    ];
    let ran = vlora(&dir.join(run), &out);
    assert!(ran.code == 2 && ran.err.contains("the evidence of a run"), "{}", ran.err);
    let missing = evaluate(dir, Path::new("none"), &[]);
    assert!(missing.code == 2 && missing.err.contains("none"), "{}", missing.err);
    let csv = evaluate(dir, run, &["--format", "csv"]).out;
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("checkpoint,arm,split,examples"), "{csv}");
}

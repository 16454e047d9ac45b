//! `vlora bench`, as a user types it.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::program::{Ran, command, folder_with, vlora};
use crate::common::spec::TINY;

fn folder() -> TempDir {
    folder_with(TINY)
}

fn measured(dir: &Path, args: &[&str]) -> Vec<Value> {
    let ran = vlora(dir, &[&["bench", "tiny.yaml", "--json", "-"], args].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let rows: Value = serde_json::from_str(&ran.out).unwrap();
    rows.as_array().unwrap().clone()
}

const TIMED: [&str; 9] = [
    "step_seconds",
    "forward_seconds",
    "backward_seconds",
    "optimizer_seconds",
    "wait_seconds",
    "examples_per_second",
    "evaluation_examples_per_second",
    "gflops",
    "floor_share",
];

#[test]
fn a_benchmark_says_what_a_step_takes_and_leaves_nothing() {
    let dir = folder();
    let rows = measured(dir.path(), &["--synthetic", "--steps", "2", "--warmup", "1"]);
    let arms: Vec<&str> = rows.iter().map(|row| row["arm"].as_str().unwrap()).collect();
    assert_eq!(arms, ["baseline", "vlora"]);
    for row in &rows {
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key}: {row}"));
        for key in TIMED {
            let quartile = |i: usize| row[format!("{key}_quartiles")][i].as_f64().unwrap();
            let (first, median, third) = (quartile(0), number(key), quartile(1));
            assert!(first <= median && median <= third, "{key}: {row}");
            assert!(first >= 0.0 && (median > 0.0 || key == "wait_seconds"), "{key}: {row}");
        }
        // The median of two is their mean, so parts and whole add up.
        let parts = ["forward_seconds", "backward_seconds", "optimizer_seconds", "wait_seconds"];
        let parts: f64 = parts.iter().map(|key| number(key)).sum();
        let step = number("step_seconds");
        assert!(parts <= step * 1.0001 && parts > 0.5 * step, "{parts} of {step}");
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b.abs() + 1e-12, "{a} {b}");
        near(number("floor_seconds"), number("step_flops") / (1e9 * number("product_gflops")));
        // Rates are a constant over each step's time.
        let quartile = |key: &str, i: usize| row[format!("{key}_quartiles")][i].as_f64().unwrap();
        let slowest = quartile("step_seconds", 1);
        near(quartile("examples_per_second", 0) * slowest, 100.0);
        near(1e9 * quartile("gflops", 0) * slowest, number("step_flops"));
        near(quartile("floor_share", 0) * slowest, number("floor_seconds"));
        for (key, want) in [("batch_size", 100.0), ("steps", 2.0), ("warmup", 1.0)] {
            assert_eq!(number(key), want, "{key}");
        }
        assert_eq!((&row["synthetic"], number("threads") >= 1.0), (&Value::Bool(true), true));
        // Values and two moments of each parameter at least.
        assert!(number("peak_bytes") > 12.0 * number("parameters"));
        if cfg!(target_os = "linux") && !row["resident_peak_bytes"].is_null() {
            assert!(number("resident_peak_bytes") > 1e6);
        }
    }
    assert!(rows[0]["parameters"].as_u64() > rows[1]["parameters"].as_u64());
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "something was written beside the spec");

    // A run is 60 such steps.
    let plan = vlora(dir.path(), &["plan", "tiny.yaml", "--format", "json"]);
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    for (row, planned) in rows.iter().zip(plan.as_array().unwrap()) {
        let of_plan = planned["training_flops"].as_f64().unwrap() / 60.0;
        assert!((row["step_flops"].as_f64().unwrap() / of_plan - 1.0).abs() < 1e-9);
        assert_eq!(row["parameters"], planned["parameters"]);
    }
}

#[test]
fn arms_are_chosen_and_the_spec_s_own_data_are_used_over_several_epochs() {
    let dir = folder();
    // One whole step and a smaller one an epoch.
    let args = ["bench", "tiny.yaml", "--arm", "vlora", "--steps", "2", "--warmup", "0"];
    let set = ["--set", "training.batch_size=1500", "--set", "training.accumulation=3"];
    let sweep = ["--set", "sweep={vlora.rank: [1, 2]}", "--json", "out/bench.json"];
    let ran = vlora(dir.path(), &[&args[..], &set, &sweep].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    for part in ["vlora rank=1", "vlora rank=2", "share of floor", "1500 images of 5 tokens, 3 a"] {
        assert!(ran.out.contains(part), "{part} is missing in\n{}", ran.out);
    }
    assert!(!ran.out.contains("baseline"), "{}", ran.out);
    let json = std::fs::read(dir.path().join("out/bench.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&json).unwrap();
    let labels: Vec<&str> = rows.iter().map(|row| row["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["vlora rank=1", "vlora rank=2"]);
    let (rate, step) =
        (&rows[0]["examples_per_second_quartiles"], &rows[0]["step_seconds_quartiles"]);
    let examples = rate[0].as_f64().unwrap() * step[1].as_f64().unwrap();
    assert!((examples - 4500.0).abs() < 1e-6, "{examples}");
    assert_eq!(rows[0]["synthetic"], false);
}

#[test]
fn arms_measured_in_turn_are_compared_with_their_baseline_in_each_round() {
    let dir = folder();
    let rows =
        measured(dir.path(), &["--synthetic", "--steps", "1", "--warmup", "1", "--rounds", "3"]);
    let rounds = |row: &Value| -> Vec<f64> {
        let rounds = row["step_seconds_rounds"].as_array().unwrap();
        rounds.iter().map(|seconds| seconds.as_f64().unwrap()).collect()
    };
    let (baseline, own) = (rounds(&rows[0]), rounds(&rows[1]));
    assert_eq!((baseline.len(), own.len()), (3, 3));
    let mut ratios: Vec<f64> = own.iter().zip(&baseline).map(|(own, of)| own / of).collect();
    ratios.sort_by(f64::total_cmp);
    assert_eq!(rows[1]["over_baseline"].as_f64(), Some(ratios[1]));
    assert_eq!(rows[0]["over_baseline"], Value::Null);
    // With one step in each round, the median over all steps is that of the rounds.
    let mut sorted = own;
    sorted.sort_by(f64::total_cmp);
    assert_eq!(rows[1]["step_seconds"].as_f64(), Some(sorted[1]));

    let args = ["bench", "tiny.yaml", "--synthetic", "--steps", "1", "--warmup", "0"];
    let table = vlora(dir.path(), &[&args[..], &["--rounds", "2"]].concat());
    assert_eq!(table.code, 0, "{}", table.err);
    for part in
        ["over baseline (quartiles)", "in each of 2 rounds", "ratios are taken within a round"]
    {
        assert!(table.out.contains(part), "{part} is missing in\n{}", table.out);
    }
    // Without the baseline there is nothing to compare with.
    let alone = vlora(dir.path(), &[&args[..], &["--rounds", "2", "--arm", "vlora"]].concat());
    assert_eq!((alone.code, alone.out.contains("over baseline")), (0, false), "{}", alone.out);
    let once = vlora(dir.path(), &args);
    assert_eq!((once.code, once.out.contains("over baseline")), (0, false), "{}", once.out);
}

#[test]
fn a_model_larger_than_the_data_is_timed_on_synthetic_images() {
    let dir = folder();
    let model = ["--set", "model.image_size=56", "--set", "model.channels=3"];
    let once = ["--steps", "1", "--warmup", "0", "--arm", "baseline"];
    let rows = measured(dir.path(), &[&once[..], &model, &["--synthetic"]].concat());
    assert_eq!(rows.len(), 1);
    let real = vlora(dir.path(), &[&["bench", "tiny.yaml"], &model[..]].concat());
    assert_eq!(real.code, 2);
    assert!(
        real.err.contains("has another size") && real.err.contains("--synthetic"),
        "{}",
        real.err
    );
}

/// The program's output on so many threads.
fn on_threads(threads: &str, dir: &Path, args: &[&str]) -> Value {
    let output = command(dir).env("RAYON_NUM_THREADS", threads).args(args).output().unwrap();
    let ran = Ran::of(output);
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

/// What `plan` says of memory, against the allocator's count: at sizes where activations take most,
/// and where weights do. How many threads there are is set, and the caches' sizes and the vector unit
/// are the machine's, which the formula goes by: tests/packing.rs holds it to what products allocate,
/// and a test beside the formula to another machine's count.
#[test]
fn memory_is_what_the_formula_says() {
    let dir = folder();
    let dense = ["model.dim=96", "model.patch_size=4", "model.depth=3"];
    let wide = ["model.dim=256", "model.depth=6", "vlora.compound_size=3", "training.batch_size=8"];
    let deep = ["model.patch_size=7", "model.dim=64", "model.depth=8", "vlora.rank=8"];
    let parts = ["model.dim=128", "training.batch_size=20", "training.accumulation=5"];
    let cases: [&[&str]; 4] = [
        &[&dense[..], &["arms.vlora.vlora.compound_size=3", "model.pool=mean"]].concat(),
        &wide,
        &[&deep[..], &["vlora.detach=false", "vlora.compound_size=4", "vlora.reference=previous"]]
            .concat(),
        &parts,
    ];
    for (set, threads) in cases.into_iter().zip(["2", "2", "1", "3"]) {
        compare_memory(dir.path(), set, threads);
    }
}

fn compare_memory(dir: &Path, set: &[&str], threads: &str) {
    let set: Vec<&str> = set.iter().flat_map(|s| ["--set", *s]).collect();
    let bench = ["bench", "tiny.yaml", "--json", "-", "--synthetic", "--steps", "2"];
    let rows = on_threads(threads, dir, &[&bench[..], &["--warmup", "1"], &set[..]].concat());
    let plan = ["plan", "tiny.yaml", "--format", "json"];
    let plan = on_threads(threads, dir, &[&plan[..], &set[..]].concat());
    let (rows, plan) = (rows.as_array().unwrap(), plan.as_array().unwrap());
    assert_eq!((rows.len(), plan.len()), (2, 2));
    for (row, planned) in rows.iter().zip(plan) {
        assert_eq!(row["expected_peak_bytes"], planned["memory_bytes"]);
        let (expected, peak) =
            (planned["memory_bytes"].as_f64().unwrap(), row["peak_bytes"].as_f64().unwrap());
        let off = expected / peak - 1.0;
        // What training takes at most: a little more than is counted is right, less is not.
        assert!(off > -0.02 && off < 0.15, "{set:?} {}: {expected} of {peak}", row["arm"]);
    }
}

/// A decoder, whose tied table gets a gradient from both of its uses.
const LANGUAGE: &str = "task: language-modelling
data: {embedded: shakespeare, tokenizer: characters, validation: {fraction: 0.05}, test: {fraction: 0.05}}
model: {architecture: decoder, vocabulary: 65, positions: 64, dim: 64, depth: 4, heads: 4,
  dropout: 0, attention_dropout: 0}
vlora: {compound_size: 4, rank: 8}
training: {batch_size: 16}
arms: {baseline: {method: dense}, vlora: {method: vlora}}
seeds: [0]
";

#[test]
fn memory_of_a_decoder_is_what_the_formula_says() {
    let dir = folder_with(LANGUAGE);
    let dropped = ["model.dropout=0.1", "model.attention_dropout=0.1"];
    let words = [
        "model.vocabulary=3000",
        "data.tokenizer={train: byte-level-bpe, vocabulary: 3000}",
        "model.bias=false",
        "training.batch_size=4",
    ];
    let apart = ["model.tied=false", "model.activation=gelu", "model.dim=96"];
    let long = ["model.positions=256", "model.dim=32", "training.batch_size=6"];
    for set in [&[][..], &dropped, &words, &apart, &long] {
        compare_memory(dir.path(), set, "2");
    }
}

#[test]
fn bad_arguments_are_reported_before_anything_is_measured() {
    let dir = folder();
    let told = |args: &[&str], parts: &[&str]| {
        let ran = vlora(dir.path(), &[&["bench", "tiny.yaml"], args].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {}", ran.err);
        for part in parts {
            assert!(ran.err.contains(part), "{args:?}: {}", ran.err);
        }
    };
    told(&["--arm", "vlra"], &["--arm vlra: there is no such arm", "did you mean `vlora`?"]);
    told(&["--kernels", "--device", "cpu"], &["--kernels: only a GPU's", "--device cuda"]);
    told(&["--steps", "0"], &["--steps: not a number of steps", "found:    0", "from 1 to"]);
    told(&["--rounds", "0"], &["--rounds: not a number of rounds", "found:    0", "from 1 to"]);
    let missing = ["--set", "data={embedded: null, path: nowhere}"];
    told(&missing, &["nowhere: this is not a folder", "--synthetic measures on noise"]);
    let large = ["--set", "training.batch_size=7000"];
    told(&large, &["fewer training examples than a step takes", "found:    6000", "least 7000"]);
    let endless =
        ["--set", "training.batch_size=1048576", "--set", "training.accumulation=1048576"];
    told(&[&endless[..], &["--synthetic"]].concat(), &["a step takes too many examples"]);
    // Of two faults the one that is found without data.
    for file in ["tiny.yaml/bench.json", "."] {
        told(&[&missing[..], &["--json", file]].concat(), &[file, "cannot be written"]);
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("tiny.yaml")).unwrap(), TINY);
}

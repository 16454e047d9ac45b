//! Models read layer by layer: `vlora probe`, and what it rests on.

use std::fs;

use candle_core::{Device, Tensor};
use serde_json::Value;
use vlora::models::encoder::{Encoder, Tokens};
use vlora::models::vit::Vit;
use vlora::nn::{Frozen, Mode, ParameterStore, Variable};
use vlora::spec::RunSpec;

use crate::common::program::{folder_with, vlora};
use crate::common::results::json;
use crate::common::spec::Spec;
use crate::common::texts;

/// The run of an arm, with another depth.
fn run_of(spec: &Spec, arm: usize, depth: usize) -> RunSpec {
    let mut run = spec.experiment().variants[arm].spec.clone();
    run.model.set_depth(depth);
    run
}

/// The largest difference. The last layer computes only the tokens that are needed, so it rounds differently.
fn apart(a: &Variable, b: &Variable) -> f32 {
    let (a, b) = (values(a.tensor()), values(b.tensor()));
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// What the head reads after the first layers is what a model of only those layers answers. Parameters
/// have the same names and seeds in both.
#[test]
fn the_logit_lens_gives_the_logits_of_a_shorter_model() {
    let images = Tensor::randn(0f32, 1.0, (3, 1, 28, 28), &Device::Cpu).unwrap();
    for pool in ["class-token", "mean"] {
        let spec = Spec::tiny()
            .set("model.depth=4")
            .set("vlora.compound_size=4")
            .set(&format!("model.pool={pool}"));
        for arm in [0, 1] {
            let built = |depth: usize| {
                let mut store = ParameterStore::new(7, Device::Cpu);
                let run = run_of(&spec, arm, depth);
                Vit::of(&run, &mut store).unwrap();
                Vit::of(&run, &mut Frozen(&store)).unwrap()
            };
            let by_layer = built(4).logit_lens(&images).unwrap();
            assert_eq!(by_layer.len(), 5);
            for (depth, logits) in by_layer.iter().enumerate().skip(1) {
                let whole = built(depth).forward(&images, Mode::Evaluation).unwrap();
                assert!(apart(&whole, logits) < 1e-5, "{pool} {arm} {depth}");
            }
            // Each layer changes the answer.
            let distinct = by_layer.windows(2).all(|r| apart(&r[0], &r[1]) > 1e-3);
            assert!(distinct);
        }
    }
    let ids: Vec<u32> = (0..3 * 5).map(|i| 2 + i * 7 % 200).collect();
    let texts = Tokens {
        ids: Tensor::from_vec(ids, (3, 5), &Device::Cpu).unwrap(),
        types: None,
        lengths: vec![5, 3, 1],
    };
    for pool in ["pooler", "class-token", "mean"] {
        let spec = Spec::tiny_texts()
            .set("model.depth=3")
            .set("vlora.compound_size=3")
            .set(&format!("model.pool={pool}"));
        let built = |depth: usize| {
            let mut store = ParameterStore::new(7, Device::Cpu);
            let run = run_of(&spec, 1, depth);
            Encoder::of(&run, &mut store).unwrap();
            Encoder::of(&run, &mut Frozen(&store)).unwrap()
        };
        let by_layer = built(3).logit_lens(&texts).unwrap();
        assert_eq!(by_layer.len(), 4);
        for (depth, logits) in by_layer.iter().enumerate().skip(1) {
            let whole = built(depth).forward(&texts, Mode::Evaluation).unwrap();
            assert!(apart(&whole, logits) < 1e-5, "{pool} {depth}");
        }
    }
}

/// Trains a spec, reads the layers of all its runs, and compares the last layer with the run itself.
fn probed(spec: &Spec) -> tempfile::TempDir {
    let dir = texts::folder(spec);
    let at = dir.path();
    let ran = vlora(at, &["run", "tiny.yaml", "-q", "--device", "cpu"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = vlora(at, &["probe", "results/tiny", "--device", "cpu"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let record = json(&at.join("results/tiny/experiment.json"));
    for variant in record["variants"].as_array().unwrap() {
        let run = at.join("results/tiny/runs").join(variant["runs"][0].as_str().unwrap());
        let logit_lens = json(&run.join("layers.json"));
        let layers = logit_lens["layers"].as_array().unwrap();
        assert_eq!((layers.len(), &logit_lens["split"]), (3, &"validation".into()));
        let epochs = fs::read_to_string(run.join("epochs.jsonl")).unwrap();
        let tested = json(&run.join("result.json"))["selected_epoch"].as_u64().unwrap();
        let epoch: Value =
            serde_json::from_str(epochs.lines().nth(tested as usize - 1).unwrap()).unwrap();
        let last = layers.last().unwrap();
        assert_eq!(last["loss"], epoch["validation_loss"]);
        assert_eq!(last["metrics"]["accuracy"], epoch["validation_metric"]);
    }
    dir
}

#[test]
fn the_last_layer_answers_as_the_run_did() {
    let dir = probed(&Spec::tiny());
    let at = dir.path();
    let folder = at.join("results/tiny");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let rows = read("layers.csv");
    let lines: Vec<&str> = rows.lines().collect();
    assert_eq!(lines[0], "arm,layer,log_likelihood,log_likelihood_sd,metric,metric_sd,runs");
    assert_eq!(lines.len(), 1 + 2 * 3);
    assert!(read("table.md").contains("## Layer by layer"));
    assert!(read("layers.svg").contains("Log-likelihood of the truth (nats), validation"));
    assert!(read("report.html").contains("What the head would answer after each layer"));

    // It reads nothing twice, and the same once more if asked.
    let record = json(&folder.join("experiment.json"));
    let id = record["variants"][0]["runs"][0].as_str().unwrap().to_string();
    let before = fs::read(folder.join("runs").join(&id).join("layers.json")).unwrap();
    let again = vlora(at, &["probe", "results/tiny"]);
    assert!(again.err.contains("the layers of 2 runs have been read"), "{}", again.err);
    let forced = vlora(at, &["probe", &id, "--force", "--device", "cpu"]);
    assert_eq!(forced.code, 0, "{}", forced.err);
    assert_eq!(fs::read(folder.join("runs").join(&id).join("layers.json")).unwrap(), before);

    // The stored scores are of other weights, so they do not count.
    let path = folder.join("runs").join(&id).join("layers.json");
    let mut stale = json(&path);
    stale["model_sha256"] = "0".into();
    fs::write(&path, stale.to_string()).unwrap();
    assert_eq!(vlora(at, &["report", "results/tiny"]).code, 0);
    assert_eq!(read("layers.csv").lines().count(), 1 + 3);

    // Without weights there is nothing to read.
    for variant in record["variants"].as_array().unwrap() {
        let run = folder.join("runs").join(variant["runs"][0].as_str().unwrap());
        fs::remove_file(run.join("model.safetensors")).unwrap();
    }
    let ran = vlora(at, &["probe", "results/tiny", "--force"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("there are no weights to read"), "{}", ran.err);
    let ran = vlora(at, &["probe", "nowhere"]);
    assert!(ran.code == 2 && ran.err.contains("nowhere"), "{}", ran.err);
}

#[test]
fn texts_are_read_layer_by_layer_too() {
    probed(&Spec::tiny_texts());
}

/// An arm without validation is left out beside those that have one.
#[test]
fn an_arm_without_validation_is_left_out() {
    let spec = Spec::tiny().arm("all", "{data: {validation: null}}");
    let dir = folder_with(&spec.text());
    let at = dir.path();
    let ran = vlora(at, &["run", "tiny.yaml", "-q", "--device", "cpu"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = vlora(at, &["probe", "results/tiny", "--device", "cpu"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("note: 1 run without validation examples"), "{}", ran.err);
    let rows = || fs::read_to_string(at.join("results/tiny/layers.csv")).unwrap();
    assert_eq!(rows().lines().count(), 1 + 2 * 3, "{}", rows());
    // The same once more, where nothing is left to read.
    let again = vlora(at, &["probe", "results/tiny", "--device", "cpu"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.err.contains("note: 1 run without validation examples"), "{}", again.err);
    assert_eq!(rows().lines().count(), 1 + 2 * 3, "{}", rows());
}

#[test]
fn without_validation_the_test_split_has_to_be_asked_for() {
    let dir = folder_with(&Spec::tiny().set("data.validation=null").text());
    let at = dir.path();
    let ran = vlora(at, &["run", "tiny.yaml", "-q", "--device", "cpu"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = vlora(at, &["probe", "results/tiny"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("--split") && ran.err.contains("nothing to validate on"),
        "{}",
        ran.err
    );
    let ran = vlora(at, &["probe", "results/tiny", "--split", "test", "--device", "cpu"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        fs::read_to_string(at.join("results/tiny/table.md"))
            .unwrap()
            .contains("answer the test examples")
    );
}

//! Ways of sharing layers by the real program: what is trained, what a plan and a report say of it.

use std::fs;
use std::path::Path;

use crate::common::program::{folder_with, vlora};
use crate::common::results::{json, run_of};
use crate::common::spec::Spec;

/// Four layers that share in several ways; some start from the dense ones.
fn spec() -> Spec {
    Spec::tiny()
        .set("model.depth=4")
        .set("vlora={compound_size: 2, rank: 2, detach: false}")
        .arms(
            "{baseline: {method: dense}, \
              cycle: {method: vlora, vlora: {sharing: cycle, init: lora}}, \
              listed: {method: vlora, vlora: {compound_size: null, layers: [0, 1, 1, 0], rank: 0, also_share: [norms, biases]}}, \
              relaxed: {method: vlora, vlora: {sharing: cycle, increment_on: all}, start: {arm: baseline, base_init: average}}, \
              zero: {method: vlora, vlora: {sharing: cycle, increment_on: all}, start: {arm: baseline, base_init: average, increments: lora}}, \
              recursive: {method: vlora, vlora: {sharing: cycle, rank: 0}, start: {arm: baseline, base_init: stepwise}}}",
        )
}

/// The names of a run's stored parameters.
fn names(dir: &Path, arm: &str) -> Vec<String> {
    let run = run_of(&dir.join("results/tiny"), arm);
    let bytes = fs::read(run.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<String> = tensors.names().into_iter().map(String::from).collect();
    names.sort();
    names
}

#[test]
fn every_way_is_planned_trained_and_reported() {
    let dir = folder_with(&spec().text());
    let at = dir.path();
    let plan = vlora(at, &["plan", "tiny.yaml"]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    for line in [
        "layers   0 1 0+ 1+  (cycle)",
        "layers   0 1 1 0  (listed)",
        "layers   0+ 1+ 0+ 1+  (relaxed, zero)",
        "layers   0 1 0 1  (recursive)",
    ] {
        assert!(plan.out.contains(line), "{line} is missing in\n{}", plan.out);
    }
    let ran = vlora(at, &["run", "tiny.yaml", "-q", "--device", "cpu"]);
    assert_eq!(ran.code, 0, "{}", ran.err);

    // Which layers own a weight, and which have factors.
    let of = |arm: &str, part: &str| -> Vec<usize> {
        let all = names(at, arm);
        let has = |layer: &usize| all.contains(&format!("blocks.{layer}.mlp.fc1.{part}"));
        (0..4).filter(has).collect()
    };
    assert_eq!((of("cycle", "weight"), of("cycle", "weight.A")), (vec![0, 1], vec![2, 3]));
    assert_eq!((of("listed", "weight"), of("listed", "bias")), (vec![0, 1], vec![0, 1]));
    assert_eq!(
        (of("relaxed", "weight"), of("relaxed", "weight.B")),
        (vec![0, 1], vec![0, 1, 2, 3])
    );
    assert_eq!(of("recursive", "bias"), [0, 1, 2, 3]);

    let record = |arm: &str| json(&run_of(&at.join("results/tiny"), arm).join("start.json"));
    // Every use has a decomposed increment, or one from the seed.
    assert_eq!(record("relaxed")["kept"].as_array().unwrap().len(), 4 * 4);
    assert_eq!(record("zero")["kept"].as_array().unwrap().len(), 0);
    let table = fs::read_to_string(at.join("results/tiny/table.md")).unwrap();
    for part in [
        "layers use the weights 0 1 0 1 (`sharing: cycle`, 2 layers a weight)",
        "layers use the weights 0 1 1 0 (as listed (`layers`))",
        "the first use of a shared weight has an increment, too",
        "norms and biases are shared, too",
        "its layers share weights, and increments start at zero; each shared weight is the mean over the layers that \
         use it (`base_init: average`)",
        "shared weights are those of layers at equal distances (`base_init: stepwise`)",
    ] {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
    let chart = fs::read_to_string(at.join("results/tiny/layer-map.svg")).unwrap();
    for text in ["cycle", "listed", "relaxed, zero", "recursive"] {
        assert!(chart.contains(text), "{text} is not drawn");
    }
    // They resume and repeat as any other.
    let id = run_of(&at.join("results/tiny"), "relaxed");
    let verified = vlora(at, &["verify", id.to_str().unwrap(), "--steps", "4", "--device", "cpu"]);
    assert_eq!(verified.code, 0, "{}", verified.err);
    // The authors' package knows compounds alone.
    let run = run_of(&at.join("results/tiny"), "cycle");
    let args = ["export", run.to_str().unwrap(), "--to", "authors", "--out", "x.safetensors"];
    let exported = vlora(at, &args);
    assert_eq!(exported.code, 2);
    assert!(exported.err.contains("share otherwise than in compounds"), "{}", exported.err);
    let timm =
        vlora(at, &["export", run.to_str().unwrap(), "--to", "timm", "--out", "t.safetensors"]);
    assert_eq!(timm.code, 0, "{}", timm.err);
    let own =
        vlora(at, &["evaluate", run.to_str().unwrap(), "--spec", "tiny.yaml", "--format", "json"]);
    let dense = vlora(
        at,
        &[
            "evaluate",
            "t.safetensors",
            "--spec",
            "tiny.yaml",
            "--arm",
            "baseline",
            "--format",
            "json",
        ],
    );
    let value =
        |out: &str| serde_json::from_str::<serde_json::Value>(out).unwrap()[0]["value"].clone();
    assert_eq!(value(&own.out), value(&dense.out), "{}", dense.err);
}

/// The fields of another way of sharing are no part of a run's id unless they are used.
#[test]
fn defaults_written_out_change_no_id() {
    let plain = Spec::tiny();
    let written = plain
        .clone()
        .set("vlora.sharing=sequence")
        .set("vlora.keep_first=0")
        .set("vlora.keep_last=0")
        .set("vlora.increment_on=others")
        .set("vlora.also_share=[]")
        .set("training.increment_learning_rate=null")
        .set("training.increment_weight_decay=null");
    let specs = |spec: &Spec| {
        let variants = spec.experiment().variants;
        variants.iter().map(|v| v.spec.to_yaml().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(specs(&plain), specs(&written));
    // And an order of one weight is every order of it, but another field.
    let cycle = plain.clone().set("vlora.sharing=cycle");
    assert_ne!(specs(&plain)[1], specs(&cycle)[1]);
    // A dense arm knows nothing of it.
    assert_eq!(specs(&plain)[0], specs(&cycle.set("training.increment_learning_rate=0.1"))[0]);
}

//! Text classification by the real program: every kind of arm, what runs leave, and what faulty data are
//! refused with.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vlora::results::RunFolder;

use crate::common::program::{command, folder_with, vlora};
use crate::common::results::{self, json};
use crate::common::spec::Spec;
use crate::common::texts::folder;

const DEVICE: [&str; 2] = ["--device", "cpu"];

fn run_of(dir: &Path, arm: &str) -> PathBuf {
    results::run_of(&dir.join("results/tiny"), arm)
}

fn run(dir: &Path) -> String {
    let ran = vlora(dir, &[&["run", "tiny.yaml", "-q"], &DEVICE[..]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    ran.out
}

/// Every arm is trained and does better than guessing. Its evidence holds all three metrics, and the
/// report is made again of it.
#[test]
fn every_kind_of_arm_learns_and_leaves_its_evidence() {
    let spec = Spec::tiny_texts()
        .arm("shared", "{method: vlora, vlora: {rank: 0, detach: false}}")
        .arm("matched", "{match: {arm: vlora, by: width}}")
        .arm("lora", "{start: {arm: baseline, head: new}, lora: {rank: 2, also_train: [head]}}")
        .arm("converted", "{method: vlora, start: {arm: baseline}}")
        .arm("lora-on-vlora", "{method: vlora, start: {arm: vlora}, lora: {rank: 2}}");
    let dir = folder(&spec);
    let table = run(dir.path());
    assert!(table.contains("test accuracy (%)") && table.contains("tokens/s"), "{table}");
    let arms = ["baseline", "vlora", "shared", "matched", "lora", "converted", "lora-on-vlora"];
    for arm in arms {
        let result = json(&run_of(dir.path(), arm).join(RunFolder::RESULT));
        assert_eq!(result["metric_name"], "accuracy", "{arm}");
        let accuracy = result["test_metric"].as_f64().unwrap();
        assert!(accuracy > 0.9, "{arm}: {accuracy}");
        let others = &result["test_metrics"];
        let (f1, matthews) = (others["macro-F1"].as_f64(), others["Matthews"].as_f64());
        assert!(f1.unwrap() > 0.85 && matthews.unwrap() > 0.7, "{arm}: {others}");
    }
    // What was trained of each.
    let count = |arm: &str, field: &str| {
        json(&run_of(dir.path(), arm).join(RunFolder::RESULT))[field].as_u64().unwrap()
    };
    assert!(count("shared", "parameters") < count("vlora", "parameters"));
    assert!(count("vlora", "parameters") < count("baseline", "parameters"));
    assert!(count("lora", "trained") < count("lora", "parameters") / 3);
    assert_eq!(count("converted", "parameters"), count("vlora", "parameters"));
    let start = json(&run_of(dir.path(), "converted").join(RunFolder::START));
    // One layer of two holds increments, on six matrices.
    assert_eq!(start["kept"].as_array().map(Vec::len), Some(6), "{start}");

    let written = dir.path().join("results/tiny/table.md");
    let before = fs::read(&written).unwrap();
    let again = vlora(dir.path(), &["report", "results/tiny"]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
    assert_eq!(fs::read(&written).unwrap(), before);
    let plan = vlora(dir.path(), &["plan", "tiny.yaml", "--details"]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    assert!(plan.out.contains("max_tokens: 12"), "{}", plan.out);
}

/// The tokenizer that was trained is saved with each run, and goes with an exported model, from which a
/// run starts without naming one.
#[test]
fn a_trained_tokenizer_goes_with_its_model() {
    let spec = Spec::tiny_texts().set("model.pool=pooler");
    let dir = folder(&spec);
    run(dir.path());
    let dense = run_of(dir.path(), "baseline");
    let tokenizer = fs::read(dense.join(RunFolder::TOKENIZER)).unwrap();
    assert_eq!(
        fs::read(run_of(dir.path(), "vlora").join(RunFolder::TOKENIZER)).unwrap(),
        tokenizer
    );
    let result = json(&dense.join(RunFolder::RESULT));
    assert_eq!(result["files"][RunFolder::TOKENIZER]["bytes"], tokenizer.len());

    let weights = dense.join(RunFolder::MODEL);
    let export = ["export", weights.to_str().unwrap(), "--to", "hf-bert", "--out", "bert"];
    let exported = vlora(dir.path(), &export);
    assert_eq!(exported.code, 0, "{}", exported.err);
    assert_eq!(fs::read(dir.path().join("bert").join(RunFolder::TOKENIZER)).unwrap(), tokenizer);

    // Evaluated as it is: the same accuracy; the tokenizer is the one beside the weights.
    let started = spec.set("arms.baseline.start={checkpoint: bert}");
    let beside = started
        .clone()
        .set("name=beside")
        .without("data.tokenizer")
        .set("arms.vlora.start={checkpoint: bert}");
    fs::write(dir.path().join("beside.yaml"), beside.text()).unwrap();
    let evaluate =
        ["evaluate", "bert", "--spec", "beside.yaml", "--arm", "baseline", "--format", "json"];
    let evaluated = vlora(dir.path(), &[&evaluate[..], &DEVICE].concat());
    assert_eq!(evaluated.code, 0, "{}", evaluated.err);
    let evaluated: Value = serde_json::from_str(&evaluated.out).unwrap();
    let found = find(&evaluated, "value").and_then(Value::as_f64).unwrap();
    assert!((found - result["test_metric"].as_f64().unwrap()).abs() < 1e-12, "{evaluated}");
    let trained = vlora(dir.path(), &[&["run", "beside.yaml", "-q"], &DEVICE[..]].concat());
    assert_eq!((trained.code, trained.err.as_str()), (0, ""));

    // So is one that was read, and a run is evaluated with it.
    let from_bert = results::run_of(&dir.path().join("results/beside"), "baseline");
    assert_eq!(fs::read(from_bert.join(RunFolder::TOKENIZER)).unwrap(), tokenizer);
    let evaluate = ["evaluate", from_bert.to_str().unwrap(), "--spec", "beside.yaml"];
    let evaluated = vlora(dir.path(), &[&evaluate[..], &DEVICE].concat());
    assert_eq!(evaluated.code, 0, "{}", evaluated.err);

    // Other tokens than the weights know mean nothing to them.
    let other = started.set("data.tokenizer.lowercase=false");
    fs::write(dir.path().join("other.yaml"), other.text()).unwrap();
    for args in [
        ["evaluate", "bert", "--spec", "other.yaml", "--arm", "baseline"].as_slice(),
        &["run", "other.yaml", "-q", "--out", "other"],
    ] {
        let refused = vlora(dir.path(), &[args, &DEVICE].concat());
        assert_eq!(refused.code, 2, "{}", refused.err);
        assert!(refused.err.contains("trained with another tokenizer"), "{}", refused.err);
        assert!(refused.err.contains("bert/tokenizer.json"), "{}", refused.err);
    }
}

/// The value of a key, wherever it stands.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => {
            fields.get(key).or_else(|| fields.values().find_map(|field| find(field, key)))
        }
        Value::Array(items) => items.iter().find_map(|item| find(item, key)),
        _ => None,
    }
}

/// Batches of random lengths have other texts at a step than grouped ones, and the table says so.
#[test]
fn batches_may_have_random_lengths() {
    let first_step = |spec: Spec| {
        let dir = folder(&spec.set("training.epochs=1"));
        let table = run(dir.path());
        let steps = fs::read_to_string(run_of(dir.path(), "vlora").join(RunFolder::STEPS)).unwrap();
        (steps.lines().next().unwrap().to_string(), table.contains("of random lengths"))
    };
    let grouped = first_step(Spec::tiny_texts());
    let random = first_step(Spec::tiny_texts().set("data.group_by_length=false"));
    assert!(!grouped.1 && random.1);
    assert_ne!(grouped.0, random.0);
}

/// A run that was cut after an epoch ends in the bits of one that was not, dropout included.
#[test]
fn a_resumed_run_ends_in_the_same_bits() {
    let spec = Spec::tiny_texts()
        .set("model.dropout=0.1")
        .set("model.attention_dropout=0.1")
        .set("training.epochs=20")
        .without("arms.baseline")
        .set("baseline=vlora");
    let whole = folder(&spec);
    run(whole.path());
    let want = fs::read(run_of(whole.path(), "vlora").join(RunFolder::MODEL)).unwrap();

    let cut = folder(&spec);
    let mut child =
        command(cut.path()).args(["run", "tiny.yaml", "-q", "--device", "cpu"]).spawn().unwrap();
    // As soon as an epoch is on disk.
    let runs = cut.path().join("results/tiny/runs");
    let checkpoint = || {
        let mut folders = fs::read_dir(&runs).ok()?.flatten();
        folders.find(|run| run.path().join(RunFolder::CHECKPOINT).exists())
    };
    while checkpoint().is_none() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let _ = child.kill();
    child.wait().unwrap();
    let cut_run = checkpoint().expect("an epoch is on disk, and not yet the last");
    assert!(!cut_run.path().join(RunFolder::RESULT).exists());
    run(cut.path());
    assert!(fs::read(run_of(cut.path(), "vlora").join(RunFolder::MODEL)).unwrap() == want);
}

/// Evidence is published without weights, and then without the tokenizer that belongs to them.
#[test]
fn a_tokenizer_may_be_missing_only_where_the_weights_are() {
    let dir = folder(&Spec::tiny_texts().without("arms.vlora"));
    let table = run(dir.path());
    let run = run_of(dir.path(), "baseline");
    let report = || vlora(dir.path(), &["report", "results/tiny"]);
    fs::remove_file(run.join(RunFolder::TOKENIZER)).unwrap();
    let refused = report();
    assert!(refused.code == 1 && refused.err.contains("tokenizer.json"), "{}", refused.err);
    fs::remove_file(run.join(RunFolder::MODEL)).unwrap();
    let told = report();
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(table.contains("baseline") && told.out.contains("baseline"), "{}", told.out);
}

/// What is done to texts is counted under the table.
#[test]
fn empty_and_long_texts_are_kept_and_counted() {
    let dir = folder(&Spec::tiny_texts().set("data.max_tokens=6").without("arms.vlora"));
    let train = dir.path().join("reviews/train.csv");
    let rows = fs::read_to_string(&train).unwrap() + "\"\",1\n\"  \",0\n";
    fs::write(&train, rows).unwrap();
    let table = run(dir.path());
    // A CSV file does not tell an empty text from a missing one.
    assert!(table.contains("1 text is empty."), "{table}");
    assert!(table.contains("1 text is missing and taken for empty."), "{table}");
    assert!(table.contains("texts were cut to 6 tokens."), "{table}");
}

/// One clear error each, with the file, the column or the field.
#[test]
fn faulty_texts_and_bases_are_refused_by_name() {
    let spec = Spec::tiny_texts().without("arms.vlora");
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints/hf-vit");
    type Edit = fn(&Path);
    let cases: [(&str, Edit, &[&str]); 6] = [
        (
            "a missing column",
            |dir| {
                for name in ["train", "validation", "test"] {
                    let path = dir.join(format!("reviews/{name}.csv"));
                    let text = fs::read_to_string(&path).unwrap();
                    fs::write(path, text.replacen("text,", "sentence,", 1)).unwrap();
                }
            },
            &["train.csv", "no column `text`", "sentence (text)", "text_column"],
        ),
        (
            "a label that the card does not know",
            |dir| {
                fs::write(
                    dir.join("reviews/README.md"),
                    "---\ndataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: \
                     label\n    dtype:\n      class_label:\n        names:\n          '0': no\n          \
                     '1': yes\n---\n",
                )
                .unwrap();
                let path = dir.join("reviews/train.csv");
                let text = fs::read_to_string(&path).unwrap();
                let rows: String = text
                    .lines()
                    .enumerate()
                    .map(|(i, line)| match (i, line.strip_suffix(",1")) {
                        (5.., Some(text)) => format!("{text},perhaps\n"),
                        (1.., Some(text)) => format!("{text},yes\n"),
                        _ => line.replace(",0", ",no") + "\n",
                    })
                    .collect();
                fs::write(path, rows).unwrap();
            },
            &["train.csv", "perhaps", "no, yes"],
        ),
        (
            "invalid UTF-8",
            |dir| {
                let path = dir.join("reviews/train.csv");
                let mut bytes = fs::read(&path).unwrap();
                let at = bytes.iter().position(|b| *b == b'\n').unwrap() + 2;
                bytes[at] = 0xff;
                fs::write(path, bytes).unwrap();
            },
            &["train.csv", "UTF-8"],
        ),
        (
            "a label out of range",
            |dir| {
                let path = dir.join("reviews/train.csv");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(path, text + "one more,2\n").unwrap();
            },
            &["train.csv", "label out of range", "classes"],
        ),
        (
            "a tokenizer of a larger vocabulary",
            |dir| {
                let vocab: Vec<String> = (0..400).map(|i| format!("\"w{i}\": {i}")).collect();
                let text = format!(
                    r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
                    "normalizer": null, "pre_tokenizer": {{"type": "Whitespace"}}, "post_processor": null,
                    "decoder": null, "model": {{"type": "WordLevel", "vocab": {{{}}}, "unk_token": "w0"}}}}"#,
                    vocab.join(", ")
                );
                fs::write(dir.join("tokenizer.json"), text).unwrap();
                let spec = Spec::tiny_texts().set("data.tokenizer={path: tokenizer.json}");
                fs::write(dir.join("tiny.yaml"), spec.text()).unwrap();
            },
            &["tokenizer.json", "399", "model.vocabulary, 300"],
        ),
        (
            "no rows",
            |dir| fs::write(dir.join("reviews/test.csv"), "text,label\n").unwrap(),
            &["reviews", "split `test` has no examples"],
        ),
    ];
    for (name, edit, parts) in cases {
        let dir = folder(&spec);
        edit(dir.path());
        let ran = vlora(dir.path(), &[&["run", "tiny.yaml", "-q"], &DEVICE[..]].concat());
        assert_eq!(ran.code, 2, "{name}: {}", ran.err);
        assert!(ran.err.starts_with("error: "), "{name}: {}", ran.err);
        for part in parts {
            assert!(ran.err.contains(part), "{name}: `{part}` is not in\n{}", ran.err);
        }
    }
    // A base of the other kind, both ways round.
    let from = |path: &Path| format!("arms.baseline.start={{checkpoint: {}}}", path.display());
    let dir = folder(&spec.set(&from(&image)));
    let ran = vlora(dir.path(), &[&["run", "tiny.yaml", "-q"], &DEVICE[..]].concat());
    assert_eq!(ran.code, 2, "{}", ran.err);
    let told = "found:    model.architecture: vit\n  expected: encoder, as the spec has it";
    assert!(ran.err.contains(told), "{}", ran.err);
    let bert = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder/bert");
    let dir = folder_with(&Spec::tiny().set(&from(&bert)).text());
    let ran = vlora(dir.path(), &[&["run", "tiny.yaml", "-q"], &DEVICE[..]].concat());
    assert_eq!(ran.code, 2, "{}", ran.err);
    let told = "found:    model.architecture: encoder\n  expected: vit, as the spec has it";
    assert!(ran.err.contains(told), "{}", ran.err);
}

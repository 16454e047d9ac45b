//! Language modelling by the real program: every kind of arm, what runs leave, every format, generated text,
//! and what faulty texts and specs are refused with.

use std::fs;
use std::path::{Path, PathBuf};

use polars::prelude::{Column, DataFrame};
use serde_json::Value;
use vlora::results::RunFolder;

use crate::common::data::{gzip, parquet};
use crate::common::plays::{folder, text};
use crate::common::program::{Ran, folder_with, vlora};
use crate::common::results::{self, evidence, json};
use crate::common::spec::{Spec, parsed};

const DEVICE: [&str; 2] = ["--device", "cpu"];

fn run_of(dir: &Path, arm: &str) -> PathBuf {
    results::run_of(&dir.join("results/tiny"), arm)
}

fn run(dir: &Path) -> String {
    let ran = vlora(dir, &[&["run", "tiny.yaml", "-q"], &DEVICE[..]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    ran.out
}

/// The lines of a run's `test.jsonl`.
fn windows(run: &Path) -> Vec<Value> {
    let folder = RunFolder::of_weights(run).unwrap();
    let text = folder.read_whole(RunFolder::TEST).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sum(windows: &[Value], field: &str) -> f64 {
    windows.iter().map(|window| window[field].as_f64().unwrap()).sum()
}

/// Every arm is trained and does better than the tokens' frequencies. Its evidence holds all metrics, and
/// the report is made again of it.
#[test]
fn every_kind_of_arm_learns_and_leaves_its_evidence() {
    let spec = Spec::tiny_language()
        .arm("shared", "{method: vlora, vlora: {rank: 0, detach: false}}")
        .arm("matched", "{match: {arm: vlora, by: width}}")
        .arm("lora", "{start: {arm: baseline}, lora: {rank: 2}}")
        .arm("converted", "{method: vlora, start: {arm: baseline}}");
    let dir = folder(&spec);
    let table = run(dir.path());
    for part in ["test loss (nats)", "perplexity", "bits/byte", "tokens/s", "GPT-like decoder"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(!table.contains('†'), "{table}");
    // 7,200 characters: 5,760 to train, 720 each for validation and the test.
    for arm in ["baseline", "vlora", "shared", "matched", "lora", "converted"] {
        let run = run_of(dir.path(), arm);
        let (result, windows) = (json(&run.join(RunFolder::RESULT)), windows(&run));
        assert_eq!(result["metric_name"], "loss", "{arm}");
        let (nats, tokens) = (sum(&windows, "loss"), sum(&windows, "tokens"));
        let loss = nats / tokens;
        let metric = |name: &str| result["test_metrics"][name].as_f64().unwrap();
        assert_eq!(result["test_metric"], result["test_loss"], "{arm}");
        assert!((result["test_loss"].as_f64().unwrap() - loss).abs() < 1e-12, "{arm}");
        assert!((metric("perplexity") - loss.exp()).abs() < 1e-9, "{arm}");
        let bits = nats / 2f64.ln() / sum(&windows, "bytes");
        assert!((metric("bits/byte") - bits).abs() < 1e-12, "{arm}");
        assert!(loss < 0.8 * sum(&windows, "unigram") / tokens, "{arm}: {loss}");
        // Every token but the first, once.
        let mut next = 1;
        for window in &windows {
            assert_eq!(window["start"], next, "{arm}");
            next += window["tokens"].as_u64().unwrap();
        }
        let provenance = json(&run.join(RunFolder::PROVENANCE));
        assert_eq!(provenance["test_text"]["tokens"], next, "{arm}");
        assert_eq!(provenance["test_text"]["bytes"], next, "{arm}");
        assert_eq!(provenance["tokenizer_tokens"], 20, "{arm}");
        assert_eq!(next, 720, "{arm}");
        // The epoch's loss is a mean over tokens, too.
        let epochs = fs::read_to_string(run.join(RunFolder::EPOCHS)).unwrap();
        let last: Value = serde_json::from_str(epochs.lines().last().unwrap()).unwrap();
        assert_eq!(last["validation_metric"], last["validation_loss"], "{arm}");
    }
    let count = |arm: &str, field: &str| {
        json(&run_of(dir.path(), arm).join(RunFolder::RESULT))[field].as_u64().unwrap()
    };
    assert!(count("shared", "parameters") < count("vlora", "parameters"));
    assert!(count("vlora", "parameters") < count("baseline", "parameters"));
    assert_eq!(count("converted", "parameters"), count("vlora", "parameters"));

    let written = dir.path().join("results/tiny/table.md");
    let before = fs::read(&written).unwrap();
    let again = vlora(dir.path(), &["report", "results/tiny"]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
    assert_eq!(fs::read(&written).unwrap(), before);
    let page = fs::read_to_string(dir.path().join("results/tiny/report.html")).unwrap();
    assert!(!page.contains("<th>test loss</th>"), "the metric is the loss");

    let plan = vlora(dir.path(), &["plan", "tiny.yaml", "--details"]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    for part in ["window: 16", "stride: 16", "windows: random"] {
        assert!(plan.out.contains(part), "{part}: {}", plan.out);
    }
    // The run's own weights give its own outcomes.
    let baseline = run_of(dir.path(), "baseline");
    let evaluate = ["evaluate", baseline.to_str().unwrap(), "--spec", "tiny.yaml"];
    let told = vlora(dir.path(), &[&evaluate[..], &["--out", "again.jsonl"], &DEVICE].concat());
    assert_eq!(told.code, 0, "{}", told.err);
    assert_eq!(told.out.lines().next().unwrap().matches("loss").count(), 1, "{}", told.out);
    let own = RunFolder::of_weights(&baseline).unwrap().read_whole(RunFolder::TEST).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("again.jsonl")).unwrap(), own);
    // Layer by layer, side by side, and as curves for TensorBoard.
    let vlora_run = run_of(dir.path(), "vlora");
    for args in [
        &["probe", "results/tiny"][..],
        &["compare", baseline.to_str().unwrap(), vlora_run.to_str().unwrap()],
        &["report", "results/tiny", "--tensorboard", "events"],
        &["bench", "tiny.yaml", "--synthetic", "--steps", "1", "--warmup", "0"],
        &["bench", "tiny.yaml", "--steps", "1", "--warmup", "0"],
    ] {
        let ran = vlora(dir.path(), args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        if args[0] == "bench" {
            assert!(ran.out.contains("batches of 16 windows of 16 tokens"), "{}", ran.out);
        }
    }
}

/// A smaller stride scores the same tokens with more before them. Random windows are the same for every
/// seed and arm.
#[test]
fn an_evaluation_overlaps_or_draws_windows() {
    // Three batches an epoch.
    let one = Spec::tiny_language().without("arms.vlora").set("data.epoch_windows=50");
    let overlap = folder(&one.clone().set("data.stride=5"));
    let table = run(overlap.path());
    assert!(table.contains("each token with at least 11 before it"), "{table}");
    let apart = folder(&one.clone());
    run(apart.path());
    let result = json(&run_of(apart.path(), "baseline").join(RunFolder::RESULT));
    assert_eq!(result["steps"], 6);
    let of = |dir: &Path| windows(&run_of(dir, "baseline"));
    let (overlap, apart) = (of(overlap.path()), of(apart.path()));
    assert_eq!((overlap[0]["tokens"].as_u64(), overlap[1]["tokens"].as_u64()), (Some(16), Some(5)));
    assert_eq!(sum(&overlap, "tokens"), sum(&apart, "tokens"));
    let ratio = sum(&overlap, "loss") / sum(&apart, "loss");
    assert!(ratio != 1.0 && (ratio - 1.0).abs() < 0.1, "{ratio}");

    let random = folder(&one.set("data.evaluation={random_batches: 2}").set("seeds=[0, 1]"));
    let table = run(random.path());
    assert!(table.contains("for comparison with published numbers"), "{table}");
    let of_runs: Vec<Vec<Value>> = results::run_folders(&random.path().join("results/tiny"))
        .iter()
        .map(|run| windows(run))
        .collect();
    let starts = |windows: &[Value]| -> Vec<u64> {
        windows.iter().map(|window| window["start"].as_u64().unwrap()).collect()
    };
    assert_eq!((of_runs.len(), of_runs[0].len()), (2, 32));
    assert_eq!(starts(&of_runs[0]), starts(&of_runs[1]));
    assert!(of_runs[0].iter().all(|window| window["tokens"] == 16));
}

/// With `select: best` the tested epoch is that of the smallest validation loss.
#[test]
fn the_best_epoch_is_that_of_the_smallest_loss() {
    let spec = Spec::tiny_language()
        .without("arms.vlora")
        .set("training.select=best")
        .set("training.epochs=6")
        .set("training.patience=2")
        .set("training.learning_rate=0.2")
        .set("data.windows=contiguous");
    let dir = folder(&spec);
    let table = run(dir.path());
    assert!(table.contains("without overlap, in random order"), "{table}");
    let run = run_of(dir.path(), "baseline");
    let losses: Vec<f64> = fs::read_to_string(run.join(RunFolder::EPOCHS))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["validation_metric"].as_f64())
        .map(Option::unwrap)
        .collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let best = 1 + losses.iter().position(|loss| *loss == least).unwrap();
    assert_eq!(json(&run.join(RunFolder::RESULT))["selected_epoch"], best, "{losses:?}");
    assert!(losses.len() == 6 || losses.len() == best + 2, "{losses:?}");
}

/// A training that was interrupted ends in the same bits, dropout included.
#[test]
fn a_repeated_run_is_equal_to_the_bit() {
    let spec = Spec::tiny_language()
        .without("arms.baseline")
        .set("baseline=vlora")
        .set("model.dropout=0.1")
        .set("model.attention_dropout=0.1")
        .set("model.bias=true");
    let (first, second) = (folder(&spec), folder(&spec));
    run(first.path());
    run(second.path());
    let of = |dir: &Path| evidence(&dir.join("results/tiny"));
    assert!(of(first.path()) == of(second.path()));
    let own = run_of(first.path(), "vlora");
    let verify = vlora(first.path(), &["verify", own.to_str().unwrap(), "--full"]);
    assert_eq!(verify.code, 0, "{}", verify.err);
    assert!(verify.out.contains("bitwise identical; another seed changes its"), "{}", verify.out);
}

/// The same text in every format trains the same model.
#[test]
fn every_format_gives_the_same_text() {
    let (train, test) = (text(120), text(60));
    let csv = |text: &str| format!("more,text\n1,\"{text}\"\n");
    let json = |text: &str| serde_json::json!({"text": text}).to_string() + "\n";
    let frame = |text: &str| {
        parquet(DataFrame::new(1, vec![Column::new("text".into(), vec![text])]).unwrap())
    };
    type Write<'a> = Box<dyn Fn(&str) -> Vec<u8> + 'a>;
    let formats: [(&str, Write); 6] = [
        ("txt", Box::new(|text| text.as_bytes().to_vec())),
        ("txt.gz", Box::new(|text| gzip(text.as_bytes()))),
        ("csv", Box::new(|text| csv(text).into_bytes())),
        ("tsv", Box::new(|text| csv(text).replacen("more,text\n1,", "more\ttext\n1\t", 1).into())),
        ("jsonl", Box::new(|text| json(text).into_bytes())),
        ("parquet", Box::new(|text| frame(text))),
    ];
    let spec = Spec::tiny_language()
        .without("arms.vlora")
        .set("data.validation=null")
        .set("data.test=test")
        .set("training.steps=3");
    let losses: Vec<Value> = formats
        .iter()
        .map(|(ending, write)| {
            let dir = folder_with(&spec.text());
            fs::create_dir(dir.path().join("plays")).unwrap();
            for (name, text) in [("train", &train), ("test", &test)] {
                let path = dir.path().join(format!("plays/{name}.{ending}"));
                fs::write(path, write(text)).unwrap();
            }
            run(dir.path());
            results::json(&run_of(dir.path(), "baseline").join(RunFolder::RESULT))["test_loss"]
                .clone()
        })
        .collect();
    assert!(losses.windows(2).all(|pair| pair[0] == pair[1]), "{losses:?}");
}

/// Each kind of tokens is saved with its run, and weights are refused with another one.
#[test]
fn tokenizers_go_with_their_models() {
    let kinds =
        [("characters", 20), ("bytes", 256), ("{train: byte-level-bpe, vocabulary: 270}", 270)];
    for (tokenizer, rows) in kinds {
        let spec = Spec::tiny_language()
            .without("arms.vlora")
            .set(&format!("data.tokenizer={tokenizer}"))
            .set(&format!("model.vocabulary={rows}"))
            .set("training.epochs=3");
        let dir = folder(&spec);
        run(dir.path());
        let own = run_of(dir.path(), "baseline");
        assert!(own.join(RunFolder::TOKENIZER).exists(), "{tokenizer}");
        let windows = windows(&own);
        let size = &json(&own.join(RunFolder::PROVENANCE))["test_text"];
        let (bytes, tokens) = (size["bytes"].as_f64().unwrap(), size["tokens"].as_f64().unwrap());
        assert!(sum(&windows, "tokens") == tokens - 1.0 && sum(&windows, "bytes") < bytes);
        assert!(sum(&windows, "bytes") > bytes - 20.0, "{tokenizer}");
        // The tokenizer beside the weights is taken where the spec names none.
        let weights = own.join(RunFolder::MODEL);
        let start = format!("arms.baseline.start={{checkpoint: {}}}", weights.display());
        let beside = spec.clone().set("name=beside").without("data.tokenizer").set(&start);
        fs::write(dir.path().join("beside.yaml"), beside.text()).unwrap();
        let ran = vlora(dir.path(), &[&["run", "beside.yaml", "-q"], &DEVICE[..]].concat());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{tokenizer}");
        // Another one means nothing to them.
        let other = match tokenizer {
            "bytes" => "{train: byte-level-bpe, vocabulary: 260}",
            _ => "bytes",
        };
        let other = spec.set(&format!("data.tokenizer={other}")).set(&start);
        let other = other.set(&format!("model.vocabulary={}", rows.max(256)));
        fs::write(dir.path().join("other.yaml"), other.text()).unwrap();
        let refused = vlora(dir.path(), &[&["run", "other.yaml", "-q"], &DEVICE[..]].concat());
        assert_eq!(refused.code, 2, "{tokenizer}: {}", refused.err);
    }
}

/// Text is continued by a run's own weights and tokens: the same options give the same text.
#[test]
fn a_model_continues_a_text() {
    let dir = folder(&Spec::tiny_language().set("training.epochs=4"));
    run(dir.path());
    let generate = |run: &Path, more: &[&str]| -> Ran {
        let args = ["generate", run.to_str().unwrap(), "--prompt", "the cat", "--tokens", "60"];
        vlora(dir.path(), &[&args[..], more, &DEVICE].concat())
    };
    for arm in ["baseline", "vlora"] {
        let run = run_of(dir.path(), arm);
        let text = |more: &[&str]| {
            let ran = generate(&run, more);
            assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arm} {more:?}");
            assert!(ran.out.starts_with("the cat"), "{}", ran.out);
            ran.out
        };
        let greedy = text(&["--greedy"]);
        // 60 characters behind the prompt, and the line's end where the text has none.
        assert!((67..=68).contains(&greedy.chars().count()), "{greedy:?}");
        assert_eq!(greedy, text(&["--greedy"]));
        assert_eq!(greedy, text(&["--top-k", "1", "--seed", "5"]));
        assert_eq!(text(&["--seed", "1"]), text(&["--seed", "1"]));
        assert_ne!(text(&["--seed", "1", "--temperature", "2"]), text(&["--temperature", "2"]));
        assert_eq!(greedy, text(&["--top-p", "0.000001"]));
    }
    let run = run_of(dir.path(), "baseline");
    let timed = generate(&run, &["--greedy", "--speed"]);
    assert!(timed.err.starts_with("60 tokens in "), "{}", timed.err);
    let refused = |args: &[&str], parts: &[&str]| {
        let ran = vlora(dir.path(), args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.err);
        for part in parts {
            assert!(ran.err.contains(part), "`{part}` is not in\n{}", ran.err);
        }
    };
    let run = run.to_str().unwrap();
    let told = ["the prompt", "'ß', U+00DF", "one of the 20 characters"];
    refused(&["generate", run, "--prompt", "the ß"], &told);
    refused(&["generate", run, "--prompt", ""], &["nothing to continue"]);
    refused(
        &["generate", run, "--prompt", "a", "--temperature", "0"],
        &["--temperature", "--greedy"],
    );
    refused(&["generate", run, "--prompt", "a", "--top-p", "2"], &["--top-p"]);
    refused(&["generate", run, "--prompt", "a", "--top-k", "0"], &["--top-k"]);
    refused(&["generate", "nothing", "--prompt", "a"], &["not the folder of a run"]);
}

#[test]
fn a_model_of_another_task_writes_nothing() {
    let dir = folder_with(&Spec::tiny().without("arms.vlora").text());
    run(dir.path());
    let own = run_of(dir.path(), "baseline");
    let ran = vlora(dir.path(), &["generate", own.to_str().unwrap(), "--prompt", "a"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("does not write text"), "{}", ran.err);
    assert!(ran.err.contains("image-classification"), "{}", ran.err);
}

/// What `vlora data` prints of a text makes a spec.
#[test]
fn the_program_shows_a_text_and_the_spec_that_reads_it() {
    let rows: String = text(40).lines().map(|line| format!("{line}\n")).collect();
    let files: [(&str, String, &[&str]); 2] = [
        ("all.txt", text(40), &["train: train", "validation: {fraction: 0.05}"]),
        ("train.csv", format!("line\n{rows}"), &["text_column: line", "test: {fraction: 0.05}"]),
    ];
    for (name, content, lines) in files {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), content).unwrap();
        let ran = vlora(dir.path(), &["data", ".", "--rows", "1"]);
        let (_, spec) = ran
            .out
            .split_once("to paste into a spec:\n\n")
            .unwrap_or_else(|| panic!("{name}: {}{}", ran.out, ran.err));
        for line in ["task: language-modelling", "architecture: decoder"].iter().chain(lines) {
            assert!(spec.lines().any(|l| l.trim() == *line), "{name}: {line}\n{spec}");
        }
        let whole =
            format!("arms: {{baseline: }}\nseeds: [0]\n{spec}  dim: 8\n  depth: 1\n  heads: 1\n");
        fs::write(dir.path().join("spec.yaml"), whole).unwrap();
        let planned = vlora(dir.path(), &["plan", "spec.yaml"]);
        assert_eq!(planned.code, 0, "{name}: {}", planned.err);
    }
    let dir = tempfile::tempdir().unwrap();
    let ran = vlora(dir.path(), &["data", "embedded:shakespeare"]);
    for part in ["licence: public domain", "embedded: shakespeare", "First Citizen: Before we"] {
        assert!(ran.out.contains(part), "{part}: {}{}", ran.out, ran.err);
    }
}

/// One clear error each, with the file, the line or the field.
#[test]
fn faulty_texts_are_refused_by_name() {
    type Edit = fn(&Path);
    let cases: [(&str, &[&str], Edit, &[&str]); 9] = [
        (
            "a text shorter than a window",
            &["data.tokenizer=bytes", "model.vocabulary=256"],
            |dir| fs::write(dir.join("plays/all.txt"), "the cat sat on mats\n").unwrap(),
            &["data.window", "16 tokens of the split `train`", "more than 16"],
        ),
        (
            "an empty text",
            &[],
            |dir| fs::write(dir.join("plays/all.txt"), "").unwrap(),
            &["all.txt", "the text is empty"],
        ),
        (
            "another vocabulary",
            &["model.vocabulary=21"],
            |_| {},
            &["model.vocabulary", "found:    21", "expected: 20"],
        ),
        (
            "a character of the test split alone",
            &[],
            |dir| {
                let text = fs::read_to_string(dir.join("plays/all.txt")).unwrap();
                fs::write(dir.join("plays/all.txt"), text + "x\n").unwrap();
            },
            &["all.txt:301", "'x', U+0078", "20 characters", "bytes"],
        ),
        (
            "invalid UTF-8",
            &[],
            |dir| fs::write(dir.join("plays/all.txt"), b"one\n\xff\n").unwrap(),
            &["all.txt:2", "not UTF-8"],
        ),
        (
            "an unknown column",
            &["data.text_column=content"],
            |_| {},
            &["all.txt", "no column `content`", "text (text)"],
        ),
        (
            "no training split",
            &["data.train=training-text"],
            |_| {},
            &["no files of the split `training-text`", "train"],
        ),
        (
            "no such split",
            &["data.test=test"],
            |_| {},
            &["no files of the split `test`", "{fraction: 0.1}"],
        ),
        (
            "fewer tokens than a tokenizer",
            &["data.tokenizer={path: bpe}", "model.vocabulary=5"],
            |dir| {
                let folder = dir.join("bpe");
                fs::create_dir(&folder).unwrap();
                let vocab: Vec<String> = (0..9).map(|i| format!("\"w{i}\": {i}")).collect();
                let text = format!(
                    r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
                    "normalizer": null, "pre_tokenizer": {{"type": "Whitespace"}}, "post_processor": null,
                    "decoder": null, "model": {{"type": "WordLevel", "vocab": {{{}}}, "unk_token": "w0"}}}}"#,
                    vocab.join(", ")
                );
                fs::write(folder.join("tokenizer.json"), text).unwrap();
            },
            &["model.vocabulary", "at least 9", "bpe/tokenizer.json"],
        ),
    ];
    for (name, set, edit, parts) in cases {
        let spec = Spec::tiny_language().without("arms.vlora");
        let dir = folder(&set.iter().fold(spec, |spec, field| spec.set(field)));
        edit(dir.path());
        let ran = vlora(dir.path(), &[&["run", "tiny.yaml", "-q"], &DEVICE[..]].concat());
        assert_eq!(ran.code, 2, "{name}: {}", ran.err);
        assert!(ran.err.starts_with("error: "), "{name}: {}", ran.err);
        for part in parts {
            assert!(ran.err.contains(part), "{name}: `{part}` is not in\n{}", ran.err);
        }
    }
}

/// Faults that the spec alone shows, with the field and what is valid there.
#[test]
fn faulty_specs_are_refused_with_their_field() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("a window beyond the positions", "data.window=17", &["data.window", "1 to 16"]),
        ("a window of nothing", "data.window=0", &["data.window", "1 to 16"]),
        ("a stride beyond the window", "data.stride=17", &["data.stride", "1 to 16, the window"]),
        ("a stride of nothing", "data.stride=0", &["data.stride", "1 to 16, the window"]),
        (
            "a part by a seed",
            "data.validation={fraction: 0.1, seed: 3}",
            &["data.validation.seed", "the end of the training text"],
        ),
        ("no part to train on", "data.test={fraction: 0.95}", &["data.test.fraction", "below 1"]),
        ("an unknown tokenizer", "data.tokenizer=chars", &["`chars`", "characters"]),
        (
            "pieces of words",
            "data.tokenizer={train: word-piece}",
            &["data.tokenizer.train", "byte-level-bpe"],
        ),
        ("bytes of another number", "data.tokenizer=bytes", &["model.vocabulary", "256"]),
        (
            "more tokens than the model",
            "data.tokenizer={train: byte-level-bpe, vocabulary: 300}",
            &["model.vocabulary", "at least 260"],
        ),
        ("no windows", "data.epoch_windows=0", &["data.epoch_windows", "1 to"]),
        ("no batches", "data.evaluation={random_batches: 0}", &["data.evaluation.random_batches"]),
        ("an unknown order", "data.windows=shuffled", &["data.windows", "random, contiguous"]),
        ("an encoder", "model.architecture=encoder", &["cannot train", "decoder"]),
        ("labels", "data.label_column=label", &["unknown field", "label_column"]),
        ("the task by another name", "task=language-modeling", &["language-modelling"]),
        ("a new head", "arms.vlora.start={arm: baseline, head: new}", &["start.head", "`keep`"]),
        ("columns without the text", "data.columns=[a, b]", &["data.columns", "`text`"]),
    ];
    for (name, set, parts) in cases {
        let error = parsed(&Spec::tiny_language().set(set).text(), &[]);
        let error = error.map(drop).expect_err(name).to_string();
        for part in *parts {
            assert!(error.contains(part), "{name}: `{part}` is not in\n{error}");
        }
    }
    for (fields, parts) in [
        (["data.evaluation={random_batches: 2}", "data.stride=4"], ["data.stride", "are random"]),
        (["data.windows=contiguous", "data.epoch_windows=9"], ["data.epoch_windows", "contiguous"]),
    ] {
        let both = fields.iter().fold(Spec::tiny_language(), |spec, field| spec.set(field));
        let error = parsed(&both.text(), &[]).map(drop).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let none = Spec::tiny_language().without("data.tokenizer");
    let error = parsed(&none.text(), &[]).map(drop).unwrap_err().to_string();
    assert!(error.contains("there is no tokenizer") && error.contains("`characters`"), "{error}");
}

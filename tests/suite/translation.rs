//! Translation by the real program: every kind of arm, what runs leave, every format, and what faulty
//! corpora and specs are refused with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use vlora::results::RunFolder;

use crate::common::program::{Ran, folder_with, vlora};
use crate::common::results::{self, json as read_json};
use crate::common::spec::{Spec, parsed};

const DEVICE: [&str; 2] = ["--device", "cpu"];

/// German words and their translations.
const WORDS: [(&str, &str); 8] = [
    ("ein", "a"),
    ("Mann", "man"),
    ("Frau", "woman"),
    ("Hund", "dog"),
    ("sieht", "sees"),
    ("und", "and"),
    ("rot", "red"),
    ("groß", "big"),
];

/// Pairs of sentences of two to six words, word for word.
fn pairs(first: usize, n: usize) -> Vec<(String, String)> {
    let sentence = |i: usize| {
        let length = 2 + i % 5;
        let word = |place: usize| WORDS[(i * 7 + place * (3 + i % 4)) % WORDS.len()];
        let words: Vec<(&str, &str)> = (0..length).map(word).collect();
        let of = |side: fn(&(&'static str, &'static str)) -> &'static str| {
            words.iter().map(|w| side(&(w.0, w.1))).collect::<Vec<_>>().join(" ")
        };
        (of(|w| w.0) + ".", of(|w| w.1) + ".")
    };
    (first..first + n).map(sentence).collect()
}

fn lines(pairs: &[(String, String)]) -> String {
    let line = |(de, en): &(String, String)| json!({"de": de, "en": en}).to_string() + "\n";
    pairs.iter().map(line).collect()
}

/// A folder with this spec and the corpus in `pairs`.
fn folder(spec: &Spec) -> TempDir {
    let dir = folder_with(&spec.text());
    write(dir.path(), &lines(&pairs(0, 160)));
    dir
}

fn write(dir: &Path, train: &str) {
    let own = dir.join("pairs");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("train.jsonl"), train).unwrap();
    fs::write(own.join("validation.jsonl"), lines(&pairs(1000, 24))).unwrap();
    fs::write(own.join("test.jsonl"), lines(&pairs(2000, 30))).unwrap();
}

fn run(dir: &Path) -> String {
    let ran = vlora(dir, &[&["run", "tiny.yaml", "-q"], &DEVICE[..]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    ran.out
}

fn run_of(dir: &Path, arm: &str) -> PathBuf {
    results::run_of(&dir.join("results/tiny"), arm)
}

/// The lines of a run's `test.jsonl`.
fn outcomes(run: &Path) -> Vec<Value> {
    let text = RunFolder::of_weights(run).unwrap().read_whole(RunFolder::TEST).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every arm is trained. Its evidence holds the translations and all metrics, and the report is made again
/// of it.
#[test]
fn every_kind_of_arm_translates_and_leaves_its_evidence() {
    let spec = Spec::tiny_translation()
        .set("training.epochs=12")
        .set("training.select=best-loss")
        .arm("shared", "{method: vlora, vlora: {rank: 0, detach: false}}")
        .arm("matched", "{match: {arm: vlora, by: width}}")
        .arm("lora", "{start: {arm: baseline}, lora: {rank: 2}}")
        .arm("converted", "{method: vlora, start: {arm: baseline}}");
    let dir = folder(&spec);
    let table = run(dir.path());
    for part in ["test BLEU", "chrF2++", "TER", "word BLEU", "perplexity", "tokens/s", "tok:13a"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    for arm in ["baseline", "vlora", "shared", "matched", "lora", "converted"] {
        let run = run_of(dir.path(), arm);
        let (result, outcomes) = (read_json(&run.join(RunFolder::RESULT)), outcomes(&run));
        assert_eq!((result["metric_name"].as_str(), outcomes.len()), (Some("BLEU"), 30), "{arm}");
        let sum = |field: &str| -> f64 {
            outcomes.iter().map(|outcome| outcome[field].as_f64().unwrap()).sum()
        };
        let loss = sum("loss") / sum("tokens");
        assert!((result["test_loss"].as_f64().unwrap() - loss).abs() < 1e-12, "{arm}");
        let metric = |name: &str| result["test_metrics"][name].as_f64().unwrap();
        assert!((metric("perplexity") - loss.exp()).abs() < 1e-9, "{arm}");
        assert!(metric("chrF2++") >= 0.0 && metric("TER") >= 0.0 && metric("word BLEU") >= 0.0);
        // The references are the corpus's, in its order and in lower case.
        for (i, (outcome, (de, en))) in outcomes.iter().zip(pairs(2000, 30)).enumerate() {
            assert_eq!(outcome["sentence"], i);
            assert_eq!(outcome["source"], de.to_lowercase());
            assert_eq!(outcome["reference"], en.to_lowercase());
        }
        let epochs = fs::read_to_string(run.join(RunFolder::EPOCHS)).unwrap();
        let losses: Vec<f64> = epochs
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|epoch| epoch["validation_loss"].as_f64().unwrap())
            .collect();
        let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
        let chosen = result["selected_epoch"].as_u64().unwrap() as usize;
        assert_eq!(losses[chosen - 1], best, "{arm}");
    }
    // The words are translated one by one, which a small model learns.
    let baseline = run_of(dir.path(), "baseline");
    let result = read_json(&baseline.join(RunFolder::RESULT));
    assert!(result["test_metric"].as_f64().unwrap() > 50.0, "{result}");

    let written = dir.path().join("results/tiny/table.md");
    let before = fs::read(&written).unwrap();
    let again = vlora(dir.path(), &["report", "results/tiny"]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
    assert_eq!(fs::read(&written).unwrap(), before);
    trivial_baselines_have_a_table(&dir.path().join("results/tiny"), &table);
    // The run's own weights give its own outcomes.
    let evaluate = ["evaluate", baseline.to_str().unwrap(), "--spec", "tiny.yaml"];
    let told = vlora(dir.path(), &[&evaluate[..], &["--out", "again.jsonl"], &DEVICE].concat());
    assert_eq!(told.code, 0, "{}", told.err);
    let own = RunFolder::of_weights(&baseline).unwrap().read_whole(RunFolder::TEST).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("again.jsonl")).unwrap(), own);
    let vlora_run = run_of(dir.path(), "vlora");
    let both = [baseline.to_str().unwrap(), vlora_run.to_str().unwrap()];
    let compared = vlora(dir.path(), &["compare", both[0], both[1]]);
    assert!(
        compared.out.contains("Paired bootstrap over the test examples: p "),
        "{}",
        compared.out
    );
    let same = vlora(dir.path(), &["compare", both[0], both[0]]);
    assert!(same.out.contains("p = 1.00; it is about these weights"), "{}", same.out);
    for args in [
        &["probe", "results/tiny"][..],
        &["verify", baseline.to_str().unwrap()],
        &["params", "tiny.yaml"],
        &["plan", "tiny.yaml", "--details"],
        &["data", "pairs"],
        &["bench", "tiny.yaml", "--synthetic", "--steps", "1", "--warmup", "0"],
        &["bench", "tiny.yaml", "--steps", "1", "--warmup", "0"],
    ] {
        let Ran { code, err, .. } = vlora(dir.path(), args);
        assert_eq!(code, 0, "{args:?}: {err}");
    }
}

/// The rows of a CSV file by column.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

/// What copying and the dictionary reach, the paired bootstrap, and sample outputs of every arm.
fn trivial_baselines_have_a_table(results: &Path, table: &str) {
    for part in ["Trivial baselines", "copying the source", "bootstrap p, largest"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let references = rows(&results.join("trivial-baselines.csv"));
    let number = |row: usize, column: &str| references[row][column].parse::<f64>().unwrap();
    // Only full stops are the same in both languages, and each word has one translation.
    let (copy, dictionary) = (number(0, "test_BLEU"), number(1, "test_BLEU"));
    assert!(copy > 0.0 && copy < 20.0 && (dictionary - 100.0).abs() < 1e-9, "{references:?}");
    assert!(number(0, "test_TER") > 90.0 && number(1, "test_TER") == 0.0, "{references:?}");
    assert!(number(1, "test_chrF2++") > 99.9 && number(1, "test_word BLEU") > 99.9);
    assert_eq!(references[0]["test_perplexity"], "");
    let table = rows(&results.join("table.csv"));
    assert!(table.iter().all(|row| row["trivial"].parse::<f64>().unwrap() == copy), "{table:?}");

    let pairs = rows(&results.join("pairs.csv"));
    assert_eq!(pairs.len(), 5);
    for pair in &pairs {
        let (p, difference) = (&pair["bootstrap_p"], &pair["difference"]);
        let (p, difference): (f64, f64) = (p.parse().unwrap(), difference.parse().unwrap());
        assert!(p > 0.0 && p <= 1.0 && pair["mcnemar_p"].is_empty(), "{pair:?}");
        // So large a difference is not one of the thirty examples alone.
        assert!(difference.abs() < 50.0 || p < 0.05, "{pair:?}");
    }
    let samples = fs::read_to_string(results.join("samples.md")).unwrap();
    let page = fs::read_to_string(results.join("report.html")).unwrap();
    assert!(samples.contains("20 of 30 test examples, evenly spaced"), "{samples}");
    for (place, (de, en)) in pairs_of_samples() {
        let lines = format!("\n## Example {place}\n");
        let (_, own) = samples.split_once(&lines).unwrap();
        let own = own.split("\n## ").next().unwrap();
        assert!(own.contains(&format!("| source | {} |", de.to_lowercase())), "{own}");
        assert!(own.contains(&format!("| reference | {} |", en.to_lowercase())), "{own}");
        for arm in ["baseline", "vlora", "shared", "matched", "lora", "converted"] {
            let run = results::run_of(results, arm);
            let hypothesis = outcomes(&run)[place]["hypothesis"].as_str().unwrap().to_string();
            // The label of a matched arm has its width behind it.
            let has =
                |line: &str| line.starts_with(&format!("| {arm}")) && line.contains(&hypothesis);
            assert!(own.lines().any(has), "{arm}: {own}");
            assert!(page.contains(&hypothesis), "{arm}: {hypothesis}");
        }
    }
    assert_eq!(samples.matches("\n## ").count(), 20);
    assert!(page.contains("Sample outputs") && page.contains("Trivial baselines"));
}

/// Some of the places that samples are taken from, with their sentences.
fn pairs_of_samples() -> Vec<(usize, (String, String))> {
    let all = pairs(2000, 30);
    [0, 1, 3, 15, 28].map(|place| (place, all[place].clone())).into()
}

/// Sentences are texts, whatever is written in them.
#[test]
fn sample_outputs_are_escaped() {
    let spec = Spec::tiny_translation()
        .set("data.tokenizer={train: byte-level-bpe, vocabulary: 280}")
        .set("data.lowercase=false")
        .set("data.max_tokens=64")
        .set("model.positions=64")
        .set("model.source_vocabulary=300")
        .set("model.target_vocabulary=300")
        .set("training.epochs=1");
    let dir = folder(&spec);
    let odd = ("<b>Hund</b> | *rot*".to_string(), "a <script> & [x](y)\u{202e}".to_string());
    fs::write(dir.path().join("pairs/test.jsonl"), lines(&[odd])).unwrap();
    run(dir.path());
    let results = dir.path().join("results/tiny");
    let samples = fs::read_to_string(results.join("samples.md")).unwrap();
    assert!(samples.contains(r"| source | \<b\>Hund\</b\> \| \*rot\* |"), "{samples}");
    let page = fs::read_to_string(results.join("report.html")).unwrap();
    assert!(page.contains("&lt;b&gt;Hund&lt;/b&gt; | *rot*"), "{page}");
    for part in ["<script", "<b>Hund", "\u{202e}"] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(
        samples.contains(r"a \<script\> & \[x\](y)") || samples.contains(r"a \<script\> \& \[x")
    );
    assert!(!samples.contains('\u{202e}'), "{samples}");
    // One sentence says nothing of others.
    let pairs = rows(&results.join("pairs.csv"));
    assert!(pairs.iter().all(|pair| pair["bootstrap_p"].parse::<f64>().unwrap() <= 1.0));
}

/// Weights are written for PyTorch and for the authors' package. Both give the run's own outcomes again, the
/// authors' without a description, and a run starts from them.
#[test]
fn other_programs_forms_hold_a_trained_model() {
    let targets = "[self_attn.in_proj, self_attn.out_proj, linear1, linear2]";
    let spec = Spec::tiny_translation()
        .set("model.final_norm=decoder")
        .set(&format!("vlora.targets={targets}"))
        .set("training.epochs=2");
    let dir = folder(&spec);
    let dir = dir.path();
    run(dir);
    let told = |args: &[&str]| {
        let ran = vlora(dir, args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        ran.out
    };
    let (dense, compounds) = (run_of(dir, "baseline"), run_of(dir, "vlora"));
    told(&["export", dense.to_str().unwrap(), "--to", "pytorch", "--out", "pytorch"]);
    assert!(dir.join("pytorch/tokenizer.json").exists());
    let authors =
        ["export", compounds.to_str().unwrap(), "--to", "authors", "--out", "a.safetensors"];
    assert!(told(&authors).contains("for TransformerVLoRA(d_model=16"));
    for (checkpoint, run) in [("pytorch", &dense), ("a.safetensors", &compounds)] {
        let evaluate =
            ["evaluate", checkpoint, "--spec", "tiny.yaml", "--force", "--out", "again.jsonl"];
        told(&[&evaluate[..], &DEVICE].concat());
        let own = RunFolder::of_weights(run).unwrap().read_whole(RunFolder::TEST).unwrap();
        assert!(fs::read_to_string(dir.join("again.jsonl")).unwrap() == own, "{checkpoint}");
    }
    let imported = told(&["import", "pytorch", "--out", "compact.safetensors"]);
    assert!(imported.contains("torch.nn.Transformer with embeddings"), "{imported}");
    let refused = vlora(dir, &["import", "a.safetensors", "--out", "none.safetensors"]);
    assert!(refused.code == 2 && refused.err.contains("how the model computes"), "{}", refused.err);

    let spec = spec
        .without("arms.vlora")
        .arm("adapted", "{start: {checkpoint: pytorch}, lora: {rank: 2}}")
        .arm("converted", "{method: vlora, start: {checkpoint: pytorch}}")
        .arm("theirs", "{method: vlora, start: {checkpoint: a.safetensors, alpha: 1}}");
    fs::write(dir.join("started.yaml"), spec.set("name=started").text()).unwrap();
    let table = told(&[&["run", "started.yaml", "-q"], &DEVICE[..]].concat());
    for arm in ["adapted", "converted", "theirs"] {
        assert!(table.contains(arm), "{table}");
    }
}

/// The translations of lines are those of the test, whatever lines are beside them.
#[test]
fn lines_are_translated_as_in_the_test() {
    let spec = Spec::tiny_translation().without("arms.vlora").set("data.decoding={beam: 3}");
    let dir = folder(&spec);
    run(dir.path());
    let own = run_of(dir.path(), "baseline");
    let outcomes = outcomes(&own);
    let translated = |lines: &str, more: &[&str]| {
        let mut command = assert_cmd::Command::new(crate::common::program::binary());
        command.current_dir(dir.path()).args(["translate", own.to_str().unwrap()]).args(more);
        let output = command.args(DEVICE).write_stdin(lines).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let mut command = assert_cmd::Command::new(crate::common::program::binary());
    command.current_dir(dir.path()).args(["translate", own.to_str().unwrap()]).args(DEVICE);
    let output = command.write_stdin(b"ein\nz\xfcg\n".as_slice()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("line 2: ") && told.contains("UTF-8"), "{told}");
    let lines: String = pairs(2000, 30).iter().map(|(de, _)| format!("{de}\n")).collect();
    let (code, out) = translated(&lines, &[]);
    let hypotheses = outcomes.iter().map(|o| o["hypothesis"].as_str().unwrap().to_string() + "\n");
    assert_eq!((code, out), (0, hypotheses.collect()));
    // An empty line stays empty, and a single line is as good as many.
    let first = &pairs(2000, 1)[0].0;
    let want = format!("\n{}\n", outcomes[0]["hypothesis"].as_str().unwrap());
    assert_eq!(translated(&format!("  \n{first}"), &[]), (0, want));
    assert_eq!(translated("", &[]), (0, String::new()));
    assert_eq!(translated("ein", &["--beam", "0"]).0, 2);
}

/// Greedy translations of validation, and those of the test by a beam.
#[test]
fn a_beam_changes_the_test_alone() {
    let spec = Spec::tiny_translation().set("training.epochs=2").without("arms.vlora");
    let of = |spec: &Spec| {
        let dir = folder(spec);
        run(dir.path());
        let run = run_of(dir.path(), "baseline");
        let validation = fs::read_to_string(run.join(RunFolder::EPOCHS)).unwrap();
        let metrics: Vec<Value> = validation
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["validation_metric"].clone())
            .collect();
        let test: Vec<Value> =
            outcomes(&run).into_iter().map(|outcome| outcome["hypothesis"].clone()).collect();
        (metrics, test)
    };
    let (greedy, beam) = (of(&spec), of(&spec.clone().set("data.decoding={beam: 5}")));
    assert_eq!(greedy.0, beam.0);
    assert_ne!(greedy.1, beam.1);
}

/// The same pairs in every format give the same data.
#[test]
fn every_format_gives_the_same_pairs() {
    let all = pairs(0, 60);
    let nested: String = all
        .iter()
        .map(|(de, en)| json!({"translation": {"de": de, "en": en}}).to_string() + "\n")
        .collect();
    let rows = |separator: &str| -> String {
        let row = |(de, en): &(String, String)| format!("{de}{separator}{en}\n");
        format!("de{separator}en\n") + &all.iter().map(row).collect::<String>()
    };
    let tokens = |files: &[(&str, &str)]| {
        let spec = Spec::tiny_translation()
            .set("data.validation={fraction: 0.1}")
            .set("data.test={fraction: 0.1}")
            .set("training.epochs=1")
            .without("arms.vlora");
        let dir = folder_with(&spec.text());
        fs::create_dir(dir.path().join("pairs")).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join("pairs").join(name), text).unwrap();
        }
        run(dir.path());
        let run = run_of(dir.path(), "baseline");
        (fs::read(run.join("tokenizer.json")).unwrap(), outcomes(&run))
    };
    let side = |of: fn(&(String, String)) -> &String| -> String {
        all.iter().map(|pair| of(pair).clone() + "\n").collect()
    };
    let (de, en) = (side(|pair| &pair.0), side(|pair| &pair.1));
    let first = tokens(&[("train.jsonl", &lines(&all))]);
    for files in [
        &[("train.jsonl", nested.as_str())][..],
        &[("train.tsv", &rows("\t"))],
        &[("train.csv", &rows(","))],
        &[("train.de", &de), ("train.en", &en)],
    ] {
        assert!(tokens(files) == first, "{files:?}");
    }
}

/// Files of aligned lines are found by their names. Beside tables they are not read, as any unknown file.
#[test]
fn files_of_aligned_lines_are_the_splits_of_their_names() {
    let spec = Spec::tiny_translation()
        .set("training.epochs=1")
        .set("data.validation=val")
        .set("data.test=test_2016")
        .without("arms.vlora");
    let dir = folder_with(&spec.text());
    let own = dir.path().join("pairs");
    fs::create_dir(&own).unwrap();
    let put = |name: &str, pairs: &[(String, String)]| {
        let side = |ending: &str, of: fn(&(String, String)) -> &String| {
            let lines: String = pairs.iter().map(|pair| of(pair).clone() + "\n").collect();
            fs::write(own.join(format!("{name}.{ending}")), lines).unwrap();
        };
        side("de", |pair| &pair.0);
        side("en", |pair| &pair.1);
    };
    for (name, first, n) in [("train", 0, 160), ("val", 1000, 24), ("test_2016", 2000, 30)] {
        put(name, &pairs(first, n));
    }
    run(dir.path());
    assert_eq!(outcomes(&run_of(dir.path(), "baseline")).len(), 30);

    for field in ["data.config=de-en", "data.columns=[de, en]"] {
        fs::write(dir.path().join("tiny.yaml"), spec.clone().set(field).text()).unwrap();
        let ran = vlora(dir.path(), &["plan", "tiny.yaml"]);
        assert!(ran.code == 2 && ran.err.contains("files of aligned lines have no"), "{}", ran.err);
    }
    let ignoring = spec.clone().set("data.ignore=[nothing.*]");
    fs::write(dir.path().join("tiny.yaml"), ignoring.text()).unwrap();
    let ran = vlora(dir.path(), &["plan", "tiny.yaml"]);
    assert!(ran.code == 2 && ran.err.contains("no file matches a pattern"), "{}", ran.err);
    fs::write(dir.path().join("tiny.yaml"), spec.text()).unwrap();
    fs::write(own.join("test_2016.en"), "one line\n").unwrap();
    let ran = vlora(dir.path(), &["plan", "tiny.yaml"]);
    assert_eq!(ran.code, 2);
    for part in ["the files have not as many lines", "test_2016.en", "1 lines", "30, as in"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
}

/// Batches by tokens, joint pieces, pre-norm, one embedding for both languages.
#[test]
fn other_settings_train_too() {
    let spec = Spec::tiny_translation()
        .set("data.tokenizer={train: byte-level-bpe, joint: true, vocabulary: 270}")
        .set("data.max_tokens=64")
        .set("data.batch_tokens=256")
        .set("model.positions=64")
        .set("model.source_vocabulary=270")
        .set("model.target_vocabulary=270")
        .set("model.norm=pre")
        .set("model.shared_embedding=true")
        .set("model.decoder_depth=4")
        .set("model.dropout=0.1")
        .set("training.label_smoothing=0.1")
        .set("training.epochs=2");
    let dir = folder(&spec);
    run(dir.path());
    let run = run_of(dir.path(), "vlora");
    let result = read_json(&run.join(RunFolder::RESULT));
    assert!(result["test_loss"].as_f64().unwrap().is_finite());
    let tokenizer = fs::read_to_string(run.join("tokenizer.json")).unwrap();
    let tokenizer: Value = serde_json::from_str(&tokenizer).unwrap();
    assert!(tokenizer["model"]["vocab"].is_object(), "one tokenizer is written as Hugging Face's");
}

/// A special token's name in a sentence is text, and a translation is one line.
#[test]
fn names_of_special_tokens_are_text() {
    let all: Vec<(String, String)> = (0..40)
        .map(|i| (format!("drück {} [SEP] jetzt", i % 3), format!("press {} [SEP] now", i % 3)))
        .collect();
    for tokenizer in
        ["{train: words, minimum_count: 1}", "{train: byte-level-bpe, vocabulary: 280}"]
    {
        let spec = Spec::tiny_translation()
            .set(&format!("data.tokenizer={tokenizer}"))
            .set("data.lowercase=false")
            .set("data.max_tokens=32")
            .set("model.positions=32")
            .set("model.source_vocabulary=300")
            .set("model.target_vocabulary=300")
            .set("training.epochs=1")
            .without("arms.vlora");
        let dir = folder(&spec);
        write(dir.path(), &lines(&all));
        fs::write(dir.path().join("pairs/test.jsonl"), lines(&all[..3])).unwrap();
        run(dir.path());
        let outcomes = outcomes(&run_of(dir.path(), "baseline"));
        // More tokens than words in front of the name.
        assert!(outcomes.iter().all(|o| o["tokens"].as_u64().unwrap() >= 7), "{outcomes:?}");
    }
}

/// Batches by tokens do not change what a token costs, and are not timed.
#[test]
fn batches_by_tokens_are_told() {
    let spec = Spec::tiny_translation().set("training.epochs=1").without("arms.vlora");
    let flops = |spec: &Spec| {
        let dir = folder(spec);
        let ran = vlora(dir.path(), &["plan", "tiny.yaml", "--format", "csv"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let cell = |name: &str| -> f64 {
            let mut lines = ran.out.lines();
            let at = lines.next().unwrap().split(',').position(|column| column == name).unwrap();
            lines.next().unwrap().split(',').nth(at).unwrap().parse().unwrap()
        };
        cell("training_flops")
    };
    let by_tokens = spec.clone().set("data.batch_tokens=64");
    assert_eq!(flops(&spec), flops(&by_tokens));
    let dir = folder(&by_tokens);
    let table = run(dir.path());
    assert!(table.contains("batches of at most 64 tokens a language"), "{table}");
    for data in [&[][..], &["--synthetic"]] {
        let bench = ["bench", "tiny.yaml", "--steps", "3", "--warmup", "1", "--json", "-"];
        let ran = vlora(dir.path(), &[&bench[..], data, &DEVICE].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
        for row in &rows {
            let number = |key: &str| row[key].as_f64().unwrap();
            assert!(number("units_per_second") > number("examples_per_second"), "{row}");
            assert!(number("step_flops") > 0.0 && number("floor_seconds") > 0.0, "{row}");
        }
        assert!(!rows.is_empty());
    }
}

/// Batches of random lengths train on other pairs at a step than grouped ones, and the table says so.
#[test]
fn batches_may_have_random_lengths() {
    let first_loss = |spec: &Spec| {
        let dir = folder(spec);
        let table = run(dir.path());
        let steps = fs::read_to_string(run_of(dir.path(), "vlora").join("steps.jsonl")).unwrap();
        let first: Value = serde_json::from_str(steps.lines().next().unwrap()).unwrap();
        (first["loss"].as_f64().unwrap(), table)
    };
    let spec = Spec::tiny_translation().set("training.epochs=1");
    let (grouped, table) = first_loss(&spec);
    assert!(!table.contains("of random lengths"), "{table}");
    assert_eq!(first_loss(&spec.clone().set("data.group_by_length=true")).0, grouped);
    let (random, table) = first_loss(&spec.set("data.group_by_length=false"));
    assert!(table.contains("of random lengths"), "{table}");
    assert_ne!(random, grouped);
}

/// Validation translates after some epochs only; the loss is measured after each.
#[test]
fn validation_translates_every_few_epochs() {
    let spec = Spec::tiny_translation()
        .set("training.epochs=5")
        .set("training.select=best")
        .set("data.decoding={validate_every: 2}")
        .without("arms.vlora");
    let dir = folder(&spec);
    run(dir.path());
    let run = run_of(dir.path(), "baseline");
    let epochs = fs::read_to_string(run.join(RunFolder::EPOCHS)).unwrap();
    let epochs: Vec<Value> =
        epochs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let translated: Vec<bool> = epochs.iter().map(|e| e["validation_metric"].is_f64()).collect();
    assert_eq!(translated, [false, true, false, true, true]);
    assert!(epochs.iter().all(|e| e["validation_loss"].is_f64()));
    let chosen = read_json(&run.join(RunFolder::RESULT))["selected_epoch"].as_u64().unwrap();
    assert!([2, 4, 5].contains(&chosen), "{chosen}");
}

/// A tokenizer of unigram pieces in NFKC gives back its texts; references stay as they are.
#[test]
fn unigram_pieces_are_trained_on_normalised_sentences() {
    let spec = Spec::tiny_translation()
        .set("training.epochs=1")
        .set("model.source_vocabulary=300")
        .set("model.target_vocabulary=300")
        .set("data.lowercase=false")
        .set("data.tokenizer={train: unigram, vocabulary: 260, joint: true, normalisation: nfkc}")
        .without("arms.vlora");
    let dir = folder(&spec);
    // The ligature and the full-width letter have plain forms.
    let odd = lines(&[("ein ﬁn Ｍann".into(), "a ﬁn man".into())]);
    fs::write(dir.path().join("pairs/test.jsonl"), odd).unwrap();
    let table = run(dir.path());
    assert!(table.contains("unigram pieces of the training split, in NFKC"), "{table}");
    let run = run_of(dir.path(), "baseline");
    assert_eq!(outcomes(&run)[0]["reference"], "a ﬁn man");
    let tokenizer = fs::read_to_string(run.join(RunFolder::TOKENIZER)).unwrap();
    let tokenizer: Value = serde_json::from_str(&tokenizer).unwrap();
    assert_eq!(
        (&tokenizer["model"]["type"], &tokenizer["normalizer"]["type"]),
        (&json!("Unigram"), &json!("NFKC"))
    );
}

/// Pairs that are too long or empty are left out of training and counted; elsewhere they stay.
#[test]
fn what_is_left_out_is_counted() {
    let spec = Spec::tiny_translation().set("training.epochs=1").without("arms.vlora");
    let dir = folder(&spec);
    let long = "ein ".repeat(20);
    let more = [(long.clone(), "a".into()), ("ein".into(), String::new()), ("Hund".into(), long)];
    write(dir.path(), &(lines(&pairs(0, 160)) + &lines(&more)));
    let same = lines(&[("ein".into(), "a".into()), pairs(0, 1)[0].clone()]);
    fs::write(dir.path().join("pairs/test.jsonl"), same + &lines(&more)).unwrap();
    let table = run(dir.path());
    for part in [
        "Training pairs left out because of an empty sentence: 1.",
        "Training pairs left out because of a sentence of more than 16 tokens: 2.",
        "Sentences of the test split cut to 16 tokens: 2.",
        "Pairs of the test split with an empty sentence: 1.",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert_eq!(outcomes(&run_of(dir.path(), "baseline")).len(), 5);
    let uneven = spec.clone().set("data.max_length_ratio=1.5");
    let dir = folder(&uneven);
    let two_to_one = [("ein Mann sieht ein Hund".into(), "a dog".into())];
    write(dir.path(), &(lines(&pairs(0, 160)) + &lines(&two_to_one)));
    let table = run(dir.path());
    let left = "Training pairs left out because of one sentence of too many times the tokens of the other: 1.";
    assert!(table.contains(left), "{table}");

    // A pair of the test is left out of training, or the corpus is refused.
    let removed = spec.clone().set("data.duplicates=remove");
    let dir = folder(&removed);
    fs::write(dir.path().join("pairs/validation.jsonl"), lines(&pairs(0, 1))).unwrap();
    fs::write(dir.path().join("pairs/test.jsonl"), lines(&pairs(1, 1))).unwrap();
    let is_later = |pair: &&(String, String)| pairs(0, 2).contains(pair);
    let equal = pairs(0, 160).iter().filter(is_later).count();
    let table = run(dir.path());
    let left = "left out of training or validation, since a later split has an equal one";
    let line = table.lines().find(|line| line.contains(left)).expect(&table);
    assert!(line.contains(&format!("Sentence pairs: {equal} ")), "{equal}: {line}");
    let refused = spec.set("data.duplicates=refuse");
    fs::write(dir.path().join("tiny.yaml"), refused.text()).unwrap();
    let ran = vlora(dir.path(), &["plan", "tiny.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("sentence pair"), "{}", ran.err);
}

#[test]
fn faulty_corpora_and_specs_are_refused() {
    let spec = Spec::tiny_translation();
    let dir = folder(&spec);
    let told = |spec: &Spec| {
        fs::write(dir.path().join("tiny.yaml"), spec.text()).unwrap();
        let Ran { code, err, .. } = vlora(dir.path(), &["plan", "tiny.yaml"]);
        assert_eq!(code, 2, "{err}");
        err
    };
    for (field, parts) in [
        ("data.source_column=fr", &["there is no column `fr`", "texts in de, en"][..]),
        ("data.source_column=dE", &["did you mean `data.source_column: de`?"]),
        ("data.target_column=de", &["another column than data.source_column"]),
        ("model.source_vocabulary=10", &["more tokens than the model", "source_vocabulary: 13"]),
        ("data.max_tokens=3", &["no sentence pair is left for training"]),
    ] {
        let told = told(&spec.clone().set(field));
        assert!(parts.iter().all(|part| told.contains(part)), "{parts:?} in {told}");
    }
    for (field, parts) in [
        ("data.max_tokens=17", &["a whole number from 3 to 16"][..]),
        ("data.tokenizer={train: words, vocabulary: 100}", &["there are as many words"]),
        ("data.tokenizer={train: sentencepiece}", &["words", "byte-level-bpe"]),
        ("data.tokenizer={train: byte-level-bpe}", &["at least 260"]),
        ("data.tokenizer={train: words, joint: true, keep_hyphens: source}", &["one tokenizer"]),
        ("model.shared_embedding=true", &["joint: true"]),
        ("model.heads=3", &["a divisor of model.dim"]),
        ("model.decoder_depth=3", &["a divisor of model.decoder_depth, 3"]),
        ("data.decoding={beam: 0}", &["a whole number from 1"]),
        ("data.decoding={length_penalty: -1}", &["0 or more"]),
        ("data.max_length_ratio=0.5", &["data.max_length_ratio", "1 or more"]),
        ("data.decoding={validate_every: 0}", &["a whole number from 1"]),
        ("data.tokenizer={train: unigram}", &["at least 260"]),
        ("data.tokenizer={train: words, normalisation: nfc}", &["none, nfkc"]),
        ("data.batch_tokens=8", &["data.batch_tokens", "from 16"]),
        ("vlora.targets=[cross_attn]", &["unknown name", "multihead_attn.query"]),
        ("model.architecture=decoder", &["encoder-decoder"]),
    ] {
        let told = parsed(&spec.clone().set(field).text(), &[]).expect_err(field).to_string();
        assert!(parts.iter().all(|part| told.contains(part)), "{field}: {parts:?} in {told}");
    }
    let random = spec.clone().set("data.batch_tokens=64").set("data.group_by_length=false");
    let told_random = parsed(&random.text(), &[]).expect_err("random").to_string();
    for part in ["data.group_by_length", "found:    false", "mostly padding"] {
        assert!(told_random.contains(part), "{part} is missing in {told_random}");
    }
    let rarely = spec.clone().set("data.decoding={validate_every: 3}");
    for (field, parts) in [
        ("training={select: best, patience: 2}", ["training.patience", "at least 3"]),
        ("training={average_last: 3, epochs: 4, steps: 5}", ["2 epochs within", "at most 2"]),
        (
            "training={warmup_steps: 1000, epochs: 2}",
            ["the peak learning rate is never", "1000, and"],
        ),
        (
            "training={schedule: inverse-sqrt, warmup_ratio: 0.001, epochs: 2}",
            ["the warm-up has no step", "counts from its end"],
        ),
    ] {
        let told = told(&rarely.clone().set(field));
        assert!(parts.iter().all(|part| told.contains(part)), "{field}: {parts:?} in {told}");
    }
    let tuned = rarely.set("sweep={training.learning_rate: [0.001, 0.002]}");
    let tuned = tuned.set("tune=[training.learning_rate]");
    for (field, part) in [
        ("training={select: best-loss, epochs: 4}", "a metric that is not measured after every"),
        ("training={average_last: 2, epochs: 4}", "validation is of each epoch's own weights"),
    ] {
        let told = told(&tuned.clone().set(field));
        assert!(told.contains(part), "{field}: {told}");
    }
    write(dir.path(), "{\"de\": 3, \"en\": \"x\"}\n");
    let wrong = told(&spec);
    assert!(wrong.contains("column `de` has the wrong type"), "{wrong}");
}

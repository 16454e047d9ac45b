//! Hugging Face's Marian: its weights, its tokens, and runs that only test it.
//! `scripts/reference/make_marian_fixtures.py` made the fixture.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use vlora::checkpoints::{
    CONFIG, CheckpointFormat, Hints, LoadedCheckpoint, MODEL, read_checkpoint,
};
use vlora::data::translation::{BOS, EOS, MarianFolder, PAD, PairTokenizers, Vocabulary};
use vlora::models::encoder_decoder::{EncoderDecoder, Tokens};
use vlora::nn::{Constants, Mode};
use vlora::results::RunFolder;

use crate::common::program::{folder_with, vlora};
use crate::common::results::{self, json as read_json};
use crate::common::spec::Spec;

const FILES: [&str; 5] = [CONFIG, MODEL, "source.spm", "target.spm", "vocab.json"];
const DEVICE: [&str; 2] = ["--device", "cpu"];

fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/marian").join(file)
}

/// What transformers makes of the model.
#[derive(Deserialize)]
struct Expected {
    limit: usize,
    pairs: Vec<Pair>,
    odd: Vec<String>,
    source_ids: Vec<Vec<u32>>,
    target_ids: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct Pair {
    source: String,
    reference: String,
    translation: String,
    losses: Vec<f64>,
}

fn expected() -> Expected {
    serde_json::from_str(&fs::read_to_string(fixture("expected.json")).unwrap()).unwrap()
}

fn tokenizers() -> PairTokenizers {
    let folder = MarianFolder::beside(&fixture(MODEL)).unwrap().unwrap();
    PairTokenizers::of_folder(&folder).unwrap()
}

/// Numbers of the model's rows as those of `vocab.json`.
fn numbers(rows: &[u32]) -> Vec<u32> {
    let bytes = fs::read(fixture("vocab.json")).unwrap();
    let order = Vocabulary::parse("vocab.json", &bytes).unwrap().rows();
    rows.iter().map(|row| order[*row as usize] as u32).collect()
}

#[test]
fn tokens_are_those_of_transformers() {
    let lines: Vec<String> =
        serde_json::from_str(&fs::read_to_string(fixture("../tokenizer/lines.json")).unwrap())
            .unwrap();
    let (tokenizers, expected) = (tokenizers(), expected());
    let lines = [lines, expected.odd].concat();
    let mut unknown = 0;
    for (tokenizer, want, begin) in [
        (&tokenizers.source, &expected.source_ids, None),
        (&tokenizers.target, &expected.target_ids, Some(BOS)),
    ] {
        let encoded = tokenizer.encode(&lines, 10_000).unwrap();
        assert_eq!((encoded.len(), encoded.cut), (lines.len(), 0));
        for (at, line) in lines.iter().enumerate() {
            // transformers takes them for the special tokens.
            if ["</s>", "<unk>", "<pad>"].iter().any(|token| line.contains(token)) {
                continue;
            }
            let rows = encoded.get(at).0;
            let own = rows.strip_prefix(begin.as_slice()).unwrap();
            unknown += own.iter().filter(|row| **row == 1).count();
            assert_eq!(numbers(own), want[at], "{line:?}");
        }
    }
    assert!(unknown > 1000);
    // What a run saves makes the same tokens.
    let spec = serde_json::from_value(json!({"path": "x"})).unwrap();
    let again = PairTokenizers::read(&spec, "saved", tokenizers.json()).unwrap();
    for (own, again) in [(&tokenizers.source, &again.source), (&tokenizers.target, &again.target)] {
        assert_eq!(own.encode(&lines, 20).unwrap(), again.encode(&lines, 20).unwrap());
        assert_eq!(own.rows(), again.rows());
    }
    let cut = tokenizers.target.encode(&lines[..60], 8).unwrap();
    assert!(cut.cut > 0);
    assert!((0..60).all(|line| cut.length(line) <= 8 && cut.get(line).0.last() == Some(&EOS)));
}

fn tokens(sentences: &[Vec<u32>]) -> Tokens {
    let lengths: Vec<usize> = sentences.iter().map(Vec::len).collect();
    let longest = lengths.iter().copied().max().unwrap();
    let padded = sentences
        .iter()
        .flat_map(|own| own.iter().copied().chain(std::iter::repeat_n(PAD, longest - own.len())));
    let ids = Tensor::from_iter(padded, &Device::Cpu).unwrap();
    Tokens { ids: ids.reshape((lengths.len(), longest)).unwrap(), types: None, lengths }
}

#[test]
fn losses_are_those_of_transformers() {
    let loaded = read_checkpoint(&fixture(""), &Hints::default()).unwrap();
    assert_eq!(loaded.format, CheckpointFormat::Marian);
    let model = loaded.checkpoint.model.as_encoder_decoder().unwrap();
    let mut parameters = Constants(&loaded.checkpoint.tensors);
    let built = EncoderDecoder::new(model, None, None, &mut parameters).unwrap();
    let (tokenizers, expected) = (tokenizers(), expected());
    let of = |text: fn(&Pair) -> &String| -> Vec<String> {
        expected.pairs.iter().map(|pair| text(pair).clone()).collect()
    };
    let source = tokenizers.source.encode(&of(|pair| &pair.source), 64).unwrap();
    let target = tokenizers.target.encode(&of(|pair| &pair.reference), 64).unwrap();
    let all = 0..expected.pairs.len();
    let sources: Vec<_> = all.clone().map(|at| source.get(at).0.to_vec()).collect();
    let targets: Vec<_> = all.map(|at| target.get(at).0.to_vec()).collect();
    let inputs: Vec<_> = targets.iter().map(|own| own[..own.len() - 1].to_vec()).collect();
    let logits = built.forward(&tokens(&sources), &tokens(&inputs), Mode::Evaluation).unwrap();
    let mut rows = logits.tensor().to_vec2::<f32>().unwrap().into_iter();
    for (pair, target) in expected.pairs.iter().zip(&targets) {
        assert_eq!(pair.losses.len(), target.len() - 1);
        for (want, label) in pair.losses.iter().zip(&target[1..]) {
            let row: Vec<f64> = rows.next().unwrap().into_iter().map(f64::from).collect();
            let sum: f64 = row.iter().map(|logit| logit.exp()).sum();
            let loss = sum.ln() - row[*label as usize];
            assert!((loss - want).abs() < 1e-5, "{}: {loss} {want}", pair.reference);
        }
    }
    assert!(rows.next().is_none());
}

/// A folder with the model in `marian`, the sentences in `pairs`, and a spec whose arm `marian` only tests it.
fn folder(change: impl FnOnce(Spec) -> Spec) -> TempDir {
    let model = "{source_vocabulary: 176, target_vocabulary: 176, positions: 64, dim: 16, depth: 2, heads: 4, \
                 mlp_ratio: 1.5, norm: post, final_norm: none, position_embedding: sinusoidal-halves, \
                 shared_embedding: true, tied: true, output_bias: true, scale_embedding: true, activation: silu}";
    let spec = Spec::tiny_translation()
        .set("data.lowercase=false")
        .set("model.source_vocabulary=150")
        .set("model.target_vocabulary=150")
        .set("model.positions=64")
        .set("data.max_tokens=64")
        .set("data.decoding={length_ratio: 0, extra_tokens: 20}")
        .without("arms.vlora")
        .arm(
            "marian",
            &format!(
                "{{start: {{checkpoint: marian}}, training: none, model: {model}, \
                 data: {{tokenizer: {{path: marian}}}}}}"
            ),
        );
    let dir = folder_with(&change(spec).text());
    let marian = dir.path().join("marian");
    fs::create_dir_all(&marian).unwrap();
    for file in FILES {
        fs::copy(fixture(file), marian.join(file)).unwrap();
    }
    let pairs = dir.path().join("pairs");
    fs::create_dir_all(&pairs).unwrap();
    let lines: String = expected()
        .pairs
        .iter()
        .map(|pair| json!({"de": pair.source, "en": pair.reference}).to_string() + "\n")
        .collect();
    for (split, more) in [("train", "Hund"), ("validation", "Katze"), ("test", "")] {
        // Each file has its own content.
        let more = match more {
            "" => String::new(),
            word => json!({"de": word, "en": word}).to_string() + "\n",
        };
        fs::write(pairs.join(format!("{split}.jsonl")), format!("{lines}{more}")).unwrap();
    }
    dir
}

fn outcomes(run: &Path) -> Vec<Value> {
    let text = RunFolder::of_weights(run).unwrap().read_whole(RunFolder::TEST).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An arm that is only tested has its evidence and its row, is not trained, and is not tested again.
#[test]
fn a_reference_arm_is_only_tested() {
    let dir = folder(|spec| spec.without("vlora").set("seeds=[0, 1]"));
    let run = |args: &[&str]| {
        let ran = vlora(dir.path(), &[args, &DEVICE[..]].concat());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
        ran.out
    };
    let plan = run(&["plan", "tiny.yaml"]);
    assert!(plan.contains("marian"), "{plan}");
    let table = run(&["run", "tiny.yaml", "-q"]);
    assert!(table.contains("not trained"), "{table}");
    // Its tokens are others, so what needs no model has another BLEU on words.
    for arm in ["baseline", "marian"] {
        assert!(table.contains(&format!("copying the source ({arm})")), "{table}");
    }
    let experiment = dir.path().join("results/tiny");
    let folder = results::run_of(&experiment, "marian");
    let result = read_json(&folder.join(RunFolder::RESULT));
    assert_eq!((&result["steps"], &result["trained"]), (&json!(0), &json!(0)));
    // The beginning of a translation has a row of its own, and the output layer a bias.
    assert_eq!(result["parameters"], json!(12880 + 16 + 176));
    let expected = expected();
    let found = outcomes(&folder);
    assert_eq!(expected.limit, 20);
    for (outcome, pair) in found.iter().zip(&expected.pairs) {
        assert_eq!(outcome["hypothesis"], pair.translation, "{}", pair.source);
        let loss: f64 = pair.losses.iter().sum();
        assert!((outcome["loss"].as_f64().unwrap() - loss).abs() < 1e-4);
        assert_eq!(outcome["tokens"], pair.losses.len());
    }
    assert_eq!(found.len(), expected.pairs.len());
    // The report is made again of the evidence, and another run trains nothing.
    let before = fs::read(experiment.join("table.md")).unwrap();
    let again = vlora(dir.path(), &["report", "results/tiny"]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
    assert_eq!(fs::read(experiment.join("table.md")).unwrap(), before);
    // It is repeated as a whole, and its test stands in TensorBoard's files.
    let verified = run(&["verify", folder.to_str().unwrap()]);
    assert!(verified.contains("the whole run: bitwise identical\n"), "{verified}");
    let events = dir.path().join("events");
    let written =
        vlora(dir.path(), &["report", "results/tiny", "--tensorboard", events.to_str().unwrap()]);
    assert_eq!(written.code, 0, "{}", written.err);
    let files = fs::read_dir(&events).unwrap().flat_map(|run| {
        let run = run.unwrap().path();
        fs::read_dir(run).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>()
    });
    assert_eq!(files.count(), 4);
    // Its weights translate lines.
    let mut command = assert_cmd::Command::new(crate::common::program::binary());
    command.current_dir(dir.path()).args(["translate", folder.to_str().unwrap()]).args(DEVICE);
    let translated = command.write_stdin(expected.pairs[0].source.clone()).output().unwrap();
    let line = format!("{}\n", expected.pairs[0].translation);
    assert_eq!(String::from_utf8(translated.stdout).unwrap(), line);
}

/// The weights are trained on like others, dense, with LoRA and as compounds.
#[test]
fn marian_is_a_base_model() {
    let dir = folder(|spec| {
        let tuned = |fields: &str| {
            format!(
                "{{start: {{arm: marian}}, training: {{epochs: 20, learning_rate: 2.0e-3}}, {fields}}}"
            )
        };
        let model = "model: {source_vocabulary: 176, target_vocabulary: 176, positions: 64, dim: 16, depth: 2, \
                     heads: 4, mlp_ratio: 1.5, norm: post, final_norm: none, \
                     position_embedding: sinusoidal-halves, shared_embedding: true, tied: true, \
                     output_bias: true, scale_embedding: true, activation: silu}, \
                     data: {tokenizer: {path: marian}}";
        spec.arm("on", &tuned(model))
            .arm("lora", &tuned(&format!("lora: {{rank: 2}}, {model}")))
            .arm("compounds", &tuned(&format!("method: vlora, {model}")))
    });
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "-q", "--device", "cpu"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let experiment = dir.path().join("results/tiny");
    let loss = |arm: &str| {
        let folder = results::run_of(&experiment, arm);
        read_json(&folder.join(RunFolder::RESULT))["test_loss"].as_f64().unwrap()
    };
    // It is tested on the sentences that it is trained on.
    assert!(loss("on") < loss("marian"), "{} {}", loss("on"), loss("marian"));
    assert!(loss("lora").is_finite() && loss("compounds").is_finite());
}

/// The model's files, to be changed.
struct Changed {
    dir: TempDir,
}

impl Changed {
    fn new() -> Changed {
        let dir = tempfile::tempdir().unwrap();
        for file in FILES {
            fs::copy(fixture(file), dir.path().join(file)).unwrap();
        }
        Changed { dir }
    }

    fn json(self, file: &str, change: impl FnOnce(&mut Value)) -> Changed {
        let path = self.dir.path().join(file);
        let mut value = read_json(&path);
        change(&mut value);
        fs::write(path, value.to_string()).unwrap();
        self
    }

    fn configured(self, field: &str, value: Value) -> Changed {
        self.json(CONFIG, |config| config[field] = value)
    }

    fn tensors(self, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> Changed {
        let path = self.dir.path().join(MODEL);
        let all = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        let mut all = all.into_iter().collect();
        change(&mut all);
        candle_core::safetensors::save(&all.into_iter().collect(), path).unwrap();
        self
    }

    fn without(self, file: &str) -> Changed {
        fs::remove_file(self.dir.path().join(file)).unwrap();
        self
    }

    fn read(&self) -> vlora::error::Result<LoadedCheckpoint> {
        read_checkpoint(self.dir.path(), &Hints::default())
    }

    /// The error, which must hold all these parts.
    fn refused(&self, parts: &[&str]) {
        let error = self.read().err().unwrap_or_else(|| panic!("read, without {parts:?}"));
        assert_eq!(error.exit_code(), 2);
        for part in parts {
            assert!(error.to_string().contains(part), "no {part:?} in: {error}");
        }
    }
}

#[test]
fn faulty_folders_are_named() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let shared = "model.shared.weight";
    // Files that store the embedding again, and tables of sines, are those of older versions.
    let copied = Changed::new().tensors(|all| {
        let words = all[shared].clone();
        for name in ["lm_head.weight", "model.encoder.embed_tokens.weight"] {
            all.insert(name.into(), words.clone());
        }
        let sines = vlora::models::encoder_decoder::sinusoids(64, 16, true, &Device::Cpu).unwrap();
        let rounded = sines.to_dtype(DType::F16).unwrap();
        all.insert("model.encoder.embed_positions.weight".into(), rounded);
    });
    let plain = Changed::new();
    let bits = |changed: &Changed| {
        let tensors = changed.read().unwrap().checkpoint.tensors;
        let of = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        tensors.into_iter().map(|(name, t)| (name, of(&t))).collect::<BTreeMap<_, _>>()
    };
    assert!(bits(&copied) == bits(&plain));
    let renamed = Changed::new().tensors(|all| {
        let words = all.remove(shared).unwrap();
        all.insert("lm_head.weight".into(), words);
    });
    assert!(bits(&renamed) == bits(&plain));
    // Without a bias it is zero, but for the beginning of a translation.
    let unbiased = Changed::new().tensors(|all| drop(all.remove("final_logits_bias")));
    let bias = &bits(&unbiased)["output.bias"];
    let not_zero: Vec<usize> = (0..bias.len()).filter(|row| bias[*row] != 0.0).collect();
    assert_eq!(not_zero, [BOS as usize]);
    Changed::new()
        .tensors(|all| {
            drop(all.insert("model.decoder.embed_positions.weight".into(), zeros(&[64, 16])))
        })
        .refused(&["model.decoder.embed_positions.weight", "another than the model's"]);
    Changed::new()
        .tensors(|all| drop(all.insert("lm_head.weight".into(), zeros(&[175, 16]))))
        .refused(&["not shared", "lm_head.weight", shared]);
    Changed::new().tensors(|all| drop(all.insert(shared.into(), zeros(&[174, 16])))).refused(&[
        shared,
        "[174, 16]",
        "[175, 16]",
    ]);
    let query = "model.encoder.layers.1.self_attn.q_proj.weight";
    Changed::new().tensors(|all| drop(all.remove(query))).refused(&["a tensor is missing", query]);
    Changed::new()
        .tensors(|all| drop(all.insert(query.into(), zeros(&[8, 16]))))
        .refused(&[query, "[8, 16]", "[16, 16]"]);
    let norm = "model.decoder.layers.0.encoder_attn_layer_norm.bias";
    Changed::new().tensors(|all| drop(all.remove(norm))).refused(&["a tensor is missing", norm]);
    Changed::new()
        .tensors(|all| drop(all.insert("model.extra".into(), zeros(&[1]))))
        .refused(&["model.extra", "does not belong"]);
    for (field, value, part) in [
        ("decoder_vocab_size", json!(174), "as vocab_size"),
        ("eos_token_id", json!(3), "`</s>` has another number"),
        ("pad_token_id", json!(3), "`<pad>` has another number"),
        ("decoder_start_token_id", json!(0), "decoder_start_token_id"),
        ("encoder_layers", json!(3), "the layers' names"),
        ("encoder_ffn_dim", json!(30), "24"),
        ("decoder_ffn_dim", json!(30), "as encoder_ffn_dim"),
        ("decoder_attention_heads", json!(2), "as encoder_attention_heads"),
        ("encoder_attention_heads", json!(5), "a divisor of d_model, 16"),
        ("activation_function", json!("mish"), "not known"),
        ("normalize_before", json!(true), "expected: false"),
        ("tie_word_embeddings", json!(false), "expected: true"),
        ("rotary", json!(true), "a field that this program knows"),
        ("model_type", json!("bart"), "marian"),
    ] {
        Changed::new().configured(field, value).refused(&[field, part]);
    }
    Changed::new()
        .configured("decoder_vocab_size", json!(174))
        .configured("vocab_size", json!(174))
        .refused(&["vocab.json", "175 pieces", "174"]);
    Changed::new().without("vocab.json").refused(&["vocab.json", "cannot be read"]);
    let vocabulary = |change: fn(&mut Value)| Changed::new().json("vocab.json", change);
    vocabulary(|v| v["<pad>"] = json!(500)).refused(&["vocab.json", "500", "without a gap"]);
    vocabulary(|v| v["<pad>"] = json!(4)).refused(&["vocab.json", "number 4"]);
    vocabulary(|v| *v = json!({"a": 0})).refused(&["vocab.json", "no `<pad>`"]);
    vocabulary(|v| *v = json!([])).refused(&["vocab.json", "an object"]);
    // Without the pieces the weights are read, and their tokens are not compared.
    assert!(Changed::new().without("source.spm").read().unwrap().tokenizer.is_none());
    let broken = Changed::new();
    fs::write(broken.dir.path().join("source.spm"), b"\xff\xffno").unwrap();
    broken.refused(&["source.spm", "SentencePiece"]);
}

/// What `training: none` cannot test is refused in the spec.
#[test]
fn only_whole_weights_are_tested() {
    let refused = |change: fn(Spec) -> Spec, parts: &[&str]| {
        let dir = folder(change);
        let ran = vlora(dir.path(), &["plan", "tiny.yaml"]);
        assert_eq!(ran.code, 2, "{}", ran.out);
        for part in parts {
            assert!(ran.err.contains(part), "no {part:?} in: {}", ran.err);
        }
    };
    refused(
        |spec| spec.arm("other", "{training: none}"),
        &["there are no weights to test", "tiny.yaml:"],
    );
    refused(
        |spec| spec.arm("other", "{start: {arm: baseline}, lora: {rank: 2}, training: none}"),
        &["LoRA must be trained"],
    );
    refused(
        |spec| {
            spec.arm(
                "other",
                "{method: vlora, start: {arm: baseline, increments: lora}, training: {epochs: 0}}",
            )
        },
        &["new increments must be trained"],
    );
    refused(
        |spec| spec.set("data.tokenizer={path: marian, train: words, minimum_count: null}"),
        &["two sources of tokens are given", "null"],
    );
    refused(|spec| spec.set("arms.marian.data.tokenizer={path: nowhere}"), &["nowhere"]);
    // Tokens of another model than the weights'.
    refused(
        |spec| {
            let spec = spec.set("arms.marian.model.shared_embedding=false");
            spec.set("arms.marian.data.tokenizer={train: words, path: null}")
        },
        &["arm marian"],
    );
}

/// In an experiment with sweeps, tuned or not, weights that are only tested have one run for each seed.
#[test]
fn sweeps_of_training_leave_a_reference_alone() {
    let dir = folder(|spec| {
        spec.set("sweep={training.learning_rate: [0.001, 0.002]}")
            .set("tune=[training.learning_rate]")
    });
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "-q", "--device", "cpu"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let table = fs::read_to_string(dir.path().join("results/tiny/table.csv")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.contains("marian")).collect();
    assert_eq!(rows.len(), 1, "{table}");
    assert_eq!(results::run_folders(&dir.path().join("results/tiny")).len(), 3);
    // Two runs side by side differ in the names of weights and tokens, too.
    let plan = vlora(dir.path(), &["plan", "tiny.yaml", "--format", "csv"]);
    let run = |arm: &str| {
        let line = plan.out.lines().find(|line| line.starts_with(arm)).unwrap();
        format!("results/tiny/runs/{}", line.split(',').nth(2).unwrap())
    };
    let compared = vlora(dir.path(), &["compare", &run("baseline"), &run("marian")]);
    assert_eq!((compared.code, compared.err.as_str()), (0, ""));
    for field in
        ["  start.checkpoint: not used, marian\n", "  data.tokenizer.path: not used, marian\n"]
    {
        assert!(compared.out.contains(field), "no {field} in {}", compared.out);
    }
}

/// Without tuning, a sweep of training makes no point of an arm that is not trained.
#[test]
fn a_plain_sweep_of_training_names_no_reference() {
    let dir = folder(|spec| {
        spec.set("sweep={training.learning_rate: [0.001, 0.002]}")
            .arm("again", "{start: {checkpoint: marian}, training: {epochs: 0}, model: {depth: 3}}")
    });
    let plan = vlora(dir.path(), &["plan", "tiny.yaml", "--format", "csv"]);
    let labels: Vec<&str> =
        plan.out.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    // The weights are of another model than `again` says.
    assert_eq!((plan.code, labels.len()), (2, 0), "{}", plan.err);
    assert!(plan.err.contains("arm again"), "{}", plan.err);
    let dir = folder(|spec| spec.set("sweep={training.learning_rate: [0.001, 0.002]}"));
    let plan = vlora(dir.path(), &["plan", "tiny.yaml", "--format", "csv"]);
    let arms: Vec<&str> = plan.out.lines().filter(|line| line.contains("marian")).collect();
    assert_eq!(arms.len(), 1, "{}", plan.out);
    assert!(!arms[0].contains("learning_rate"), "{}", arms[0]);
}

/// Nothing could choose among the trials of weights that are only tested.
#[test]
fn several_trials_of_a_reference_are_refused() {
    let dir = folder(|spec| {
        spec.set("sweep={training.learning_rate: [0.001, 0.002]}")
            .set("tune=[training.learning_rate]")
            .arm("tested", "{start: {arm: baseline}, training: none}")
    });
    let plan = vlora(dir.path(), &["plan", "tiny.yaml"]);
    assert_eq!(plan.code, 2);
    for part in ["tiny.yaml:", "weights that are only tested have several trials", "`tested`"] {
        assert!(plan.err.contains(part), "no {part:?} in: {}", plan.err);
    }
}

/// `training: none` is short for no epochs, wherever it stands and whatever is merged with it.
#[test]
fn none_and_no_epochs_are_the_same() {
    let ids = |change: fn(Spec) -> Spec| {
        let dir = folder(change);
        let plan = vlora(dir.path(), &["plan", "tiny.yaml", "--format", "csv"]);
        assert_eq!(plan.code, 0, "{}", plan.err);
        let of = |line: &str| line.split(',').nth(2).unwrap().to_string();
        plan.out.lines().filter(|line| line.starts_with("marian")).map(of).collect::<Vec<_>>()
    };
    let none = ids(|spec| spec);
    assert_eq!(none.len(), 1);
    assert_eq!(none, ids(|spec| spec.set("arms.marian.training={epochs: 0}")));
    assert_eq!(none, ids(|spec| spec.set("training.learning_rate=0.5")));
    let more = ids(|spec| {
        spec.set("training=none")
            .set("arms.baseline.training={epochs: 1, batch_size: 16}")
            .set("arms.marian.training={learning_rate: 0.5, batch_size: 16}")
    });
    assert_eq!(none, more);
    // It changes nothing, so it is refused.
    let dir = folder(|spec| spec);
    let set = ["plan", "tiny.yaml", "--set", "arms.marian.training.learning_rate=0.1"];
    let refused = vlora(dir.path(), &set);
    assert!(refused.err.contains("learning_rate=0.1: nothing is trained"), "{}", refused.err);
    // So is a number of steps beside no epochs.
    let dir = folder(|spec| spec.set("arms.marian.training={epochs: 0, steps: 5}"));
    let refused = vlora(dir.path(), &["plan", "tiny.yaml"]);
    assert_eq!(refused.code, 2);
    for part in ["tiny.yaml:", "steps: nothing is trained", "`training: none`, or epochs"] {
        assert!(refused.err.contains(part), "no {part:?} in: {}", refused.err);
    }
    // A timing leaves the arm out, and says so.
    let dir = folder(|spec| spec);
    let bench =
        ["bench", "tiny.yaml", "--synthetic", "--steps", "1", "--warmup", "0", "--device", "cpu"];
    let timed = vlora(dir.path(), &bench);
    assert_eq!(timed.code, 0, "{}", timed.err);
    assert!(timed.out.contains("· not measured, since only tested: `marian`\n"), "{}", timed.out);
}

/// Between weights that no seed changes there is nothing to test, and no other comparison is adjusted for it.
#[test]
fn fixed_weights_have_one_difference() {
    let dir = folder(|spec| {
        let model = "{source_vocabulary: 176, target_vocabulary: 176, positions: 64, dim: 16, depth: 2, heads: 4, \
                     mlp_ratio: 1.5, norm: post, final_norm: none, position_embedding: sinusoidal-halves, \
                     shared_embedding: true, tied: true, output_bias: true, scale_embedding: true, \
                     activation: silu}";
        let arm = |fields: &str| {
            format!("{{model: {model}, data: {{tokenizer: {{path: marian}}}}, {fields}}}")
        };
        spec.set("baseline=marian")
            .set("seeds=[0, 1, 2]")
            .arm(
                "shared",
                &arm(
                    "method: vlora, vlora: {rank: 0}, start: {checkpoint: marian}, training: none",
                ),
            )
            .arm("on", &arm("start: {checkpoint: marian}, training: {epochs: 1, batch_size: 4}"))
    });
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "-q", "--device", "cpu"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let text = fs::read_to_string(dir.path().join("results/tiny/comparisons.csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    let cell = |arm: &str, name: &str| {
        let row = rows.iter().find(|row| row[0] == arm).unwrap();
        row[names.iter().position(|own| *own == name).unwrap()].to_string()
    };
    assert_eq!(cell("shared", "seeds"), "1", "{text}");
    assert_eq!(cell("on", "seeds"), "3", "{text}");
    // Adjusted for itself and the baseline arm, whose tokens are others.
    assert_eq!(cell("on", "adjusted_for"), "2", "{text}");
    // The table's samples have the arms whose tokens are others, too: the sentences are the same.
    let samples = fs::read_to_string(dir.path().join("results/tiny/samples.md")).unwrap();
    assert!(
        samples.contains("baseline") && !samples.contains("Without a finished run"),
        "{samples}"
    );
}

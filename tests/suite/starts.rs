//! Runs that start from other weights: LoRA on top, dense models turned into compounds, files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use vlora::checkpoints::{
    CONFIG, Checkpoint, CheckpointFormat, Exported, Hints, MODEL, PREPROCESSOR, read_checkpoint,
};
use vlora::error::Error;
use vlora::hub::Hub;
use vlora::report::Summary;
use vlora::results::{
    ClassMatch, Conversion, ExperimentFolder, Provenance, Resampled, RunFolder, RunResult,
    StartRecord, Unnamed,
};
use vlora::runner::{Outcome, Plan, execute};
use vlora::spec::{Experiment, Normalize, PositionEmbedding, Rank};
use vlora::tasks::evidence;

use crate::common::checkpoints::vit_mut;
use crate::common::compare::values;
use crate::common::data;
use crate::common::program::{Ran, vlora};
use crate::common::spec::{Spec, parsed};
use crate::common::workers::{ALONE, Silent, StopAt};

const ARMS: &str = "
tuned: {method: vlora, start: {arm: vlora}, lora: {rank: 2, alpha: 4, dropout: 0.1, also_train: [head]}}
baseline: {method: dense}
vlora: {method: vlora}
baseline-tuned: {start: {arm: baseline}, lora: {rank: 1, targets: [attn.qkv]}}
compressed: {method: vlora, start: {arm: baseline}}
whole: {start: {arm: vlora}}
";

fn experiment(arms: &str, overrides: &[&str]) -> Experiment {
    parsed(&Spec::tiny().arms(arms).text(), overrides).unwrap()
}

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
    let targets: Vec<&str> = start.kept.iter().map(|k| k.target.name()).collect();
    assert_eq!(targets, ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]);
    for kept in &start.kept {
        assert!(kept.layer == 1 && kept.rank == Rank::Of(2), "{kept:?}");
        assert!(kept.energy_kept > 0.0 && kept.energy_kept < 1.0, "{kept:?}");
        assert!(kept.relative_error > 0.0, "{kept:?}");
    }

    let summary = Summary::read(&ExperimentFolder::new(dir.path()), evidence).unwrap();
    let table = summary.markdown();
    assert!(table.contains("| trained |"), "{table}");
    for note in [
        "Start: `tuned`: from the tested weights of `vlora` with the same seed; these \
         weights are frozen except the head; LoRA is trained on top: rank 2, alpha 4, dropout 0.1",
        "Start: `whole`: from the tested weights of `vlora` with the same seed, its increments \
         and LoRA merged into dense layers; all weights are trained on",
        "`compressed` keeps",
    ] {
        assert!(table.contains(note), "{note}\n{table}");
    }
    let (_, again) = run(dir.path(), experiment(ARMS, &[]));
    assert!(again.values().all(|o| matches!(o, Outcome::AlreadyFinished(_))), "{again:?}");
}

/// Arms and files may be renamed: finished runs stay theirs.
#[test]
fn a_renamed_source_is_the_same_source() {
    let dir = tempfile::tempdir().unwrap();
    let (_, outcomes) = run(dir.path(), experiment(ARMS, &[]));
    assert!(outcomes.values().all(|o| matches!(o, Outcome::Finished(_))), "{outcomes:?}");
    let renamed =
        ARMS.replace("\nvlora: {", "\nvertical: {").replace("arm: vlora}", "arm: vertical}");
    let (plan, outcomes) = run(dir.path(), experiment(&renamed, &[]));
    assert!(outcomes.values().all(|o| matches!(o, Outcome::AlreadyFinished(_))), "{outcomes:?}");
    let folder = ExperimentFolder::new(dir.path());
    let table = Summary::of(plan.record(), &folder, evidence).unwrap().markdown();
    assert!(table.contains("`tuned`: from the tested weights of `vertical`"), "{table}");

    // A source that was trained to other weights since is told.
    let run = folder_of(dir.path(), &plan, "tuned");
    let mut result: RunResult = run.read_json(RunFolder::RESULT).unwrap();
    // Records of earlier versions have no hash that would say it first.
    (result.files, result.digest) = (Default::default(), None);
    run.write_json(RunFolder::RESULT, &result).unwrap();
    let start = run.file(RunFolder::START);
    let text = fs::read_to_string(&start).unwrap();
    let record: StartRecord = serde_json::from_str(&text).unwrap();
    fs::write(&start, text.replace(&record.sha256, &"0".repeat(64))).unwrap();
    let summary = Summary::of(plan.record(), &folder, evidence).unwrap();
    let told: Vec<&str> = summary.damaged().map(|run| run.reason.as_str()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("started from other weights than `vertical` now has"), "{told:?}");
    let arm = summary.arms.iter().find(|a| a.variant.label == "tuned").unwrap();
    assert!(arm.runs.is_empty() && arm.test.is_none() && arm.comparison.is_none());
}

/// Points of a sweep that mean the same are one variant, also for those that start from it.
#[test]
fn starts_of_merged_points_are_the_variant_that_is_kept() {
    let spec = Spec::tiny()
        .arms(
            "
            baseline: {method: dense}
            tuned: {method: vlora, start: {arm: vlora}, lora: {rank: 1}}
            vlora: {method: vlora}",
        )
        .set("sweep={vlora.targets: [[attn.qkv, mlp.fc2], [mlp.fc2, attn.qkv], [attn.qkv]]}");
    let e = spec.experiment();
    let labels: Vec<&str> = e.variants.iter().map(|v| v.label.as_str()).collect();
    assert_eq!(labels.len(), 5, "{labels:?}");
    assert_eq!(e.variants[1].start.as_deref(), Some(labels[3]));
    assert_eq!(e.variants[2].start.as_deref(), Some(labels[4]));
    assert_eq!(e.in_order_of_start(), [0, 3, 1, 4, 2]);
}

/// Arms whose runs are the same would be counted twice, and fields about dense weights have no effect on
/// others: both are known when a run is planned.
#[test]
fn starts_that_change_nothing_are_refused_by_the_plan() {
    let arms = "
        baseline: {method: dense}
        vlora: {method: vlora}
        again: {method: vlora, start: {arm: vlora}}";
    let planned = |more: &str| {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::new(dir.path());
        Plan::new(experiment(&format!("{arms}{more}"), &[]), &folder, &Hub::default())
    };
    planned("").unwrap();
    let same = "\n        timm: {method: vlora, start: {arm: vlora, position_embedding: timm}}";
    let told = planned(same).err().expect("refused").to_string();
    for part in ["arm timm: two arms are the same", "`again` and `timm`"] {
        assert!(told.contains(part), "{told}");
    }
    for field in ["base_init: average", "increments: lora"] {
        let more = format!("\n        other: {{method: vlora, start: {{arm: vlora, {field}}}}}");
        let told = planned(&more).err().expect("refused").to_string();
        for part in ["arm other", "share layers in this way already", "start.base_init"] {
            assert!(told.contains(part), "{told}");
        }
        // They are about a dense model, which is converted.
        planned(&more.replace("arm: vlora,", "arm: baseline,")).unwrap();
    }
}

/// The plan's notes on data, or its refusal.
fn data_notes(spec: &Spec) -> Result<Vec<String>, String> {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new(spec.experiment(), &ExperimentFolder::new(dir.path()), &Hub::default());
    let plan = plan.map_err(|error| error.to_string())?;
    Ok(plan.variants.into_iter().flat_map(|v| v.data_notes).collect())
}

/// Asserts that a plan is refused with these parts, and that one which keeps duplicates has one note.
fn assert_seen_before(spec: &Spec, parts: &[&str]) {
    let refused = data_notes(&spec.clone().set("data.duplicates=refuse")).unwrap_err();
    for part in parts {
        assert!(refused.contains(part), "no {part:?} in: {refused}");
    }
    let noted = data_notes(&spec.clone().set("data.duplicates=keep")).unwrap();
    let [note] = &noted[..] else { panic!("{noted:?}") };
    assert!(note.contains("Some runs start from others that saw"), "{note}");
}

/// The data of a run that another starts from may be divided otherwise.
#[test]
fn no_run_is_tested_on_what_earlier_arms_have_seen() {
    // The last arm starts from one that starts from the first.
    let arms = "
        baseline: {method: dense, data: {train: test, test: train}}
        between: {start: {arm: baseline}, data: {train: validation, test: train, validation: null}}
        last: {start: {arm: between}}";
    let parts = ["arm last: start: ", "1000 of 1000 examples", "validation of `baseline`\n"];
    assert_seen_before(&Spec::tiny().arms(arms), &parts);

    // Other parts of the same examples. Equal parts are no matter.
    let arms = "
        baseline: {method: dense, data: {test: {fraction: 0.25, seed: 7}}}
        same: {start: {arm: baseline}, data: {test: {fraction: 0.25, seed: 7}}}
        tuned: {start: {arm: baseline}}";
    let parts = Spec::tiny().set("data.validation=null").set("data.test={fraction: 0.25}");
    assert_seen_before(&parts.arms(arms), &["arm tuned: start: "]);

    // A part of a text that overlaps.
    let arms = "
        baseline: {data: {test: {fraction: 0.05}}}
        tuned: {start: {arm: baseline}}";
    let text = Spec::language().set("data.validation=null").set("data.test={fraction: 0.1}");
    assert_seen_before(&text.arms(arms), &["1 of 1 examples, whole or in part"]);
}

#[test]
fn texts_and_sentence_pairs_are_known_again() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: String| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let words = ["one", "two", "six", "ten", "red", "big", "old", "new"];
    let sentence =
        |n: usize| format!("{} {} {}", words[n % 8], words[n / 8 % 8], words[n / 64 % 8]);
    for (split, first) in [("train", 0), ("validation", 100), ("test", 200)] {
        let rows = first..first + 20;
        let row = |n: usize| format!("{},{}\n", sentence(n), n % 2);
        // An empty text in each split is no duplicate.
        let texts = rows.clone().map(row).collect::<String>() + "\"\",0\n";
        write(&format!("texts/{split}.csv"), "text,label\n".to_string() + &texts);
        let pair = |n: usize| json!({"de": sentence(n), "en": sentence(n)}).to_string() + "\n";
        write(&format!("pairs/{split}.jsonl"), rows.map(pair).collect());
    }
    // Trained on the same, so that tokenizers are the same.
    let swapped = "
        baseline: {method: dense, data: {validation: test, test: validation}}
        tuned: {start: {arm: baseline}}";
    let at = |spec: Spec, name: &str| {
        spec.set(&format!("data.path={}", dir.path().join(name).display())).arms(swapped)
    };
    let texts = at(Spec::tiny_texts(), "texts");
    assert_seen_before(&texts, &["21 of 21 examples"]);
    let pairs = at(Spec::tiny_translation(), "pairs");
    assert_seen_before(&pairs, &["20 of 20 examples"]);
    for (spec, name) in [(Spec::tiny_texts(), "texts"), (Spec::tiny_translation(), "pairs")] {
        let same = "
            baseline: {method: dense}
            tuned: {start: {arm: baseline}}";
        assert_eq!(data_notes(&at(spec, name).arms(same)), Ok(Vec::new()));
    }
}

/// Short documents are known by their place in a file: blank lines of two corpora are not the same.
#[test]
fn short_documents_of_other_corpora_are_others() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = |name: &str, word: &str| {
        let folder = dir.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let line = |n: usize| match n % 3 {
            0 => "\"\"\n".to_string(),
            _ => format!("a {word} {n} b c d e f g h i j k l m n o p q r s t u v w x y z\n"),
        };
        let rows: String = (0..60).map(line).collect();
        fs::write(folder.join("train.csv"), format!("text\n{rows}")).unwrap();
        folder.display().to_string()
    };
    let (first, second) = (corpus("first", "abc"), corpus("second", "xyz"));
    let spec = Spec::tiny_language()
        .set("data.tokenizer=bytes")
        .set("model.vocabulary=256")
        .set(&format!("data.path={second}"));
    let after = |data: &str| {
        spec.clone()
            .arms(&format!("{{baseline: {{data: {data}}}, tuned: {{start: {{arm: baseline}}}}}}"))
    };
    assert_eq!(data_notes(&after(&format!("{{path: {first}}}"))), Ok(Vec::new()));
    assert_seen_before(&after("{test: {fraction: 0.05}}"), &["examples, whole or in part"]);
}

/// With dropout, whose masks need no stored generator.
#[test]
fn an_interrupted_lora_run_ends_as_an_uninterrupted_one() {
    let arms = "
        baseline: {method: dense}
        tuned: {start: {arm: baseline}, lora: {rank: 2, dropout: 0.2}}";
    let settings = ["training.epochs=2", "training.batch_size=300"];
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (plan, _) = run(whole.path(), experiment(arms, &settings));
    let folder = ExperimentFolder::new(parts.path());
    let stop = AtomicBool::new(false);
    // Twenty steps an epoch: in the second epoch of the second run.
    let mut observer = StopAt::nth_step(70, &stop);
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
    let arms = "
        baseline: {training: {learning_rate: 1.0e+30, warmup_ratio: 0}}
        tuned: {start: {arm: baseline}, lora: {rank: 2}}
        vlora: {method: vlora}";
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
    let compress = ["compress", "--compound-size", "2", "--rank", "2", "--format", "csv", "--out"];
    let files = [file.to_str().unwrap(), dense.path().to_str().unwrap()];
    let Ran { code, out, err } = vlora(dir.path(), &[&compress[..], &files].concat());
    assert_eq!(code, 0, "{err}");
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
        "baseline: {{method: dense}}\nagain: {{method: vlora, start: {{checkpoint: '{}'}}, \
         vlora: {{rank: 3, alpha: 1.5, targets: [mlp.fc1, mlp.fc2, attn.qkv, \
         {{target: attn.proj, rank: 2, alpha: 1}}]}}}}",
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

/// The checkpoint in each format that names classes and the images' normalisation, below a folder.
fn in_every_format(dir: &Path, checkpoint: &Checkpoint) -> Vec<(&'static str, PathBuf)> {
    fs::create_dir_all(dir.join("timm")).unwrap();
    fs::create_dir_all(dir.join("hf")).unwrap();
    let compact = dir.join("compact.safetensors");
    fs::write(&compact, checkpoint.to_bytes().unwrap()).unwrap();
    let Exported::Folder(files) = checkpoint.export(CheckpointFormat::HuggingFace).unwrap() else {
        panic!()
    };
    for (name, bytes) in files {
        fs::write(dir.join("hf").join(name), bytes).unwrap();
    }
    let Exported::File(bytes) = checkpoint.export(CheckpointFormat::Timm).unwrap() else {
        panic!()
    };
    fs::write(dir.join("timm").join(MODEL), bytes).unwrap();
    let (m, labels) = (checkpoint.model.as_vit().unwrap(), &checkpoint.metadata);
    let mut pretrained = json!({"classifier": "head", "first_conv": "patch_embed.proj"});
    if let Some(normalize) = &labels.normalize {
        pretrained["mean"] = json!(normalize.mean);
        pretrained["std"] = json!(normalize.std);
    }
    let mut config = json!({
        "architecture": "vit_tiny_patch16_224",
        "num_classes": m.classes,
        "global_pool": "token",
        "model_args": {"img_size": m.image_size, "patch_size": m.patch_size, "in_chans": m.channels,
            "embed_dim": m.dim, "depth": m.depth, "num_heads": m.heads, "mlp_ratio": m.mlp_ratio},
        "pretrained_cfg": pretrained,
    });
    if !labels.class_names.is_empty() {
        config["label_names"] = json!(labels.class_names);
    }
    fs::write(dir.join("timm").join(CONFIG), config.to_string()).unwrap();
    vec![("compact", compact), ("hf-vit", dir.join("hf")), ("timm", dir.join("timm"))]
}

/// A trained model of ten named classes.
fn trained(dir: &Path) -> Checkpoint {
    let (plan, _) = run(dir, experiment("baseline: {method: dense}", &[]));
    let made = folder_of(dir, &plan, "baseline");
    read_checkpoint(made.path(), &Hints::default()).unwrap().checkpoint
}

fn starting_from(path: &Path, more: &[&str]) -> Experiment {
    let arms = format!("tuned: {{start: {{checkpoint: '{}'}}}}", path.display());
    experiment(&arms, &[&["baseline=tuned"], more].concat())
}

fn planned(path: &Path, more: &[&str]) -> vlora::error::Result<Plan> {
    let folder = ExperimentFolder::new(Path::new("nowhere"));
    Plan::new(starting_from(path, more), &folder, &Hub::default())
}

/// Rows of the classifier, with their names, in this order.
fn reordered(checkpoint: &Checkpoint, rows: &[u32]) -> Checkpoint {
    let mut other = checkpoint.clone();
    let index = Tensor::new(rows, &Device::Cpu).unwrap();
    for name in ["head.weight", "head.bias"] {
        other.tensors.insert(name.into(), other.tensors[name].index_select(&index, 0).unwrap());
    }
    let names = &checkpoint.metadata.class_names;
    other.metadata.class_names = rows.iter().map(|row| names[*row as usize].clone()).collect();
    other
}

/// A checkpoint whose classes stand in another order is the same start, in every format that names
/// them; where the names are not known the rows are taken as they come, and the table says so.
#[test]
fn a_kept_head_follows_the_names_of_its_classes() {
    let dir = tempfile::tempdir().unwrap();
    let sound = trained(&dir.path().join("first"));
    let rows = [3, 7, 0, 9, 1, 8, 2, 6, 5, 4];
    let other = reordered(&sound, &rows);
    let straight = dir.path().join("straight.safetensors");
    fs::write(&straight, sound.to_bytes().unwrap()).unwrap();
    let outcome = |path: &Path, name: &str| {
        let into = dir.path().join(name);
        let (plan, outcomes) = run(&into, starting_from(path, &[]));
        assert!(matches!(outcomes["tuned"], Outcome::Finished(_)), "{name}: {outcomes:?}");
        let folder = folder_of(&into, &plan, "tuned");
        let start: StartRecord = folder.read_json(RunFolder::START).unwrap();
        let table = Summary::read(&ExperimentFolder::new(&into), evidence).unwrap().markdown();
        (fs::read(folder.file(RunFolder::TEST)).unwrap(), start.task.get("classes"), table, plan)
    };
    let (want, classes, table, plan) = outcome(&straight, "straight");
    assert_eq!(classes, Some(ClassMatch::Same));
    assert!(!table.contains("rows of its head") && !table.contains("by number"), "{table}");
    let id = plan.variants[0].runs[0].id.clone();
    let back: Vec<usize> =
        (0..10).map(|class| rows.iter().position(|row| *row == class).unwrap()).collect();
    for (format, path) in in_every_format(&dir.path().join("permuted"), &other) {
        let (got, classes, table, plan) = outcome(&path, format);
        assert!(got == want, "{format}: another head was trained on");
        assert_eq!(classes, Some(ClassMatch::Permuted(back.clone())), "{format}");
        assert!(table.contains("put by name into the order of the data's classes"), "{table}");
        assert_ne!(plan.variants[0].runs[0].id, id);
    }

    // Without names on one side rows are taken by number.
    let mut nameless = other.clone();
    nameless.metadata.class_names.clear();
    for (format, path) in in_every_format(&dir.path().join("nameless"), &nameless) {
        let (got, classes, table, _) = outcome(&path, &format!("nameless {format}"));
        assert!(got != want, "{format}");
        assert_eq!(classes, Some(ClassMatch::ByNumber(Unnamed::Checkpoint)));
        assert!(table.contains("by number, since it does not name them"), "{table}");
    }

    // Other names are no start for a kept head, at the plan already; a new head does not mind.
    let mut strange = other.clone();
    strange.metadata.class_names[2] = "Wellington".into();
    let mut twice = other.clone();
    twice.metadata.class_names[2] = twice.metadata.class_names[1].clone();
    for (name, faulty, parts) in [
        (
            "strange",
            strange,
            ["only in the checkpoint: `Wellington`", "only in the data: `T-shirt/top`"],
        ),
        ("twice", twice, ["only in the checkpoint: none", "only in the data: `T-shirt/top`"]),
    ] {
        for (format, path) in in_every_format(&dir.path().join(name), &faulty) {
            let error = planned(&path, &[]).map(drop).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let told = error.to_string();
            assert!(parts.iter().all(|part| told.contains(part)), "{format}: {told}");
            planned(&path, &["arms.tuned.start.head=new"]).map(drop).unwrap();
        }
    }
}

/// The names of the data, wherever they are from, against those of a checkpoint.
#[test]
fn names_of_cards_files_and_folders_are_matched() {
    let idx = |seed: u8| {
        let pixels: Vec<u8> = (0..3 * 28 * 28).map(|i| (i % 251) as u8 ^ seed).collect();
        (data::idx(&[3, 28, 28], &pixels), data::idx(&[3], &[0, 1, 2]))
    };
    let dir = tempfile::tempdir().unwrap();
    let mut model = trained(&dir.path().join("first"));
    model.metadata.normalize = None;
    vit_mut(&mut model.model).classes = 3;
    for name in ["head.weight", "head.bias"] {
        model.tensors.insert(name.into(), model.tensors[name].narrow(0, 0, 3).unwrap());
    }
    let splits = ["train", "validation", "test"];
    let folders = || {
        let files = splits.iter().enumerate().flat_map(|(s, split)| {
            let classes = ["ape", "bee", "cat"].iter().enumerate();
            classes.map(move |(c, class)| {
                (format!("{split}/{class}/1.png"), data::grey_png(28, (10 + 70 * s + 20 * c) as u8))
            })
        });
        files.collect::<Vec<_>>()
    };
    let of_idx = |names: Option<&str>| {
        let mut files = Vec::new();
        for (seed, split) in splits.iter().enumerate() {
            let (images, labels) = idx(seed as u8);
            files.push((format!("{split}-images-idx3-ubyte"), images));
            files.push((format!("{split}-labels-idx1-ubyte"), labels));
        }
        files.extend(
            names.map(|names| ("README.md".to_string(), data::card_of_classes(names).into_bytes())),
        );
        files
    };
    let permuted = |rows: [usize; 3]| Some(ClassMatch::Permuted(rows.to_vec()));
    for (name, files, theirs, want) in [
        ("folders", folders(), ["cat", "ape", "bee"], permuted([1, 2, 0])),
        ("folders", folders(), ["ape", "bee", "cat"], Some(ClassMatch::Same)),
        ("card", of_idx(Some("cat, bee, ape")), ["ape", "bee", "cat"], permuted([2, 1, 0])),
        ("none", of_idx(None), ["ape", "bee", "cat"], Some(ClassMatch::ByNumber(Unnamed::Data))),
        ("card", of_idx(Some("cat, bee, eel")), ["ape", "bee", "cat"], None),
    ] {
        let files: Vec<(&str, Vec<u8>)> =
            files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect();
        let dataset = data::Dataset::new(&files);
        model.metadata.class_names = theirs.map(String::from).to_vec();
        let place = format!("data={{embedded: null, path: '{}'}}", dataset.at("").display());
        for (format, path) in in_every_format(&dir.path().join("formats"), &model) {
            let plan = planned(&path, &[&place, "model.classes=3"]);
            match (&want, plan) {
                (Some(want), Ok(plan)) => {
                    let started = plan.variants[0].started.clone().unwrap();
                    let classes: Option<ClassMatch> = started.task.get("classes");
                    assert_eq!(classes.as_ref(), Some(want), "{name} {format}");
                }
                (None, Err(e)) => assert!(e.to_string().contains("only in the data: `eel`"), "{e}"),
                (_, other) => panic!("{name} {format}: {:?}", other.map(drop)),
            }
        }
    }
}

/// What images are normalised with: the spec's figures where it has some, else the checkpoint's,
/// else those of the training split; and ids move only where the figures do.
#[test]
fn pixels_are_normalised_as_the_weights_were_trained() {
    let dir = tempfile::tempdir().unwrap();
    let sound = trained(&dir.path().join("first"));
    let measured = sound.metadata.normalize.clone().unwrap();
    let own = Normalize { mean: vec![0.25], std: vec![0.75] };
    let spec = Normalize { mean: vec![0.5], std: vec![0.125] };
    let given = "data.normalize={mean: [0.5], std: [0.125]}";
    let with = |normalize: Option<&Normalize>| {
        let mut checkpoint = sound.clone();
        checkpoint.metadata.normalize = normalize.cloned();
        checkpoint
    };
    let expect = |name: &str, path: &Path, more: &[&str], want: (&Normalize, &str)| {
        let plan = planned(path, more).unwrap();
        let variant = &plan.variants[0];
        let got = plan.data(&variant.variant).metadata().normalize;
        assert_eq!(got.as_ref(), Some(want.0), "{name}");
        let source: Option<String> = variant.fields.get("pixel_source");
        assert_eq!(source.as_deref(), Some(want.1), "{name}");
        variant.runs[0].id.clone()
    };
    let formats = |name: &str, normalize: Option<&Normalize>| {
        in_every_format(&dir.path().join(name), &with(normalize))
    };
    let none = formats("none", None);
    let same = formats("same", Some(&measured));
    let other = formats("other", Some(&own));
    for i in 0..none.len() {
        let ids = [
            expect("none", &none[i].1, &[], (&measured, "measured")),
            expect("none, given", &none[i].1, &[given], (&spec, "spec")),
            expect("same", &same[i].1, &[], (&measured, "measured")),
            expect("same, given", &same[i].1, &[given], (&spec, "spec")),
            expect("other", &other[i].1, &[], (&own, "start")),
            expect("other, given", &other[i].1, &[given], (&spec, "spec")),
        ];
        // Where the weights file is the same, only other figures make another run.
        if none[i].0 != "compact" {
            assert_eq!((&ids[0], &ids[1]), (&ids[2], &ids[3]), "{}", none[i].0);
            assert_eq!(ids[1], ids[5], "{}", none[i].0);
        }
        assert_ne!(ids[0], ids[4], "{}", none[i].0);
    }

    // What transformers' processor is not to do is not done, and what it does otherwise is scaled.
    let hf = &other[1].1;
    let processor = |text: Value| fs::write(hf.join(PREPROCESSOR), text.to_string()).unwrap();
    let plain = Normalize { mean: vec![0.0], std: vec![1.0] };
    processor(json!({"do_normalize": false, "image_mean": [9.0], "image_std": [9.0]}));
    expect("do_normalize", hf, &[], (&plain, "start"));
    processor(json!({"do_rescale": false, "image_mean": [51.0], "image_std": [102.0]}));
    let scaled = Normalize { mean: vec![0.2], std: vec![0.4] };
    expect("do_rescale", hf, &[], (&scaled, "start"));
    processor(json!({"rescale_factor": 1.0 / 127.5, "image_mean": [1.0], "image_std": [1.0]}));
    let halved = Normalize { mean: vec![0.5], std: vec![0.5] };
    expect("rescale_factor", hf, &[], (&halved, "start"));
    processor(json!({"do_flip_channel_order": true}));
    let told = planned(hf, &[]).map(drop).unwrap_err().to_string();
    assert!(told.contains("do_flip_channel_order"), "{told}");

    // The evidence says it, for a checkpoint and for the arms behind it.
    let arms = format!(
        "tuned: {{start: {{checkpoint: '{}'}}}}\nmore: {{start: {{arm: tuned}}}}",
        other[0].1.display()
    );
    let into = dir.path().join("runs");
    let (plan, outcomes) = run(&into, experiment(&arms, &["baseline=tuned"]));
    assert!(outcomes.values().all(|o| matches!(o, Outcome::Finished(_))), "{outcomes:?}");
    for label in ["tuned", "more"] {
        let provenance: Provenance =
            folder_of(&into, &plan, label).read_json(RunFolder::PROVENANCE).unwrap();
        assert_eq!(provenance.task.get("pixel_source"), Some("start".to_string()), "{label}");
        assert_eq!(
            (provenance.task.get("pixel_mean"), provenance.task.get("pixel_std")),
            (Some(own.mean.clone()), Some(own.std.clone()))
        );
    }
    let table = Summary::read(&ExperimentFolder::new(&into), evidence).unwrap().markdown();
    let note = "pixels normalised by the figures of the weights it starts from (mean 0.250, \
                deviation 0.750)";
    assert!(table.contains(note), "{table}");
}

/// A base for larger images is resampled, recorded, and is not what a base for smaller ones is.
#[test]
fn a_base_of_another_image_size_has_its_positions_resampled() {
    let dir = tempfile::tempdir().unwrap();
    let mut base = trained(&dir.path().join("first"));
    vit_mut(&mut base.model).image_size = 42;
    let values: Vec<f32> = (0..10 * 16).map(|i| ((i * 37 % 101) as f32 - 50.0) / 100.0).collect();
    let positions = Tensor::from_vec(values, (1, 10, 16), &Device::Cpu).unwrap();
    base.tensors.insert("pos_embed".into(), positions);
    let formats = in_every_format(&dir.path().join("base"), &base);
    let by = |how: &str| format!("arms.tuned.start.position_embedding={how}");
    for (format, path) in &formats {
        let own = if *format == "hf-vit" { "hugging-face" } else { "timm" };
        let id = |how: &str| {
            let plan = planned(path, &[&by(how)]).unwrap();
            let started = plan.variants[0].started.as_ref().unwrap();
            let done: Resampled = started.task.get("positions").unwrap();
            assert_eq!((done.from, done.to), (3, 2));
            (plan.variants[0].runs[0].id.clone(), done.method)
        };
        assert_eq!(id("auto"), id(own), "{format}");
        assert_ne!(id("timm").0, id("hugging-face").0, "{format}");
        let told = planned(path, &[&by("refuse")]).map(drop).unwrap_err().to_string();
        assert!(told.contains("model.image_size: 42"), "{told}");
        let told = planned(path, &["model.patch_size=7"]).map(drop).unwrap_err().to_string();
        assert!(told.contains("model.patch_size: 14"), "{told}");
    }
    let arms = format!(
        "tuned: {{start: {{checkpoint: '{0}'}}}}\ncompound: {{method: vlora, start: \
         {{checkpoint: '{0}', position_embedding: hugging-face}}}}",
        formats[0].1.display()
    );
    let into = dir.path().join("runs");
    let (plan, outcomes) = run(&into, experiment(&arms, &["baseline=tuned"]));
    assert!(outcomes.values().all(|o| matches!(o, Outcome::Finished(_))), "{outcomes:?}");
    for (label, method) in
        [("tuned", PositionEmbedding::Timm), ("compound", PositionEmbedding::HuggingFace)]
    {
        let start: StartRecord =
            folder_of(&into, &plan, label).read_json(RunFolder::START).unwrap();
        assert_eq!(
            start.task.get("positions"),
            Some(Resampled { method, from: 3, to: 2 }),
            "{label}"
        );
    }
    let table = Summary::read(&ExperimentFolder::new(&into), evidence).unwrap().markdown();
    for note in [
        "resampled from 3 × 3 to 2 × 2 patches as timm does, bicubic with antialiasing",
        "resampled from 3 × 3 to 2 × 2 patches as Hugging Face's ViT does, bicubic without",
    ] {
        assert!(table.contains(note), "{note}\n{table}");
    }
    // Where nothing is resampled the choice is none, and the id stays.
    let straight = dir.path().join("first");
    let (plan, _) = run(&straight, experiment("baseline: {method: dense}", &[]));
    let made = folder_of(&straight, &plan, "baseline").path().to_path_buf();
    let id = |how: &str| planned(&made, &[&by(how)]).unwrap().variants[0].runs[0].id.clone();
    assert!(id("auto") == id("timm") && id("auto") == id("refuse"));
    // Arms of one experiment, too.
    let chain = |how: &str| {
        let arms = "baseline: {model: {image_size: 42}}\ntuned: {start: {arm: baseline}}";
        let how = format!("arms.tuned.start.position_embedding={how}");
        parsed(&Spec::tiny().arms(arms).set(&how).text(), &[])
    };
    chain("auto").unwrap();
    let told = chain("refuse").map(drop).unwrap_err().to_string();
    assert!(told.contains("model.image_size: 42") && told.contains("position_embedding"), "{told}");
}

//! Training with and without validation, and which folder a report is of.

use std::path::PathBuf;

use vlora::results::EpochRecord;

use crate::common::data::embedded;
use crate::common::program::{folder_with, vlora};
use crate::common::results::run_folders;
use crate::common::spec::TINY;

/// The same steps, weights and test as with validation, under another id; tables, charts, notes
/// and plans do without.
#[test]
fn a_run_without_validation_is_the_same_but_for_it() {
    let (with, without) = (folder_with(TINY), folder_with(TINY));
    let ran = vlora(with.path(), &["run", "tiny.yaml", "--set", "training.epochs=2"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("validation loss"), "{}", ran.err);
    let set = ["--set", "training.epochs=2", "--set", "data.validation=null"];
    let ran = vlora(without.path(), &[&["run", "tiny.yaml"], &set[..]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("epoch 2/2: training loss"), "{}", ran.err);
    assert!(!ran.err.contains("validation") && !ran.err.contains("NaN"), "{}", ran.err);
    assert!(ran.out.contains(" no validation and 1,000 test examples"), "{}", ran.out);
    assert!(!ran.out.contains("NaN"), "{}", ran.out);

    let [a, b] = [&with, &without].map(|dir| run_folders(&dir.path().join("results/tiny")));
    assert_eq!((a.len(), b.len()), (2, 2));
    let all = |runs: &[PathBuf], file: &str| {
        let mut all: Vec<Vec<u8>> =
            runs.iter().map(|run| std::fs::read(run.join(file)).unwrap()).collect();
        all.sort();
        all
    };
    for file in ["steps.jsonl", "test.jsonl"] {
        assert_eq!(all(&a, file), all(&b, file), "{file}");
    }
    assert_ne!(a[0].file_name(), b[0].file_name());
    let epochs = String::from_utf8(all(&b, "epochs.jsonl").concat()).unwrap();
    assert_eq!(epochs.lines().count(), 4);
    assert!(epochs.contains("train_loss") && !epochs.contains("validation"), "{epochs}");

    let results = without.path().join("results/tiny");
    let chart = std::fs::read_to_string(results.join("learning-curves.svg")).unwrap();
    assert!(chart.contains("Training loss") && !chart.contains("Validation"));
    let chart =
        std::fs::read_to_string(with.path().join("results/tiny/learning-curves.svg")).unwrap();
    assert!(chart.contains("Training loss") && chart.contains("Validation"));

    let plan = vlora(without.path(), &[&["plan", "tiny.yaml"], &set[..]].concat());
    assert!(plan.code == 0 && plan.out.contains("validation: null"), "{}{}", plan.out, plan.err);
    assert_eq!(plan.out.matches("  finished").count(), 2, "{}", plan.out);
    let bench = ["bench", "tiny.yaml", "--steps", "2", "--set", "data.validation=null"];
    let bench = vlora(without.path(), &bench);
    assert_eq!(bench.code, 0, "{}", bench.err);
}

/// Epochs of before there was a choice have both numbers, and are written as they were.
#[test]
fn older_epochs_are_read_and_written_as_they_were() {
    let with = r#"{"epoch":1,"step":60,"train_loss":2.5,"validation_loss":2.25,"validation_metric":0.125}"#;
    let without = r#"{"epoch":1,"step":60,"train_loss":2.5}"#;
    for (line, metric) in [(with, Some(0.125)), (without, None)] {
        let record: EpochRecord = serde_json::from_str(line).unwrap();
        assert_eq!(record.validation_metric, metric);
        assert_eq!(serde_json::to_string(&record).unwrap(), line);
    }
}

/// Selection needs validation, and every run is tested.
#[test]
fn what_cannot_be_left_out_is_refused() {
    let dir = folder_with(TINY);
    for (set, told) in [
        (&["data.validation=null", "training.select=best"][..], "`training.select: last`"),
        (&["data.test=null"][..], "`{fraction: 0.1}` takes a tenth of the training split"),
        (&["data.test=0.1"][..], "`{fraction: 0.1}`"),
        (&["data.validation=false"][..], "`validation: null`"),
    ] {
        let mut args = vec!["plan", "tiny.yaml"];
        set.iter().for_each(|set| args.extend(["--set", *set]));
        let ran = vlora(dir.path(), &args);
        assert!(ran.code == 2 && ran.err.contains(told), "{set:?}: {}", ran.err);
    }
}

/// A dataset that lacks a split: what there is, and what serves instead, which then works.
#[test]
fn a_dataset_without_a_split_offers_a_part() {
    let dir = folder_with(TINY);
    let data = dir.path().join("images");
    std::fs::create_dir_all(&data).unwrap();
    for split in ["train", "test"] {
        std::fs::copy(embedded(split), data.join(format!("{split}.parquet"))).unwrap();
    }
    let plan = |more: &[&str]| {
        let folder = "data={embedded: null, path: images}";
        let mut args = vec!["plan", "tiny.yaml", "--set", folder];
        more.iter().for_each(|set| args.extend(["--set", *set]));
        vlora(dir.path(), &args)
    };
    let ran = plan(&[]);
    assert_eq!(ran.code, 2);
    for told in
        ["split `validation`", "train, test", "validation: {fraction: 0.1}", "validation: null"]
    {
        assert!(ran.err.contains(told), "{told}: {}", ran.err);
    }
    assert_eq!(plan(&["data.validation={fraction: 0.1}"]).code, 0);
    assert_eq!(plan(&["data.validation=null"]).code, 0);

    std::fs::remove_file(data.join("test.parquet")).unwrap();
    let ran = plan(&["data.validation=null"]);
    assert!(ran.err.contains("test: {fraction: 0.1}") && !ran.err.contains("null"), "{}", ran.err);
    assert_eq!(plan(&["data.validation=null", "data.test={fraction: 0.1}"]).code, 0);
}

/// A path of no spec leads to the nearest there is, a folder to its specs.
#[test]
fn a_spec_that_is_not_there_leads_to_one_that_is() {
    let dir = folder_with(TINY);
    std::fs::create_dir(dir.path().join("experiments")).unwrap();
    std::fs::write(dir.path().join("experiments/quickstart.yaml"), TINY).unwrap();
    for (path, told) in [
        ("tiny", "did you mean `tiny.yaml`?"),
        ("tinny.yaml", "did you mean `tiny.yaml`?"),
        ("quikstart", "did you mean `experiments/quickstart.yaml`?"),
        ("experiments/quickstart.yml", "did you mean `experiments/quickstart.yaml`?"),
        ("experiments", "the folder contains quickstart.yaml"),
        (".", "the folder contains tiny.yaml"),
    ] {
        let ran = vlora(dir.path(), &["params", path]);
        assert!(ran.code == 2 && ran.err.contains(told), "{path}: {}", ran.err);
    }
    let ran = vlora(dir.path(), &["params", "zzzzzzzzzzzz"]);
    assert!(ran.code == 2 && !ran.err.contains("help"), "{}", ran.err);
}

/// The folder above experiments, a run's folder, a misspelt name, a spec: where the results are.
#[test]
fn a_report_of_no_experiment_says_where_there_are_some() {
    let dir = tempfile::tempdir().unwrap();
    let of = |path: &str| {
        let ran = vlora(dir.path(), &["report", path]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{path}: {}", ran.err);
        ran.err
    };
    assert!(of("results").contains("no such folder"));
    for name in ["quickstart", "rank"] {
        let runs = dir.path().join("results").join(name).join("runs/0123456789ab");
        std::fs::create_dir_all(&runs).unwrap();
        std::fs::write(dir.path().join("results").join(name).join("experiment.json"), "{}")
            .unwrap();
    }
    std::fs::create_dir_all(dir.path().join("results/empty")).unwrap();
    std::fs::write(dir.path().join("rank.yaml"), "").unwrap();
    for (path, told) in [
        ("results", "found:    quickstart, rank\n"),
        ("results", "vlora report results/quickstart"),
        ("results/quikstart", "did you mean `results/quickstart`?"),
        ("quickstart", "did you mean `results/quickstart`?"),
        ("rank.yaml", "did you mean `results/rank`?"),
        ("results/rank/runs/0123456789ab", "did you mean `results/rank`?"),
        ("results/zzzzzzzz", "results has quickstart, rank"),
        ("zzzzzzzz", "results has quickstart, rank"),
        ("results/empty", "no experiment.json"),
    ] {
        assert!(of(path).contains(told), "{path}: {}", of(path));
    }
}

use std::fs;

use super::*;
use crate::data::card::CARD;
use crate::hub::{Hub, Kind, Source};

/// A folder of files that hold their own paths, with a card.
fn layout(files: &[&str], card: &str, config: Option<&str>) -> Result<Layout> {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let at = dir.path().join(file);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, file).unwrap();
    }
    if !card.is_empty() {
        fs::write(dir.path().join(CARD), card).unwrap();
    }
    let source = Source::Folder(dir.path().to_path_buf());
    Layout::of(&Hub::default().open(&source, Kind::Dataset)?, config)
}

/// `split: files` of every split, in order.
fn found(layout: &Layout) -> Vec<String> {
    let line = |split: &str| match layout.files(split) {
        Ok(files) => format!("{split}: {}", files.join(" ")),
        Err(_) => format!("{split}: fault"),
    };
    layout.splits().map(line).collect()
}

fn splits(files: &[&str]) -> Vec<String> {
    found(&layout(files, "", None).unwrap())
}

#[test]
fn splits_are_found_by_names_of_files_and_folders() {
    let cases: &[(&[&str], &[&str])] = &[
        (
            &[
                "data/test-00000-of-00001.parquet",
                "data/train-00001-of-00002.parquet",
                "data/train-00000-of-00002.parquet",
            ],
            &[
                "train: data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet",
                "test: data/test-00000-of-00001.parquet",
            ],
        ),
        (
            &["val/a.jsonl", "training/b.jsonl", "training/c.jsonl"],
            &["train: training/b.jsonl training/c.jsonl", "validation: val/a.jsonl"],
        ),
        (&["b.csv", "a.csv", "LICENSE", "train.py"], &["train: a.csv b.csv"]),
        (
            &[
                "t10k-images-idx3-ubyte.gz",
                "t10k-labels-idx1-ubyte.gz",
                "train-images-idx3-ubyte.gz",
                "train-labels-idx1-ubyte.gz",
            ],
            &[
                "train: train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz",
                "test: t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz",
            ],
        ),
        (
            &["train/cat/1.png", "train/dog/2.jpg", "test/cat/3.webp"],
            &["train: train/cat/1.png train/dog/2.jpg", "test: test/cat/3.webp"],
        ),
        (&["plain/train.csv"], &["train: plain/train.csv"]),
        (&["LICENSE"], &[]),
    ];
    for (files, want) in cases {
        assert_eq!(splits(files), *want, "{files:?}");
    }
}

#[test]
fn a_split_consists_of_complete_sets_of_files() {
    let shards = ["train-00001-of-00002.parquet", "train-00000-of-00002.parquet"];
    assert_eq!(splits(&shards), [format!("train: {} {}", shards[1], shards[0])]);
    let several = ["train.csv", "training.csv", "x/train.csv", "b.train.x.csv", "b.train.y.csv"];
    assert_eq!(splits(&several).len(), 1);
    for bad in [
        &shards[..1],
        &["train.parquet", "train-00000-of-00001.parquet"],
        &["train-00000-of-00002.parquet", "train-00000-of-00001.parquet"],
        &["train-00000-of-00001-a.parquet", "train-00000-of-00001-b.parquet"],
        &["train.csv", "train.csv.gz"],
        &["x/my-train-00000-of-00002.csv"],
    ] {
        let error = layout(bad, "", None).unwrap().files("train").unwrap_err().to_string();
        assert!(error.contains("incomplete or repeated"), "{bad:?}: {error}");
    }
}

/// Each file of rows or images must be in exactly one split, else the error names it.
#[test]
fn the_error_names_a_file_in_no_split_or_in_two() {
    let cases: &[(&[&str], &str, &str)] = &[
        (&["train.parquet", "train-val.parquet"], "train-val.parquet", "two splits"),
        (&["my_train.csv", "my_dev.csv", "notes.csv"], "notes.csv", "in no split"),
        (&["cat/train.png", "dog/2.png"], "dog/2.png", "in no split"),
        (&["train/a/1.png", "train/b/2.png", "train/b/3.bmp"], "3.bmp", "not read"),
        (&["train/a/1.png", "train/b/2.png", "train/x.csv"], "x.csv", "several formats"),
        (&["a.csv", "b.jsonl"], "b.jsonl", "several formats"),
        (&["a.csv", "__b/b.csv"], "__b/b.csv", "two underscores"),
        (&["Train.csv", "Test.csv"], "Test.csv", "lower case"),
        (&["train/train a/1.png", "train/b/2.png"], "train a/1.png", "`train` twice"),
    ];
    for (files, name, problem) in cases {
        let error = layout(files, "", None).unwrap().files("train").unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(problem), "{files:?}: {error}");
    }
}

const CARD_OF_TWO: &str = "---
configs:
- config_name: plain
  data_files:
  - split: train
    path: plain/tr-*
  - split: val
    path: [plain/v.csv]
- config_name: hard
  data_dir: hard
  data_files: '*.csv'
---
";

#[test]
fn the_card_has_priority_over_the_names() {
    let files = ["plain/tr-1.csv", "plain/tr-0.csv", "plain/v.csv", "hard/x.csv", "train.csv"];
    let plain = layout(&files, CARD_OF_TWO, Some("plain")).unwrap();
    assert_eq!(found(&plain), ["train: plain/tr-0.csv plain/tr-1.csv", "val: plain/v.csv"]);
    assert_eq!(plain.left_out()[1].1, ["hard/x.csv", "train.csv"]);
    assert_eq!(plain.files("validation").unwrap(), ["plain/v.csv"]);
    let hard = layout(&files, CARD_OF_TWO, Some("hard")).unwrap();
    assert_eq!(found(&hard), ["train: hard/x.csv"]);

    let error = layout(&files, CARD_OF_TWO, None).unwrap_err().to_string();
    assert!(error.contains("several configurations") && error.contains("plain, hard"), "{error}");
    let error = layout(&files, CARD_OF_TWO, Some("hrad")).unwrap_err().to_string();
    assert!(error.contains("did you mean `hard`?"), "{error}");

    // Missing files of one split do not affect the others.
    let part = layout(&files[..2], CARD_OF_TWO, Some("plain")).unwrap();
    assert_eq!(found(&part), ["train: plain/tr-0.csv plain/tr-1.csv", "val: fault"]);
    let error = part.files("val").unwrap_err().to_string();
    assert!(error.contains("README.md names") && error.contains("`plain/v.csv`"), "{error}");
}

#[test]
fn the_default_configuration_is_marked_called_default_or_the_only_one() {
    let of = |entries: &str| {
        let card = format!("---\nconfigs: {entries}\n---\n");
        layout(&["a/train.csv", "b/train.csv"], &card, None).map(|layout| found(&layout))
    };
    let b = ["train: b/train.csv"];
    let in_b = "{config_name: b, data_dir: b, default: true}";
    assert_eq!(of(&format!("[{{config_name: a}}, {in_b}]")).unwrap(), b);
    assert_eq!(of("[{config_name: a}, {config_name: default, data_dir: ./b/}]").unwrap(), b);
    assert_eq!(of("[{config_name: x}]").unwrap(), ["train: a/train.csv b/train.csv"]);
    assert!(of("[{config_name: a}, {config_name: b}]").is_err());
    // Without files in the card, `b` could mean all files or the folder `b`.
    assert!(of("[{config_name: b}]").unwrap().is_empty());
}

#[test]
fn folders_are_configurations_without_a_card() {
    let files = ["de-en/train.csv", "de-en/test.csv", "de-fr/train.csv"];
    let chosen = layout(&files, "# A title\n", Some("de-en")).unwrap();
    assert_eq!(found(&chosen), ["train: de-en/train.csv", "test: de-en/test.csv"]);
    assert_eq!(chosen.config.as_deref(), Some("de-en"));
    let error = layout(&files, "", None).unwrap_err().to_string();
    assert!(error.contains("de-en, de-fr"), "{error}");
    let error = layout(&["train.csv"], "", Some("x")).unwrap_err().to_string();
    assert!(error.contains("no configurations"), "{error}");
    // Folders of classes above those of splits look like configurations.
    let error = layout(&["cat/train/1.png", "dog/test/2.png"], "", None).unwrap_err().to_string();
    assert!(error.contains("as in train/cat/1.png"), "{error}");
}

#[test]
fn the_error_for_a_missing_split_lists_the_existing_ones() {
    let layout = layout(&["train.csv", "test.csv"], "", None).unwrap();
    let error = layout.files("validation").unwrap_err().to_string();
    assert!(error.contains("the splits train, test"), "{error}");
    assert!(layout.files("tset").unwrap_err().to_string().contains("did you mean `test`?"));
}

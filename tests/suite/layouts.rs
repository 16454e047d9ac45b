//! Folders as people lay datasets out: what is read is what Hugging Face's `datasets` reads, or it is
//! refused with a file's name. `scripts/reference/make_layouts.py` made the folders and what is expected.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use image::ImageFormat;
use serde::Deserialize;
use serde_json::Value as Json;
use vlora::data::{Column, Layout, Table, Values, read_split};
use vlora::hub::{Hub, Kind, Source};

use crate::common::data::{self, Dataset, idx};
use crate::common::hash::sha256;
use crate::common::program::{Ran, command, vlora};
use crate::common::spec::Spec;

#[derive(Deserialize)]
struct Fixture {
    /// Files' bytes by their key, in hexadecimal digits.
    contents: BTreeMap<String, String>,
    layouts: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    name: String,
    files: BTreeMap<String, Content>,
    config: Option<String>,
    /// Why this program refuses what `datasets` reads.
    refuse: Option<String>,
    /// Why this program reads other values.
    here: Option<String>,
    /// None where `datasets` refuses.
    splits: Option<BTreeMap<String, Split>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Kept { is: String },
}

#[derive(Deserialize)]
struct Split {
    rows: usize,
    columns: BTreeMap<String, Vec<Json>>,
    classes: BTreeMap<String, Vec<String>>,
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layouts/layouts.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

impl Expected {
    fn made(&self, contents: &BTreeMap<String, String>) -> Dataset {
        let dataset = Dataset::new::<&[u8]>(&[]);
        for (path, content) in &self.files {
            match content {
                Content::Text(text) => dataset.put(path, text),
                Content::Kept { is } => dataset.put(path, bytes(&contents[is])),
            }
        }
        dataset
    }

    /// All splits, or why they are refused.
    fn read(&self, dataset: &Dataset) -> Result<BTreeMap<String, Table>, String> {
        let read = || -> vlora::error::Result<_> {
            let source = Source::Folder(dataset.at(""));
            let repository = Hub::default().open(&source, Kind::Dataset)?;
            let layout = Layout::of(&repository, self.config.as_deref())?;
            if layout.splits().next().is_none() {
                layout.files("train")?;
            }
            let read = |split: &str| {
                Ok((split.to_string(), read_split(&repository, &layout, split, None)?))
            };
            layout.splits().map(read).collect()
        };
        read().map_err(|e| e.to_string())
    }
}

/// A value beside the expected one: equal, or the name of the class whose number is expected.
fn same(column: &Column, row: usize, want: &Json, names: Option<&Vec<String>>) -> bool {
    match &column.values {
        Values::Images(images) => want["sha256"] == sha256(images.get(row).unwrap()),
        Values::Integers(values) => match (values[row], want) {
            (None, Json::Null) => true,
            // A class of ours that `datasets` leaves as text.
            (Some(label), Json::String(text)) => {
                column.class_names.get(label as usize) == Some(text)
            }
            (Some(n), want) => {
                want.as_f64() == Some(n as f64)
                    && names.is_none_or(|names| *names == column.class_names)
            }
            _ => false,
        },
        Values::Floats(values) => values[row] == want.as_f64(),
        Values::Text(values) => values[row].as_deref() == want.as_str(),
        _ => false,
    }
}

fn differs(found: &BTreeMap<String, Table>, want: &BTreeMap<String, Split>) -> Option<String> {
    let names = |names: Vec<&String>| format!("{names:?}");
    if !found.keys().eq(want.keys()) {
        return Some(format!(
            "splits {} instead of {}",
            names(found.keys().collect()),
            names(want.keys().collect())
        ));
    }
    for (split, want) in want {
        let table = &found[split];
        if table.rows != want.rows {
            return Some(format!("{split}: {} rows instead of {}", table.rows, want.rows));
        }
        if table.columns.len() != want.columns.len() {
            return Some(format!("{split}: columns {:?}", table.fields()));
        }
        for (name, values) in &want.columns {
            let Some(column) = table.column(name) else {
                return Some(format!("{split}: no column {name}"));
            };
            let names = want.classes.get(name);
            let row = (0..want.rows).find(|row| !same(column, *row, &values[*row], names));
            if let Some(row) = row {
                return Some(format!(
                    "{split}: row {row} of {name}: {:?} instead of {}",
                    column.values, values[row]
                ));
            }
        }
    }
    None
}

/// Whether a message names one of the dataset's files, or a folder of them: by its path in the text
/// before what was expected, or as an item of the list of what was found.
fn names_a_file(message: &str, layout: &Expected) -> bool {
    let (found, _) = message.split_once("\n  expected:").unwrap_or((message, ""));
    let listed: Vec<&str> =
        found.split_once("found:    ").map_or(Vec::new(), |(_, items)| items.split(", ").collect());
    layout.files.keys().any(|path| {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let in_folder = !folder.is_empty() && found.contains(&format!("{folder}/"));
        found.contains(name) || in_folder || folder.split('/').any(|part| listed.contains(&part))
    })
}

/// Layouts that hold nothing: no file can be named.
const EMPTY: [&str; 1] = ["nothing that is read"];

#[test]
fn what_is_read_is_what_datasets_reads_or_a_file_is_named() {
    let Fixture { contents, layouts } = fixture();
    assert!(layouts.len() >= 40);
    let mut wrong = String::new();
    for layout in &layouts {
        let dataset = layout.made(&contents);
        // A label that can be read in two ways matters to those who ask for labels alone.
        let labels = || dataset.images(PARTS, (4, 3, 2), None).map_err(|e| e.to_string());
        let found = match layout.read(&dataset) {
            Ok(_) if layout.refuse.is_some() => labels().map(|_| BTreeMap::new()),
            found => found,
        };
        let problem = match (&found, &layout.splits, &layout.refuse) {
            (Ok(_), _, Some(reason)) => Some(format!("is read, though {reason}")),
            (Err(message), ..)
                if !names_a_file(message, layout) && !EMPTY.contains(&&layout.name[..]) =>
            {
                Some(format!("is refused without a name: {message}"))
            }
            (Err(message), Some(_), None) => Some(format!("is refused: {message}")),
            (Err(_), ..) => None,
            (Ok(found), Some(want), None) => match (differs(found, want), &layout.here) {
                (Some(_), Some(_)) | (None, None) => None,
                (None, Some(reason)) => Some(format!("is the same, though {reason}")),
                (difference, None) => difference,
            },
            (Ok(_), None, None) if layout.here.is_some() => None,
            (Ok(_), None, None) => Some("is read, which datasets refuses".to_string()),
        };
        if let Some(problem) = problem {
            writeln!(wrong, "{}: {problem}", layout.name).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

const PARTS: &str = r#"{"validation": {"fraction": 0.34}, "test": {"fraction": 0.34}}"#;

/// Pixels and labels as training sees them, of every split of at least three images.
#[test]
fn pixels_and_labels_are_what_datasets_gives() {
    let Fixture { contents, layouts } = fixture();
    let mut compared = 0;
    for layout in layouts.iter().filter(|layout| layout.refuse.is_none()) {
        for (split, want) in layout.splits.iter().flatten() {
            let Some((column, images)) =
                want.columns.iter().find(|(_, v)| v.iter().any(|v| !v["pixels"].is_null()))
            else {
                continue;
            };
            let labels = &want.columns["label"];
            if want.rows < 3 || labels.iter().any(Json::is_null) {
                continue;
            }
            let names = match want.classes.get("label") {
                Some(names) => names.clone(),
                None => {
                    let mut names: Vec<String> =
                        labels.iter().filter_map(Json::as_str).map(str::to_string).collect();
                    names.sort();
                    names.dedup();
                    names
                }
            };
            let classes = names.len().max(2);
            let mut fields: Json = serde_json::from_str(PARTS).unwrap();
            fields["train"] = split.clone().into();
            fields["image_column"] = column.clone().into();
            let dataset = layout.made(&contents);
            let data = dataset
                .images(&fields.to_string(), (4, 3, classes), None)
                .unwrap_or_else(|e| panic!("{}: {e}", layout.name));
            let mut got: Vec<(String, Vec<u8>)> = Vec::new();
            for part in [&data.train, &data.validation, &data.test] {
                for i in 0..part.len() {
                    let label = part.labels[i] as usize;
                    let name = data.class_names.get(label).cloned();
                    got.push((name.unwrap_or(label.to_string()), part.image(i).to_vec()));
                }
            }
            assert_eq!(got.len(), want.rows, "{} {split}", layout.name);
            for (image, label) in images.iter().zip(labels) {
                let label = match label {
                    Json::String(text) => text.clone(),
                    label => {
                        let label = label.as_f64().unwrap() as usize;
                        names.get(label).cloned().unwrap_or(label.to_string())
                    }
                };
                let pixels = bytes(image["pixels"].as_str().unwrap());
                let near = |(name, bytes): &(String, Vec<u8>)| {
                    *name == label && bytes.iter().zip(&pixels).all(|(a, b)| a.abs_diff(*b) <= 2)
                };
                let at = got.iter().position(near);
                let at = at.unwrap_or_else(|| panic!("{} {split}: no such image", layout.name));
                got.swap_remove(at);
            }
            compared += 1;
        }
    }
    assert!(compared > 40, "{compared}");
}

/// What is in the way can be left out by name, and nothing else.
#[test]
fn files_are_ignored_by_name() {
    let Fixture { contents, layouts } = fixture();
    let of = |name: &str| layouts.iter().find(|layout| layout.name == name).unwrap();
    for (name, ignore, rows) in [
        ("a file of no split beside those of splits (csv)", "extra.csv", 1),
        ("shards in data and a file at the top (parquet)", "*.parquet", 1),
        ("a bmp among others", "**/*.bmp", 4),
        ("images without labels in test", "test", 4),
        ("images at two depths", "train/dog/old/", 4),
        ("metadata for a part of the images", "2.png", 2),
        ("an archive beside", "*.zip", 1),
        ("a hidden image", "**/.*", 4),
        ("a hidden folder of a split", ".old", 4),
        ("one ending in mixed case", "**/*.Jpeg", 4),
    ] {
        let dataset = of(name).made(&contents);
        let source = Source::Folder(dataset.at(""));
        let repository = Hub::default().open(&source, Kind::Dataset).unwrap();
        let plain = Layout::of(&repository, None).unwrap();
        assert!(read_split(&repository, &plain, "train", None).is_err(), "{name}");
        let layout = Layout::without(&repository, None, &[ignore.to_string()]).unwrap();
        assert_eq!(read_split(&repository, &layout, "train", None).unwrap().rows, rows, "{name}");
        assert!(!layout.left_out()[2].1.is_empty(), "{name}");
        let none = Layout::without(&repository, None, &["none.csv".to_string()]);
        assert!(none.unwrap_err().to_string().contains("none.csv"));
    }
}

/// What cannot be read twice is no file of a dataset: it is refused by name, and nothing waits for it.
#[cfg(unix)]
#[test]
fn pipes_are_refused_by_name() {
    for path in ["train/cat/9.png", "README.md", "train.csv"] {
        let dataset = Dataset::new(&[
            ("train/cat/1.png", data::png(4, [1; 3])),
            ("train/dog/2.png", data::png(4, [2; 3])),
        ]);
        if path == "train.csv" {
            fs::remove_dir_all(dataset.at("train")).unwrap();
        }
        let made = std::process::Command::new("mkfifo").arg(dataset.at(path)).status().unwrap();
        assert!(made.success());
        let ran = vlora(&dataset.at(""), &["data", "."]);
        assert_eq!(ran.code, 2, "{path}");
        assert!(ran.err.contains(path) && ran.err.contains("a named pipe"), "{}", ran.err);
    }
}

/// A leading `~` is the home folder, which no shell puts into a spec.
#[test]
fn a_path_may_start_at_home() {
    let home = Dataset::new(&[("pets/train.csv", "n\n1\n")]);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = command(elsewhere.path());
    command.args(["data", "~/pets"]).env("HOME", home.at(""));
    let ran = Ran::of(command.output().unwrap());
    assert!(ran.code == 0 && ran.out.contains("pets"), "{}{}", ran.out, ran.err);
}

/// What no other tool defines: IDX files beside anything else.
#[test]
fn idx_files_are_in_splits_or_named() {
    let images = |n: u8| idx(&[1, 2, 2], &[n; 4]);
    let labels = || idx(&[1], &[0]);
    let named = |splits: &[&str]| -> Dataset {
        let dataset = Dataset::new::<&[u8]>(&[]);
        for (i, split) in splits.iter().enumerate() {
            dataset.put(&format!("{split}images-idx3-ubyte"), images(i as u8));
            dataset.put(&format!("{split}labels-idx1-ubyte"), labels());
        }
        dataset
    };
    for (splits, want) in [
        (&["train-", "t10k-"][..], &["train", "test"][..]),
        (&["emnist-letters-train-", "emnist-letters-test-"], &["train", "test"]),
        (&["train/", "val/"], &["train", "validation"]),
        (&["digits-"], &["train"]),
    ] {
        let dataset = named(splits);
        want.iter().for_each(|split| assert_eq!(dataset.table(None, split).unwrap().rows, 1));
    }
    let refused = |dataset: &Dataset, name: &str| {
        let error = dataset.table(None, "train").unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    };
    refused(&named(&["train-", "more-"]), "more-images");
    let mixed = named(&["train-"]);
    mixed.put("train.csv", "a\n1\n");
    refused(&mixed, "train.csv");
    let picture = named(&["train-"]);
    picture.put("train/x.png", data::png(2, [0; 3]));
    refused(&picture, "x.png");
}

/// What `vlora data` shows of a folder, and that its lines make a spec.
#[test]
fn the_program_shows_a_folder_and_the_spec_that_reads_it() {
    let dataset = Dataset::new(&[
        ("train/cat/1.png", data::png(8, [1; 3])),
        ("train/dog/2.png", data::png(8, [2; 3])),
        ("train/dog/3.png", data::png(8, [3; 3])),
        ("val/dog/4.png", data::png(8, [4; 3])),
    ]);
    dataset.put("notes.txt", "x");
    dataset.put("train/old.bmp", "x");
    dataset.put("README.md", "---\nlicense: cc-by-4.0\n---\n");
    let refused = vlora(&dataset.at(""), &["data", "."]);
    assert!(refused.code == 2 && refused.err.contains("train/old.bmp"), "{}", refused.err);
    let ran = vlora(&dataset.at(""), &["data", ".", "--ignore", "**/*.bmp", "--rows", "0"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for line in [
        "licence: cc-by-4.0",
        "splits found by the names of folders",
        "not read, of no known format: notes.txt",
        "not read, ignored, as asked for: train/old.bmp",
        "  train: 3 of 8 × 8, RGB, PNG",
        "classes of `label`  train  validation",
        "0 cat                   1           0",
        "1 dog                   2           1",
    ] {
        assert!(ran.out.lines().any(|l| l == line), "{line}\n{}", ran.out);
    }
    let (_, spec) = ran.out.split_once("to paste into a spec:\n\n").unwrap();
    assert_eq!(
        spec,
        "task: image-classification\ndata:\n  path: .\n  ignore: [\"**/*.bmp\"]\n  train: train\n  validation: validation\n  \
         test: {fraction: 0.34}\nmodel:\n  architecture: vit\n  image_size: 8\n  channels: 3\n  classes: 2\n"
    );
    fs::write(dataset.at("spec.yaml"), whole_spec(spec)).unwrap();
    let planned = vlora(&dataset.at(""), &["plan", "spec.yaml"]);
    assert_eq!(planned.code, 0, "{}", planned.err);
    let note = "note: .: not read, of no known format: notes.txt";
    let out = tempfile::tempdir().unwrap();
    let out = out.path().to_str().unwrap();
    let set = ["--set", "training.epochs=1", "--out", out];
    let ran = vlora(&dataset.at(""), &[&["run", "spec.yaml"][..], &set].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err.matches(note).count(), 1, "{}", ran.err);
}

/// The lines that `vlora data` prints, with what else a spec needs.
fn whole_spec(lines: &str) -> String {
    // `patch_size` is of images alone; `lines` end with the model's section.
    let patches = if lines.contains("architecture: vit") { "  patch_size: 1\n" } else { "" };
    let model = "  dim: 8\n  depth: 1\n  heads: 1\n";
    format!("arms: {{baseline: }}\nseeds: [0]\n{lines}{patches}{model}")
}

/// A Parquet file of images with labels; None where a row has none.
fn labelled(labels: &[Option<i64>]) -> Vec<u8> {
    let images: Vec<Vec<u8>> = (0..labels.len()).map(|i| different(i as u8)).collect();
    let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
    data::parquet(polars::df!["image" => images, "label" => labels].unwrap())
}

/// An image that no other call of this test makes: its first number counts them.
fn different(n: u8) -> Vec<u8> {
    use std::sync::atomic::{AtomicU8, Ordering};
    static CALLS: AtomicU8 = AtomicU8::new(0);
    data::png(4, [CALLS.fetch_add(1, Ordering::SeqCst), n, 7])
}

/// The lines of each layout are planned as they are, or a sentence says what is missing for them.
#[test]
fn the_lines_of_a_spec_are_planned_or_a_sentence_says_what_is_missing() {
    let classes = |split: &str, names: &[&str], each: usize| -> Vec<(String, Vec<u8>)> {
        let of = |name: &&str| {
            (0..each).map(|i| (format!("{split}/{name}/{i}.png"), different(0))).collect::<Vec<_>>()
        };
        names.iter().flat_map(of).collect()
    };
    let all = |parts: &[Vec<(String, Vec<u8>)>]| -> Dataset {
        let files: Vec<(&str, &Vec<u8>)> =
            parts.iter().flatten().map(|(path, bytes)| (&path[..], bytes)).collect();
        Dataset::new(&files)
    };
    let one = |name: &str, bytes: Vec<u8>| vec![(name.to_string(), bytes)];
    let (a, b) = (Some(0), Some(1));
    let text = |texts: &[&str]| {
        let images: Vec<Vec<u8>> = texts.iter().map(|_| different(1)).collect();
        let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
        data::parquet(polars::df!["image" => images, "label" => texts].unwrap())
    };
    let captions = |texts: &[&str]| {
        let images: Vec<Vec<u8>> = texts.iter().map(|_| different(2)).collect();
        let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
        data::parquet(polars::df!["image" => images, "caption" => texts].unwrap())
    };
    let sized = |sides: &[u32]| -> Vec<(String, Vec<u8>)> {
        let image = |(i, side): (usize, &u32)| {
            let class = ["cat", "dog"][i % 2];
            (format!("train/{class}/{i}.png"), data::png(*side, [i as u8, 9, 9]))
        };
        sides.iter().enumerate().map(image).collect()
    };
    let card = |text: &str| one("README.md", format!("---\n{text}\n---\n").into_bytes());
    let two = ["cat", "dog"];
    let splits = |names: [&str; 2]| {
        let path = |name: &str| format!("{{split: {name}, path: '{name}/**'}}");
        let files = names.map(path).join(", ");
        card(&format!("configs: [{{config_name: x, data_files: [{files}]}}]"))
    };
    let named =
        "dataset_info: {features: [{name: label, dtype: {class_label: {names: [no, yes]}}}]}";
    let csv = |labels: &str| {
        let rows: Vec<String> =
            labels.split(' ').enumerate().map(|(i, label)| format!("{i}.png,{label}\n")).collect();
        format!("file_name,label\n{}", rows.concat()).into_bytes()
    };
    let plain = |n: usize| -> Vec<(String, Vec<u8>)> {
        (0..n).map(|i| (format!("{i}.png"), different(3))).collect()
    };

    let planned: &[(&str, Dataset, &[&str])] = &[
        (
            "three splits",
            all(&["train", "val", "test"].map(|s| classes(s, &two, 2))),
            &["train: train", "validation: validation", "test: test"],
        ),
        (
            "validation alone",
            all(&[classes("val", &two, 5)]),
            &["train: validation", "validation: {fraction: 0.1}", "test: {fraction: 0.1}"],
        ),
        ("test alone", all(&[classes("test", &two, 5)]), &["train: test"]),
        ("three examples", all(&[classes("train", &two, 2)]), &["test: {fraction: 0.25}"]),
        (
            "five examples and a test split",
            all(&[classes("train", &two, 3), classes("test", &two, 1)]),
            &["validation: {fraction: 0.2}", "test: test"],
        ),
        (
            "splits of more than a word",
            all(&[
                splits(["train.clean", "test.other"]),
                classes("train.clean", &two, 5),
                classes("test.other", &two, 1),
            ]),
            &["train: train.clean", "test: test.other"],
        ),
        ("a tiny image", all(&[sized(&[1, 30, 32, 40])]), &["image_size: 30", "resize: 30"]),
        (
            "labels that are text",
            all(&[
                one("train.parquet", text(&["x", "y", "x", "y"])),
                one("test.parquet", text(&["y"])),
            ]),
            &["classes: 2"],
        ),
        (
            "labels that are numbers",
            all(&[
                one("train.parquet", labelled(&[a, b, a, b])),
                one("test.parquet", labelled(&[Some(4)])),
            ]),
            &["classes: 5"],
        ),
        (
            "names of a card",
            all(&[card(named), one("train.parquet", labelled(&[a, b, a, b]))]),
            &["classes: 2"],
        ),
        ("described images", all(&[one("metadata.csv", csv("x y x")), plain(3)]), &["classes: 2"]),
        (
            "numbers of a byte",
            all(&[one(
                "train.parquet",
                data::parquet(
                    polars::df![
                        "image" => [&different(5)[..], &different(5), &different(5)],
                        "kind" => [0i64, 1, 1],
                    ]
                    .unwrap(),
                ),
            )]),
            &["label_column: kind", "test: {fraction: 0.34}"],
        ),
    ];
    for (name, dataset, lines) in planned {
        let ran = vlora(&dataset.at(""), &["data", ".", "--rows", "0"]);
        let (_, spec) = ran
            .out
            .split_once("to paste into a spec:\n\n")
            .unwrap_or_else(|| panic!("{name}: {}{}", ran.out, ran.err));
        for line in *lines {
            assert!(spec.lines().any(|l| l.trim() == *line), "{name}: {line}\n{spec}");
        }
        fs::write(dataset.at("spec.yaml"), whole_spec(spec)).unwrap();
        let ran = vlora(&dataset.at(""), &["plan", "spec.yaml"]);
        assert_eq!(ran.code, 0, "{name}: {}", ran.err);
    }

    let missing: &[(&str, Dataset, &str)] = &[
        (
            "validation and test",
            all(&["val", "test"].map(|s| classes(s, &two, 3))),
            "there is no split to train on, only validation, test",
        ),
        (
            "labels in test alone",
            all(&[
                one("train.parquet", labelled(&[None, None, None])),
                one("test.parquet", labelled(&[a, b, a])),
            ]),
            "the split train has 3 rows without a label in `label`",
        ),
        (
            "a row without a label",
            all(&[one("train.parquet", labelled(&[a, b, None, a]))]),
            "the split train has 1 row without a label in `label`",
        ),
        (
            "a label beyond the names",
            all(&[card(named), one("train.parquet", labelled(&[a, b, Some(2), a]))]),
            "the split train has the label 2, which has no name; the split train has 2 classes",
        ),
        (
            "numbers here, text there",
            all(&[
                one("train.parquet", labelled(&[a, b, a, b])),
                one("test.parquet", text(&["x"])),
            ]),
            "labels are numbers in the split train and text in the split test",
        ),
        (
            "text here, numbers there",
            all(&[
                one("train.parquet", text(&["x", "y", "x", "y"])),
                one("test.parquet", labelled(&[a])),
            ]),
            "labels are text in the split train and numbers in the split test",
        ),
        (
            "a class of the test split alone",
            all(&[
                one("train.parquet", text(&["x", "y", "x", "y"])),
                one("test.parquet", text(&["z"])),
            ]),
            "the split test has the class z",
        ),
        (
            "types that differ between shards",
            all(&[
                one("train-00000-of-00002.parquet", labelled(&[a, b])),
                one("train-00001-of-00002.parquet", text(&["x", "y"])),
            ]),
            "are numbers in one file of the split train, text in another",
        ),
        (
            "captions",
            all(&[one("train.parquet", captions(&["a red cat", "a dog", "two cats"]))]),
            "no column holds labels",
        ),
        (
            "two examples",
            all(&[one("train.parquet", labelled(&[a, b]))]),
            "the split train has 2 examples, too few to take validation or test examples from it",
        ),
        (
            "one class",
            all(&[one("train.parquet", labelled(&[a, a, a, a]))]),
            "`label` has fewer than two classes",
        ),
        (
            "a number below 0",
            all(&[one("train.parquet", labelled(&[a, b, Some(-1), a]))]),
            "`label` holds -1, which is not a class number",
        ),
        (
            "what is no image",
            all(&[classes("train", &two, 2), one("train/cat/9.png", b"x".to_vec())]),
            "hold no PNG, JPEG or WebP image",
        ),
    ];
    for (name, dataset, reason) in missing {
        let ran = vlora(&dataset.at(""), &["data", ".", "--rows", "0"]);
        assert_eq!(ran.code, 0, "{name}: {}", ran.err);
        let (_, found) = ran
            .out
            .split_once("no lines for a spec: ")
            .unwrap_or_else(|| panic!("{name}: {}", ran.out));
        assert!(found.contains(reason) && !ran.out.contains("to paste"), "{name}: {found}");
    }
}

/// Images of several sizes get a size that fits all, columns and configurations their names.
#[test]
fn the_lines_of_a_spec_name_what_is_not_usual() {
    let grey =
        |width, height| data::encoded(image::GrayImage::new(width, height), ImageFormat::Png);
    let images = [("a/1.png", grey(9, 7)), ("a/2.png", grey(6, 20)), ("a/3.png", grey(6, 8))];
    let dataset = Dataset::new(&images);
    dataset.put("a/metadata.csv", "photo_file_name,kind\n1.png,x\n2.png,y\n3.png,x\n");
    dataset.put("README.md", "---\nconfigs: [{config_name: '2019', data_dir: a}]\n---\n");
    let ran = vlora(&dataset.at(""), &["data", ".", "--rows", "0"]);
    let (_, spec) = ran.out.split_once("to paste into a spec:\n\n").unwrap();
    assert_eq!(
        spec,
        "task: image-classification\ndata:\n  path: .\n  config: \"2019\"\n  image_column: photo\n  label_column: kind\n  \
         train: train\n  validation: {fraction: 0.34}\n  test: {fraction: 0.34}\n  resize: 6\n  \
         crop: center\nmodel:\n  architecture: vit\n  image_size: 6\n  channels: 1\n  classes: 2\n"
    );
    assert!(ran.out.contains("  train: 1 of 6 × 20, grey, PNG\n"), "{}", ran.out);
}

/// Sentences with a label each, a line a row: label, separator, text.
fn rows(separator: char, count: usize) -> String {
    let row = |i: usize| format!("{}{separator}the film number {i} was long\n", i % 2);
    (0..count).map(row).collect()
}

/// The lines for texts are planned as they are, or a sentence says what is missing for them.
#[test]
fn the_lines_for_texts_are_planned_or_a_sentence_says_what_is_missing() {
    let pairs = "premise,hypothesis,kind\na dog ran off,an animal moved,yes\na cat sat,a dog ran,no\n\
                 two men ate,people ate,yes\nit rained here,it was dry,no\n";
    let glue =
        "sentence\tlabel\tidx\nfine film\t1\t0\ndull film\t0\t1\nlong film\t1\t2\nbad one\t0\t3\n";
    // As SetFit stores them, with the name of each label beside it.
    let named = |i: usize| {
        let (label, name) = (i % 2, ["negative", "positive"][i % 2]);
        format!(
            "{{\"text\": \"film {i} was seen\", \"label\": {label}, \"label_text\": \"{name}\"}}\n"
        )
    };
    let json: String = (0..30).map(named).collect();
    let news: String =
        (0..24).map(|i| format!("{},title {i},a longer body of the text {i}\n", i % 4)).collect();
    /// Name, files, arguments, and lines that the spec has.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);
    let planned: &[Case] = &[
        (
            "a header",
            &[("train.csv", &format!("label,text\n{}", rows(',', 12)))],
            &[],
            &["path: .", "train: train", "tokenizer: {train: word-piece}", "classes: 2"],
        ),
        (
            "no header",
            &[("train.csv", &rows(',', 12)), ("test.csv", "1,what a film\n")],
            &["--columns", "label,text"],
            &["columns: [label, text]", "test: test", "classes: 2"],
        ),
        (
            "tabs and no header",
            &[("train.tsv", &rows('\t', 12))],
            &["--columns", "label,sentence"],
            &["columns: [label, sentence]", "text_column: sentence"],
        ),
        ("a task of GLUE", &[("train.tsv", glue)], &[], &["text_column: sentence"]),
        (
            "pairs",
            &[("train.csv", pairs)],
            &[],
            &["text_column: premise", "pair_column: hypothesis", "label_column: kind"],
        ),
        ("labels with their names", &[("train.jsonl", &json)], &[], &["classes: 2"]),
        (
            "a pair in two splits",
            &[
                ("train.csv", pairs),
                ("test.csv", "premise,hypothesis,kind\na cat sat,a dog ran,no\n"),
            ],
            &[],
            &["pair_column: hypothesis", "test: test", "duplicates: keep"],
        ),
        (
            "a text in two splits",
            &[("train.jsonl", &json), ("test.jsonl", json.lines().last().unwrap())],
            &[],
            &["test: test", "duplicates: keep"],
        ),
        (
            "two columns of texts",
            &[("train.csv", &news)],
            &["--columns", "label,title,body"],
            &["text_column: body", "# other columns of texts: title", "classes: 4"],
        ),
    ];
    for (name, files, arguments, lines) in planned {
        let dataset = Dataset::new(files);
        let ran = vlora(&dataset.at(""), &[&["data", ".", "--rows", "0"], *arguments].concat());
        let (_, spec) = ran
            .out
            .split_once("to paste into a spec:\n\n")
            .unwrap_or_else(|| panic!("{name}: {}{}", ran.out, ran.err));
        for line in ["task: text-classification", "architecture: encoder"].iter().chain(*lines) {
            assert!(spec.lines().any(|l| l.trim() == *line), "{name}: {line}\n{spec}");
        }
        let is_twice = lines.contains(&"duplicates: keep");
        assert_eq!(spec.contains("duplicates"), is_twice, "{name}: {spec}");
        fs::write(dataset.at("spec.yaml"), whole_spec(spec)).unwrap();
        let ran = vlora(&dataset.at(""), &["plan", "spec.yaml"]);
        assert_eq!(ran.code, 0, "{name}: {}\n{spec}", ran.err);
    }
    let missing: &[(&str, &str, &str)] = &[
        ("no names", &rows(',', 12), "--columns gives them"),
        ("one class", "text,label\na,0\nb,0\nc,0\nd,0\n", "`label` has fewer than two classes"),
    ];
    for (name, csv, reason) in missing {
        let dataset = Dataset::new(&[("train.csv", csv)]);
        let ran = vlora(&dataset.at(""), &["data", ".", "--rows", "0"]);
        let found = ran.out.split_once("no lines for a spec: ");
        assert!(found.is_some_and(|(_, found)| found.contains(reason)), "{name}: {}", ran.out);
    }
}

/// Sentence pairs are two columns that languages name, or one column of translations.
#[test]
fn the_lines_for_sentence_pairs_name_both_languages() {
    let pair = |i: usize| format!("{{\"de\": \"Hund {i}\", \"en\": \"dog {i}\"}}");
    let columns: String = (0..12).map(|i| pair(i) + "\n").collect();
    let translations: String =
        (0..12).map(|i| format!("{{\"id\": {i}, \"translation\": {}}}\n", pair(i))).collect();
    let others = [columns.replace("en", "fr"), translations.replace("en", "fr")];
    let three = columns.replace("}", ", \"fr\": \"chien\"}");
    for (name, rows) in [("two columns", columns), ("one of translations", translations)] {
        let dataset = Dataset::new(&[("train.jsonl", rows)]);
        let ran = vlora(&dataset.at(""), &["data", ".", "--rows", "0"]);
        let (_, spec) = ran
            .out
            .split_once("to paste into a spec:\n\n")
            .unwrap_or_else(|| panic!("{name}: {}{}", ran.out, ran.err));
        for line in ["task: translation", "source_column: de", "target_column: en"] {
            assert!(spec.lines().any(|l| l.trim() == line), "{name}: {line}\n{spec}");
        }
        fs::write(dataset.at("spec.yaml"), whole_spec(spec)).unwrap();
        let ran = vlora(&dataset.at(""), &["plan", "spec.yaml"]);
        assert_eq!(ran.code, 0, "{name}: {}\n{spec}", ran.err);
        for other in &others {
            dataset.put("test.jsonl", other);
            let ran = vlora(&dataset.at(""), &["data", ".", "--rows", "0"]);
            let reason = "no lines for a spec: the split test has no sentences in `en`";
            assert!(ran.out.contains(reason), "{name}: {}", ran.out);
        }
    }
    let dataset = Dataset::new(&[("train.jsonl", three)]);
    let ran = vlora(&dataset.at(""), &["data", ".", "--rows", "0"]);
    assert!(ran.out.contains("# other languages: fr"), "{}", ran.out);
}

/// Faults of names that the files do not have.
#[test]
fn columns_are_named_for_csv_and_tsv_without_names_alone() {
    let spec = |files: &[(&str, &str)], columns: &str| {
        let dataset = Dataset::new(files);
        let spec = Spec::texts().set("data.path=.").set("data.validation=null");
        let spec = match columns {
            "" => spec,
            columns => spec.set(&format!("data.columns={columns}")),
        };
        let small = spec.set("data.test={fraction: 0.34}").set("data.tokenizer.vocabulary=300");
        fs::write(dataset.at("spec.yaml"), small.text()).unwrap();
        vlora(&dataset.at(""), &["plan", "spec.yaml"])
    };
    let bare = rows(',', 12);
    let sound = spec(&[("train.csv", &bare)], "[label, text]");
    assert_eq!(sound.code, 0, "{}", sound.err);
    let json = "{\"text\": \"a\", \"label\": 0}\n";
    for (files, columns, want) in [
        (&[("train.csv", &bare[..])], "", "`data.columns` names the columns"),
        (
            &[("train.csv", &format!("label,text\n{bare}"))],
            "[label, text]",
            "train.csv:1: the first row",
        ),
        (
            &[("train.csv", &bare)],
            "[label, text, more]",
            "expected: 3, as there are column names in",
        ),
        (&[("train.jsonl", json)], "[label, text]", "data.columns: the files name their columns"),
    ] {
        let ran = spec(files, columns);
        assert!(ran.code == 2 && ran.err.contains(want), "{want}: {}", ran.err);
    }
}

/// The licence of the images in the program is known.
#[test]
fn the_embedded_dataset_has_its_licence() {
    let ran = vlora(Path::new("/"), &["data", "embedded:fashion-mnist-mini"]);
    assert!(ran.out.contains("licence: MIT\n"), "{}", ran.out);
    assert!(ran.out.contains("  embedded: fashion-mnist-mini\n"), "{}", ran.out);
}

//! The errors for faulty datasets. Their texts are in `tests/suite/snapshots/`.

use std::fmt::Write;

use image::{DynamicImage, ImageFormat};
use polars::df;
use polars::prelude::{DataFrame, KeyValueMetadata, ParquetWriter};
use vlora::error::Result;
use vlora::random::{Purpose, Stream};

use crate::common::data::{self, Dataset, SIDE, encoded, fixture, gzip, idx, png};

const PARTS: &str = r#"{"validation": {"fraction": 0.3}, "test": {"fraction": 0.3}}"#;

/// The message, without the folder's own name.
fn told<T>(dataset: &Dataset, result: Result<T>) -> String {
    let error = result.err().map_or("no error".into(), |e| e.to_string());
    let root = dataset.at("").display().to_string();
    error.replace(&root, "DATA/").replace(root.trim_end_matches('/'), "DATA")
}

/// A PNG's signature and header alone.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

fn sixteen_bits(side: u32) -> Vec<u8> {
    encoded(DynamicImage::new_luma16(side, side), ImageFormat::Png)
}

/// Images of a class in a folder, read as three of them need be.
fn image(name: &str, bytes: Vec<u8>) -> Dataset {
    let good = |color| png(SIDE as u32, [color; 3]);
    Dataset::new(&[
        ("train/a/1.png", good(1)),
        ("train/b/2.png", good(2)),
        ("train/c/3.png", good(3)),
        (&format!("train/c/{name}"), bytes),
    ])
}

/// Two images with a metadata.csv.
fn described(metadata: &str) -> Dataset {
    let image = |grey| png(SIDE as u32, [grey; 3]);
    let dataset = Dataset::new(&[("1.png", image(1)), ("2.png", image(2))]);
    dataset.put("metadata.csv", metadata);
    dataset
}

fn parquet(name: &str) -> Dataset {
    Dataset::new(&[("train.parquet", fixture(name))])
}

fn one(name: &str, bytes: impl AsRef<[u8]>) -> Dataset {
    Dataset::new(&[(name, bytes)])
}

fn pair(images: Vec<u8>, labels: Vec<u8>) -> Dataset {
    Dataset::new(&[("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)])
}

fn packed(images: Vec<u8>) -> Dataset {
    let labels = idx(&[1], &[0]);
    Dataset::new(&[("train-images-idx3-ubyte.gz", images), ("train-labels-idx1-ubyte", labels)])
}

/// Everything that is read as images of 8 × 8, RGB, three classes.
fn image_cases() -> Vec<(&'static str, Dataset)> {
    let rgb = fixture("rgb.parquet");
    let pixels = |n: usize| vec![0; n * SIDE * SIDE];
    let side = SIDE as u32;
    vec![
        ("a Parquet file cut in half", one("train.parquet", &rgb[..rgb.len() / 2])),
        ("an empty Parquet file", one("train.parquet", b"")),
        ("images that are text", parquet("wrong/image-is-text.parquet")),
        ("images that are lists", parquet("wrong/image-is-list.parquet")),
        ("an image without bytes", parquet("wrong/image-without-bytes.parquet")),
        ("labels that are fractions", parquet("wrong/label-is-fraction.parquet")),
        ("no label", parquet("wrong/label-is-empty.parquet")),
        ("a label too large", parquet("wrong/label-too-large.parquet")),
        ("a label below zero", parquet("wrong/label-negative.parquet")),
        ("more class names than classes", parquet("wrong/names-too-many.parquet")),
        ("columns of other names", parquet("wrong/columns-otherwise-named.parquet")),
        ("no rows", parquet("wrong/no-rows.parquet")),
        ("a grey image of 16 bits", image("4.png", sixteen_bits(side))),
        ("an image of 1 × 1", image("4.png", png(1, [0; 3]))),
        ("a header of 40,000 × 40,000", image("4.png", png_header(40_000, 40_000))),
        ("a header and nothing else", image("4.png", png_header(side, side))),
        ("a text that is called an image", image("4.jpg", b"hello".to_vec())),
        ("an image cut off", image("4.png", png(side, [5, 6, 7])[..50].to_vec())),
        ("another number of folders than classes", {
            let dataset = image("4.png", png(side, [4; 3]));
            dataset.put("train/d/5.png", png(side, [5; 3]));
            dataset
        }),
        ("images in no folder", one("1.png", png(side, [0; 3]))),
        (
            "images in the split's own folder",
            Dataset::new(&[
                ("train/1.png", png(side, [0; 3])),
                ("train/a/2.png", png(side, [1; 3])),
            ]),
        ),
        (
            "images at two depths",
            Dataset::new(&[
                ("train/a/1.png", png(side, [0; 3])),
                ("test/2.png", png(side, [1; 3])),
            ]),
        ),
        ("images of one class", one("train/a/1.png", png(side, [0; 3]))),
        ("metadata without paths", described("name,label\n1.png,0\n")),
        ("metadata of numbers", described("file_name,label\n1,0\n")),
        ("metadata that names no image", described("file_name,label\n1.png,0\n,1\n")),
        ("metadata that names what is not there", described("file_name,label\n3.png,0\n")),
        ("metadata that leads outside", described("file_name,label\n../1.png,0\n")),
        ("metadata of one image twice", described("file_name,label\n1.png,0\n./1.png,1\n")),
        ("metadata of a part of the images", described("file_name,label\n1.png,0\n")),
        ("metadata with lists", {
            let dataset = described("");
            std::fs::remove_file(dataset.at("metadata.csv")).unwrap();
            dataset.put("metadata.jsonl", r#"{"file_names": ["1.png"], "label": 0}"#);
            dataset
        }),
        ("metadata in two formats", {
            let dataset = described("file_name,label\n1.png,0\n2.png,1\n");
            dataset.put("metadata.jsonl", r#"{"file_name": "1.png", "label": 0}"#);
            dataset
        }),
        ("metadata with two columns of images", described("file_name,image\n1.png,0\n2.png,1\n")),
        ("metadata of one split", {
            let dataset = described("");
            std::fs::remove_file(dataset.at("metadata.csv")).unwrap();
            dataset.put("train/1.png", png(side, [3; 3]));
            dataset.put("train/metadata.csv", "file_name,label\n1.png,0\n");
            dataset.put("test/1.png", png(side, [4; 3]));
            for name in ["1.png", "2.png"] {
                std::fs::remove_file(dataset.at(name)).unwrap();
            }
            dataset
        }),
        ("labels that are missing to pandas", described("file_name,label\n1.png,NA\n2.png,b\n")),
        ("labels that are numbers to pandas", described("file_name,label\n1.png,00\n2.png,01\n")),
        ("images in a table of text", one("train.csv", "image,label\na.png,0\n")),
        ("a table of paths without a column of images", one("train.csv", "path,label\na.png,0\n")),
        ("a table of paths beside images", {
            let dataset = one("images/a.png", png(side, [0; 3]));
            dataset.put("train.csv", "image,label\nimages/a.png,0\n");
            dataset
        }),
        ("values between semicolons", one("train.csv", "image;label\na.png;0\n")),
        ("a hidden image", image(".4.png", png(side, [4; 3]))),
        ("an ending in mixed case", image("4.Jpeg", png(side, [4; 3]))),
        (
            "classes above the splits",
            Dataset::new(&[
                ("pets/cat/train/1.png", png(side, [0; 3])),
                ("pets/dog/test/2.png", png(side, [1; 3])),
            ]),
        ),
        ("IDX with another magic number", pair(vec![0, 0, 13, 3, 0, 0, 0, 1], idx(&[1], &[0]))),
        ("IDX cut short", pair(idx(&[2, side, side], &pixels(1)), idx(&[2], &[0, 1]))),
        ("IDX with sizes beyond reason", pair(idx(&[u32::MAX; 3], &[]), idx(&[1], &[0]))),
        ("fewer labels than images", pair(idx(&[2, side, side], &pixels(2)), idx(&[1], &[0]))),
        ("images without labels", one("train-images-idx3-ubyte", idx(&[1, 1, 1], &[0]))),
        ("IDX of another size", pair(idx(&[1, 9, side], &[0; 72]), idx(&[1], &[0]))),
        ("gzip that is none", packed(b"hello".to_vec())),
        ("gzip cut off", packed(gzip(&idx(&[1, side, side], &pixels(1)))[..30].to_vec())),
        ("a gzip bomb", packed(gzip(&vec![0; 4 << 20]))),
    ]
}

/// Everything that is read as a table; the split, the configuration.
fn table_cases() -> Vec<(&'static str, Dataset, Option<&'static str>, &'static str)> {
    let csv = |bytes: &[u8]| one("train.csv", bytes);
    let lines = |bytes: &[u8]| one("train.jsonl", bytes);
    let card = |yaml: &str, files: &[(&str, &str)]| {
        let dataset = Dataset::new(files);
        dataset.put("README.md", format!("---\n{yaml}\n---\n"));
        dataset
    };
    let two = "configs: [{config_name: small, data_files: a.csv}, {config_name: large}]";
    let named =
        "dataset_info: {features: [{name: label, dtype: {class_label: {names: [no, yes]}}}]}";
    let t = |name, dataset| (name, dataset, None, "train");
    vec![
        t("a quote that never closes", csv(b"text,label\nfine,1\n\"not fine,0\nand on,1\n")),
        t("text behind a closing quote", csv(b"text,label\n\"a\"b,1\n")),
        t("a value too few", csv(b"text,label\na,1\nb\n")),
        t("CSV that is not UTF-8", csv(b"text,label\na,1\nb\xe4r,2\n")),
        t("column names that are not UTF-8", csv(b"t\xe4xt,label\na,1\n")),
        t("two columns of one name", csv(b"a,a\n1,2\n")),
        t("a broken JSON line", lines(b"{\"a\": 1}\n{\"a\": 2,}\n")),
        t("JSON lines that are not UTF-8", lines(b"{\"a\": \"x\"}\n\n{\"a\": \"b\xe4r\"}\n")),
        t("a line that is a list", lines(b"[1, 2]\n")),
        t("a column that changes its type", lines(b"{\"a\": 1}\n{\"a\": \"x\"}\n")),
        t("a new key in every line", lines(new_keys(3000).as_bytes())),
        t("lines of too many keys", lines(new_keys(10_001).replace("}\n{", ", ").as_bytes())),
        t("languages that only the first line has", lines(languages().as_bytes())),
        t("CSV of too many columns", csv(",".repeat(10_000).as_bytes())),
        t("packed CSV of empty values", one("train.csv.gz", gzip(empty_values().as_bytes()))),
        t("JSON of great depth", lines("[".repeat(100_000).as_bytes())),
        t(
            "a class that the card does not name",
            card(named, &[("train.csv", "label\nyes\nmaybe\n")]),
        ),
        t("a shard missing", one("train-00000-of-00002.csv", "a\n1\n")),
        t(
            "a file beside the shards of its name",
            Dataset::new(&[("train.csv", "a\n"), ("train-00000-of-00001.csv", "a\n")]),
        ),
        t("a file in no split", Dataset::new(&[("train.csv", "a\n"), ("more.csv", "a\n")])),
        t("a file in two splits by name", Dataset::new(&[("train-val.csv", "a\n")])),
        t("a file of another format", Dataset::new(&[("train.csv", "a\n"), ("train.xlsx", "")])),
        t("two formats", Dataset::new(&[("train.csv", "a\n"), ("train_2.jsonl", "")])),
        t("a split in capitals", one("Train.csv", "a\n")),
        t("a card that drops labels", {
            let yaml = "configs: [{config_name: x, drop_labels: true}]";
            card(yaml, &[("train/a/1.png", ""), ("train/b/2.png", "")])
        }),
        t("a card with an option", {
            let yaml = "configs: [{config_name: x, data_files: a.csv, sep: ';'}]";
            card(yaml, &[("a.csv", "a\n")])
        }),
        t("shards whose classes are named otherwise", {
            let shard = |names: &str| {
                let frame = df!["label" => [0i64, 1]].unwrap();
                let features = format!(
                    r#"{{"info": {{"features": {{"label": {{"names": {names}, "_type": "ClassLabel"}}}}}}}}"#
                );
                let mut bytes = Vec::new();
                ParquetWriter::new(&mut bytes)
                    .with_key_value_metadata(Some(KeyValueMetadata::from_static(vec![(
                        "huggingface".into(),
                        features,
                    )])))
                    .finish(&mut frame.clone())
                    .unwrap();
                bytes
            };
            Dataset::new(&[
                ("train-00000-of-00002.parquet", shard(r#"["no", "yes"]"#)),
                ("train-00001-of-00002.parquet", shard(r#"["no", "maybe"]"#)),
            ])
        }),
        t(
            "two patterns for one file",
            card("configs: [{config_name: x, data_files: ['*.csv', a.csv]}]", &[("a.csv", "a\n")]),
        ),
        t(
            "a configuration without files",
            card("configs: [{config_name: a}]", &[("a/train.csv", "a\n"), ("b/train.csv", "a\n")]),
        ),
        t(
            "files of two formats",
            card(
                "configs: [{config_name: x, data_files: 'a.*'}]",
                &[("a.csv", "a\n"), ("a.jsonl", "")],
            ),
        ),
        t(
            "shards of other columns",
            Dataset::new(&[
                ("train-00000-of-00002.csv", "a\n1\n"),
                ("train-00001-of-00002.csv", "b\n1\n"),
            ]),
        ),
        t(
            "a card that names what is not there",
            card(
                "configs: [{config_name: x, data_files: [{split: train, path: 'data/train-*'}]}]",
                &[("a.csv", "a\n")],
            ),
        ),
        t("a card that is not YAML", card("configs: [", &[("train.csv", "a\n")])),
        t("a card of aliases", card(&aliases(), &[("train.csv", "a\n")])),
        t("a card with one key twice", card("1: a\n'1': b", &[("train.csv", "a\n")])),
        t("a card with configs of another form", card("configs: 3", &[("train.csv", "a\n")])),
        t(
            "a card that names some classes",
            card(
                "dataset_info: {features: [{name: a, dtype: {class_label: {names: {'0': x, '2': y}}}}]}",
                &[("train.csv", "a\n0\n")],
            ),
        ),
        t("a field twice", one("train.jsonl", "{\"a\": 1}\n{\"a\": 1, \"b\": 2, \"a\": 3}\n")),
        t("a configuration to choose", card(two, &[("a.csv", "a\n")])),
        ("an unknown configuration", card(two, &[("a.csv", "a\n")]), Some("smal"), "train"),
        ("a configuration where there is none", csv(b"a\n"), Some("x"), "train"),
        (
            "an unknown split",
            Dataset::new(&[("train.csv", "a\n"), ("test.csv", "a\n")]),
            None,
            "tset",
        ),
        t("no files of rows", one("LICENSE", "")),
    ]
}

/// JSON lines, each of another key.
fn new_keys(lines: usize) -> String {
    (0..lines).map(|i| format!("{{\"{i}\": 1}}\n")).collect()
}

/// A translation into many languages and lines without it.
fn languages() -> String {
    let sentences: Vec<String> = (0..5000).map(|i| format!("\"{i}\": \"\"")).collect();
    format!("{{\"t\": {{{}}}}}\n{}", sentences.join(", "), "{}\n".repeat(1000))
}

fn empty_values() -> String {
    let names: Vec<String> = (0..1040).map(|i| format!("c{i}")).collect();
    format!("{}\n{}", names.join(","), format!("{}\n", ",".repeat(1039)).repeat(1200))
}

/// A text of 100 KB, 1000 times.
fn aliases() -> String {
    format!("a: &a {}\nb: [{}]", "x".repeat(100_000), "*a, ".repeat(1000))
}

fn written(frame: DataFrame) -> Dataset {
    one("train.parquet", data::parquet(frame))
}

/// The number of bytes that they are told with is the Parquet writer's affair: no snapshot.
#[test]
fn parquet_files_that_fill_the_memory_are_refused() {
    let rows = written(df!["label" => vec![0i64; 3_000_000]].unwrap());
    let error = told(&rows, rows.table(None, "train"));
    assert!(error.contains("too many values for the file's size"), "{error}");
    assert!(error.contains("3000000 rows of 1 columns"), "{error}");
    let text = "x".repeat(100_000);
    let text = written(df!["text" => vec![text.as_str(); 600]].unwrap());
    let error = told(&text, text.table(None, "train"));
    assert!(error.contains("60000000 bytes of text are more than"), "{error}");
    // Texts that differ are not shared, but compress as well.
    let texts: Vec<String> = (0..600).map(|i| format!("{i}{}", "x".repeat(100_000))).collect();
    let texts = written(df!["text" => texts].unwrap());
    let error = told(&texts, texts.table(None, "train"));
    assert!(error.contains("the Parquet file is too large when unpacked"), "{error}");
}

#[test]
fn every_fault_is_reported() {
    let mut all = String::new();
    let mut tell = |name: &str, text: String| {
        assert_ne!(text, "no error", "{name}");
        writeln!(all, "## {name}\n{text}\n").unwrap();
    };
    for (name, dataset) in image_cases() {
        tell(name, told(&dataset, dataset.images(PARTS, (SIDE, 3, 3), None)));
    }
    for (name, dataset, config, split) in table_cases() {
        tell(name, told(&dataset, dataset.table(config, split)));
    }
    let rgb = fixture("rgb.parquet");
    let twice = Dataset::new(&[("train.parquet", &rgb), ("test.parquet", &rgb)]);
    let named_test = r#"{"validation": {"fraction": 0.3}}"#;
    tell("a file in two splits", told(&twice, twice.images(named_test, (SIDE, 3, 3), None)));
    let side = SIDE as u32;
    let again = Dataset::new(&[
        ("train/a/1.png", png(side, [1; 3])),
        ("train/b/2.png", png(side, [2; 3])),
        ("train/c/3.png", png(side, [3; 3])),
        ("test/b/4.png", png(side, [2; 3])),
    ]);
    let half = r#"{"validation": {"fraction": 0.5}}"#;
    tell("an image in two splits", told(&again, again.images(half, (SIDE, 3, 3), None)));
    let pixels = |n: u8| idx(&[2, side, side], &[n; 2 * SIDE * SIDE]);
    let overlapping = Dataset::new(&[
        ("a-images-idx3-ubyte", pixels(1)),
        ("b-images-idx3-ubyte", pixels(2)),
        ("c-labels-idx1-ubyte", idx(&[2], &[0, 1])),
    ]);
    overlapping.put(
        "README.md",
        "---\nconfigs: [{config_name: x, data_files: {train: ['a-*', 'c-*'], test: ['[bc]-*']}}]\n---\n",
    );
    let result = overlapping.images(half, (SIDE, 1, 2), None);
    tell("patterns that overlap", told(&overlapping, result));
    let mixed = Dataset::new(&[
        ("names.parquet", fixture("grey.parquet")),
        ("b-images-idx3-ubyte", pixels(2)),
        ("b-labels-idx1-ubyte", idx(&[2], &[0, 1])),
    ]);
    mixed.put(
        "README.md",
        "---\nconfigs: [{config_name: x, data_files: {train: names.parquet, test: 'b-*'}}]\n---\n",
    );
    let result = mixed.images(half, (SIDE, 1, 2), None);
    tell("numbers where the labels were names", told(&mixed, result));
    let mixed = Dataset::new(&[
        ("b-images-idx3-ubyte", pixels(2)),
        ("b-labels-idx1-ubyte", idx(&[2], &[0, 1])),
        ("test/x/1.png", png(side, [3; 3])),
        ("test/y/2.png", png(side, [4; 3])),
    ]);
    mixed.put(
        "README.md",
        "---\nconfigs: [{config_name: x, data_files: {train: 'b-*', test: 'test/**'}}]\n---\n",
    );
    let result = mixed.images(half, (SIDE, 1, 2), None);
    tell("names where the labels were numbers", told(&mixed, result));
    let small = r#"{"validation": {"fraction": 0.1}, "test": {"fraction": 0.3}}"#;
    let few = parquet("rgb.parquet");
    tell("a part without examples", told(&few, few.images(small, (SIDE, 3, 3), None)));
    // The name tells the snapshot's file.
    insta::assert_snapshot!("bad_data", all);
}

/// Damage ends in an error or in other rows, never in a panic.
#[test]
fn damage_never_panics() {
    let side = SIDE as u32;
    let csv = b"text,label\n\"a \"\"b\"\"\",1\nc,2\n".to_vec();
    let json = "{\"a\": 1, \"t\": {\"de\": \"Bär\", \"en\": \"bear\"}}\n{\"a\": 2.5}\n"
        .as_bytes()
        .to_vec();
    let card =
        b"---\nconfigs: [{config_name: x, data_files: [{split: train, path: 'tr*'}]}]\n---\n"
            .to_vec();
    let images = idx(&[2, side, side], &[7; 2 * 64]);
    let labels = ("train-labels-idx1-ubyte", idx(&[2], &[0, 1]));
    let rows = ("train.csv", csv.clone());
    // A file, and one beside it that stays whole.
    let cases = [
        ("train.parquet", fixture("rgb.parquet"), None),
        ("train.parquet", fixture("jpeg.parquet"), None),
        ("train.parquet", fixture("text.parquet"), None),
        ("train.csv", csv.clone(), None),
        ("train.jsonl", json, None),
        ("train.csv.gz", gzip(&csv), None),
        ("train/a/1.png", png(side, [1, 2, 3]), None),
        ("train-images-idx3-ubyte", images.clone(), Some(labels.clone())),
        ("train-images-idx3-ubyte.gz", gzip(&images), Some(labels)),
        ("README.md", card, Some(rows)),
    ];
    let mut stream = Stream::new(0, Purpose::Audit, "damage to data");
    for (name, whole, beside) in cases {
        let dataset = Dataset::new(&Vec::from_iter(beside));
        for i in 0..150 {
            let mut bytes = whole.clone();
            let n = bytes.len() as u32;
            match i % 3 {
                0 => bytes.truncate(stream.below(n) as usize),
                1 => bytes[stream.below(n) as usize] ^= 1 << stream.below(8),
                _ => {
                    let at = stream.below(n) as usize;
                    bytes[at..].iter_mut().take(4).for_each(|b| *b = stream.below(256) as u8);
                }
            }
            dataset.put(name, bytes);
            let _ = dataset.table(None, "train").map_err(|e| e.to_string());
            let channels = if name.contains("idx3") { 1 } else { 3 };
            let _ = dataset.images(PARTS, (SIDE, channels, 3), None).map_err(|e| e.to_string());
        }
    }
}

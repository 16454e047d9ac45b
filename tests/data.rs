//! Datasets in every format, from files that others wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/data.rs"]
mod data;

use std::fs;

use serde_json::Value as Json;
use vlora::data::{Column, ImageData, ImageSplit, Kind, Values};

use data::{Dataset, SIDE, fixture, gzip, idx, png};

const ALL_TRAIN: &str = r#"{"validation": {"fraction": 0.34}, "test": {"fraction": 0.34}}"#;

/// All of a split's images, one behind the other.
fn pixels(split: &ImageSplit) -> Vec<u8> {
    (0..split.len()).flat_map(|i| split.image(i).to_vec()).collect()
}

/// The images in the files' order, which parts keep.
fn in_file_order(images: &ImageData, want: &[u8], size: usize) -> Vec<u8> {
    let splits = [&images.train, &images.validation, &images.test];
    let mut all: Vec<Vec<u8>> =
        splits.iter().flat_map(|split| (0..split.len()).map(|i| split.image(i).to_vec())).collect();
    // Every image of the fixtures is another, so each has its place.
    let near = |a: &[u8], b: &[u8]| -> u64 {
        a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
    };
    let place = |image: &Vec<u8>| {
        let images = want.chunks(size).enumerate();
        images.min_by_key(|(_, w)| near(image, w)).map(|(i, _)| i)
    };
    all.sort_by_key(place);
    all.concat()
}

#[test]
fn images_are_what_pillow_decodes() {
    // Lossless formats are exact; JPEG leaves the decoder free in rounding.
    for (name, channels, tolerance) in [("rgb", 3, 0), ("grey", 1, 0), ("jpeg", 3, 2)] {
        let want = fixture(&format!("{name}.pixels"));
        let size = SIDE * SIDE * channels;
        let classes = if name == "grey" { 2 } else { 3 };
        let dataset = Dataset::new(&[("train.parquet", fixture(&format!("{name}.parquet")))]);
        let images = dataset.images(ALL_TRAIN, (SIDE, channels, classes), None).unwrap();
        let got = in_file_order(&images, &want, size);
        assert_eq!(got.len(), want.len(), "{name}");
        let apart = got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(apart <= tolerance, "{name}: {apart}");
    }
}

#[test]
fn parquet_columns_are_what_pyarrow_reads() {
    let dataset = Dataset::new(&[("data/train-00000-of-00001.parquet", fixture("text.parquet"))]);
    let table = dataset.table(None, "train").unwrap();
    let want: Json = serde_json::from_slice(&fixture("text.json")).unwrap();
    let read = |column: &Column| -> Json {
        let json = |values: &dyn Fn(usize) -> Json| (0..table.rows).map(values).collect();
        match &column.values {
            Values::Integers(v) => json(&|row| v[row].into()),
            Values::Floats(v) => json(&|row| v[row].into()),
            Values::Text(v) => json(&|row| v[row].clone().into()),
            Values::Translation { languages, texts } => json(&|row| match &texts[0][row] {
                None => Json::Null,
                Some(_) => {
                    let of = |(i, l): (usize, &String)| (l.clone(), texts[i][row].clone().into());
                    Json::Object(languages.iter().enumerate().map(of).collect())
                }
            }),
            _ => Json::Null,
        }
    };
    assert_eq!(table.rows, 3);
    for name in ["translation", "text", "score", "half", "label"] {
        assert_eq!(read(table.column(name).unwrap()), want[name], "{name}");
    }
    let flag = serde_json::json!([1, 0, null]);
    assert_eq!(read(table.column("flag").unwrap()), flag);
    let label = table.column("label").unwrap();
    assert_eq!((label.kind(), label.class_names.join(" ")), (Kind::ClassLabel, "no yes".into()));
    // What is not read is told, and in nobody's way.
    for name in ["ids", "tiny", "day"] {
        assert!(matches!(table.column(name).unwrap().kind(), Kind::Other(_)), "{name}");
    }
}

#[test]
fn labels_that_are_names_get_their_numbers() {
    let dataset = Dataset::new(&[("train.parquet", fixture("grey.parquet"))]);
    // In sorted order where nothing else is said.
    let plain = dataset.images(ALL_TRAIN, (SIDE, 1, 2), None).unwrap();
    assert_eq!(plain.class_names, ["cat", "dog"]);
    let dogs = |images: &ImageData, label: u32| {
        let splits = [&images.train, &images.validation, &images.test];
        splits.iter().flat_map(|s| &s.labels).filter(|l| **l == label).count()
    };
    assert_eq!(dogs(&plain, 1), 2);
    dataset.put(
        "README.md",
        "---\ndataset_info:\n  features:\n  - name: label\n    dtype:\n      class_label:\n        \
         names: {'0': dog, '1': cat}\n---\n",
    );
    let card = dataset.images(ALL_TRAIN, (SIDE, 1, 2), None).unwrap();
    assert_eq!(card.class_names, ["dog", "cat"]);
    assert_eq!(dogs(&card, 0), 2);
    // Other numbers for the same names are other data.
    assert_ne!(plain.sha256(), card.sha256());
}

#[test]
fn idx_files_are_read_plain_and_packed() {
    let images = |n: u8| idx(&[u32::from(n), 2, 2], &(0..4 * n).collect::<Vec<_>>());
    let dataset = Dataset::new(&[
        ("train-images-idx3-ubyte.gz", gzip(&images(5))),
        ("train-labels-idx1-ubyte.gz", gzip(&idx(&[5], &[0, 1, 2, 1, 0]))),
        ("t10k-images-idx3-ubyte", images(2)),
        ("t10k-labels-idx1-ubyte", idx(&[2], &[2, 1])),
    ]);
    let images = dataset.images(r#"{"validation": {"fraction": 0.2}}"#, (2, 1, 3), None).unwrap();
    assert_eq!((images.train.len(), images.validation.len()), (4, 1));
    assert_eq!(pixels(&images.test), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(images.test.labels, [2, 1]);
    let mut all = [pixels(&images.train), pixels(&images.validation)].concat();
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<u8>>());
    assert_eq!(images.files.len(), 4);
    // Other images may have the same labels.
    dataset.put("val-images-idx3-ubyte", idx(&[2, 2, 2], &[9; 8]));
    dataset.put("val-labels-idx1-ubyte", idx(&[2], &[2, 1]));
    let named = dataset.images("{}", (2, 1, 3), None).unwrap();
    assert_eq!(named.validation.labels, named.test.labels);
}

#[test]
fn folders_are_classes() {
    let dataset = Dataset::new(&[
        ("train/dog/1.png", png(2, [9, 9, 9])),
        ("train/cat/1.png", png(2, [1, 2, 3])),
        ("train/cat/2.png", png(2, [4, 5, 6])),
        ("val/dog/1.png", png(2, [7, 7, 7])),
        ("test/emu/1.png", png(2, [8, 8, 8])),
    ]);
    let images = dataset.images("{}", (2, 3, 3), None).unwrap();
    assert_eq!(images.class_names, ["cat", "dog", "emu"]);
    assert_eq!(images.train.labels, [0, 0, 1]);
    assert_eq!(images.train.image(1), [4, 5, 6].repeat(4));
    assert_eq!((images.validation.labels[0], images.test.labels[0]), (1, 2));
    assert_eq!(images.files.len(), 3);
    // An image in another folder is another dataset.
    fs::create_dir_all(dataset.at("train/emu")).unwrap();
    fs::rename(dataset.at("train/cat/1.png"), dataset.at("train/emu/1.png")).unwrap();
    assert_ne!(dataset.images("{}", (2, 3, 3), None).unwrap().sha256(), images.sha256());
}

#[test]
fn text_is_read_from_csv_tsv_and_json_lines() {
    let dataset = Dataset::new(&[
        ("train-00000-of-00002.csv", "text,label\n\"a, b\",pos\nc,neg\n".as_bytes().to_vec()),
        ("train-00001-of-00002.csv", "text,label\nd,pos\n".into()),
        ("README.md", "---\nconfigs:\n- {config_name: csv}\n- {config_name: tsv, data_files: x.tsv}\n\
          - {config_name: packed, data_files: {test: 'j/*.gz'}}\ndataset_info:\n- config_name: csv\n  \
          features: [{name: label, dtype: {class_label: {names: [neg, pos]}}}]\n---\n".into()),
        ("x.tsv", "de\ten\nHund\tdog\n".into()),
        ("j/a.jsonl.gz", gzip("{\"n\": 1}\n".as_bytes())),
    ]);
    let table = dataset.table(Some("csv"), "train").unwrap();
    assert_eq!(table.rows, 3);
    let Values::Integers(labels) = &table.column("label").unwrap().values else { panic!() };
    assert_eq!(*labels, [Some(1), Some(0), Some(1)]);
    let tsv = dataset.table(Some("tsv"), "train").unwrap();
    assert!(
        matches!(&tsv.column("en").unwrap().values, Values::Text(t) if t[0].as_deref() == Some("dog"))
    );
    assert_eq!(dataset.table(Some("packed"), "test").unwrap().rows, 1);
}

/// A split large enough for the cache: IDX images of 64 × 64.
fn large(rows: usize, seed: u8) -> Dataset {
    let bytes: Vec<u8> = (0..rows * 4096)
        .map(|i| (i as u32).wrapping_mul(2_654_435_761 + u32::from(seed)).to_be_bytes()[0])
        .collect();
    let labels: Vec<u8> = (0..rows).map(|i| (i % 3) as u8).collect();
    Dataset::new(&[
        ("train-images-idx3-ubyte", idx(&[rows as u32, 64, 64], &bytes)),
        ("train-labels-idx1-ubyte", idx(&[rows as u32], &labels)),
    ])
}

#[test]
fn what_is_decoded_is_kept_and_is_the_same() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("decoded");
    let files = || -> Vec<_> {
        fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path()).collect()
    };
    let dataset = large(2100, 0);
    let load = |cache| dataset.images(ALL_TRAIN, (64, 1, 3), cache).unwrap();
    let same = |a: &ImageData, b: &ImageData| {
        for (a, b) in [(&a.train, &b.train), (&a.validation, &b.validation), (&a.test, &b.test)] {
            assert_eq!(a.labels, b.labels);
            assert!(pixels(a) == pixels(b));
        }
        assert_eq!((a.sha256(), &a.files, &a.statistics), (b.sha256(), &b.files, &b.statistics));
    };
    let none = load(None);
    let first = load(Some(cache.path()));
    assert!(!first.train.is_cached());
    assert_eq!(files().len(), 1);
    let second = load(Some(cache.path()));
    assert!(second.train.is_cached() && second.test.is_cached());
    same(&none, &first);
    same(&none, &second);

    // A damaged file is passed over and made again.
    let file = files().remove(0);
    let whole = fs::read(&file).unwrap();
    for damaged in
        [&whole[..100], &whole[..whole.len() - 1], &[&whole[..whole.len() - 1], b"x"].concat()]
    {
        fs::remove_file(&file).unwrap();
        fs::write(&file, damaged).unwrap();
        let again = load(Some(cache.path()));
        assert!(!again.train.is_cached());
        same(&none, &again);
        assert!(fs::read(&file).unwrap() == whole);
    }
    // What is mapped outlives its file.
    fs::remove_file(&file).unwrap();
    same(&none, &second);
    // A cache that cannot be written stops nothing.
    let blocked = cache.path().join("file");
    fs::write(&blocked, "").unwrap();
    same(&none, &load(Some(&blocked)));
}

#[test]
fn other_data_or_another_reading_is_another_entry() {
    let cache = tempfile::tempdir().unwrap();
    for (dataset, classes, entries) in
        [(large(2100, 0), 3, 1), (large(2100, 2), 3, 2), (large(2100, 0), 4, 3)]
    {
        let images = dataset.images(ALL_TRAIN, (64, 1, classes), Some(cache.path())).unwrap();
        assert!(!images.train.is_cached());
        assert_eq!(fs::read_dir(cache.path().join("decoded")).unwrap().count(), entries);
    }
}

#[test]
fn parts_take_their_examples_from_the_training_split() {
    let dataset = large(40, 0);
    let load = |data: &str| dataset.images(data, (64, 1, 3), None).unwrap();
    let parts = load(r#"{"validation": {"fraction": 0.25, "seed": 7}, "test": {"fraction": 0.1}}"#);
    assert_eq!((parts.train.len(), parts.validation.len(), parts.test.len()), (26, 10, 4));
    let mut all: Vec<Vec<u8>> = [&parts.train, &parts.validation, &parts.test]
        .iter()
        .flat_map(|split| (0..split.len()).map(|i| split.image(i).to_vec()))
        .collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 40);
    assert_eq!(parts.files.len(), 2);
    let other = load(r#"{"validation": {"fraction": 0.25, "seed": 8}, "test": {"fraction": 0.1}}"#);
    assert_eq!(pixels(&other.test), pixels(&parts.test));
    assert_ne!(pixels(&other.validation), pixels(&parts.validation));
    // Normalised by what is trained on alone.
    assert_ne!(other.statistics, parts.statistics);
}

//! Datasets in every format, from files that others wrote.

use std::fs;

use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use polars::df;
use serde_json::Value as Json;
use vlora::data::{Column, ImageData, ImageSplit, Kind, Values};

use crate::common::compare::values;
use crate::common::data::{
    Dataset, SIDE, card_of_classes, encoded, fixture, grey_png, gzip, idx, parquet, png,
};

const ALL_TRAIN: &str = r#"{"validation": {"fraction": 0.34}, "test": {"fraction": 0.34}}"#;

/// All of a split's images, one after the other.
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
            Values::Languages { languages, texts } => json(&|row| match &texts[0][row] {
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
    for name in ["translation", "text", "score", "half", "label", "tiny"] {
        assert_eq!(read(table.column(name).unwrap()), want[name], "{name}");
    }
    let flag = serde_json::json!([1, 0, null]);
    assert_eq!(read(table.column("flag").unwrap()), flag);
    let label = table.column("label").unwrap();
    assert_eq!((label.kind(), label.class_names.join(" ")), (Kind::ClassLabel, "no yes".into()));
    // Columns that are not read are reported, and are no hindrance.
    for name in ["ids", "day"] {
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
    dataset.put("README.md", card_of_classes("dog, cat"));
    let card = dataset.images(ALL_TRAIN, (SIDE, 1, 2), None).unwrap();
    assert_eq!(card.class_names, ["dog", "cat"]);
    assert_eq!(dogs(&card, 0), 2);
    // Other numbers for the same names are other data, whoever tells them.
    assert_ne!(plain.sha256(), card.sha256());
    dataset.put("README.md", card_of_classes("cat, dog"));
    let sorted = dataset.images(ALL_TRAIN, (SIDE, 1, 2), None).unwrap();
    assert_eq!(sorted.class_names, ["cat", "dog"]);
    assert_eq!(sorted.sha256(), plain.sha256());
    assert_ne!(sorted.sha256(), card.sha256());
}

#[test]
fn labels_that_were_names_are_so_out_of_the_cache() {
    let cache = tempfile::tempdir().unwrap();
    let images: Vec<Vec<u8>> = (0..6).map(|i| grey_png(64, 40 * i)).collect();
    let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
    let texts = ["cat", "dog", "emu", "cat", "dog", "emu"];
    let text = parquet(df!["image" => &images, "label" => &texts].unwrap());
    let number = parquet(df!["image" => &images, "label" => &[0i64, 1, 2, 0, 1, 2]].unwrap());
    let load = |train: &[u8], cache| {
        // Its training files are the test's here: they are large enough for the cache.
        let dataset = large(2100, 0);
        dataset.put("words.parquet", train);
        let files =
            "configs: [{config_name: x, data_files: {train: words.parquet, test: 'train-*'}}]";
        let card =
            card_of_classes("cat, dog, emu").replacen("---\n", &format!("---\n{files}\n"), 1);
        dataset.put("README.md", card);
        let data = r#"{"validation": {"fraction": 0.34}}"#;
        dataset.images(data, (64, 1, 3), cache).unwrap()
    };
    let numbers = load(&number, Some(cache.path()));
    let names = load(&text, None);
    assert_ne!(names.sha256(), numbers.sha256());
    for _ in 0..2 {
        assert_eq!(load(&text, Some(cache.path())).sha256(), names.sha256());
        assert_eq!(load(&number, Some(cache.path())).sha256(), numbers.sha256());
    }
}

#[test]
fn a_split_that_a_card_lists_twice_has_all_its_files() {
    let dataset = Dataset::new(&[("a.csv", "n\n1\n2\n"), ("b.csv", "n\n3\n")]);
    let files = "[{split: train, path: a.csv}, {split: train, path: b.csv}]";
    dataset.put(
        "README.md",
        format!("---\nconfigs: [{{config_name: x, data_files: {files}}}]\n---\n"),
    );
    assert_eq!(dataset.table(None, "train").unwrap().rows, 3);
}

#[test]
fn a_class_may_be_called_as_a_split() {
    let dataset = Dataset::new(&[
        ("train/train/1.png", png(2, [9, 9, 9])),
        ("train/car/1.png", png(2, [1, 2, 3])),
        ("test/train/1.png", png(2, [7, 7, 7])),
        ("test/car/1.png", png(2, [8, 8, 8])),
    ]);
    let half = r#"{"validation": {"fraction": 0.5}}"#;
    // Of the names alone, test/train/1.png is in both splits.
    let error = dataset.images(half, (2, 3, 2), None).unwrap_err().to_string();
    assert!(error.contains("test/train/1.png, in train and test"), "{error}");
    let files = "[{split: train, path: 'train/**'}, {split: test, path: 'test/**'}]";
    let card = format!("---\nconfigs: [{{config_name: x, data_files: {files}}}]\n---\n");
    dataset.put("README.md", card);
    let images = dataset.images(half, (2, 3, 2), None).unwrap();
    assert_eq!((images.class_names.join(" "), images.test.labels.len()), ("car train".into(), 2));
}

#[test]
fn a_file_without_values_decides_no_type() {
    for files in [["a,b\n1,\n", "a,b\n2,0.5\n"], ["a,b\n2,0.5\n", "a,b\n1,\n"]] {
        let dataset = Dataset::new(&[
            ("train-00000-of-00002.csv", files[0]),
            ("train-00001-of-00002.csv", files[1]),
        ]);
        let table = dataset.table(None, "train").unwrap();
        assert_eq!(table.column("b").unwrap().kind(), Kind::Float);
    }
}

#[test]
fn idx_files_are_read_plain_and_packed() {
    let images = |n: u8| idx(&[u32::from(n), 2, 2], &(0..4 * n).collect::<Vec<_>>());
    let dataset = Dataset::new(&[
        ("train-images-idx3-ubyte.gz", gzip(&images(5))),
        ("train-labels-idx1-ubyte.gz", gzip(&idx(&[5], &[0, 1, 2, 1, 0]))),
        ("t10k-images-idx3-ubyte", idx(&[2, 2, 2], &(100..108).collect::<Vec<_>>())),
        ("t10k-labels-idx1-ubyte", idx(&[2], &[2, 1])),
    ]);
    let images = dataset.images(r#"{"validation": {"fraction": 0.2}}"#, (2, 1, 3), None).unwrap();
    assert_eq!((images.train.len(), images.validation.len()), (4, 1));
    assert_eq!(pixels(&images.test), (100..108).collect::<Vec<u8>>());
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
    // A table beside the images may be rows, or notes that can be ignored.
    dataset.put("train/notes.csv", "file,checked\n1.png,yes\n");
    assert!(dataset.images("{}", (2, 3, 3), None).unwrap_err().to_string().contains("notes.csv"));
    let without = dataset.images(r#"{"ignore": ["train/*.csv"]}"#, (2, 3, 3), None).unwrap();
    assert_eq!(without.sha256(), images.sha256());
    fs::remove_file(dataset.at("train/notes.csv")).unwrap();
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

/// Each source × refused, kept, or apart: an image of the training split in the test split under
/// another name, in another file, encoded otherwise, with another label.
#[test]
fn no_image_is_in_two_splits_unless_the_spec_keeps_it() {
    let color = |n: u8| png(2, [n, 7, 9]);
    let webp = |n: u8| encoded(RgbImage::from_pixel(2, 2, Rgb([n, 7, 9])), ImageFormat::WebP);
    let table = |images: &[Vec<u8>]| {
        let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
        let labels: Vec<i64> = (0..images.len() as i64).map(|i| i % 2).collect();
        parquet(df!["image" => &images, "label" => &labels].unwrap())
    };
    let arrays = |images: &[u8]| idx(&[images.len() as u32, 1, 1], images);
    let labels = |n: u8| idx(&[u32::from(n)], &(0..n).map(|i| i % 2).collect::<Vec<_>>());
    // By the third test image: one of the training split's, or one of its own.
    let folders = |third: u8| {
        Dataset::new(&[
            ("train/a/1.png", color(1)),
            ("train/b/2.png", color(2)),
            ("train/a/3.png", color(3)),
            ("train/b/4.png", color(4)),
            ("test/a/5.png", color(5)),
            ("test/b/6.png", color(6)),
            ("test/b/7.webp", webp(third)),
        ])
    };
    let tables = |third: u8| {
        Dataset::new(&[
            ("train-00000-of-00002.parquet", table(&[color(1), color(2)])),
            ("train-00001-of-00002.parquet", table(&[color(3), color(4)])),
            ("test.parquet", table(&[color(5), color(6), webp(third)])),
        ])
    };
    let pairs = |third: u8| {
        Dataset::new(&[
            ("train-images-idx3-ubyte", arrays(&[1, 2, 3, 4])),
            ("train-labels-idx1-ubyte", labels(4)),
            ("t10k-images-idx3-ubyte", arrays(&[5, 6, third])),
            ("t10k-labels-idx1-ubyte", labels(3)),
        ])
    };
    type Source<'a> = (&'a dyn Fn(u8) -> Dataset, usize, usize, [&'a str; 2]);
    let sources: [Source; 3] = [
        (&folders, 2, 3, ["test/b/7.webp (test)", "train/a/3.png (train)"]),
        (&tables, 2, 3, ["test.parquet: row 2 (test)", "00001-of-00002.parquet: row 0 (train)"]),
        (&pairs, 1, 1, ["t10k-images-idx3-ubyte: row 2", "train-images-idx3-ubyte: row 2"]),
    ];
    let with = |duplicates: &str| {
        format!(r#"{{"validation": {{"fraction": 0.25}}, "duplicates": "{duplicates}"}}"#)
    };
    for (dataset, side, channels, places) in sources {
        let apart = dataset(9).images(&with("refuse"), (side, channels, 2), None).unwrap();
        assert_eq!(apart.treated.notes(), Vec::<String>::new());
        let shared = dataset(3);
        let told = shared.images(&with("refuse"), (side, channels, 2), None).unwrap_err();
        let told = told.to_string();
        for part in places.iter().chain(&["1 image stands in two splits", "duplicates: keep"]) {
            assert!(told.contains(part), "{part} in {told}");
        }
        let kept = shared.images(&with("keep"), (side, channels, 2), None).unwrap();
        assert_eq!((kept.treated.shared.in_two_splits, kept.test.len()), (1, 3));
        assert!(
            kept.treated.notes()[0]
                .contains("1 is in a split and also in the files of an earlier one")
        );
    }
}

/// Files that describe images may be equal in two splits, whose images are not.
#[test]
fn metadata_files_may_be_equal() {
    let rows = "file_name,label\n1.png,a\n2.png,b\n";
    let dataset = Dataset::new(&[
        ("train/1.png", png(2, [1; 3])),
        ("train/2.png", png(2, [2; 3])),
        ("test/1.png", png(2, [3; 3])),
        ("test/2.png", png(2, [4; 3])),
    ]);
    dataset.put("train/metadata.csv", rows);
    dataset.put("test/metadata.csv", rows);
    let half = r#"{"validation": {"fraction": 0.5}}"#;
    let images = dataset.images(half, (2, 3, 2), None).unwrap();
    assert_eq!(images.test.labels, [0, 1]);
    // Equal images are still refused.
    dataset.put("test/2.png", png(2, [2; 3]));
    let error = dataset.images(half, (2, 3, 2), None).unwrap_err().to_string();
    assert!(error.contains("1 image stands in two splits"), "{error}");
}

/// The check takes its digests out of the cache, too.
#[test]
fn images_in_two_splits_are_found_when_decoded_splits_are_cached() {
    let cache = tempfile::tempdir().unwrap();
    let dataset = large(2100, 0);
    let copy = fs::read(dataset.at("train-images-idx3-ubyte")).unwrap();
    dataset.put("t10k-images-idx3-ubyte", idx(&[2, 64, 64], &copy[16 + 4096..16 + 3 * 4096]));
    dataset.put("t10k-labels-idx1-ubyte", idx(&[2], &[0, 1]));
    for cached in [false, true] {
        let load = |duplicates| {
            let data =
                format!(r#"{{"validation": {{"fraction": 0.1}}, "duplicates": "{duplicates}"}}"#);
            dataset.images(&data, (64, 1, 3), Some(cache.path()))
        };
        let told = load("refuse").unwrap_err().to_string();
        assert!(told.contains("2 images stand in two splits"), "{told}");
        let kept = load("keep").unwrap();
        assert!(kept.train.is_cached() || !cached);
        assert_eq!(kept.treated.shared.in_two_splits, 2);
        let removed = load("remove").unwrap();
        let count = |images: &ImageData| images.train.len() + images.validation.len();
        assert_eq!(count(&removed), count(&kept) - 2);
        assert_eq!(pixels(&removed.test), pixels(&kept.test));
        let shared = removed.treated.shared;
        assert_eq!((shared.in_two_splits, shared.in_two_parts, shared.removed), (0, 0, 2));
    }
}

/// One split may hold an image twice; drawn parts may separate the two.
#[test]
fn duplicates_that_drawn_parts_separate_are_counted() {
    let images: Vec<u8> = (0..40).map(|i| i / 2).collect();
    let dataset = Dataset::new(&[
        ("train-images-idx3-ubyte", idx(&[40, 1, 1], &images)),
        ("train-labels-idx1-ubyte", idx(&[40], &[0; 40])),
    ]);
    let data = r#"{"validation": {"fraction": 0.25}, "test": {"fraction": 0.25}}"#;
    let images = dataset.images(data, (1, 1, 2), None).unwrap();
    let [train, validation, test] = [&images.train, &images.validation, &images.test].map(pixels);
    let in_validation = validation.iter().filter(|image| train.contains(image)).count();
    let in_test =
        test.iter().filter(|image| train.contains(image) || validation.contains(image)).count();
    assert!(in_validation > 0 && in_test > 0);
    assert_eq!(images.treated.shared.in_two_parts, (in_validation + in_test) as u64);
    assert!(images.treated.notes()[0].contains("another part has an equal one"));
}

/// What images are converted to follows from the model; data of other channels are other data only
/// where an orientation was ignored before.
#[test]
fn channels_are_made_as_the_model_asks() {
    let grey = |n: u8| {
        let image = GrayImage::from_fn(2, 2, |x, y| Luma([n + 3 * (x + y) as u8]));
        encoded(image, ImageFormat::Png)
    };
    let dataset = Dataset::new(&[
        ("train/a/1.png", grey(1)),
        ("train/b/2.png", grey(60)),
        ("train/a/3.png", png(2, [100, 150, 200])),
        ("test/b/4.png", grey(90)),
    ]);
    let half = r#"{"validation": {"fraction": 0.34}}"#;
    let rgb = dataset.images(half, (2, 3, 2), None).unwrap();
    let grey = dataset.images(half, (2, 1, 2), None).unwrap();
    assert_eq!(pixels(&rgb.test), [90, 90, 90, 93, 93, 93, 93, 93, 93, 96, 96, 96]);
    assert_eq!(pixels(&grey.test), [90, 93, 93, 96]);
    assert_eq!((rgb.treated.changes.grey_to_rgb, rgb.treated.changes.color_to_grey), (3, 0));
    assert_eq!((grey.treated.changes.grey_to_rgb, grey.treated.changes.color_to_grey), (0, 1));
    assert!(grey.treated.notes()[0].contains("1 is in colour in the file"));
    assert_eq!(rgb.sha256(), grey.sha256());
}

/// A turned image makes other data of the same files than earlier versions made.
#[test]
fn images_are_turned_and_the_hash_says_so() {
    let exif = |n: u8| {
        let mut exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([n, 0, 0, 0, 0, 0, 0]);
        exif
    };
    let jpeg = |orientation: u8| {
        let image = RgbImage::from_fn(8, 8, |_, y| Rgb([if y < 4 { 0 } else { 255 }; 3]));
        let plain = encoded(image, ImageFormat::Jpeg);
        let exif = [b"Exif\0\0".to_vec(), exif(orientation)].concat();
        let head = [0xff, 0xe1, 0, exif.len() as u8 + 2];
        [&plain[..2], &head, &exif, &plain[2..]].concat()
    };
    let load = |orientation: u8| {
        let dataset = Dataset::new(&[
            ("train/a/1.png", png(8, [1, 2, 3])),
            ("train/b/2.png", png(8, [4, 5, 6])),
            ("test/a/3.jpg", jpeg(orientation)),
        ]);
        dataset.images(r#"{"validation": {"fraction": 0.5}}"#, (8, 3, 2), None).unwrap()
    };
    let (upright, turned) = (load(1), load(6));
    // Black above becomes black on the right.
    assert!(upright.test.image(0)[0] < 9 && upright.test.image(0)[3 * 7] < 9);
    assert!(turned.test.image(0)[0] > 246 && turned.test.image(0)[3 * 7] < 9);
    assert_eq!((upright.treated.changes.turned, turned.treated.changes.turned), (0, 1));
    // The hash of upright files is that of earlier versions: of roles and files alone.
    let files = |images: &ImageData| {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        for (role, (_, _, sha256)) in (0u8..).zip(&images.files) {
            hash.update([role]);
            hash.update(sha256);
        }
        hash.update("classes\0a\0b");
        vlora::spec::hex(&hash.finalize())
    };
    assert_eq!(upright.sha256(), files(&upright));
    assert_ne!(turned.sha256(), files(&turned));
}

/// Photographs: a colour a class, each of another size.
fn photographs() -> Dataset {
    let photo = |n: u32, width: u32, height: u32| {
        let color = |x: u32, y: u32| Rgb([(40 * n) as u8, (3 * x) as u8, (5 * y) as u8]);
        encoded(RgbImage::from_fn(width, height, color), ImageFormat::Png)
    };
    let dataset =
        Dataset::new(&[("test/a/0.png", photo(0, 20, 31)), ("test/b/1.png", photo(1, 16, 9))]);
    for n in 2..12 {
        let class = ["a", "b"][n as usize % 2];
        dataset.put(&format!("train/{class}/{n}.png"), photo(n, 5 + 3 * n, 40 - 3 * n));
    }
    dataset
}

/// Sizes × what becomes of them; what is refused names the field to set.
#[test]
fn images_of_other_sizes_become_squares_as_the_spec_says() {
    let dataset = photographs();
    let load = |more: &str| {
        let data = format!(r#"{{"validation": {{"fraction": 0.3}}{more}}}"#);
        dataset.images(&data, (8, 3, 2), None)
    };
    for (more, help) in [
        ("", "data.resize: exact"),
        (r#", "crop": "center""#, "data.resize: a number of at least model.image_size"),
        (r#", "resize": 8"#, "data.crop: center"),
        (r#", "augment": {"random_resized_crop": {}}"#, "data.resize: exact"),
    ] {
        let told = load(more).unwrap_err().to_string();
        assert!(told.contains("another size") && told.contains(help), "{more}: {told}");
    }
    let exact = load(r#", "resize": "exact""#).unwrap();
    let middle = load(r#", "resize": 8, "crop": "center""#).unwrap();
    assert_eq!((exact.train.len(), exact.validation.len(), exact.test.len()), (7, 3, 2));
    assert_ne!(pixels(&exact.train), pixels(&middle.train));
    for images in [&exact, &middle] {
        assert_eq!(images.sha256(), exact.sha256());
        assert!(images.train.is_square());
        assert_eq!(images.train.dims(), (7, 8, 8, 3));
        // The class's own colour is in every pixel.
        let first = images.test.image(1);
        assert!(first.iter().step_by(3).all(|red| *red == 40));
    }
}

/// Training images stay whole for random parts; those of validation parts are squares as the fixed
/// resizing makes them, with and without the cache.
#[test]
fn random_parts_are_cut_from_whole_images() {
    use vlora::data::Augmenter;
    let dataset = photographs();
    let cache = tempfile::tempdir().unwrap();
    let text = |part: &str| {
        format!(
            r#"{{"validation": {{"fraction": 0.3}}, "resize": 8, "crop": "center",
                "augment": {{"horizontal_flip": true, "random_resized_crop": {part}}}}}"#
        )
    };
    let load = |part: &str| dataset.images(&text(part), (8, 3, 2), Some(cache.path())).unwrap();
    let fixed = load("null");
    let images = load("{}");
    assert!(!images.train.is_square() && images.validation.is_square());
    assert_eq!(pixels(&images.validation), pixels(&fixed.validation));
    assert_eq!(pixels(&images.test), pixels(&fixed.test));
    let sizes: Vec<_> = (0..images.train.len()).map(|i| images.train.sized(i)).collect();
    assert!(sizes.iter().all(|(pixels, w, h)| pixels.len() == 3 * w * h && w + h == 45));
    // The mean and deviation are of all pixels of whole images.
    let all: Vec<f64> = sizes
        .iter()
        .flat_map(|(pixels, ..)| pixels.iter().skip(1).step_by(3))
        .map(|v| f64::from(*v) / 255.0)
        .collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    assert!((images.statistics.mean[1] - mean).abs() < 1e-9);

    let device = candle_core::Device::Cpu;
    let data = serde_json::from_str(&text("{}")).unwrap();
    let batch = |seed, epoch, examples: &[usize]| {
        let augmenter = Augmenter::new(&data, seed, epoch);
        let batch = images.batch(&images.train, examples, Some(&augmenter), &device).unwrap();
        assert_eq!(batch.0.dims(), [examples.len(), 3, 8, 8]);
        values(&batch.0)
    };
    // By seed, epoch and example alone.
    let of = |batch: Vec<f32>, i: usize| batch[i * 192..(i + 1) * 192].to_vec();
    assert_eq!(of(batch(1, 2, &[3, 5]), 1), of(batch(1, 2, &[5, 0, 1]), 0));
    assert_ne!(batch(1, 2, &[5]), batch(2, 2, &[5]));
    assert_ne!(batch(1, 2, &[5]), batch(1, 3, &[5]));
    // Red is a constant of each image, whatever the part.
    let red = |i: usize| {
        let value = f64::from(images.train.image(i)[0]) / 255.0;
        (value - images.statistics.mean[0]) / images.statistics.std[0]
    };
    for i in 0..images.train.len() {
        let got = batch(7, 0, &[i]);
        assert!(got[..64].iter().all(|v| (f64::from(*v) - red(i)).abs() < 1e-5), "{i}");
        // Green grows to the right or, mirrored, to the left.
        let row = &got[64..72];
        let ordered = row.windows(2).all(|w| w[0] <= w[1]) || row.windows(2).all(|w| w[0] >= w[1]);
        assert!(ordered, "{row:?}");
    }
}

/// Whole images lie in the cache as squares do.
#[test]
fn whole_images_are_cached() {
    let cache = tempfile::tempdir().unwrap();
    let dataset = large(2100, 0);
    let load = |augment: &str| {
        let data = format!(
            r#"{{"validation": {{"fraction": 0.1}}, "test": {{"fraction": 0.1}}, "resize": 32,
                "crop": "center", "augment": {augment}}}"#
        );
        dataset.images(&data, (32, 1, 3), Some(cache.path())).unwrap()
    };
    let whole = r#"{"random_resized_crop": {}}"#;
    let first = load(whole);
    let second = load(whole);
    assert!(!first.train.is_cached() && second.train.is_cached());
    assert_eq!(first.train.sized(3), second.train.sized(3));
    assert_eq!((first.train.sized(3).1, first.test.dims().1), (64, 32));
    assert!(pixels(&first.train) == pixels(&second.train));
    assert!(pixels(&first.test) == pixels(&second.test));
    assert!(pixels(&first.test) == pixels(&load("{}").test));
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

#[test]
fn configurations_may_be_called_by_numbers() {
    let card = "---\nconfigs:\n- {config_name: 2019, data_files: a/x.csv}\n\
                - {config_name: 2020, data_files: b/x.csv}\n---\n";
    let files = [("README.md", card), ("a/x.csv", "n\n1\n"), ("b/x.csv", "n\n2\n3\n")];
    let dataset = Dataset::new(&files);
    for (name, rows) in [("2019", 1), ("2020", 2)] {
        assert_eq!(dataset.table(Some(name), "train").unwrap().rows, rows, "{name}");
    }
    assert!(dataset.table(None, "train").is_err());
}

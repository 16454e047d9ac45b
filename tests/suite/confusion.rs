//! How often each class was predicted for the test examples of each class: in evidence, on the chart, and
//! of two runs.

use std::fs;
use std::path::Path;

use serde_json::Value;
use vlora::report::{Format, RunComparison, Summary, write_report};
use vlora::results::{
    ExperimentFolder, ExperimentRecord, PrimaryContrast, Provenance, RunFolder, RunResult,
};
use vlora::tasks::evidence;

use crate::common::evidence::{Outcome, leave};
use crate::common::program::vlora;
use crate::common::spec::Spec;
use crate::common::svg::{self, Element};

#[test]
fn every_test_example_of_a_committed_run_is_counted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    for (name, classes) in [("reading", 10), ("sst2-minilm", 2)] {
        let folder = ExperimentFolder::new(root.join(name));
        for variant in &folder.read_record().unwrap().variants {
            for id in &variant.runs {
                let run = folder.run(id);
                let confusion = evidence(&variant.spec).confusion(&run).unwrap().unwrap();
                assert_eq!(confusion.classes.len(), classes, "{id}");
                let provenance: Provenance = run.read_json(RunFolder::PROVENANCE).unwrap();
                let named: Vec<String> = provenance.task.get("class_names").unwrap();
                let named = if named.is_empty() { vec!["0".into(), "1".into()] } else { named };
                assert_eq!(confusion.classes, named, "{id}");
                let all: u64 = (0..classes).map(|class| confusion.examples(class)).sum();
                assert_eq!(all, provenance.test_examples as u64, "{id}");
                let result: RunResult = run.read_json(RunFolder::RESULT).unwrap();
                let right: u64 = (0..classes).map(|class| confusion.counts[class][class]).sum();
                assert_eq!(right as f64 / all as f64, result.test_metric, "{id}");
            }
        }
    }
}

fn report(folder: &ExperimentFolder, record: ExperimentRecord) {
    let summary = Summary::of(record, folder, evidence).unwrap();
    write_report(&summary, folder).unwrap();
}

/// The chart as text, and its elements.
fn chart(dir: &Path) -> (String, Vec<Element>) {
    let text = fs::read_to_string(dir.join("confusion.svg")).unwrap();
    let elements = svg::elements(&text);
    (text, elements)
}

/// Names the classes in the evidence of every run.
fn name_classes(folder: &ExperimentFolder, record: &ExperimentRecord, names: &[String]) {
    for id in record.run_ids() {
        let run = folder.run(id);
        let mut provenance: Value = run.read_json(RunFolder::PROVENANCE).unwrap();
        provenance["class_names"] = names.into();
        run.write_json(RunFolder::PROVENANCE, &provenance).unwrap();
    }
}

/// The outlined cells on the diagonals, those of a matrix after those of the one before.
fn diagonal(elements: &[Element]) -> Vec<&Element> {
    elements.iter().filter(|e| e.tag == "polyline" && e.points.len() == 5).collect()
}

/// The text with its middle in the column of one cell and the row of another.
fn text_in<'a>(elements: &'a [Element], column: &Element, row: &Element) -> Vec<&'a str> {
    let within = |e: &&Element| {
        let (x, y) = e.points[0];
        column.points[0].0 < x
            && x < column.points[2].0
            && row.points[0].1 < y
            && y < row.points[2].1
    };
    let texts = elements.iter().filter(|e| e.tag == "text");
    texts.filter(within).map(|e| e.text.as_str()).collect()
}

#[test]
fn cells_have_the_percent_of_their_true_class() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec::tiny().set("seeds=[0, 1]");
    // Right answers come first in the split, and wrong ones are the class behind.
    let (folder, record) = leave(dir.path(), &spec, &|variant, seed| match (variant, seed) {
        (0, 0) => Outcome::Right(700),
        (0, _) => Outcome::Right(800),
        _ => Outcome::Right(996),
    });
    report(&folder, record);
    let (text, elements) = chart(dir.path());
    let cells = diagonal(&elements);
    assert_eq!(cells.len(), 2 * 10);
    // Of 200 examples of a class: 150 right; then 200, or 198 of the last four classes.
    let want = |matrix: usize, row: usize, column: usize| match (matrix, column) {
        (0, _) if column == row => "75",
        (0, _) if column == (row + 1) % 10 => "25",
        (1, _) if column == row && row < 6 => "100",
        (1, _) if column == row => "99",
        (1, _) if column == (row + 1) % 10 && row >= 6 => "1",
        _ => "",
    };
    for (matrix, cells) in cells.chunks(10).enumerate() {
        for (i, row) in cells.iter().enumerate() {
            for (j, column) in cells.iter().enumerate() {
                let found = text_in(&elements, column, row).concat();
                assert_eq!(found, want(matrix, i, j), "matrix {matrix}, class {i} as {j}");
            }
        }
    }
    // The names of the rows stand before the first matrix, those of the columns below each.
    for (i, cell) in cells.iter().enumerate() {
        let (name, (left, top), (right, low)) = (i % 10, cell.points[0], cell.points[2]);
        let is_name = |e: &&Element| e.tag == "text" && e.text == name.to_string();
        let edge = cells[0].points[0].0;
        let row = |e: &Element| e.points[0].0 < edge && top < e.points[0].1 && e.points[0].1 < low;
        assert_eq!(elements.iter().filter(is_name).filter(|e| row(e)).count(), 1, "row {name}");
        let end = cells[9].points[2].1;
        let column =
            |e: &Element| e.points[0].1 > end && left < e.points[0].0 && e.points[0].0 < right;
        assert_eq!(elements.iter().filter(is_name).filter(|e| column(e)).count(), 1, "{name}");
    }
    let texts: Vec<&str> = elements.iter().map(|e| e.text.as_str()).collect();
    let times = |text: &str| texts.iter().filter(|other| **other == text).count();
    assert_eq!((times("baseline"), times("vlora")), (1, 1));
    assert_eq!(times("1,000 examples × 2 seeds"), 2);
    assert_eq!((times("True class"), times("Predicted class")), (1, 1));
    // In the tenths of a pixel that the drawing counts in.
    for size in text.split("font-size=\"").skip(1) {
        let size: f64 = size.split('"').next().unwrap().parse().unwrap();
        assert!(size >= 110.0, "{size}");
    }
    assert!(dir.path().join("confusion.png").exists());
}

#[test]
fn the_arm_furthest_from_the_baseline_is_shown_or_the_primary_contrast() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec::tiny()
        .arm("far", "{method: vlora, vlora: {rank: 1}}")
        .arm("near", "{method: vlora, vlora: {rank: 3}}");
    let (folder, mut record) =
        leave(dir.path(), &spec, &|variant, _| Outcome::Right([700, 690, 600, 705][variant]));
    let titles = || {
        let (_, elements) = chart(dir.path());
        let titles = elements.into_iter().filter(|e| e.tag == "text" && e.bold);
        titles.map(|e| e.text).collect::<Vec<_>>()
    };
    report(&folder, record.clone());
    assert_eq!(titles(), ["baseline", "far"]);
    record.primary_contrast = Some(PrimaryContrast {
        label: "near".into(),
        runs: Vec::new(),
        spec_sha256: "0123456789abcdef".into(),
        finished_before: 0,
    });
    report(&folder, record);
    assert_eq!(titles(), ["baseline", "near"]);
    // One arm alone is shown alone.
    let alone = Spec::tiny().without("arms.vlora");
    let (folder, record) = leave(dir.path(), &alone, &|_, _| Outcome::Right(700));
    report(&folder, record);
    assert_eq!(titles(), ["baseline"]);
}

#[test]
fn names_of_classes_are_legible_and_escaped() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, record) = leave(dir.path(), &Spec::tiny(), &|_, _| Outcome::Right(700));
    let mut names: Vec<String> = (0..10).map(|class| format!("species {class}")).collect();
    names[3] = "<b>\x1b[31m".into();
    names[4] = "a name of more characters than there is room for".into();
    name_classes(&folder, &record, &names);
    report(&folder, record);
    let (text, elements) = chart(dir.path());
    // A row of the first matrix and a column of each have it; of a long name what there is room for.
    for (name, times) in [("species 0", 3), ("<b>\\x1b[31m", 3), ("a name of more…", 3)] {
        assert_eq!(elements.iter().filter(|e| e.text == name).count(), times, "{name}");
    }
    assert!(!text.contains("<b>") && !text.contains('\x1b'));
    // The names of columns are turned, and the title of the rows.
    assert_eq!(text.matches("rotate(270").count(), 2 * 10 + 1);
}

#[test]
fn too_many_classes_have_no_chart() {
    let dir = tempfile::tempdir().unwrap();
    let classes = |classes: usize| {
        let spec = Spec::tiny().set(&format!("model.classes={classes}"));
        let (folder, record) = leave(dir.path(), &spec, &|_, _| Outcome::Right(700));
        report(&folder, record);
    };
    classes(24);
    let (text, elements) = chart(dir.path());
    assert_eq!(diagonal(&elements).len(), 2 * 24);
    let width: f64 =
        text.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    assert!(width <= 800.0, "{width}");
    // The chart of the report before goes.
    classes(25);
    for file in ["confusion.svg", "confusion.png"] {
        assert!(!dir.path().join(file).exists(), "{file}");
    }
}

const FIRST: &str = "results/tiny/runs/000000000000";
const OTHER: &str = "results/tiny/runs/000001000000";

#[test]
fn two_runs_are_compared_by_class() {
    let dir = tempfile::tempdir().unwrap();
    // 71 of 100 examples of the first five classes are right, and 70 of the others; then 69 of all.
    let (folder, record) =
        leave(&dir.path().join("results/tiny"), &Spec::tiny(), &|variant, _| match variant {
            0 => Outcome::Right(705),
            _ => Outcome::Right(690),
        });
    let ran = vlora(dir.path(), &["compare", FIRST, OTHER]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let rows: Vec<Vec<&str>> = ran
        .out
        .lines()
        .skip_while(|line| !line.starts_with("class "))
        .skip(2)
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 10, "{}", ran.out);
    for (class, row) in rows.iter().enumerate() {
        let (first, by) = if class < 5 { ("71.0", "−2.0") } else { ("70.0", "−1.0") };
        assert_eq!(row[..], [class.to_string().as_str(), "100", first, "69.0", by]);
    }

    // Of many classes those with the largest differences.
    let runs = [0, 1].map(|variant| folder.run(&record.variants[variant].runs[0]));
    let compared =
        || RunComparison::read(&|run| evidence(&run.spec.spec), [&runs[0], &runs[1]]).unwrap();
    let (table, more) = compared().classes(3).unwrap();
    let csv = table.render(Format::Csv);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "class,examples,first,second,difference");
    assert!(lines[1].starts_with("0,100,0.71,0.69,-0.02"), "{csv}");
    assert_eq!((lines.len(), more), (1 + 3, 7));

    // By other names they are other classes.
    let names: Vec<String> = (0..10).map(|class| format!("species {class}")).collect();
    name_classes(&folder, &record, &names);
    assert!(compared().classes(3).is_some());
    let mut provenance: Value = runs[1].read_json(RunFolder::PROVENANCE).unwrap();
    provenance["class_names"][0] = "genus".into();
    runs[1].write_json(RunFolder::PROVENANCE, &provenance).unwrap();
    assert!(compared().classes(3).is_none());
    let ran = vlora(dir.path(), &["compare", FIRST, OTHER]);
    assert!(ran.code == 0 && !ran.out.contains("\nclass "), "{}", ran.out);
}

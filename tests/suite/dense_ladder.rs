//! Arms with increments on a ladder of dense arms, on runs that a test wrote.

use std::fs;

use crate::common::evidence::{Outcome, leave};
use crate::common::program::vlora;
use crate::common::results::json;
use crate::common::spec::Spec;

/// Dense models of three widths and another of half the depth; the layers shared, and with increments.
fn spec() -> Spec {
    Spec::tiny()
        .arms(
            "{baseline: {method: dense}, narrow: {method: dense, model: {dim: 8}}, \
              wide: {method: dense, model: {dim: 32}}, shallow: {method: dense, model: {depth: 1}}, \
              shared: {method: vlora, vlora: {rank: 0}}, vlora: {method: vlora}, \
              large: {method: vlora, vlora: {rank: 8}}}",
        )
        .set("seeds=[0, 1, 2, 3]")
}

/// Right answers of each arm; every seed adds its own.
const RIGHT: [usize; 7] = [700, 600, 750, 650, 600, 700, 800];

#[test]
fn arms_are_placed_between_dense_models() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, record) = leave(&dir.path().join("results/tiny"), &spec(), &|variant, seed| {
        Outcome::Right(RIGHT[variant] + seed as usize)
    });
    let ran = vlora(dir.path(), &["report", "results/tiny"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let text = fs::read_to_string(folder.file("dense-equivalents.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let column = |name: &str| rows[0].iter().position(|title| *title == name).unwrap();
    let parameters =
        |label: &str| record.variants.iter().find(|v| v.label == label).unwrap().parameters as f64;
    let number = |row: usize, name: &str| rows[row][column(name)].parse::<f64>().unwrap();
    assert_eq!(rows.len(), 4, "{text}");
    assert_eq!([rows[1][0], rows[2][0], rows[3][0]], ["shared", "vlora", "large"]);
    // As many right answers as the narrow one and as the baseline, seed by seed.
    assert!((number(1, "equivalent") / parameters("narrow") - 1.0).abs() < 1e-9);
    assert!((number(2, "equivalent") / parameters("baseline") - 1.0).abs() < 1e-9);
    assert_eq!(rows[3][column("beyond")], "above");
    assert_eq!(rows[3][column("equivalent")], "");
    let rate = (parameters("baseline") - parameters("narrow"))
        / (parameters("vlora") - parameters("shared"));
    assert!((number(2, "rate") / rate - 1.0).abs() < 1e-9, "{text}");
    assert_eq!((rows[1][column("rate")], rows[3][column("rate")]), ("", ""));
    assert_eq!(rows[1][column("seeds")], "4");

    let table = fs::read_to_string(folder.file("table.md")).unwrap();
    for part in ["## Dense-equivalent sizes", "Dense models that differ in dim: `narrow`", "above "]
    {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
    // The shallow one alone makes no ladder.
    assert!(!table.contains("differ in depth"), "{table}");
    let chart = fs::read_to_string(folder.file("metric-vs-parameters.svg")).unwrap();
    assert!(chart.contains("Dashed: dense models"), "the ladder is drawn");
}

/// With two dense sizes there is no ladder, and no file of an earlier report stays.
#[test]
fn without_a_ladder_nothing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("results/tiny");
    let (folder, _) =
        leave(&at, &spec(), &|variant, seed| Outcome::Right(RIGHT[variant] + seed as usize));
    assert_eq!(vlora(dir.path(), &["report", "results/tiny"]).code, 0);
    assert!(folder.file("dense-equivalents.csv").exists());
    let record = json(&folder.file("experiment.json"));
    for id in record["variants"][2]["runs"].as_array().unwrap() {
        fs::remove_dir_all(at.join("runs").join(id.as_str().unwrap())).unwrap();
    }
    assert_eq!(vlora(dir.path(), &["report", "results/tiny"]).code, 0);
    assert!(!folder.file("dense-equivalents.csv").exists());
}

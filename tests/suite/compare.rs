//! `vlora compare`, on runs that a test wrote.

use std::fs;

use serde_json::Value;

use crate::common::evidence::{Outcome, leave};
use crate::common::program::vlora;
use crate::common::spec::Spec;

/// The second arm's first run.
const OTHER: &str = "results/tiny/runs/000001000000";
const FIRST: &str = "results/tiny/runs/000000000000";

/// Right answers come first in the split: 700, and 690 and one more beyond.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec::tiny().set("training.epochs=3");
    leave(&dir.path().join("results/tiny"), &spec, &|variant, _| match variant {
        0 => Outcome::Right(700),
        _ => Outcome::Right(690),
    });
    dir
}

/// A field that only one of the ids includes, since the other run has its default, is shown with both values.
#[test]
fn a_default_is_shown_beside_another_value() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec::tiny().set("arms.vlora.vlora.sharing=cycle").set("arms.plain={method: vlora}");
    leave(&dir.path().join("results/tiny"), &spec, &|_, _| Outcome::Right(700));
    let ran = vlora(dir.path(), &["compare", OTHER, "results/tiny/runs/000002000000"]);
    assert!(ran.out.contains("  vlora.sharing: cycle, sequence\n"), "{}{}", ran.out, ran.err);
}

#[test]
fn two_runs_are_put_side_by_side() {
    let dir = folder();
    let ran = vlora(dir.path(), &["compare", FIRST, OTHER]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    for part in [
        "  method: dense, vlora\n",
        "  vlora.rank: not used, 2\n",
        "test accuracy (%)",
        "70.0    69.0",
        "−1.0",
        "Of the test examples both have 690 right, and neither 300.",
        "the first alone has 10 examples right: 690, 691, 692, 693, 694, 695, 696, 697, 698, 699\n",
        "the second alone has 0 examples right\n",
        // 2 · 2⁻¹⁰.
        "McNemar's exact test: p = 0.002;",
    ] {
        assert!(ran.out.contains(part), "{part} is missing in\n{}", ran.out);
    }
    // A row for each epoch, with both validation metrics.
    let curve: Vec<&str> =
        ran.out.lines().filter(|line| line.trim_start().starts_with('3')).collect();
    assert!(curve.iter().any(|line| line.contains("70.0") && line.contains("69.0")), "{}", ran.out);

    let json = vlora(dir.path(), &["compare", FIRST, OTHER, "--format", "json"]);
    let rows: Value = serde_json::from_str(&json.out).unwrap();
    let examples: Vec<u64> =
        rows.as_array().unwrap().iter().map(|row| row["example"].as_u64().unwrap()).collect();
    assert_eq!(examples, (690..700).collect::<Vec<u64>>());
    assert!(rows.as_array().unwrap().iter().all(|row| row["right"] == "first"));
    // The other way round.
    let back = vlora(dir.path(), &["compare", OTHER, FIRST]);
    assert!(back.out.contains("the second alone has 10 examples right"), "{}", back.out);
    let same = vlora(dir.path(), &["compare", FIRST, FIRST]);
    assert!(
        same.out.contains("Their specs are the same.") && same.out.contains("p = 1.00"),
        "{}",
        same.out
    );
}

#[test]
fn what_does_not_compare_is_refused() {
    let dir = folder();
    let told = |args: [&str; 2], part: &str| {
        let ran = vlora(dir.path(), &["compare", args[0], args[1]]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(part), "{part} is missing in {}", ran.err);
    };
    told([FIRST, "results/tiny/runs/nowhere"], "nowhere");
    fs::write(dir.path().join(OTHER).join("test.jsonl"), "").unwrap();
    told([FIRST, OTHER], "test.jsonl");
    fs::remove_file(dir.path().join(OTHER).join("result.json")).unwrap();
    told([FIRST, OTHER], "the run is not finished");
}

//! `vlora claims`: verdicts on published claims, from results that a test wrote.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::evidence::{Outcome, leave};
use crate::common::program::vlora;
use crate::common::spec::Spec;

/// A folder with a spec of three arms and six seeds, its results, and a file of claims.
fn folder(checks: &str, results: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec::tiny()
        .arm("worse", "{method: vlora, vlora: {rank: 1}}")
        .set("seeds=[0, 1, 2, 3, 4, 5]");
    fs::create_dir(dir.path().join("specs")).unwrap();
    fs::write(dir.path().join("specs/tiny.yaml"), spec.text()).unwrap();
    if results {
        let into = dir.path().join("results/tiny");
        leave(&into, &spec, &|variant, seed| {
            let seed = seed as usize;
            // vlora is 2 to 3 examples of 1,000 behind, `worse` 100 to 105.
            Outcome::Right(match variant {
                0 => 700 + 2 * seed,
                1 => 698 + 2 * seed - seed % 2,
                _ => 600 + seed,
            })
        });
        fs::write(into.join("experiment.yaml"), spec.text()).unwrap();
    }
    let text = format!(
        "about: A test.\nmargins: [{{task: image-classification, value: 1.0, reason: small}}]\nclaims:\n  \
         - name: claim\n    says: It holds.\n    source: a paper\n    checks:\n{checks}"
    );
    fs::write(dir.path().join("specs/claims.yaml"), text).unwrap();
    dir
}

fn judged(dir: &Path) -> Value {
    let ran = vlora(dir, &["claims", "specs/claims.yaml", "--format", "json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let rows: Value = serde_json::from_str(&ran.out).unwrap();
    rows[0].clone()
}

#[test]
fn claims_are_judged_by_stored_results() {
    let check = |text: &str| format!("      - {{spec: tiny.yaml, {text}}}\n");
    let cases = [
        ("check: preserved, arm: vlora", "supported", "the loss is within the margin (p < 0.001)"),
        ("check: preserved, arm: worse", "not supported", "the loss is larger than the margin"),
        ("check: preserved, arm: vlora, against: worse", "supported", "`worse`"),
        ("check: reaches, arm: baseline, value: 70.4, tolerance: 0", "supported", "70.5 ± 0.4"),
        ("check: reaches, arm: baseline, value: 71, tolerance: 0.4", "not supported", "-0.50"),
        ("check: parameters, arm: baseline, value: 7898", "supported", "has 7,898 parameters"),
        ("check: parameters, arm: vlora, value: 7898", "not supported", "published: 7,898"),
        ("check: reduction, arm: vlora, value: 0.2", "supported", "21.1 % fewer parameters"),
        (
            "check: reduction, arm: vlora, value: 0.75",
            "not supported",
            "at least 75.0 % are needed",
        ),
    ];
    for (text, verdict, part) in cases {
        let dir = folder(&check(text), true);
        let row = judged(dir.path());
        assert_eq!(row["verdict"], verdict, "{text}: {row}");
        let page = vlora(dir.path(), &["claims", "specs/claims.yaml", "--format", "markdown"]);
        assert!(page.out.contains(part), "{text}: {part} is missing in\n{}", page.out);
        let shown = vlora(dir.path(), &["claims", "specs/claims.yaml"]);
        assert!(shown.out.contains(&format!("claim: {verdict}")), "{}", shown.out);
        let of_runs = text.contains("preserved") || text.contains("reaches");
        assert_eq!(row["runs"].as_array().unwrap().len(), if of_runs { 6 } else { 0 }, "{text}");
    }
    // One that fails decides; what needs no results is known without them.
    let both = check(cases[0].0) + &check(cases[1].0);
    assert_eq!(judged(folder(&both, true).path())["verdict"], "not supported");
    let counted = check(cases[5].0) + &check(cases[0].0);
    assert_eq!(judged(folder(&counted, true).path())["verdict"], "supported");
    let bare = folder(&counted, false);
    assert_eq!(judged(bare.path())["verdict"], "undecided");
    let shown = vlora(bare.path(), &["claims", "specs/claims.yaml"]).out;
    assert!(shown.contains("no results; vlora run specs/tiny.yaml makes them"), "{shown}");
    assert_eq!(judged(folder(&check(cases[0].0), false).path())["verdict"], "not run");
}

/// Before its baseline has reached a published number, a claim is undecided whatever its checks say.
#[test]
fn a_published_number_comes_first() {
    for (published, first, verdict) in
        [(70.0, "supported", "supported"), (75.0, "not supported", "undecided")]
    {
        let checks = format!(
            "      - {{spec: tiny.yaml, check: reaches, arm: baseline, value: {published}, tolerance: 0}}\n  \
             - name: second\n    says: It is as good.\n    source: a paper\n    after: [claim]\n    checks:\n      \
             - {{spec: tiny.yaml, check: preserved, arm: vlora}}\n"
        );
        let dir = folder(&checks, true);
        let ran = vlora(dir.path(), &["claims", "specs/claims.yaml", "--format", "json"]);
        let rows: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((&rows[0]["verdict"], &rows[1]["verdict"]), (&first.into(), &verdict.into()));
        let shown = vlora(dir.path(), &["claims", "specs/claims.yaml"]).out;
        let note = "a published number has to be reached first: claim";
        assert_eq!(shown.contains(note), verdict == "undecided", "{shown}");
    }
}

/// A spread that leaves both open, with what would decide.
#[test]
fn an_undecided_claim_says_how_many_seeds_it_takes() {
    let dir = folder("      - {check: preserved, spec: tiny.yaml, arm: vlora}\n", false);
    let spec = Spec::tiny().set("seeds=[0, 1, 2]");
    leave(&dir.path().join("results/tiny"), &spec, &|variant, seed| {
        Outcome::Right(700 - variant * (20 * seed as usize) / 2)
    });
    let row = judged(dir.path());
    assert_eq!(row["verdict"], "undecided", "{row}");
    // By SciPy, differences with a deviation of the margin take eight seeds at a power of 0.8.
    let found = row["checks"].as_str().map_or_else(|| row["checks"].to_string(), String::from);
    assert!(found.contains("an equal arm would take about 8 seeds"), "{found}");
}

#[test]
fn bad_claims_are_reported() {
    let told = |checks: &str, parts: &[&str]| {
        let dir = folder(checks, true);
        let ran = vlora(dir.path(), &["claims", "specs/claims.yaml"]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{checks}");
        for part in parts {
            assert!(ran.err.contains(part), "{part} is missing in {}", ran.err);
        }
    };
    told(
        "      - {check: preserved, spec: tiny.yaml, arm: vlra}\n",
        &["claim claim", "no such arm", "`vlra`", "did you mean `vlora`?"],
    );
    told(
        "      - {check: preserved, spec: tiny.yaml, arm: vlora, against: bse}\n",
        &["no such arm", "`bse`"],
    );
    told(
        "      - {check: preserved, spec: tinny.yaml, arm: vlora}\n",
        &["specs/tinny.yaml", "cannot be read"],
    );
    told("      - {check: better, spec: tiny.yaml, arm: vlora}\n", &["claims.yaml:8:", "`better`"]);
    let dir = folder("", true);
    let ran = vlora(dir.path(), &["claims", "nowhere.yaml"]);
    assert!(
        ran.code == 2 && ran.err.contains("nowhere.yaml: the claims cannot be read"),
        "{}",
        ran.err
    );
}

/// The claims of the paper are sound, and the page of their verdicts is what the program makes of the
/// committed results.
#[test]
fn the_committed_claims_are_judged_by_the_committed_results() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = vlora(root, &["claims", "--format", "markdown"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let stored = fs::read_to_string(root.join("results/claims.md")).unwrap();
    assert!(stored == ran.out, "results/claims.md is made by `vlora claims --format markdown`");
}

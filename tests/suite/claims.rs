//! `vlora claims`: verdicts on published claims, from results that a test wrote.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

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
    fs::create_dir(dir.path().join("results")).unwrap();
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
         - name: claim\n    statement: It holds.\n    source: a paper\n    checks:\n{checks}"
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
        (
            "check: preserved, arm: vlora",
            "supported",
            "the loss is within the margin (p < 0.001, one-sided bound −0.3)",
        ),
        ("check: preserved, arm: worse", "not supported", "the loss is larger than the margin"),
        ("check: preserved, arm: vlora, against: worse", "supported", "`worse`"),
        ("check: reaches, arm: baseline, value: 70.4, tolerance: 0", "supported", "70.5 ± 0.4"),
        (
            "check: reaches, arm: baseline, value: 71, tolerance: 0.4",
            "not supported",
            "found minus published: −0.50",
        ),
        ("check: parameters, arm: baseline, value: 7898", "supported", "has 7,898 parameters"),
        ("check: parameters, arm: vlora, value: 7898", "not supported", "published: 7,898"),
        ("check: reduction, arm: vlora, value: 0.2", "supported", "21.1 % fewer parameters"),
        ("check: reduction, arm: vlora, value: 0.75", "not supported", "needed: 75.0 % at least"),
        (
            "check: reaches, arm: baseline, metric: accuracy, value: 70.4, tolerance: 0",
            "supported",
            "reaches 70.5 ± 0.4 %",
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
        assert_eq!(
            row["runs"].as_array().unwrap().len(),
            match (of_runs, text.contains("preserved")) {
                (false, _) => 0,
                (true, false) => 6,
                // Both arms.
                (true, true) => 12,
            },
            "{text}"
        );
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

/// Arms beside the one that a claim is about are shown with it, and do not count.
#[test]
fn arms_stand_beside_the_one_that_is_claimed() {
    let check = "      - {check: preserved, spec: tiny.yaml, arm: vlora, beside: [worse]}\n";
    let dir = folder(check, true);
    let row = judged(dir.path());
    assert_eq!((&row["verdict"], row["runs"].as_array().unwrap().len()), (&"supported".into(), 12));
    let contrasts = row["contrasts"].as_array().unwrap();
    let of = |i: usize, field: &str| contrasts[i][field].clone();
    assert_eq!(contrasts.len(), 2);
    for (i, arm, is_claimed, verdict) in
        [(0, "vlora", true, "non-inferior"), (1, "worse", false, "inferior")]
    {
        let found = (of(i, "arm"), of(i, "is_claimed"), of(i, "verdict"), of(i, "seeds"));
        assert_eq!(found, (arm.into(), is_claimed.into(), verdict.into(), 6.into()));
        assert_eq!((of(i, "against"), of(i, "margin")), ("baseline".into(), 1.0.into()));
    }
    // 2 or 3 examples of 1,000.
    let difference = of(0, "difference").as_f64().unwrap();
    assert!((difference + 0.25).abs() < 1e-9, "{difference}");

    let ran = vlora(dir.path(), &["claims", "specs/claims.yaml", "--out", "page"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err, "Written to page: claims.svg, claims.png, report.html, claims.md\n");
    let read = |name: &str| fs::read(dir.path().join("page").join(name)).unwrap();
    let page = String::from_utf8(read("claims.md")).unwrap();
    assert!(page.contains("](claims.svg)"), "{page}");
    assert!(page.contains("| tiny | vlora | claimed | 21.1 % fewer |"), "{page}");
    assert!(page.contains("| tiny | worse | beside | 23.5 % fewer |"), "{page}");
    let chart = String::from_utf8(read("claims.svg")).unwrap();
    for part in ["tiny: accuracy (%)", "vlora, 21.1 % fewer", "worse, 23.5 % fewer", "margin"] {
        assert!(chart.contains(part), "{part} is missing in {chart}");
    }
    assert!(read("claims.png").starts_with(b"\x89PNG"));
    let ran = vlora(dir.path(), &["claims", "specs/claims.yaml", "--out", "specs/tiny.yaml"]);
    assert!(ran.code == 1 && ran.err.contains("specs/tiny.yaml"), "{}", ran.err);

    // An arm that is compared with another than the baseline says so.
    let other =
        folder("      - {check: preserved, spec: tiny.yaml, arm: vlora, against: worse}\n", true);
    vlora(other.path(), &["claims", "specs/claims.yaml", "--out", "page"]);
    let chart = fs::read_to_string(other.path().join("page/claims.svg")).unwrap();
    assert!(chart.contains("vlora against worse, 3.2 % more"), "{chart}");

    // Means are over the seeds that both have finished, as the difference is.
    let part = folder(check, false);
    let spec = Spec::tiny()
        .arm("worse", "{method: vlora, vlora: {rank: 1}}")
        .set("seeds=[0, 1, 2, 3, 4, 5]");
    leave(&part.path().join("results/tiny"), &spec, &|variant, seed| match (variant, seed) {
        (0, 5) => Outcome::Unfinished,
        (_, 5) => Outcome::Right(100),
        _ => Outcome::Right(700 - 10 * variant + seed as usize % 2),
    });
    let row = judged(part.path());
    let first = &row["contrasts"][0];
    let of = |field: &str| first[field].as_f64().unwrap();
    assert!((of("mean") - of("against_mean") - of("difference")).abs() < 1e-9, "{first}");
    assert_eq!(first["seeds"], 5);

    // Without arms that are compared, an earlier chart is removed.
    fs::remove_dir_all(other.path().join("results/tiny")).unwrap();
    vlora(other.path(), &["claims", "specs/claims.yaml", "--out", "page"]);
    assert!(!other.path().join("page/claims.svg").exists());

    // Of an arm without results there is nothing to show, and of one whose results are of another spec neither.
    let spec = dir.path().join("specs/tiny.yaml");
    let text = fs::read_to_string(&spec).unwrap();
    fs::write(&spec, text.replace("rank: 1", "rank: 3")).unwrap();
    assert_eq!(judged(dir.path())["contrasts"].as_array().unwrap().len(), 1);
}

/// Leaves what the layers of an arm's runs read: the log-likelihood after each, and `wiggle` of it that
/// changes with the seed.
fn read_layers(dir: &Path, variant: usize, likelihoods: &[f64], wiggle: f64) {
    for seed in 0..6 {
        let layers: Vec<Value> = likelihoods
            .iter()
            .enumerate()
            .map(|(layer, likelihood)| {
                let off = wiggle * f64::from((seed * 7 + layer as i32 * 5) % 6 - 2);
                json!({"loss": -(likelihood + off), "metrics": {"accuracy": 0.5}})
            })
            .collect();
        let id = format!("{variant:06}{seed:06}");
        let logit_lens = json!({
            "schema": 2, "model_sha256": id, "program": "vlora", "split": "validation",
            "examples": 1000, "layers": layers,
        });
        let run = dir.join(format!("results/tiny/runs/{id}"));
        fs::write(run.join("layers.json"), logit_lens.to_string()).unwrap();
    }
}

#[test]
fn layers_that_raise_the_likelihood_are_counted() {
    let check = "      - {spec: tiny.yaml, check: rises, arm: vlora}\n";
    let cases = [
        (&[-2.3, -1.5, -0.5][..], 0.01, "supported", "2 of 2 layers raise"),
        (&[-2.3, -2.5, -0.5], 0.01, "not supported", "layer 1 lowered it"),
        (&[-2.3, -2.29, -0.5], 0.1, "undecided", "the others do not decide"),
    ];
    for (likelihoods, wiggle, verdict, part) in cases {
        let dir = folder(check, true);
        let before = judged(dir.path());
        assert_eq!(before["verdict"], "not run");
        read_layers(dir.path(), 1, likelihoods, wiggle);
        assert_eq!(judged(dir.path())["verdict"], verdict, "{likelihoods:?}");
        let page = vlora(dir.path(), &["claims", "specs/claims.yaml", "--format", "markdown"]);
        assert!(page.out.contains(part), "{part} is missing in\n{}", page.out);
    }
    let dir = folder(check, true);
    let page = vlora(dir.path(), &["claims", "specs/claims.yaml"]);
    assert!(page.out.contains("vlora probe results/tiny reads them"), "{}", page.out);
}

/// Before its baseline has reached a published number, a claim is undecided whatever its checks say.
#[test]
fn a_published_number_comes_first() {
    for (published, first, verdict) in
        [(70.0, "supported", "supported"), (75.0, "not supported", "undecided")]
    {
        let checks = format!(
            "      - {{spec: tiny.yaml, check: reaches, arm: baseline, value: {published}, tolerance: 0}}\n  \
             - name: second\n    statement: It is as good.\n    source: a paper\n    requires: [claim]\n    checks:\n      \
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
    let found = row["checks"][0]["finding"].as_str().unwrap();
    assert!(found.contains("it takes about 8 seeds to show it"), "{found}");
}

/// What would make "preserved" too easy.
#[test]
fn missing_and_useless_runs_support_nothing() {
    let check = "      - {check: preserved, spec: tiny.yaml, arm: vlora}\n";
    let verdict = |outcome: &dyn Fn(usize, u64) -> Outcome| {
        let dir = folder(check, false);
        let spec = Spec::tiny().set("seeds=[0, 1, 2, 3, 4, 5]");
        leave(&dir.path().join("results/tiny"), &spec, outcome);
        let row = judged(dir.path());
        (row["verdict"].as_str().unwrap().to_string(), row["checks"][0]["finding"].to_string())
    };
    let good = |variant: usize, seed: u64| {
        Outcome::Right(700 + 2 * seed as usize - variant * (seed as usize % 2))
    };
    assert_eq!(verdict(&good).0, "supported");
    for (part, outcome) in [
        (
            "1 of their runs failed",
            (&|v, seed| match (v, seed) {
                (1, 5) => Outcome::Failed("it diverged"),
                _ => good(v, seed),
            }) as &dyn Fn(usize, u64) -> Outcome,
        ),
        ("1 seed is missing", &|v, seed| match (v, seed) {
            (0, 5) => Outcome::Unfinished,
            _ => good(v, seed),
        }),
        // Nor do they speak against it.
        ("larger than the margin", &|v, seed| match (v, seed) {
            (0, 5) => Outcome::Unfinished,
            _ => Outcome::Right(700 + 2 * seed as usize - v * (200 + seed as usize % 2)),
        }),
        ("12 of their runs did not learn", &|v, seed| {
            Outcome::Right(90 + (seed as usize * (v + 1)) % 3)
        }),
    ] {
        let (verdict, finding) = verdict(outcome);
        assert_eq!(verdict, "undecided", "{finding}");
        assert!(finding.contains(part), "{part} is missing in {finding}");
    }
}

/// Results of other settings decide nothing, whatever the file beside them says; damaged runs are named.
#[test]
fn results_of_another_spec_and_damaged_runs_are_told() {
    let check = "      - {check: preserved, spec: tiny.yaml, arm: vlora}\n";
    let dir = folder(check, true);
    let spec = dir.path().join("specs/tiny.yaml");
    let text = fs::read_to_string(&spec).unwrap();
    // A comment changes nothing.
    fs::write(&spec, format!("# A comment.\n{text}")).unwrap();
    assert_eq!(judged(dir.path())["verdict"], "supported");
    fs::write(&spec, text.replace("epochs: 1", "epochs: 7")).unwrap();
    let row = judged(dir.path());
    assert_eq!(row["verdict"], "undecided");
    let finding = row["checks"][0]["finding"].as_str().unwrap();
    assert!(finding.contains("of another spec: training.epochs: 1, not 7"), "{finding}");
    fs::write(&spec, text).unwrap();

    // The second arm's first run.
    let run = dir.path().join("results/tiny/runs/000001000000");
    fs::write(run.join("epochs.jsonl"), "").unwrap();
    let ran = vlora(dir.path(), &["claims", "specs/claims.yaml"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("1 finished run is damaged"), "{}", ran.err);
    assert!(ran.out.contains("claim: undecided"), "{}", ran.out);
    // An experiment whose record cannot be read does not hide the others' verdicts.
    fs::write(dir.path().join("results/tiny/experiment.json"), "{").unwrap();
    let ran = vlora(dir.path(), &["claims", "specs/claims.yaml"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    for told in [&ran.out, &ran.err] {
        assert!(told.contains("its results cannot be used"), "{told}");
    }
    // Begun, but nothing has ended.
    let begun = folder(check, true);
    fs::remove_dir_all(begun.path().join("results/tiny/runs")).unwrap();
    assert_eq!(judged(begun.path())["verdict"], "not run");
}

/// A share where per cent are meant, and the seeds of the spec, not those that have run.
#[test]
fn a_published_value_needs_its_unit_and_all_planned_seeds() {
    let check = |value: &str| {
        format!(
            "      - {{check: reaches, spec: tiny.yaml, arm: baseline, value: {value}, tolerance: 1}}\n"
        )
    };
    for value in ["0.7", "7000"] {
        let row = judged(folder(&check(value), true).path());
        assert_eq!(row["verdict"], "undecided", "{row}");
        assert!(
            row["checks"][0]["finding"].as_str().unwrap().contains("is the published value in %?")
        );
    }
    let dir = folder(&check("70"), false);
    let spec = Spec::tiny().set("seeds=[0, 1]");
    leave(&dir.path().join("results/tiny"), &spec, &|_, _| Outcome::Right(705));
    let row = judged(dir.path());
    assert_eq!(row["verdict"], "undecided", "{row}");
    let finding = row["checks"][0]["finding"].as_str().unwrap();
    assert!(
        finding.contains("2 of 6 seeds") && finding.contains("planned seeds are missing"),
        "{finding}"
    );
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
    told(
        "      - {check: preserved, spec: tiny.yaml, arm: vlora, beside: [worse, narow]}\n",
        &["claim claim", "no such arm", "`narow`"],
    );
    told(
        "      - {check: reaches, spec: tiny.yaml, arm: vlora, metric: acuracy, value: 1, tolerance: 1}\n",
        &["claim claim", "no such metric", "`acuracy`", "did you mean `accuracy`?"],
    );
    told(
        "      - {check: parameters, spec: tiny.yaml, arm: vlora, value: 7, beside: [worse]}\n",
        &["claims.yaml:8:", "this check has no `beside`"],
    );
    told("      - {check: better, spec: tiny.yaml, arm: vlora}\n", &["claims.yaml:8:", "`better`"]);
    told(
        "      - {check: reduction, spec: tiny.yaml, arm: baseline, value: 0.5}\n",
        &["claim claim", "no baseline to compare with", "`baseline`"],
    );
    let dir = folder("      - {check: preserved, spec: tiny.yaml, arm: vlora}\n", true);
    let claims = dir.path().join("specs/claims.yaml");
    let text = fs::read_to_string(&claims).unwrap();
    fs::write(&claims, text.replace("task: image-", "task: text-")).unwrap();
    let ran = vlora(dir.path(), &["claims", "specs/claims.yaml"]);
    assert!(ran.code == 2 && ran.err.contains("no margin for the task"), "{}", ran.err);
    let ran = vlora(dir.path(), &["claims", "specs/claims.yaml", "--results", "resluts"]);
    assert!(ran.code == 2 && ran.err.contains("no such folder of results"), "{}", ran.err);
    let ran = vlora(dir.path(), &["claims", "nowhere.yaml"]);
    assert!(
        ran.code == 2 && ran.err.contains("nowhere.yaml: the claims cannot be read"),
        "{}",
        ran.err
    );
}

/// A command that is given a file of the other kind says so, and does not complain of an unknown field.
#[test]
fn specs_and_claims_are_told_apart() {
    let dir = folder("      - {check: preserved, spec: tiny.yaml, arm: vlora}\n", true);
    let refused = |command: &str, file: &str, found: &str, help: &str| {
        let ran = vlora(dir.path(), &[command, file]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{command} {file}");
        let told =
            [format!("{file}: the file is not"), format!("found:    {found}"), help.to_string()];
        for part in told {
            assert!(ran.err.contains(&part), "{part} is missing in {}", ran.err);
        }
    };
    refused("claims", "specs/tiny.yaml", "an experiment spec", "`vlora plan FILE`");
    // A part of either is enough.
    fs::write(dir.path().join("specs/part.yaml"), "seeds: [0]\ndata: {path: a}\n").unwrap();
    refused("claims", "specs/part.yaml", "an experiment spec", "`vlora plan FILE`");
    fs::write(dir.path().join("specs/part.yaml"), "margins: []\n").unwrap();
    refused("plan", "specs/part.yaml", "a file of published claims", "`vlora claims FILE`");
    for command in ["plan", "run", "params"] {
        refused(command, "specs/claims.yaml", "a file of published claims", "`vlora claims FILE`");
    }
    fs::write(dir.path().join("specs/part.yaml"), "").unwrap();
    let ran = vlora(dir.path(), &["claims", "specs/part.yaml"]);
    assert!(ran.code == 2 && ran.err.contains("the file has no claims"), "{}", ran.err);
    // A field that is refused is not suggested.
    fs::write(dir.path().join("specs/mixed.yaml"), "claims: []\ntask: x\n").unwrap();
    let ran = vlora(dir.path(), &["claims", "specs/mixed.yaml"]);
    assert!(ran.err.contains("`task`") && !ran.err.contains("did you mean"), "{}", ran.err);
}

/// One page has the verdicts, every experiment that the file names, and how layers differ.
#[test]
fn all_results_stand_on_one_page() {
    let dir =
        folder("      - {check: preserved, spec: tiny.yaml, arm: vlora, beside: [worse]}\n", true);
    let at = |path: &str| dir.path().join(path);
    let claims = fs::read_to_string(at("specs/claims.yaml")).unwrap();
    let claims =
        claims.replace("claims:\n", "also_shown: [other.yaml, tiny.yaml, none.yaml]\nclaims:\n");
    let claims = claims.replace("It holds.", "It <script>holds</script>.");
    fs::write(at("specs/claims.yaml"), &claims).unwrap();
    let spec = Spec::tiny().set("seeds=[0, 1]");
    for name in ["other", "none"] {
        let own = spec.clone().set(&format!("name={name}"));
        fs::write(at(&format!("specs/{name}.yaml")), own.text()).unwrap();
    }
    leave(&at("results/other"), &spec.clone().set("name=other"), &|_, seed| {
        Outcome::Right(500 + seed as usize)
    });
    read_layers(dir.path(), 1, &[-2.3, -1.5, -0.5], 0.01);
    let spectrum = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/spectrum/shakespeare-dense");
    fs::create_dir_all(at("results/spectrum/dense")).unwrap();
    fs::copy(spectrum.join("spectrum.json"), at("results/spectrum/dense/spectrum.json")).unwrap();

    let ran = vlora(dir.path(), &["claims", "specs/claims.yaml", "--out", "results"]);
    assert!(ran.code == 0 && ran.err.contains("report.html"), "{}", ran.err);
    let page = fs::read_to_string(at("results/report.html")).unwrap();
    let stands = [
        "It &lt;script&gt;holds&lt;/script&gt;.",
        "claim: supported",
        "href=\"#claim-claim\"",
        "none: no results; <code>vlora run specs/none.yaml</code> makes them",
        "<h2 id=\"image-classification\">Image classification</h2>",
        "href=\"tiny/report.html\"",
        "href=\"other/report.html\"",
        "Runs: 18 of 18 finished.",
        "Test accuracy against parameters",
        "What the head would answer after each layer",
        ": spectrum/dense</h3>",
        "<b>Size.</b>",
        "href=\"#of-tiny\"",
        "<b>supported</b>",
    ];
    for part in stands {
        assert!(page.contains(part), "{part} is missing");
    }
    for part in ["<script", "href=\"none/", "training (s)", "another spec"] {
        assert!(!page.contains(part), "{part}");
    }
    // Each experiment stands there once, and every link within the page has its place.
    for name in ["tiny", "other"] {
        assert_eq!(page.matches(&format!("id=\"of-{name}\"")).count(), 1);
    }
    for link in page.split("href=\"#").skip(1) {
        let id = link.split('"').next().unwrap();
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }

    // What cannot be used is named, and hides nothing else.
    fs::write(at("results/spectrum/dense/spectrum.json"), "{}").unwrap();
    fs::write(at("results/other/experiment.json"), "{").unwrap();
    let text = spec.clone().set("name=tiny").text().replace("epochs: 1", "epochs: 7");
    fs::write(at("specs/tiny.yaml"), text).unwrap();
    fs::write(at("specs/claims.yaml"), claims.replace(", beside: [worse]", "")).unwrap();
    let ran = vlora(dir.path(), &["claims", "specs/claims.yaml", "--out", "results"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    for part in ["spectrum/dense/spectrum.json", "specs/other.yaml: its results cannot be used"] {
        assert!(ran.err.contains(part), "{part} is missing in {}", ran.err);
    }
    let page = fs::read_to_string(at("results/report.html")).unwrap();
    for part in
        ["other: its results cannot be used", "the results are of another spec", "id=\"of-tiny\""]
    {
        assert!(page.contains(part), "{part}");
    }
    let ran = vlora(dir.path(), &["claims", "specs/claims.yaml", "--out", "results/tiny"]);
    assert!(ran.code == 2 && ran.err.contains("an experiment's own report"), "{}", ran.err);
    fs::write(at("specs/claims.yaml"), claims.replace("none.yaml", "nowhere.yaml")).unwrap();
    let ran = vlora(dir.path(), &["claims", "specs/claims.yaml"]);
    assert!(ran.code == 2 && ran.err.contains("names it as nowhere.yaml"), "{}", ran.err);
}

/// The claims of the paper are sound, and the page of their verdicts is what the program makes of the
/// committed results.
#[test]
fn the_committed_claims_are_judged_by_the_committed_results() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = tempfile::tempdir().unwrap();
    let out = made.path().to_str().unwrap();
    let ran = vlora(root, &["claims", "--format", "markdown", "--out", out]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for name in ["claims.md", "claims.svg", "report.html"] {
        let stored = fs::read_to_string(root.join("results").join(name)).unwrap();
        let now = fs::read_to_string(made.path().join(name)).unwrap();
        assert!(stored == now, "results/{name} is made by `vlora claims --out results`");
    }
}

//! `tune`: each arm's point is chosen on validation, among as many trials as every other arm has.

use std::fs;
use std::path::Path;

use vlora::results::ExperimentFolder;

use crate::common::evidence::{Outcome, leave};
use crate::common::program::{folder_with, vlora};
use crate::common::spec::{Spec, parsed};

/// Two arms with two learning rates each, two seeds.
fn tuned() -> Spec {
    Spec::tiny()
        .set("sweep={training.learning_rate: [0.001, 0.003]}")
        .set("tune=[training.learning_rate]")
        .set("seeds=[0, 1]")
}

fn error(spec: &Spec) -> String {
    parsed(&spec.text(), &[]).expect_err("the spec is refused").to_string()
}

#[test]
fn trials_are_variants_of_their_arm() {
    let experiment = tuned().set("primary_contrast=vlora").experiment();
    let labels: Vec<(&str, &str)> =
        experiment.variants.iter().map(|v| (v.label.as_str(), v.compared_label())).collect();
    assert_eq!(
        labels,
        [
            ("baseline learning_rate=0.001", "baseline"),
            ("baseline learning_rate=0.003", "baseline"),
            ("vlora learning_rate=0.001", "vlora"),
            ("vlora learning_rate=0.003", "vlora"),
        ]
    );
    // Whatever the trial, the arm has a baseline.
    assert!(experiment.variants[3..].iter().all(|v| experiment.baseline_of(v).is_some()));
    assert_eq!(experiment.primary_contrast.as_deref(), Some("vlora"));
    // A rank that is swept beside is not tuned: an arm for each of its values.
    let ranks = tuned()
        .set("sweep={training.learning_rate: [0.001, 0.003], vlora.rank: [1, 2]}")
        .experiment();
    let compared: Vec<&str> = ranks.variants.iter().map(|v| v.compared_label()).collect();
    assert_eq!(
        compared,
        ["baseline", "baseline", "vlora rank=1", "vlora rank=2", "vlora rank=1", "vlora rank=2"]
    );
}

#[test]
fn every_arm_has_as_many_trials() {
    let two = tuned()
        .set("sweep={training.learning_rate: [0.001, 0.003], vlora.alpha: [1, 8]}")
        .set("tune=[training.learning_rate, vlora.alpha]");
    let told = error(&two);
    for part in ["2 of `baseline`, 4 of `vlora`", "arms.baseline.sweep"] {
        assert!(told.contains(part), "{told}");
    }
    // The dense arm does not use alpha, and tries other learning rates instead.
    let own = "{method: dense, sweep: {training.learning_rate: [0.0003, 0.001, 0.003, 0.01]}}";
    let experiment = two.clone().set(&format!("arms.baseline={own}")).experiment();
    let rates = |arm: &str| -> Vec<f64> {
        let of_arm = experiment.variants.iter().filter(|v| v.arm == arm);
        of_arm.map(|v| v.spec.training.learning_rate).collect()
    };
    // In the order of the common values, then its own.
    assert_eq!(rates("baseline"), [0.001, 0.003, 0.0003, 0.01]);
    assert_eq!(rates("vlora"), [0.001, 0.001, 0.003, 0.003]);
    assert!(experiment.variants.iter().all(|v| v.trial_of.is_some()));
}

#[test]
fn trials_may_all_start_from_one_trained_model() {
    let starts = tuned().set("arms.vlora.start={arm: baseline}");
    let of = |spec: &Spec| -> Vec<(String, Option<String>)> {
        let variants = spec.experiment().variants;
        variants.into_iter().map(|v| (v.label, v.start)).collect()
    };
    let text = |parts: &[(&str, Option<&str>)]| -> Vec<(String, Option<String>)> {
        parts.iter().map(|(a, b)| (a.to_string(), b.map(str::to_string))).collect()
    };
    let (low, high) = ("vlora learning_rate=0.001", "vlora learning_rate=0.003");
    let (base_low, base_high) = ("baseline learning_rate=0.001", "baseline learning_rate=0.003");
    let paired =
        [(base_low, None), (base_high, None), (low, Some(base_low)), (high, Some(base_high))];
    assert_eq!(of(&starts), text(&paired));
    // A rate that the others do not try.
    for rate in ["0.003", "0.01"] {
        let own = format!("{{training.learning_rate: [{rate}]}}");
        let one = starts.clone().set(&format!("arms.baseline.sweep={own}"));
        let base = format!("baseline learning_rate={rate}");
        let all = [(base.as_str(), None), (low, Some(base.as_str())), (high, Some(&base))];
        let mut found = of(&one);
        found.sort_by_key(|(label, _)| label.clone());
        assert_eq!(found, text(&all));
        // As an override, dotted or not.
        for given in ["=", ".training.learning_rate="] {
            let value = if given == "=" { own.clone() } else { format!("[{rate}]") };
            let set = format!("arms.baseline.sweep{given}{value}");
            let experiment = parsed(&starts.text(), &[&set]).unwrap();
            assert_eq!(experiment.variants.len(), 3, "{set}");
            assert!(experiment.variants.iter().any(|v| v.label == base), "{set}");
        }
    }
    // Without others that start from it, one trial is too few.
    let alone = tuned().set("arms.baseline.sweep={training.learning_rate: [0.01]}");
    assert!(error(&alone).contains("1 of `baseline`, 2 of `vlora`"), "{}", error(&alone));
    // Two trials do not say which of them is meant.
    let two = starts.set("arms.baseline.sweep={training.learning_rate: [0.01, 0.02]}");
    assert!(error(&two).contains("has no such trial"), "{}", error(&two));
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    let swept = Spec::tiny().set("sweep={training.learning_rate: [0.001, 0.003]}");
    for (spec, parts) in [
        (
            swept.clone().set("tune=[training.batch_size]"),
            &["only a swept field", "`training.batch_size`"][..],
        ),
        (
            swept.clone().set("tune=[training.learning_rat]"),
            &["did you mean `training.learning_rate`?"],
        ),
        (
            swept.clone().set("tune=[training.learning_rate, training.learning_rate]"),
            &["a field is named twice"],
        ),
        (Spec::tiny().set("tune=[vlora.rank]"), &["only a swept field"]),
        (
            swept.clone().set("arms.vlora.sweep={training.learning_rate: [0.01, 0.02]}"),
            &["only for tuned fields", "`training.learning_rate`"],
        ),
        (
            swept
                .clone()
                .set("tune=[training.learning_rate]")
                .set("arms.vlora.sweep={vlora.rank: [1]}"),
            &["only for tuned fields", "`vlora.rank`"],
        ),
        (
            swept
                .clone()
                .set("tune=[training.learning_rate]")
                .set("primary_contrast=vlora learning_rate=0.001"),
            &["there is no such arm"],
        ),
    ] {
        let told = error(&spec);
        assert!(parts.iter().all(|part| told.contains(part)), "{parts:?} in {told}");
    }
    let blind = tuned().set("data.validation=null").text();
    let ran = vlora(folder_with(&blind).path(), &["plan", "tiny.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("tuning chooses on validation, and there is none"), "{}", ran.err);
}

/// Sets the validation metric of a run's only epoch.
fn set_validation(folder: &ExperimentFolder, id: &str, value: f64) {
    let path = folder.run(id).file("epochs.jsonl");
    let mut epoch: serde_json::Value =
        serde_json::from_str(fs::read_to_string(&path).unwrap().trim()).unwrap();
    epoch["validation_metric"] = value.into();
    fs::write(path, format!("{epoch}\n")).unwrap();
}

/// In a folder of results: the second trial of each arm is better on validation, the first on the test.
fn leave_trials(dir: &Path, last: Outcome) -> ExperimentFolder {
    let last = std::cell::RefCell::new(Some(last));
    let right = [[911, 915], [821, 825], [731, 735], [641, 645]];
    let (folder, record) = leave(dir, &tuned(), &|variant, seed| match (variant, seed) {
        (3, 1) => last.borrow_mut().take().unwrap(),
        _ => Outcome::Right(right[variant][seed as usize]),
    });
    for (i, variant) in record.variants.iter().enumerate() {
        for id in &variant.runs {
            if folder.run(id).file("result.json").exists() {
                set_validation(&folder, id, if i % 2 == 1 { 0.5 } else { 0.25 });
            }
        }
    }
    folder
}

#[test]
fn the_report_compares_the_trials_that_validation_chose() {
    let dir = tempfile::tempdir().unwrap();
    let folder = leave_trials(&dir.path().join("results/tiny"), Outcome::Right(645));
    let ran = vlora(dir.path(), &["report", "results/tiny"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let read = |name: &str| fs::read_to_string(folder.file(name)).unwrap();
    let table = read("table.md");
    for part in [
        "| baseline |",
        "| vlora |",
        "82.3 ± 0.3",
        "64.3 ± 0.3",
        "`training.learning_rate` was chosen for each arm among 2 trials, by the highest mean validation accuracy",
        "a value beyond may be better: `baseline` (`learning_rate: 0.003`), `vlora` (`learning_rate: 0.003`)",
    ] {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
    let trials = read("tuning-trials.csv");
    let lines: Vec<&str> = trials.lines().collect();
    assert_eq!(lines[0], "arm,training.learning_rate,validation,validation_sd,seeds,lost,compared");
    assert_eq!(lines[1], "baseline,0.001,0.25,0.0,2,0,");
    assert_eq!(lines[2], "baseline,0.003,0.5,0.0,2,0,yes");
    assert_eq!(lines.len(), 5);
    // No test result of the others stands anywhere.
    for name in [
        "table.md",
        "table.csv",
        "tables.tex",
        "tuning-trials.csv",
        "comparisons.csv",
        "report.html",
    ] {
        let text = read(name);
        for other in ["91.3", "0.913", "0.911", "73.3", "0.733", "0.731"] {
            assert!(!text.contains(other), "{other} in {name}");
        }
    }
    // The comparison is between the chosen ones.
    let comparisons = read("comparisons.csv");
    let row: Vec<&str> = comparisons.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(row[..3], ["vlora", "exploratory", "2"]);
    assert!((row[3].parse::<f64>().unwrap() + 0.18).abs() < 1e-12);
}

#[test]
fn nothing_is_chosen_before_all_trials_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let folder = leave_trials(&dir.path().join("results/tiny"), Outcome::Unfinished);
    let ran = vlora(dir.path(), &["report", "results/tiny"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let table = fs::read_to_string(folder.file("table.md")).unwrap();
    assert!(
        table.contains("No choice yet, since trials are unfinished or have failed: `vlora`"),
        "{table}"
    );
    assert!(table.contains("82.3 ± 0.3") && !table.contains("64."), "{table}");

    // A trial with a failed run is left out, and the other is compared.
    let folder = leave_trials(&dir.path().join("results/other"), Outcome::Failed("it burned"));
    let ran = vlora(dir.path(), &["report", "results/other"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let table = fs::read_to_string(folder.file("table.md")).unwrap();
    assert!(table.contains("82.3 ± 0.3") && table.contains("73.3 ± 0.3"), "{table}");
}

/// Trials are compared by one validation, on the same examples.
#[test]
fn what_changes_the_validation_is_not_tuned() {
    let spec = |field: &str, values: &str| {
        Spec::tiny().set(&format!("sweep={{{field}: {values}}}")).set(&format!("tune=[{field}]"))
    };
    for (field, values) in [("data.duplicates", "[keep, remove]"), ("data.resize", "[exact, 8]")] {
        let told = error(&spec(field, values));
        assert!(told.contains("tune") && told.contains(field), "{told}");
        assert!(told.contains("the same validation"), "{told}");
    }
    spec("data.augment.horizontal_flip", "[true, false]").experiment();
}

#[test]
fn a_plan_says_how_many_trials_there_are() {
    let dir = folder_with(&tuned().text());
    let ran = vlora(dir.path(), &["plan", "tiny.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let line = "tune     training.learning_rate: 2 trials an arm, chosen on validation";
    assert!(ran.out.contains(line), "{}", ran.out);
    assert!(ran.out.contains("8 runs"), "{}", ran.out);
}

//! Tables and charts as they stand in their files, made of evidence that a test wrote.

use std::fs;
use std::path::Path;

use vlora::report::{Summary, write_report};
use vlora::results::{ExperimentFolder, ExperimentRecord, PrimaryContrast};
use vlora::tasks::evidence;

use crate::common::evidence::{Outcome, leave};
use crate::common::program::{Ran, command, vlora};
use crate::common::results::copy_evidence;
use crate::common::spec::{Spec, TINY};
use crate::common::svg;

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

/// A report on the spec's made-up evidence.
fn report(dir: &Path, spec: &Spec, outcome: &dyn Fn(usize, u64) -> Outcome) -> Summary {
    let (folder, record) = leave(dir, spec, outcome);
    let summary = Summary::of(record, &folder, evidence).unwrap();
    write_report(&summary, &folder).unwrap();
    summary
}

/// Every mark of the chart against the legend's: of each named series there are as many as it has
/// points, each at its value, and nothing is drawn over any of them.
fn check_marks(chart: &str, want: &[(String, Vec<f64>)]) {
    let elements = svg::elements(chart);
    let names: Vec<String> = want.iter().map(|(name, _)| name.clone()).collect();
    let value = svg::y_scale(&elements);
    let legend = svg::legend(&elements, &names);
    for (i, entry) in legend.iter().enumerate() {
        let drawn = svg::drawn(&elements, entry);
        let mut found: Vec<f64> = drawn.iter().map(|((_, y), _)| value(*y)).collect();
        found.sort_by(f64::total_cmp);
        let mut wanted = want[i].1.clone();
        wanted.sort_by(f64::total_cmp);
        assert_eq!(found.len(), wanted.len(), "marks of {}", entry.name);
        // A pixel is less than a tenth of a point on these charts.
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 0.15;
        assert!(found.iter().zip(&wanted).all(near), "{}: {found:?}, not {wanted:?}", entry.name);
        for (at, behind) in &drawn {
            let over = elements[*behind..].iter().find(|e| e.covers(*at));
            assert!(over.is_none(), "{} is painted over by {over:?}", entry.name);
        }
    }
}

/// Arms of several sizes, some of them equal.
fn many_arms(n: usize) -> Spec {
    let arm = |spec: Spec, i: usize| {
        let rank = 1 + i % 16;
        spec.arm(
            &format!("a{i}"),
            &format!("{{method: vlora, vlora: {{rank: {rank}, alpha: {i}}}}}"),
        )
    };
    (1..n).fold(Spec::tiny().without("arms.vlora").set("seeds=[0, 1]"), arm)
}

#[test]
fn each_arm_bears_the_mark_that_the_legend_gives_it() {
    // Of about the same size, so that their marks would hide one another.
    let same_size = Spec::tiny().set("seeds=[0, 1]").set("model.depth=3").set("vlora.compound_size=3").set(
        "sweep={vlora.reference: [base, previous], vlora.detach: [true, false], vlora.init: [authors, lora]}",
    );
    // All variants of the baseline, too.
    let baselines = Spec::tiny()
        .set("seeds=[0, 1]")
        .set("sweep={training.learning_rate: [0.1, 0.01, 0.001, 0.0001, 0.00001, 0.000001]}");
    // 96 looks and six numbers.
    let specs = [Spec::tiny(), same_size, baselines, many_arms(30), many_arms(91)];
    for (spec, arms) in specs.iter().zip([2, 9, 12, 30, 91]) {
        let dir = tempfile::tempdir().unwrap();
        // Not in the order of the arms, and some of them equal.
        let right = |variant: usize, seed: u64| 500 + variant * 37 % 100 + 10 * seed as usize;
        let summary =
            report(dir.path(), spec, &|variant, seed| Outcome::Right(right(variant, seed)));
        assert_eq!(summary.arms.len(), arms);
        let want: Vec<(String, Vec<f64>)> = summary
            .arms
            .iter()
            .take(85)
            .map(|arm| (arm.variant.label.clone(), vec![100.0 * arm.test.unwrap().mean]))
            .collect();
        let chart = read(dir.path(), "metric-vs-parameters.svg");
        check_marks(&chart, &want);
        let numbers: Vec<String> = svg::elements(&chart)
            .into_iter()
            .filter(|e| e.tag == "text" && e.points[0].0 > 80.0)
            .map(|e| e.text)
            .filter(|text| (86..=91).any(|row| *text == row.to_string()))
            .collect();
        assert_eq!(numbers.len(), arms.saturating_sub(85), "{numbers:?}");
        assert_eq!(chart.contains("by their row in"), arms > 85);
    }
}

#[test]
fn learning_curves_bear_the_legends_marks() {
    let dir = tempfile::tempdir().unwrap();
    let spec = many_arms(30).set("training.epochs=3");
    let summary = report(dir.path(), &spec, &|v, _| Outcome::Right(500 + 10 * v));
    let elements = svg::elements(&read(dir.path(), "learning-curves.svg"));
    let names: Vec<String> = summary.arms.iter().map(|a| a.variant.label.clone()).collect();
    for entry in svg::legend(&elements, &names) {
        // Three epochs on two panels.
        assert_eq!(svg::drawn(&elements, &entry).len(), 6, "{}", entry.name);
    }
}

/// With a dense arm that is as large as `vlora`.
fn with_a_matched_arm() -> Spec {
    let matched = "{method: dense, match: {arm: vlora, by: width}}";
    Spec::tiny().set("model.dim=32").arm("narrow", matched)
}

#[test]
fn a_chart_against_a_field_leaves_no_arm_out() {
    let dir = tempfile::tempdir().unwrap();
    let spec = with_a_matched_arm()
        .arm("other", "{method: vlora, vlora: {targets: [attn.qkv]}}")
        .set("sweep={vlora.rank: [0, 1, 4, full], training.learning_rate: [0.001, 0.1]}");
    let summary = report(dir.path(), &spec, &|v, _| Outcome::Right(500 + 10 * v));
    for (file, field) in [
        ("metric-vs-rank.svg", "vlora.rank"),
        ("metric-vs-training.learning_rate.svg", "training.learning_rate"),
    ] {
        let chart = read(dir.path(), file);
        let mut series: std::collections::BTreeMap<String, Vec<f64>> = Default::default();
        for arm in &summary.arms {
            // A dense arm has no rank, and keeps its whole name.
            let at = arm.variant.point.iter().find(|(key, _)| key == field);
            let at = at.map(|(k, v)| format!(" {}={v}", k.rsplit('.').next().unwrap()));
            let name = arm.variant.label.replace(&at.unwrap_or_default(), "");
            series.entry(name).or_default().push(100.0 * arm.test.unwrap().mean);
        }
        check_marks(&chart, &series.into_iter().collect::<Vec<_>>());
        assert!(dir.path().join(file.replace("svg", "png")).exists());
    }
    let ranks = svg::elements(&read(dir.path(), "metric-vs-rank.svg"));
    for label in ["0", "1", "4", "full"] {
        assert!(ranks.iter().any(|e| e.text == label), "{label}");
    }
    // What is no longer swept over loses its chart; other files stay.
    fs::write(dir.path().join("metric-vs-mine.svg"), "mine").unwrap();
    report(dir.path(), &Spec::tiny(), &|_, _| Outcome::Right(500));
    for (file, there) in [
        ("metric-vs-training.learning_rate.svg", false),
        ("metric-vs-training.learning_rate.png", false),
        ("metric-vs-rank.svg", false),
        ("metric-vs-parameters.svg", true),
        ("metric-vs-mine.svg", true),
    ] {
        assert_eq!(dir.path().join(file).exists(), there, "{file}");
    }
}

#[test]
fn arms_without_a_finished_run_are_named() {
    let dir = tempfile::tempdir().unwrap();
    report(dir.path(), &many_arms(4), &|v, _| match v {
        2 => Outcome::Failed("it broke"),
        3 => Outcome::Unfinished,
        _ => Outcome::Right(700),
    });
    for chart in ["metric-vs-parameters.svg", "learning-curves.svg"] {
        let text = read(dir.path(), chart);
        assert!(text.contains("Without a finished run: a2, a3."), "{chart}");
    }
}

/// The rows of table.csv by arm, a value by column.
fn csv(dir: &Path) -> Vec<std::collections::BTreeMap<String, String>> {
    let text = read(dir, "table.csv");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns: Vec<String> = reader.headers().unwrap().iter().map(String::from).collect();
    let row = |record: csv::StringRecord| {
        columns.iter().cloned().zip(record.iter().map(String::from)).collect()
    };
    reader.records().map(|r| row(r.unwrap())).collect()
}

fn notes(dir: &Path) -> String {
    read(dir, "table.md").split_once("\n- ").unwrap().1.to_string()
}

#[test]
fn arms_that_did_not_learn_are_marked() {
    // A tenth of the test examples has each label: 100 of 1,000, and √90 = 9.49 more by chance.
    let outcomes = [
        ("constant", [Outcome::Always(3), Outcome::Always(7)], 2),
        ("chance", [Outcome::Right(109), Outcome::Right(60)], 2),
        ("above", [Outcome::Right(110), Outcome::Right(110)], 0),
        ("one of two", [Outcome::Right(800), Outcome::Always(0)], 1),
        ("good", [Outcome::Right(800), Outcome::Right(790)], 0),
        ("unfinished", [Outcome::Unfinished, Outcome::Failed("x")], 0),
    ];
    let dir = tempfile::tempdir().unwrap();
    report(dir.path(), &many_arms(6), &|variant, seed| match &outcomes[variant].1[seed as usize] {
        Outcome::Right(n) => Outcome::Right(*n),
        Outcome::Always(class) => Outcome::Always(*class),
        Outcome::Failed(reason) => Outcome::Failed(reason),
        Outcome::Unfinished => Outcome::Unfinished,
    });
    let (markdown, rows) = (read(dir.path(), "table.md"), csv(dir.path()));
    let scatter = read(dir.path(), "metric-vs-parameters.svg");
    let curves = read(dir.path(), "learning-curves.svg");
    for (i, (what, _, not_learned)) in outcomes.iter().enumerate() {
        let row = &rows[i];
        let line =
            markdown.lines().find(|l| l.starts_with(&format!("| {} |", row["arm"]))).unwrap();
        assert_eq!(line.contains('†'), *not_learned > 0, "{what}: {line}");
        for chart in [&scatter, &curves] {
            let name = format!("{} †", row["arm"]);
            assert_eq!(chart.contains(&name), *not_learned > 0, "{what}");
        }
        assert_eq!(row["not_learned"], not_learned.to_string(), "{what}");
        let trivial = if *what == "unfinished" { "" } else { "0.1" };
        assert_eq!(row["trivial"], trivial, "{what}");
    }
    let notes = notes(dir.path());
    let want = "† Did not learn: `baseline`, which gives every example the same answer; `a1`; `a3` \
                (seed 1), which gives every example the same answer. Test accuracy is at most what \
                one answer for every example reaches (the most frequent label of the test split: \
                10.0 %), with one standard error of that over 1,000 examples (0.9 points).";
    assert!(notes.contains(want), "{notes}");
}

#[test]
fn validation_stands_beside_test() {
    let dir = tempfile::tempdir().unwrap();
    let spec = many_arms(3).set("training.epochs=2");
    let (folder, record) =
        leave(dir.path(), &spec, &|v, seed| Outcome::Right(600 + 100 * v + 20 * seed as usize));
    // The baseline's second run tested its first epoch, whose validation metric is half.
    let run = folder.run(&record.variants[0].runs[1]);
    let mut result: serde_json::Value = run.read_json("result.json").unwrap();
    result["selected_epoch"] = 1.into();
    run.write_json("result.json", &result).unwrap();
    let summary = Summary::of(record, &folder, evidence).unwrap();
    write_report(&summary, &folder).unwrap();
    let rows = csv(dir.path());
    let number = |row: usize, column: &str| rows[row][column].parse::<f64>().unwrap();
    assert!((number(0, "validation") - (0.6 + 0.31) / 2.0).abs() < 1e-12);
    assert!((number(0, "validation_sd") - 0.29 / 2f64.sqrt()).abs() < 1e-12);
    assert!((number(2, "validation") - 0.81).abs() < 1e-12);
    let markdown = read(dir.path(), "table.md");
    assert!(markdown.contains("| validation accuracy (%) | test accuracy (%) |"), "{markdown}");
    assert!(markdown.contains("| 45.5 ± 20.5 | 61.0 ± 1.4 |"), "{markdown}");
}

#[test]
fn a_partial_table_says_which_means_do_not_compare() {
    let dir = tempfile::tempdir().unwrap();
    let spec = many_arms(4).set("seeds=[0, 1, 2]");
    report(dir.path(), &spec, &|variant, seed| match (variant, seed) {
        (0, 2) | (1, 1) | (2, 0 | 1) => Outcome::Unfinished,
        (3, 2) => Outcome::Failed("x"),
        (0, _) => Outcome::Right(500),
        (_, seed) => Outcome::Right(600 + 100 * seed as usize),
    });
    let rows = csv(dir.path());
    let columns = ["seeds", "seeds_planned", "difference", "difference_seeds"];
    let got: Vec<[String; 4]> = rows.iter().map(|row| columns.map(|c| row[c].clone())).collect();
    let difference = |n: f64| (n / 1000.0 - 0.5).to_string();
    assert_eq!(
        got,
        [
            ["2", "3", "", ""].map(String::from),
            ["2".into(), "3".into(), difference(600.0), "1".into()],
            ["1", "3", "", ""].map(String::from),
            [
                "2".into(),
                "3".into(),
                (((0.6 - 0.5) + (0.7 - 0.5)) / 2.0f64).to_string(),
                "2".into()
            ],
        ]
    );
    let markdown = read(dir.path(), "table.md");
    assert!(markdown.contains("| 2 of 3 | +10.0 (1 seed) |"), "{markdown}");
    let note = "‡ Over fewer seeds than other arms, with whose means these do not compare: `baseline` \
                (seed 0, 1), `a1` (seed 0, 2), `a2` (seed 2), `a3` (seed 0, 1).";
    assert!(markdown.contains(note), "{markdown}");
    assert_eq!(markdown.lines().filter(|l| l.starts_with('|') && l.contains('‡')).count(), 4);

    // All arms over the same seeds compare, few as they are.
    let dir = tempfile::tempdir().unwrap();
    report(dir.path(), &spec, &|_, seed| match seed {
        1 => Outcome::Unfinished,
        _ => Outcome::Right(700),
    });
    let markdown = read(dir.path(), "table.md");
    assert!(markdown.contains("| 2 of 3 |") && !markdown.contains('‡'), "{markdown}");
}

/// A column of the swept field in the table, and the same types in runs.parquet whatever is swept.
#[test]
fn swept_fields_are_columns_of_one_type() {
    use polars::prelude::{DataType, ParquetReader, SerReader};
    let types = |dir: &Path| {
        let file = fs::File::open(dir.join("runs.parquet")).unwrap();
        let frame = ParquetReader::new(file).finish().unwrap();
        let columns = frame.columns().iter();
        columns
            .map(|c| (c.name().to_string(), c.dtype().clone()))
            .collect::<std::collections::BTreeMap<String, DataType>>()
    };
    let sweeps = [
        "{}",
        "{vlora.rank: [1, 2]}",
        "{vlora.rank: [0, full]}",
        "{vlora.alpha: [1, 0.5], training.clip_norm: [1, 2]}",
        "{vlora.targets: [[attn.qkv], [attn.qkv, {target: mlp.fc1, rank: 1}]]}",
        "{training.epochs: [1, 2], vlora.detach: [true, false]}",
    ];
    let swept = |sweep: &str| with_a_matched_arm().set(&format!("sweep={sweep}"));
    let mut all: Vec<std::collections::BTreeMap<String, DataType>> = Vec::new();
    for sweep in sweeps {
        let dir = tempfile::tempdir().unwrap();
        report(dir.path(), &swept(sweep), &|_, _| Outcome::Right(700));
        all.push(types(dir.path()));
    }
    for (found, sweep) in all.iter().zip(sweeps) {
        assert_eq!(found, &all[0], "{sweep}");
    }
    for (column, kind) in [
        ("spec.vlora.rank", DataType::String),
        ("spec.vlora.rank.number", DataType::UInt64),
        ("spec.vlora.targets", DataType::String),
        ("spec.training.clip_norm", DataType::Float64),
        ("validation_metric", DataType::Float64),
        ("test_metric", DataType::Float64),
        ("learned", DataType::Boolean),
    ] {
        assert_eq!(all[0].get(column), Some(&kind), "{column}");
    }

    let dir = tempfile::tempdir().unwrap();
    let spec = swept("{vlora.rank: [4, full], precision: [float32]}");
    report(dir.path(), &spec, &|_, _| Outcome::Right(700));
    let rows = csv(dir.path());
    let cells: Vec<[&str; 3]> = rows
        .iter()
        .map(|row| [&*row["arm"], &*row["spec.vlora.rank"], &*row["spec.vlora.rank.number"]])
        .collect();
    for want in [["vlora rank=4", "4", "4"], ["vlora rank=full", "full", ""]] {
        assert!(
            cells.iter().any(|c| c[0].starts_with(want[0]) && c[1..] == want[1..]),
            "{cells:?}"
        );
    }
    assert_eq!(cells[0][1..], ["", ""], "{cells:?}");
    // A matched arm has no rank of its own; its label says its size.
    assert!(cells.iter().any(|c| c[0].starts_with("narrow") && c[1].is_empty()), "{cells:?}");
    assert!(rows[0].contains_key("spec.precision"));

    let table = Summary::read(&ExperimentFolder::new(dir.path()), evidence).unwrap().table();
    let json: serde_json::Value =
        serde_json::from_str(&table.render(vlora::report::Format::Json)).unwrap();
    let full =
        json.as_array().unwrap().iter().find(|row| row["arm"].as_str().unwrap().contains("full"));
    assert_eq!(full.unwrap()["spec.vlora.rank"], "full");
    assert!(json[0]["spec.vlora.rank"].is_null());
}

/// A line of Markdown without its code spans and escaped characters.
fn without_code(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let fence = rest.len() - rest.trim_start_matches('`').len();
        if c == '\\' {
            rest = rest[1..].strip_prefix(|c: char| c.is_ascii_punctuation()).unwrap_or(&rest[1..]);
        } else if fence > 0 {
            let inside = &rest[fence..];
            let mut runs = inside.match_indices(&rest[..fence]).map(|(at, _)| at);
            let end = runs
                .find(|at| !inside[..*at].ends_with('`') && !inside[at + fence..].starts_with('`'));
            rest = &inside[end.expect("an open code span") + fence..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Every text from outside in every file of a report. Records may come from anywhere, so they hold
/// what no spec may say.
#[test]
fn texts_from_outside_stay_in_their_place() {
    const NASTY: &str =
        "=a|b\n# x $\\input{x}$ <script>alert(1)</script> `c` \x1b[31m \u{202e}&amp;\u{fffe}\"'";
    let dir = tempfile::tempdir().unwrap();
    let (folder, mut record) =
        leave(dir.path(), &many_arms(3), &|variant, seed| match (variant, seed) {
            (1, 1) => Outcome::Failed(NASTY.split('\n').next().unwrap()),
            (2, _) => Outcome::Unfinished,
            _ => Outcome::Right(700),
        });
    record.name = NASTY.into();
    record.description = format!("{NASTY}\n- a list\n\n    code");
    for (i, variant) in record.variants.iter_mut().enumerate() {
        variant.label = format!("{NASTY}{i}");
        variant.point = vec![("data.config".into(), NASTY.into())];
    }
    for id in record.variants.iter().flat_map(|v| &v.runs) {
        let run = folder.run(id);
        if !run.file("result.json").exists() {
            continue;
        }
        let mut provenance: serde_json::Value = run.read_json("provenance.json").unwrap();
        provenance["files"][format!("hub:{NASTY}@x/y")] = "00".into();
        for field in ["program", "device", "processor", "system"] {
            provenance["sessions"][0][field] = NASTY.into();
        }
        run.write_json("provenance.json", &provenance).unwrap();
    }
    folder.write_record(&record).unwrap();
    let files = write_report(&Summary::read(&folder, evidence).unwrap(), &folder).unwrap();

    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    for file in files.iter().filter(|f| !f.ends_with("png") && !f.ends_with("parquet")) {
        let text = read(dir.path(), file);
        assert!(!text.contains(steers), "{file}");
    }
    for file in files.iter().filter(|f| f.ends_with("svg")) {
        let text = read(dir.path(), file);
        assert!(!text.contains("<script") && !text.contains('\u{fffe}'), "{file}");
        assert!(text.contains("&lt;script&gt;") && text.contains("\\x1b[31m"), "{file}");
    }

    let page = read(dir.path(), "report.html");
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));

    let markdown = read(dir.path(), "table.md");
    // Outside of code, which shows every character, no tag begins.
    for line in markdown.lines() {
        let outside = without_code(line);
        assert!(!outside.contains('<') && !outside.contains('`'), "{outside}");
    }
    let headings: Vec<&str> = markdown.lines().filter(|l| l.starts_with('#')).collect();
    assert_eq!(headings.len(), 2, "{headings:?}");
    assert!(markdown.contains("\n\\- a list\n\ncode\n"), "{markdown}");
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let rows: Vec<&str> = markdown.lines().filter(|line| line.starts_with("| ")).collect();
    let (arms, comparisons) = rows.split_at(2 + 3);
    assert_eq!(comparisons.len(), 2 + 2);
    for rows in [arms, comparisons] {
        assert!(rows.iter().all(|row| bars(row) == bars(rows[0])), "{rows:?}");
    }

    // No command but those of a table is in the LaTeX, and every brace is closed.
    let latex = read(dir.path(), "tables.tex");
    assert!(latex.contains("\\textbackslash{}x1b{[}31m") && !latex.contains("<script"), "{latex}");
    let bare = latex.replace("\\{", "").replace("\\}", "");
    assert_eq!(bare.matches('{').count(), bare.matches('}').count());
    assert_eq!(bare.matches('$').count() % 2, 0);
    assert_eq!(latex.matches("\\input").count(), 0);

    let mut reader = csv::Reader::from_path(dir.path().join("table.csv")).unwrap();
    let mut negative = 0;
    for record in reader.records() {
        for cell in &record.unwrap() {
            let formula = cell.starts_with(['=', '+', '-', '@']);
            assert!(!formula || cell.parse::<f64>().is_ok(), "{cell}");
            negative += usize::from(cell.starts_with('-'));
        }
    }
    assert_eq!(negative, 0);
    assert!(read(dir.path(), "table.csv").contains("'=a|b\\n# x"));

    // The terminal's table, a line a row.
    let shown = Summary::read(&folder, evidence).unwrap().table().within(None);
    assert_eq!(shown.lines().count(), 2 + 3, "{shown}");
    assert!(!shown.contains(steers), "{shown}");
}

/// Numbers are numbers in every form, negative ones too.
#[test]
fn negative_differences_stay_numbers() {
    let dir = tempfile::tempdir().unwrap();
    report(dir.path(), &Spec::tiny(), &|variant, _| Outcome::Right(800 - 100 * variant));
    let text = read(dir.path(), "table.csv");
    let difference: f64 = csv(dir.path())[1]["difference"].parse().unwrap();
    assert!((difference + 0.1).abs() < 1e-9, "{text}");
    assert!(!text.contains('\''), "{text}");
}

#[test]
fn a_folder_that_cannot_be_written_to_still_shows_its_table() {
    let dir = tempfile::tempdir().unwrap();
    leave(&dir.path().join("r"), &Spec::tiny(), &|_, _| Outcome::Right(700));
    // In the way of a file, also for a user who may write everywhere.
    fs::create_dir(dir.path().join("r/table.md")).unwrap();
    let ran = vlora(dir.path(), &["report", "r"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.out.contains("baseline") && ran.out.contains("70.0"), "{}", ran.out);
    assert!(!ran.out.contains("Written to"), "{}", ran.out);
    assert!(
        ran.err.contains("r: the table is printed, but its files could not all be written"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("table.md"), "{}", ran.err);
    // For programs the same, and nothing but the table.
    let ran = vlora(dir.path(), &["report", "r", "--format", "csv"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
}

#[test]
fn a_table_is_as_wide_as_the_terminal_at_most() {
    let dir = tempfile::tempdir().unwrap();
    // One arm, of which there are no comparisons.
    let spec = Spec::tiny().without("arms.vlora");
    leave(&dir.path().join("r"), &spec, &|_, _| Outcome::Right(700));
    let table = |columns: Option<&str>| {
        let mut command = command(dir.path());
        command.args(["report", "r"]);
        if let Some(columns) = columns {
            command.env("COLUMNS", columns);
        }
        let ran = Ran::of(command.output().unwrap());
        ran.out
            .lines()
            .take_while(|line| !line.starts_with('·'))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    // Into a pipe in full: a row an arm.
    let wide = table(None);
    assert_eq!(wide.len(), 2 + 1 + 1, "{wide:?}");
    assert!(wide[0].chars().count() > 80, "{wide:?}");
    assert_eq!(table(Some("200")), wide);
    for nonsense in ["0", "", "x"] {
        assert_eq!(table(Some(nonsense)), wide);
    }
    let narrow = table(Some("80"));
    assert!(narrow.iter().all(|line| line.chars().count() <= 80), "{narrow:?}");
    assert_eq!(narrow[0], "baseline");
    let titles = wide[0].split("  ").map(str::trim).filter(|t| !t.is_empty()).skip(1);
    for title in titles {
        assert_eq!(
            narrow.iter().filter(|l| l.trim_start().starts_with(title)).count(),
            1,
            "{title}"
        );
    }
}

/// Tables, charts and pages of committed results are the program's own, byte for byte. Without its runs nothing
/// of an experiment is overwritten.
#[test]
fn committed_results_report_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    for name in ["reading", "exchange-rate", "cifar10-vit-small", "rank-sweep", "sst2-minilm"] {
        let dir = tempfile::tempdir().unwrap();
        copy_evidence(&root.join(name), dir.path());
        let folder = ExperimentFolder::new(dir.path());
        let summary = Summary::read(&folder, evidence).unwrap();
        assert!(summary.arms.iter().all(|arm| arm.not_learned().count() == 0), "{name}");
        let mut written = write_report(&summary, &folder).unwrap();
        for file in &written {
            let (made, stored) = (dir.path().join(file), root.join(name).join(file));
            let same = fs::read(made).unwrap() == fs::read(&stored).unwrap_or_default();
            assert!(same, "{} is not what `vlora report` writes", stored.display());
        }
        // Nothing else is stored beside the evidence.
        written.extend(["experiment.json", "experiment.yaml", "runs"].map(String::from));
        for entry in fs::read_dir(root.join(name)).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            assert!(written.contains(&file), "{name}/{file} is not written by `vlora report`");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::copy(root.join("quickstart/experiment.json"), dir.path().join("experiment.json")).unwrap();
    fs::copy(root.join("quickstart/table.md"), dir.path().join("table.md")).unwrap();
    let before = read(dir.path(), "table.md");
    let ran = vlora(dir.path(), &["report", "."]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("no run has ended yet") && ran.err.contains("vlora run"),
        "{}",
        ran.err
    );
    assert_eq!(read(dir.path(), "table.md"), before);
}

/// Three arms over `seeds` seeds, of which the second is ahead by 20, 21, … examples of 1,000, and the third
/// is behind by one or two examples of them or ahead.
fn compared(seeds: usize) -> Spec {
    let list: Vec<String> = (0..seeds).map(|seed| seed.to_string()).collect();
    many_arms(3).set(&format!("seeds=[{}]", list.join(", ")))
}

fn ahead(variant: usize, seed: u64) -> Outcome {
    let seed = seed as usize;
    Outcome::Right(match variant {
        0 => 500 + 3 * seed,
        1 => 520 + 4 * seed,
        _ => 499 + 3 * seed + 2 * (seed % 2),
    })
}

#[test]
fn comparisons_have_intervals_and_tests() {
    let dir = tempfile::tempdir().unwrap();
    let summary = report(dir.path(), &compared(8), &ahead);
    let [sure, unsure] = summary.comparisons()[..] else { panic!("two comparisons") };
    // Differences of 0.020 to 0.027: mean 0.0235, deviation √6 / 1000, t of seven degrees 2.3646.
    let interval = sure.1.interval.unwrap();
    assert!((sure.1.difference.mean - 0.0235).abs() < 1e-12);
    assert!((interval.high - 0.0235 - 2.364624 * (6f64 / 8.0).sqrt() / 1e3).abs() < 1e-8);
    // All eight of one sign: 2/256, doubled for two comparisons.
    assert_eq!((sure.1.sign_flip, sure.1.adjusted), (Some(2.0 / 256.0), Some(4.0 / 256.0)));
    assert_eq!((unsure.1.sign_flip, unsure.1.is_significant()), (Some(1.0), false));
    // Right answers come first in the order of the examples, so the better run alone has the difference.
    let examples = sure.1.pairs[3].examples.unwrap();
    assert_eq!((examples.arm_only, examples.baseline_only), (23, 0));
    assert!((examples.p / (2.0 * 0.5f64.powi(23)) - 1.0).abs() < 1e-9);

    let markdown = read(dir.path(), "table.md");
    for part in [
        "| **+2.4 (+2.1 to +2.6)** |",
        "## Comparisons with the baseline",
        "| a1 | exploratory | 8 | **+2.4** | +2.1 to +2.6 | 0.008 | 0.016 | \\< 0.001 |",
        "| a2 | exploratory | 8 | +0.0 |",
        "All comparisons are exploratory: the spec names no primary contrast.",
        "Bold: at most 0.05 after adjustment, once all planned seeds have finished.",
    ] {
        assert!(markdown.contains(part), "{part} is missing in\n{markdown}");
    }
    let latex = read(dir.path(), "tables.tex");
    for part in ["\\textbf{+2.4 (+2.1 to +2.6)}", "\\textless{} 0.001 \\\\", "\\label{tab:tiny}"] {
        assert!(latex.contains(part), "{part} is missing in\n{latex}");
    }
    for line in ["\\begin", "\\end"] {
        // Two floats, each with a tabular and a minipage.
        assert_eq!(latex.matches(line).count(), 6);
    }
    let lines = |name: &str| read(dir.path(), name).lines().count();
    assert_eq!((lines("comparisons.csv"), lines("pairs.csv")), (3, 17));
    assert!(read(dir.path(), "pairs.csv").contains("\na1,3,0.02300000000000002,23,0,"));

    // One arm alone has no comparison, and the files of those before go.
    report(dir.path(), &Spec::tiny().without("arms.vlora"), &ahead);
    let there = ["comparisons.csv", "pairs.csv", "table.csv"].map(|f| dir.path().join(f).exists());
    assert_eq!(there, [false, false, true]);
}

#[test]
fn too_few_seeds_are_not_tested() {
    for (seeds, least, needed) in [(2, "0.50", 7), (5, "0.062", 7), (6, "0.031", 7)] {
        let dir = tempfile::tempdir().unwrap();
        report(dir.path(), &compared(seeds), &ahead);
        let markdown = read(dir.path(), "table.md");
        let row = markdown.lines().rfind(|line| line.starts_with("| a1 |")).unwrap();
        assert!(row.contains("| too few seeds | too few seeds |"), "{row}");
        assert!(!markdown.contains("**"), "{markdown}");
        let note =
            format!("The smallest p-value of the sign-flip test with {seeds} seeds is {least}");
        assert!(markdown.contains(&note), "{note} is missing in\n{markdown}");
        assert!(markdown.contains(&format!("for which it takes {needed} at least")), "{markdown}");
    }
}

#[test]
fn a_primary_contrast_is_tested_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, mut record) = leave(dir.path(), &compared(6), &ahead);
    let named = |finished_before| {
        Some(PrimaryContrast {
            label: "a1".into(),
            runs: Vec::new(),
            spec_sha256: "0123456789abcdef".into(),
            finished_before,
        })
    };
    record.primary_contrast = named(0);
    let summary = Summary::of(record.clone(), &folder, evidence).unwrap();
    let [primary, other] = summary.comparisons()[..] else { panic!("two comparisons") };
    assert_eq!((primary.1.is_primary, primary.1.family), (true, 1));
    assert_eq!(primary.1.adjusted, Some(2.0 / 64.0));
    assert!(primary.1.is_significant() && !other.1.is_significant());
    let markdown = summary.markdown();
    assert!(markdown.contains("| a1 | primary | 6 | **"), "{markdown}");
    assert!(markdown.contains("(the primary contrast: by its own p-value)"), "{markdown}");
    let note = "The primary contrast is `a1` against the baseline, named before any run had finished \
                (spec 0123456789ab…)";
    assert!(markdown.contains(note), "{markdown}");

    // Named when results were there.
    record.primary_contrast = named(3);
    let summary = Summary::of(record, &folder, evidence).unwrap();
    assert!(summary.comparisons().iter().all(|(_, c)| !c.is_primary && c.family == 2));
    let note = "`a1` was named as primary contrast, over these seeds, after 3 of the experiment's runs had finished";
    assert!(summary.markdown().contains(note), "{}", summary.markdown());
}

/// The adjustment is for the comparisons that are planned, whatever of them has finished.
#[test]
fn unfinished_comparisons_count_in_the_adjustment() {
    let dir = tempfile::tempdir().unwrap();
    let spec = many_arms(4).set("seeds=[0, 1, 2, 3, 4, 5, 6]");
    let summary = report(dir.path(), &spec, &|variant, seed| match variant {
        0 | 1 => ahead(variant, seed),
        2 => Outcome::Failed("it broke"),
        _ => Outcome::Unfinished,
    });
    let [only] = summary.comparisons()[..] else { panic!("one comparison") };
    assert_eq!((only.1.family, only.1.adjusted), (3, Some(3.0 * 2.0 / 128.0)));
    let markdown = read(dir.path(), "table.md");
    for arm in ["a2", "a3"] {
        let row = format!("| {arm} | exploratory | 0 of 7 | — |");
        assert!(markdown.contains(&row), "{row} is missing in\n{markdown}");
    }

    // What is significant with some of the planned seeds is not called so yet.
    let dir = tempfile::tempdir().unwrap();
    let summary = report(dir.path(), &compared(9), &|variant, seed| match seed {
        8 if variant == 1 => Outcome::Unfinished,
        _ => ahead(variant, seed),
    });
    let [most, _] = summary.comparisons()[..] else { panic!("two comparisons") };
    assert_eq!((most.1.adjusted, most.1.is_significant()), (Some(4.0 / 256.0), false));
    let markdown = read(dir.path(), "table.md");
    assert!(markdown.contains("| a1 | exploratory | 8 of 9 | +2.4 |"), "{markdown}");
}

#[test]
fn a_difference_that_rounds_to_zero_has_no_minus() {
    let dir = tempfile::tempdir().unwrap();
    report(dir.path(), &compared(2), &|_, _| Outcome::Right(700));
    let markdown = read(dir.path(), "table.md");
    assert!(markdown.contains("| +0.0 |") && !markdown.contains("−0.0"), "{markdown}");
}

/// By the real program: the record keeps when the contrast was named.
#[test]
fn a_primary_contrast_is_kept_as_it_was_named_first() {
    let run = |dir: &Path, more: &str| {
        let text = format!("{}{more}", TINY.replace("seeds: [0]", "seeds: [0, 1]"));
        fs::write(dir.join("tiny.yaml"), text).unwrap();
        let ran = vlora(dir, &["run", "tiny.yaml", "-q", "--device", "cpu"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let record: ExperimentRecord =
            ExperimentFolder::new(dir.join("results/tiny")).read_record().unwrap();
        record.primary_contrast
    };
    let dir = tempfile::tempdir().unwrap();
    let first = run(dir.path(), "primary_contrast: vlora\n").unwrap();
    assert_eq!((first.label.as_str(), first.finished_before), ("vlora", 0));
    // Another text of the spec with the same contrast.
    assert_eq!(run(dir.path(), "primary_contrast: vlora # as before\n"), Some(first));
    // Taken away and named again, with results at hand.
    assert_eq!(run(dir.path(), ""), None);
    let again = run(dir.path(), "primary_contrast: vlora\n").unwrap();
    assert_eq!((again.label.as_str(), again.finished_before), ("vlora", 4));

    // The same label over other runs is another contrast: with more seeds, or with other settings.
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), "primary_contrast: vlora\n").unwrap();
    let text = fs::read_to_string(dir.path().join("tiny.yaml")).unwrap();
    for (from, to) in [("seeds: [0, 1]", "seeds: [0, 1, 2]"), ("epochs: 1", "epochs: 2")] {
        fs::write(dir.path().join("tiny.yaml"), text.replace(from, to)).unwrap();
        let ran = vlora(dir.path(), &["run", "tiny.yaml", "-q", "--device", "cpu"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let folder = ExperimentFolder::new(dir.path().join("results/tiny"));
        let named = folder.read_record().unwrap().primary_contrast.unwrap();
        assert!(named.finished_before >= 4, "{to}: {named:?}");
    }
}

/// What all arms share is said once, and the rest by as few notes as name it.
#[test]
fn notes_say_once_what_arms_share() {
    let notes = |spec: &Spec| {
        let dir = tempfile::tempdir().unwrap();
        let summary = report(dir.path(), spec, &|_, _| Outcome::Right(700));
        summary
            .notes()
            .into_iter()
            .filter(|note| note.starts_with("VLoRA") || note.starts_with("Model"))
            .collect::<Vec<_>>()
    };
    let swept = Spec::tiny().set("model.depth=3").set("vlora.compound_size=3").set(
        "sweep={vlora.reference: [base, previous], vlora.detach: [true, false], vlora.init: [authors, lora]}",
    );
    let got = notes(&swept);
    assert_eq!(
        got[..7],
        [
            "VLoRA: compounds of 3 layers; targets attn.qkv, attn.proj, mlp.fc1, mlp.fc2; alpha 1; A and B \
             decay as other matrices do (ours: the authors publish no training).",
            "VLoRA: arms with `vlora.reference: base`: increments add to the compound's first layer \
             (`reference: base`, the authors' code).",
            "VLoRA: arms with `vlora.reference: previous`: increments add to the layer before \
             (`reference: previous`, the paper's text).",
            "VLoRA: arms with `vlora.detach: true`: the gradient stops there (`detach: true`, the authors' \
             code).",
            "VLoRA: arms with `vlora.detach: false`: the gradient flows through it (`detach: false`).",
            "VLoRA: arms with `vlora.init: authors`: A and B start Kaiming-uniform (`init: authors`).",
            "VLoRA: arms with `vlora.init: lora`: B starts at zero (`init: lora`).",
        ]
    );
    assert_eq!(got.len(), 8);
    assert!(
        got[7].starts_with("Model and training: ViT of width 16, depth 3, 2 heads"),
        "{}",
        got[7]
    );
    // Two questions that are answered alike by the same arms take one note each for them.
    let two = Spec::tiny()
        .arm("slow", "{method: dense, training: {learning_rate: 0.5, weight_decay: 0}}");
    let got = notes(&two);
    assert_eq!(got.len(), 4, "{got:?}");
    assert_eq!(
        got[2],
        "Model and training: `baseline`, `vlora`: peak learning rate 0.003; weight decay 0.05."
    );
    assert_eq!(got[3], "Model and training: `slow`: peak learning rate 0.5; weight decay 0.");
}

/// The differences of the table, sorted, each with its arm's mark and its interval.
#[test]
fn effects_are_sorted_and_bear_the_arms_marks() {
    let dir = tempfile::tempdir().unwrap();
    let spec = many_arms(9).set("seeds=[0, 1, 2]");
    let right = |variant: usize, seed: u64| 600 + variant * 37 % 100 + 3 * seed as usize * variant;
    let summary = report(dir.path(), &spec, &|v, seed| Outcome::Right(right(v, seed)));
    let chart = read(dir.path(), "effects.svg");
    let elements = svg::elements(&chart);
    // The arms by name, from the top.
    let is_arm =
        |e: &&svg::Element| e.tag == "text" && e.text.starts_with('a') && e.text.len() == 2;
    let mut names: Vec<(f64, String)> =
        elements.iter().filter(is_arm).map(|e| (e.points[0].1, e.text.clone())).collect();
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut want: Vec<(f64, String)> = summary
        .comparisons()
        .into_iter()
        .map(|(arm, c)| (-c.difference.mean, arm.variant.label.clone()))
        .collect();
    want.sort_by(|a, b| a.0.total_cmp(&b.0));
    let labels =
        |all: &[(f64, String)]| all.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>();
    assert_eq!(labels(&names), labels(&want));
    for (_, c) in summary.comparisons() {
        let (low, high) = (c.interval.unwrap().low, c.interval.unwrap().high);
        let sign = |v: f64| format!("{}{:.1}", if v >= 0.0 { "+" } else { "−" }, 100.0 * v.abs());
        let text = format!("{} ({} to {})", sign(c.difference.mean), sign(low), sign(high));
        assert!(elements.iter().any(|e| e.text == text), "{text}");
    }
    // A small circle for each seed, beside the marks.
    let circles = |e: &&svg::Element| {
        e.tag == "circle" && e.fill == "none" && (e.points[2].0 - e.points[1].0 - 6.0).abs() < 0.1
    };
    assert_eq!(elements.iter().filter(circles).count(), 8 * 3);
}

/// The page has everything in it, and asks for nothing outside.
#[test]
fn the_page_is_whole_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let spec = many_arms(4).set("seeds=[0, 1]").set("training.epochs=3");
    let summary = report(dir.path(), &spec, &|variant, seed| match (variant, seed) {
        (2, 1) => Outcome::Failed("it broke <b>here</b>"),
        (3, _) => Outcome::Unfinished,
        _ => Outcome::Right(700 + variant),
    });
    let page = read(dir.path(), "report.html");
    for part in
        ["<!DOCTYPE html>", "Comparisons with the baseline", "it broke &lt;b&gt;here", "5 of 8"]
    {
        assert!(page.contains(part), "{part} is missing");
    }
    for run in summary.runs() {
        assert!(page.contains(&run.id), "run {} is missing", run.id);
    }
    let svgs = fs::read_dir(dir.path()).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "svg")
    });
    assert_eq!(page.matches("<figure>").count(), svgs.count());
    for outside in ["http:", "https:", "<script", "src=", "@import", "url(", "<b>here"] {
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(outside), "{outside}");
    }
}

//! What sound specs come to: ids that stay, swept values that fill required fields, sections that
//! an arm does not read.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use vlora::spec::SpecIdentity;
use vlora::{models, spec};

use crate::common::spec::{Spec, parsed};

/// The committed specs, sorted by path.
fn committed(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => committed(&path, found),
            // Claims are no spec.
            false if path.ends_with("claims.yaml") => {}
            false if path.extension().is_some_and(|e| e == "yaml") => found.push(path),
            false => {}
        }
    }
}

/// A new field or another way of reading a spec changes no older run's id. The data's hash and
/// the hash of what a run starts from are stand-ins.
#[test]
fn ids_of_the_committed_specs_stay() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut paths = Vec::new();
    committed(&root, &mut paths);
    let mut all = String::new();
    for path in paths {
        let experiment = spec::load(&path, &[], &models::parameters).unwrap();
        writeln!(all, "{}", path.strip_prefix(&root).unwrap().display()).unwrap();
        for variant in &experiment.variants {
            let started = variant.spec.start.is_some();
            let start = started.then(|| variant.start.clone().unwrap_or_default());
            let id = SpecIdentity::of(&variant.spec).run_id(
                experiment.seeds[0],
                "data",
                start.as_deref(),
            );
            writeln!(all, "  {id} {}", variant.label).unwrap();
        }
    }
    insta::assert_snapshot!(all);
}

/// What every case below changes. Neither rank nor compound size of the increments is given.
const BARE: &str = "\
task: image-classification
data: {embedded: fashion-mnist-mini}
model: {architecture: vit, image_size: 28, patch_size: 7, channels: 1, classes: 10, dim: 64, depth: 4, heads: 4}
training: {epochs: 3}
seeds: [0, 1]
";

fn without_a_width() -> String {
    Spec::of(BARE).without("model.dim").text()
}

fn parse_with(text: &str, set: &[&str]) -> Result<spec::Experiment, spec::SpecError> {
    let set: Vec<String> = set.iter().map(|argument| argument.to_string()).collect();
    spec::parse(text.as_bytes(), "my.yaml", "my", &set, &models::parameters)
}

fn labels(experiment: &spec::Experiment) -> Vec<&str> {
    experiment.variants.iter().map(|v| v.label.as_str()).collect()
}

/// Swept values, `--set` and arms fill required fields of any section, and an arm that does not
/// read a section does not need it.
#[test]
fn swept_values_fill_required_fields() {
    let both = "arms: {baseline: {}, vlora: {method: vlora}}\n";
    let cases: &[(&str, &str, &[&str], &[&str])] = &[
        (
            "a rank",
            "vlora: {compound_size: 4}\nsweep: {vlora.rank: [1, full]}\n",
            &[],
            &["baseline", "vlora rank=1", "vlora rank=full"],
        ),
        (
            "both required fields, without a section",
            "sweep: {vlora.compound_size: [2, 4], vlora.rank: [1]}\n",
            &[],
            &["baseline", "vlora compound_size=2 rank=1", "vlora compound_size=4 rank=1"],
        ),
        (
            "a swept compound size, the rank set",
            "sweep: {vlora.compound_size: [2]}\n",
            &["vlora.rank=3"],
            &["baseline", "vlora compound_size=2"],
        ),
        (
            "a sweep that is set",
            "vlora: {compound_size: 4}\n",
            &["sweep.vlora.rank=[1, 2]"],
            &["baseline", "vlora rank=1", "vlora rank=2"],
        ),
        (
            "a rank that is set",
            "vlora: {compound_size: 4}\n",
            &["vlora.rank=2"],
            &["baseline", "vlora"],
        ),
        (
            "a rank that is set in the arm",
            "vlora: {compound_size: 4}\n",
            &["arms.vlora.vlora.rank=2"],
            &["baseline", "vlora"],
        ),
        (
            "a field of a section that every arm reads",
            "vlora: {compound_size: 4, rank: 2}\nsweep: {model.dim: [32, 64]}\n",
            &["model={architecture: vit}"],
            &["baseline dim=32", "baseline dim=64", "vlora dim=32", "vlora dim=64"],
        ),
        (
            "the method, and with it who reads the increments",
            "vlora: {compound_size: 4, rank: 2}\nsweep: {method: [dense, vlora]}\n",
            &["arms={baseline: {}}"],
            &["baseline method=dense", "baseline method=vlora"],
        ),
    ];
    for (name, text, set, want) in cases {
        let arms = if set.iter().any(|s| s.starts_with("arms=")) { "" } else { both };
        let bare = match *name {
            "a field of a section that every arm reads" => without_a_width(),
            _ => BARE.to_string(),
        };
        match parse_with(&format!("{bare}{text}{arms}"), set) {
            Ok(experiment) => assert_eq!(labels(&experiment), *want, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

/// The same where arms override, start from each other, are matched, and have LoRA on top.
#[test]
fn arms_need_only_what_they_read() {
    let text = format!(
        "{BARE}vlora: {{compound_size: 4}}
lora: {{alpha: 16}}
arms:
  baseline: {{lora: null}}
  vlora: {{method: vlora, lora: null}}
  fixed: {{method: vlora, vlora: {{alpha: 2}}, lora: null}}
  narrow: {{match: {{arm: vlora, by: width}}, lora: null}}
  tuned: {{method: vlora, start: {{arm: vlora}}, lora: {{alpha: 8}}}}
sweep:
  vlora.rank: [2, 4]
  lora.rank: [1]
"
    );
    let experiment = parse_with(&text, &[]).unwrap();
    let got = labels(&experiment);
    assert_eq!(got.iter().filter(|label| label.starts_with("baseline")).count(), 1, "{got:?}");
    assert_eq!(got.iter().filter(|label| label.starts_with("tuned")).count(), 2, "{got:?}");
    let narrow: Vec<_> = experiment.variants.iter().filter(|v| v.arm == "narrow").collect();
    assert!(!narrow.is_empty() && narrow.iter().all(|v| v.spec.vlora.is_none()));
    let tuned = experiment.variants.iter().find(|v| v.arm == "tuned").unwrap();
    assert_eq!(tuned.start.as_deref(), Some("vlora vlora.rank=2"));
    assert_eq!(tuned.spec.lora.as_ref().map(|lora| (lora.rank, lora.alpha)), Some((1, 8.0)));
    // The baseline is compared at each point, though it has one variant.
    for variant in experiment.variants.iter().filter(|v| v.arm != "baseline") {
        assert_eq!(experiment.baseline_of(variant).unwrap().label, "baseline");
    }
}

/// Filled by the sweep or written out, a run is the same.
#[test]
fn a_swept_required_field_changes_no_id() {
    let arms = "arms: {baseline: {}, vlora: {method: vlora}}\nsweep: {vlora.rank: [1, 2]}\n";
    let ids = |vlora: &str| -> Vec<String> {
        let experiment = parse_with(&format!("{BARE}vlora: {vlora}\n{arms}"), &[]).unwrap();
        experiment
            .variants
            .iter()
            .map(|v| SpecIdentity::of(&v.spec).run_id(0, "data", None))
            .collect()
    };
    assert_eq!(ids("{compound_size: 4}"), ids("{compound_size: 4, rank: 8}"));
}

/// Values of a swept field that give the same run are one variant.
#[test]
fn equal_runs_are_one_variant() {
    let variants = |sweep: &str| {
        let text = format!("{BARE}arms: {{baseline: {{}}}}\nsweep: {sweep}\n");
        parse_with(&text, &[]).map(|experiment| experiment.variants.len())
    };
    // A kind of interpolation is used where images are resized.
    let error = variants("{data.interpolation: [bilinear, bicubic]}").unwrap_err().to_string();
    assert!(error.contains("the sweep changes no arm"), "{error}");
    assert!(error.contains("help:     no image is resized"), "{error}");
    for (sweep, want) in [
        ("{data.interpolation: [bilinear, bicubic], data.resize: [null, exact]}", 3),
        ("{data.duplicates: [keep, remove]}", 2),
        ("{training.schedule: [cosine, linear, constant]}", 3),
    ] {
        assert_eq!(variants(sweep).map_err(|e| e.to_string()), Ok(want), "{sweep}");
    }
}

/// A constant rate is called so, and has the ids of the cosine that it was written as before.
#[test]
fn a_constant_rate_is_a_cosine_that_ends_at_the_peak() {
    let of = |set: &[&str]| {
        let text = format!("{BARE}arms: {{baseline: {{}}}}\n");
        let spec = parse_with(&text, set).unwrap().variants.remove(0).spec;
        let schedule = spec::flatten(&spec)["training.schedule"].clone();
        (schedule, SpecIdentity::of(&spec).run_id(0, "data", None))
    };
    let (schedule, id) = of(&["training.schedule=constant"]);
    assert_eq!(schedule, r#""constant""#);
    assert_eq!(id, of(&["training.min_learning_rate_ratio=1"]).1);
    assert_ne!(id, of(&[]).1);
}

/// What an arm does not read is still checked, as far as it is given, and no arm is blamed for what
/// stands in the common part.
#[test]
fn a_section_that_is_not_read_is_checked() {
    for (section, told) in [
        ("{compound_siez: 4}", "unknown field"),
        ("{rank: wide}", "wrong type"),
        ("{targets: [{rank: 2}]}", "the field `target` is missing"),
        ("3", "wrong type"),
    ] {
        let text = format!("{BARE}vlora: {section}\narms: {{baseline: {{}}}}\n");
        let error = parse_with(&text, &[]).unwrap_err().to_string();
        assert!(error.contains(told), "{section}: {error}");
        assert!(!error.contains("where:"), "{section}: {error}");
    }
    let own = format!("{BARE}arms: {{baseline: {{vlora: {{rank: wide}}}}}}\n");
    let error = parse_with(&own, &[]).unwrap_err().to_string();
    assert!(error.contains("where:    arm baseline"), "{error}");
    assert!(
        parse_with(&format!("{BARE}vlora: {{rank: 3}}\narms: {{baseline: {{}}}}\n"), &[]).is_ok()
    );
}

/// Where a required field is really missing, the message names it and the arm that needs it.
#[test]
fn a_missing_field_names_the_arm_that_needs_it() {
    let arms =
        "arms: {baseline: {}, one: {method: vlora, vlora: {rank: 2}}, two: {method: vlora}}\n";
    let tuned = "arms: {baseline: {}, tuned: {start: {arm: baseline}, lora: {alpha: 4}}}\n";
    let own = "arms: {baseline: {model: {dim: 64}}, other: {}}\n";
    for (name, text, field, arm) in [
        ("rank", format!("vlora: {{compound_size: 4}}\n{arms}"), "vlora.rank", "arm two"),
        ("no section", "arms: {baseline: {}, two: {method: vlora}}\n".into(), "`vlora`", "arm two"),
        (
            "the other one",
            "arms: {baseline: {}, two: {method: vlora}}\nsweep: {vlora.rank: [1]}\n".into(),
            "vlora.compound_size",
            "arm two",
        ),
        ("LoRA's rank", tuned.into(), "lora.rank", "arm tuned"),
        ("of a section that all read", own.into(), "model.dim", "arm other"),
    ] {
        let bare = if field == "model.dim" { without_a_width() } else { BARE.into() };
        let error = parse_with(&format!("{bare}{text}"), &[]).unwrap_err().to_string();
        assert!(error.contains("missing") && error.contains(field), "{name}: {error}");
        assert!(error.contains(&format!("where:    {arm}")), "{name}: {error}");
        assert!(!error.contains("arm baseline"), "{name}: {error}");
    }
}

/// Name written, where, and the field that is meant.
const MEANT: &[(&str, &str, &str)] = &[
    ("", "rank", "vlora.rank"),
    ("", "lr", "training.learning_rate"),
    ("training", "lr", "training.learning_rate"),
    ("model", "lr", "training.learning_rate"),
    ("", "epochs", "training.epochs"),
    ("", "epocs", "training.epochs"),
    ("training", "num_train_epochs", "training.epochs"),
    ("training", "wd", "training.weight_decay"),
    ("", "weight_decay", "training.weight_decay"),
    ("", "weightDecay", "training.weight_decay"),
    ("training", "bs", "training.batch_size"),
    ("", "batch-size", "training.batch_size"),
    ("training", "warmup", "training.warmup_ratio"),
    ("training", "num_warmup_steps", "training.warmup_steps"),
    ("training", "lr_scheduler", "training.schedule"),
    ("training", "max_grad_norm", "training.clip_norm"),
    ("training", "eps", "training.epsilon"),
    ("model", "eps", "model.norm_eps"),
    ("model", "hidden_size", "model.dim"),
    ("", "d_model", "model.dim"),
    ("model", "num_layers", "model.depth"),
    ("", "num_hidden_layers", "model.depth"),
    ("model", "num_heads", "model.heads"),
    ("model", "img_size", "model.image_size"),
    ("model", "num_classes", "model.classes"),
    ("data", "num_classes", "model.classes"),
    ("model", "in_chans", "model.channels"),
    ("vlora", "r", "vlora.rank"),
    ("lora", "r", "lora.rank"),
    ("vlora", "lora_alpha", "lora.alpha"),
    ("", "lora_alpha", "lora.alpha"),
    ("", "compound_size", "vlora.compound_size"),
    ("vlora", "target_modules", "vlora.targets"),
    ("lora", "target_modules", "lora.targets"),
    ("", "horizontal_flip", "data.augment.horizontal_flip"),
    ("data", "hflip", "data.augment.horizontal_flip"),
    ("data", "val", "data.validation"),
    ("data", "val_fraction", "data.validation.fraction"),
    ("data", "data_dir", "data.path"),
    ("", "pretrained", "start.checkpoint"),
    ("", "fp16", "precision"),
    ("optimizer", "lr", "training.learning_rate"),
    ("train", "epochs", "training.epochs"),
    ("trainig", "lr", "training.learning_rate"),
];

/// Every name × the spec's common part, an arm, the sweep, `--set` of each of these.
#[test]
fn an_unknown_field_leads_to_the_field_that_is_meant() {
    let arms = "arms:\n  baseline: {}\n  vlora: {method: vlora}\n";
    let sound = format!("{BARE}vlora: {{compound_size: 4, rank: 2}}\n{arms}");
    parse_with(&sound, &[]).unwrap();
    for (section, name, field) in MEANT {
        let path = if section.is_empty() { name.to_string() } else { format!("{section}.{name}") };
        let nested = match section.is_empty() {
            true => format!("{name}: 3"),
            false => format!("{section}: {{{name}: 3}}"),
        };
        // In the file the section may be there already, or be none.
        let common = match *section {
            "" => format!("{sound}{nested}\n"),
            _ if sound.contains(&format!("{section}: {{")) => {
                sound.replace(&format!("{section}: {{"), &format!("{section}: {{{name}: 3, "))
            }
            _ => format!("{sound}{nested}\n"),
        };
        // `vlora:` is an arm, too.
        let common = common.replace("vlora: {r: 3, method", "vlora: {method");
        let arm = sound.replace("{method: vlora}", &format!("{{method: vlora, {nested}}}"));
        let swept = format!("{sound}sweep: {{{path}: [3, 4]}}\n");
        let set = |key: &str| format!("{key}{path}=3");
        let last = field.rsplit('.').next().unwrap();
        let unread = ["optimizer", "train", "trainig"].contains(section);
        let cases = [
            ("file", common, None, if unread { "" } else { last }),
            ("arm", arm, None, if unread { "" } else { last }),
            ("sweep", swept, None, *field),
            ("--set", sound.clone(), Some(set("")), *field),
            ("--set of an arm", sound.clone(), Some(set("arms.vlora.")), *field),
            ("--set of the sweep", sound.clone(), Some(format!("sweep.{path}=[3]")), *field),
        ];
        for (place, text, set, want) in cases {
            let set: Vec<&str> = set.as_deref().into_iter().collect();
            let error = parse_with(&text, &set).unwrap_err().to_string();
            let help = error.split("help:").nth(1).unwrap_or_default();
            assert!(error.contains("unknown field"), "{path} in {place}: {error}");
            assert!(help.contains(want) && !help.is_empty(), "{path} in {place}: {error}");
            if place == "--set" {
                assert!(help.contains(&format!("`--set {field}=3`")), "{path}: {error}");
            }
            if place == "--set of an arm" {
                assert!(help.contains(&format!("--set arms.vlora.{field}=3")), "{path}: {error}");
            }
        }
    }
}

/// Fields of the experiment, of the program and of nothing, and values of other programs.
#[test]
fn other_mistakes_lead_to_what_is_meant() {
    let arms = "arms: {baseline: {}, vlora: {method: vlora, vlora: {compound_size: 4, rank: 2}}}\n";
    let text = format!("{BARE}{arms}");
    let cases: &[(&str, &[&str], &str)] = &[
        ("", &["seed=3"], "`--set seeds=[3]`"),
        ("seed: 3\n", &[], "`seeds`"),
        ("optimizer: adamw\n", &[], "AdamW is the one optimiser"),
        ("device: cuda\n", &[], "--device cuda"),
        ("output_dir: out\n", &[], "--out FOLDER"),
        (
            "training.lr: 3\n",
            &[],
            "`training.learning_rate`, that is `training: {learning_rate: …}`",
        ),
        ("sweep: {vlora: {rank: [1, 2]}}\n", &[], "`vlora.rank: […]`"),
        ("sweep: {vlora.rank: 4}\n", &[], "`[4]`"),
        ("sweep: {seed: [1]}\n", &[], "under `seeds`"),
        ("sweep: {data.augment: [{crop_padding: 1}]}\n", &[], "`data.augment.crop_padding: [1]`"),
        ("sweep: {lora.rank: [1]}\n", &[], "`lora: {}`"),
        ("", &["seeds=3"], "`seeds: [0, 1, 2]` are 3, `seeds: [3]` is the one seed 3"),
        ("", &["seeds=0,1"], "[0,1]"),
        ("", &["method=lora"], "the section `lora`"),
        ("", &["arms.vlora.method=lora"], "the section `lora`"),
        ("sweep: {method: [dense, lora]}\n", &[], "the section `lora`"),
        ("", &["model.pool=cls"], "`class-token`"),
        ("", &["arms.vlora.vlora.reference=prev"], "`previous`"),
        ("", &["precision=fp32"], "`float32`"),
        ("", &["precision=fp16"], "`bf16`"),
        ("", &["arms.vlora.vlora.targets=[qkv]"], "`attn.qkv`"),
        ("", &["arms.vlora.vlora.targets=[{target: fc1}]"], "`mlp.fc1`"),
        ("", &["arms.vlora.vlora.targets=[{target: mlp.fc1, r: 3}]"], "did you mean `rank`?"),
        ("", &["vlora.targets[0]=mlp.fc1"], "targets"),
        ("", &["model=vit"], "`model: {architecture: vit}`"),
        ("", &["model=vit"], "of architecture, image_size"),
        ("", &["arms.vlora.start=baseline"], "`start: {arm: baseline}`"),
        ("", &["arms.vlora.vlora=4"], "`vlora: {rank: 4}`"),
        ("", &["training=3"], "`training: {epochs: 3}`"),
        ("", &["data=mnist"], "`data: {embedded: mnist}`"),
        ("", &["arms.vlora={seeds: [1]}"], "seeds"),
        ("", &["training={lr: 3}"], "did you mean `learning_rate`?"),
        ("", &["dataset=uoft-cs/cifar10"], "`--set data.hub=uoft-cs/cifar10`"),
        ("", &["data.name=uoft-cs/cifar10"], "`--set data.hub=uoft-cs/cifar10`"),
        ("dataset: {path: x}\n", &[], "`data`"),
        ("", &["model.name=vit"], "`--set model.architecture=vit`"),
        ("", &["model.pretrained=true"], "`--set start.checkpoint=…`"),
        ("", &["training.eval_every=3"], "once an epoch"),
        ("match: {arm: vlora, by: width}\n", &[], "stands in the arm"),
        ("", &["training.epochs =4 epochs"], "a whole number"),
        ("baseline: vlroa\n", &[], "did you mean `vlora`?"),
        ("\u{a0}training: 3\n", &[], "`training`"),
    ];
    for (more, set, want) in cases {
        let error = parse_with(&format!("{text}{more}"), set).unwrap_err().to_string();
        assert!(error.contains(want), "{more}{set:?}: {error}");
    }
}

/// An override that arms or the sweep cover, or that no arm reads, is refused: its user would take
/// the results for those of another value.
#[test]
fn an_override_without_effect_is_refused() {
    let arms = "arms: {baseline: {}, vlora: {method: vlora}}\n";
    let swept = "sweep: {vlora.rank: [1, 2]}\n";
    let own = "arms: {baseline: {training: {epochs: 2}}, other: {training: {epochs: 4}}}\n";
    let compound = "vlora: {compound_size: 4, rank: 2}\n";
    let cases: &[(String, &str, &str)] = &[
        (format!("{compound}{arms}{swept}"), "vlora.rank=4", "`--set 'sweep.vlora.rank=[4]'`"),
        (format!("{compound}{arms}{swept}"), "arms.vlora.vlora.rank=4", "it is swept over"),
        (format!("{compound}{arms}{swept}"), "vlora={rank: 4}", "it is swept over"),
        (own.into(), "training.epochs=3", "`--set arms.baseline.training.epochs=3`"),
        ("arms: {baseline: {}}\n".into(), "vlora.rank=4", "no arm reads `vlora`"),
        (
            format!("{compound}{arms}{swept}"),
            "arms.baseline.vlora.rank=4",
            "the arm `baseline` does not read `vlora`",
        ),
    ];
    for (text, set, want) in cases {
        let error = parse_with(&format!("{BARE}{text}"), &[set]).unwrap_err().to_string();
        assert!(error.contains("the override changes no run"), "{set}: {error}");
        assert!(error.contains(want), "{set}: {error}");
    }
    for (text, set) in [
        // The value that stands there is as good as another, and one arm that takes it is enough.
        (format!("{compound}{arms}"), "vlora.rank=2"),
        (format!("{compound}{arms}"), "training.epochs=3"),
        (format!("{compound}{arms}{swept}"), "vlora={rank: 4, alpha: 2}"),
        (format!("{compound}{arms}{swept}"), "sweep.vlora.rank=[4]"),
        (format!("{compound}{arms}{swept}"), "sweep=null"),
        (format!("{compound}{arms}{swept}"), "seeds=[3]"),
        (format!("{compound}{arms}"), "start=null"),
        (format!("{compound}{arms}"), "precision=auto"),
        (own.replace("other: {training: {epochs: 4}}", "other: {}"), "training.epochs=3"),
        (format!("{compound}{arms}"), "name=other"),
    ] {
        if let Err(error) = parse_with(&format!("{BARE}{text}"), &[set]) {
            panic!("{set}: {error}");
        }
    }
}

/// What YAML reads otherwise than its writer meant: read as meant, or refused by name.
#[test]
fn what_yaml_reads_otherwise_is_read_as_meant_or_refused() {
    let arms = "arms: {baseline: {}, vlora: {method: vlora, vlora: {compound_size: 4, rank: 2}}}\n";
    let text = format!("{BARE}{arms}");
    let plain = parse_with(&text, &[]).unwrap();
    let same = |other: &[u8]| {
        let other = spec::parse(other, "my.yaml", "my", &[], &models::parameters).unwrap();
        assert_eq!(labels(&other), labels(&plain));
        assert_eq!(other.variants[1].spec, plain.variants[1].spec);
    };
    same(text.replace('\n', "\r\n").as_bytes());
    same([b"\xef\xbb\xbf", text.as_bytes()].concat().as_slice());
    same(format!("%YAML 1.1\n---\n{text}...\n").as_bytes());
    same(text.replace("training: {epochs: 3}", "training: &t {epochs: 3}").as_bytes());
    let anchored = text.replace("data: {", "data: &d {") + "";
    same(anchored.replace("{method: vlora,", "{data: {<<: *d}, method: vlora,").as_bytes());

    let rate = |value: &str| {
        let set = format!("training.learning_rate={value}");
        parse_with(&text, &[&set]).map(|e| e.variants[0].spec.training.learning_rate)
    };
    for (value, number) in [("1e-3", 1e-3), (".5", 0.5), ("5.", 5.0), ("1E-3", 1e-3), ("+1", 1.0)] {
        assert_eq!(rate(value).unwrap(), number, "{value}");
    }
    let traps: &[(&str, &str)] = &[
        ("training.learning_rate=.nan", "a number above 0"),
        ("training.learning_rate=.inf", "a number above 0"),
        ("training.clip_norm=.inf", "a number above 0"),
        ("training.learning_rate='0.1'", "without quotes: 0.1"),
        ("training.learning_rate=10%", "write it as a number: 0.1"),
        ("training.epochs='3'", "without quotes: 3"),
        ("training.epochs=010", "without leading zeros: 10"),
        ("training.epochs=1_000", "the digits alone: 1000"),
        ("training.epochs='1,000'", "the digits alone: 1000"),
        ("training.learning_rate='0,001'", "a point for the comma: 0.001"),
        ("training.learning_rate='0,5'", "a point for the comma: 0.5"),
        ("training.epochs=1e3", "without a point or an exponent: 1000"),
        ("training.epochs=3.0", "without a point or an exponent: 3"),
        ("data.augment.horizontal_flip=yes", "write `true`"),
        ("data.augment.horizontal_flip=Off", "write `false`"),
        ("data.augment.horizontal_flip=1", "write `true`"),
        ("data.augment.horizontal_flip='true'", "without quotes"),
        ("data.image_column=2024", "in quotes: '2024'"),
        ("data.image_column=no", "data"),
        ("seeds=[18446744073709551616]", "up to 18446744073709551615"),
        ("seeds=[-9223372036854775809]", "out of range"),
        ("model.dim=18446744073709551616", "out of range"),
        ("data.path=\"a\\e[31m\"", "control character"),
        ("name=!x y", "YAML tags"),
        ("training={epochs: 1, epochs: 2}", "given twice"),
    ];
    for (set, want) in traps {
        match parse_with(&text, &[set]) {
            // `no` is text in YAML 1.2, and so a column's name.
            Ok(experiment) => {
                assert_eq!(
                    experiment.variants[0].spec.data.as_images().unwrap().image_column,
                    "no",
                    "{set}"
                )
            }
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.contains(want) && !error.contains("not valid YAML"),
                    "{set}: {error}"
                );
            }
        }
    }
    let files: &[(&str, Vec<u8>, &str)] = &[
        ("empty", Vec::new(), "an empty document"),
        ("comments alone", b"# nothing\n".to_vec(), "an empty document"),
        (
            "two documents",
            format!("{text}---\n{text}").into_bytes(),
            "my.yaml:7:1: the file holds several",
        ),
        ("UTF-16", [b"\xff\xfe".as_slice(), b"a\0:\0"].concat(), "UTF-16"),
        ("Latin-1", b"name: \xe9\n".to_vec(), "not UTF-8"),
        ("a tab behind spaces", text.replace("seeds:", "  \tx: 1\nseeds:").into_bytes(), "no tabs"),
        ("an unknown anchor", text.replace("[0, 1]", "*s").into_bytes(), "`&name` marks"),
        ("an unclosed quote", format!("{text}name: \"x\n").into_bytes(), "is not closed"),
        ("an unclosed bracket", text.replace("[0, 1]", "[0, 1").into_bytes(), "is not closed"),
        ("a colon in a text", format!("{text}name: a: b\n").into_bytes(), "without quotes"),
        ("another indentation", format!("{text}  name: a\n").into_bytes(), "my.yaml:7:"),
        ("no blank behind a colon", b"task:x\n".to_vec(), "after the colon"),
        (
            "a merged list",
            format!("{text}vlora: {{<<: [1]}}\n").into_bytes(),
            "a merge key merges mappings",
        ),
        (
            "a swept value twice",
            format!("{text}sweep: {{vlora.rank: [1, 1.0]}}\n").into_bytes(),
            "swept over twice",
        ),
        (
            "a big seed",
            text.replace("[0, 1]", "[18446744073709551616]").into_bytes(),
            "my.yaml:5:9: seeds[0]: the number is out of range",
        ),
        (
            "a seed twice",
            text.replace("[0, 1]", "[0, 1, 0]").into_bytes(),
            "seeds[2]: a seed is given twice",
        ),
    ];
    for (name, bytes, want) in files {
        let error = spec::parse(bytes, "my.yaml", "my", &[], &models::parameters).unwrap_err();
        assert!(error.to_string().contains(want), "{name}: {error}");
    }
}

/// The limit counts runs that differ, and says how many were asked for.
#[test]
fn the_limit_of_runs_counts_each_once() {
    let arms = "arms: {baseline: {}, vlora: {method: vlora, vlora: {compound_size: 4}}}\n";
    let list = |n: usize| (1..=n).map(|i| format!("{i}e-6")).collect::<Vec<_>>().join(", ");
    let spec = |ranks: usize, alphas: usize, seeds: usize| {
        let ranks: Vec<String> = (1..=ranks).map(|rank| rank.to_string()).collect();
        let seeds: Vec<String> = (0..seeds).map(|seed| seed.to_string()).collect();
        let sweep = format!("vlora.rank: [{}], vlora.alpha: [{}]", ranks.join(", "), list(alphas));
        let bare = BARE.replace("[0, 1]", &format!("[{}]", seeds.join(", ")));
        parse_with(&format!("{bare}{arms}sweep: {{{sweep}}}\n"), &[])
    };
    // 2 arms × 60 points × 150 seeds are 18,000 runs, of which the baseline's are 150.
    assert_eq!(spec(6, 10, 150).unwrap().variants.len(), 61);
    let told = spec(7, 10, 150).unwrap_err().to_string();
    assert!(told.contains("10650 runs: 71 variants × 150 seeds"), "{told}");
    let told = spec(60, 1000, 3).unwrap_err().to_string();
    assert!(told.contains("120000 combinations: 2 arms × 60000 sweep points"), "{told}");
    assert!(told.contains("at most 50000 combinations"), "{told}");
}

/// Each field once: a second value would win in silence, or the first go with what is replaced.
#[test]
fn a_field_is_overridden_once() {
    let arms = "arms: {baseline: {}, vlora: {method: vlora, vlora: {compound_size: 4, rank: 1}}}\n";
    let with = |overrides: &[&str]| parse_with(&format!("{BARE}{arms}"), overrides);
    for (overrides, field, before) in [
        (&["training.epochs=3", "training.epochs=4"][..], "training.epochs", "training.epochs=3"),
        (&["training={epochs: 3}", "training.epochs=4"], "training.epochs", "training={epochs: 3}"),
        (&["training.epochs=3", "training={epochs: 4}"], "training.epochs", "training.epochs=3"),
        (&["seeds=[0]", "name=x", "seeds=[1]"], "seeds", "seeds=[0]"),
        (
            &["sweep.vlora.rank=[1]", "sweep={vlora.rank: [2]}"],
            "sweep.vlora.rank",
            "sweep.vlora.rank=[1]",
        ),
        (&["sweep.vlora.rank=[1]", "sweep=null"], "sweep.vlora.rank", "sweep.vlora.rank=[1]"),
        (
            &["arms.vlora.vlora.rank=1", "arms.vlora.vlora=null"],
            "arms.vlora.vlora.rank",
            "arms.vlora.vlora.rank=1",
        ),
    ] {
        let told = with(overrides).unwrap_err().to_string();
        let last = overrides.last().unwrap();
        assert!(told.contains(&format!("--set {last}: a field is given twice")), "{told}");
        assert!(told.contains(&format!("`{field}` in --set {before}, too")), "{told}");
    }
    // One value twice, other fields, and what is replaced and then filled.
    for overrides in [
        &["training.epochs=3", "training.epochs=3"][..],
        &["training.epochs=3", "training={epochs: 3, batch_size: 10}"],
        &["training.epochs=3", "arms.vlora.training.epochs=4"],
        &["sweep=null", "sweep.vlora.rank=[1, 2]"],
        &["training.beta1=0.8", "training.beta2=0.9"],
    ] {
        with(overrides).unwrap();
    }
}

/// A dense arm and one whose increments have another scale than one.
fn scaled() -> Spec {
    Spec::images().arm("vlora", "{method: vlora, vlora: {alpha: 2}}")
}

/// Matched arms: the nearest dense size, checked against its neighbours, one row a size.
#[test]
fn matched_arms_have_the_nearest_size() {
    let experiment = scaled()
        .arm("narrow", "{match: {arm: vlora, by: width}}")
        .arm("shallow", "{match: {arm: vlora, by: depth}}")
        .set("sweep={vlora.rank: [0, 2, 32, full]}")
        .experiment();
    let labels = labels(&experiment);
    let narrow = labels.iter().filter(|l| l.starts_with("narrow dim=")).count();
    assert!(narrow >= 3, "{labels:?}");
    // The full-rank arm has the dense model's parameters, so it is matched exactly.
    assert!(labels.contains(&"narrow dim=64") && labels.contains(&"shallow depth=4"), "{labels:?}");
    for variant in experiment.variants.iter().filter(|v| !v.matched.is_empty()) {
        for matched in &variant.matched {
            assert_eq!(models::parameters(&variant.spec), matched.parameters);
            let apart = matched.parameters.abs_diff(matched.wanted);
            for step in [-1i64, 1] {
                let mut other = variant.spec.clone();
                let spec::ModelSpec::Vit(model) = &mut other.model else { panic!("a ViT") };
                let (field, step) = match matched.by {
                    spec::MatchBy::Width => (&mut model.dim, 4 * step),
                    spec::MatchBy::Depth => (&mut model.depth, step),
                };
                *field = (*field as i64 + step).max(1) as usize;
                assert!(
                    models::parameters(&other).abs_diff(matched.wanted) >= apart,
                    "{matched:?}"
                );
            }
        }
    }
}

/// Where the matched field itself is swept, the comparison is with the baseline of that point.
#[test]
fn a_matched_arm_is_compared_at_its_point() {
    let experiment = scaled()
        .arm("shallow", "{match: {arm: vlora, by: depth}}")
        .set("sweep={model.depth: [4, 8]}")
        .experiment();
    let shallow: Vec<_> = experiment.variants.iter().filter(|v| v.arm == "shallow").collect();
    let labels: Vec<&str> = shallow.iter().map(|v| v.label.as_str()).collect();
    assert_eq!(labels, ["shallow depth=2", "shallow depth=3"]);
    for (variant, depth) in shallow.into_iter().zip([4, 8]) {
        assert_eq!(experiment.baseline_of(variant).unwrap().spec.model.depth(), depth);
    }
}

/// A swept field that a baseline does not use does not part it from the others' points.
#[test]
fn an_unused_swept_field_is_no_part_of_the_point() {
    let spec = Spec::images()
        .arms("baseline: {method: vlora, vlora: {rank: 0}}")
        .arm("vlora", "{method: vlora, vlora: {init: lora}}")
        .set("sweep={vlora.alpha: [8, 1]}");
    let experiment = spec.experiment();
    assert_eq!(labels(&experiment), ["baseline", "vlora alpha=8", "vlora alpha=1"]);
    for variant in &experiment.variants[1..] {
        assert_eq!(experiment.baseline_of(variant).unwrap().label, "baseline");
    }
    // Where nothing uses it, the sweep is a mistake.
    let unused = spec.set("arms.vlora={method: dense}").text();
    let told = parsed(&unused, &[]).unwrap_err().to_string();
    assert!(told.contains("the sweep changes no arm"), "{told}");
}

/// What stands behind the one it starts from, whatever the order written, and inherits its point.
#[test]
fn starts_are_ordered_and_keep_their_sweep_point() {
    let experiment = Spec::images()
        .arms(
            "
            tuned: {method: vlora, start: {arm: vlora}, lora: {rank: 2}}
            baseline: {method: dense}
            dense-tuned: {start: {arm: vlora}}
            vlora: {method: vlora, vlora: {alpha: 2}}",
        )
        .set("sweep={vlora.rank: [2, 4]}")
        .experiment();
    let labels = labels(&experiment);
    let want = [
        "tuned rank=2",
        "tuned rank=4",
        "baseline",
        "dense-tuned rank=2",
        "dense-tuned rank=4",
        "vlora rank=2",
        "vlora rank=4",
    ];
    assert_eq!(labels, want);
    assert_eq!(experiment.variants[3].start.as_deref(), Some("vlora rank=2"));
    let order = experiment.in_order_of_start();
    let place = |label: &str| order.iter().position(|i| labels[*i] == label).unwrap();
    assert!(place("vlora rank=4") < place("tuned rank=4"));
    assert!(place("vlora rank=2") < place("dense-tuned rank=2"));
    assert_eq!(order.len(), want.len());
}

/// Specs that mean the same resolve to the same values.
#[test]
fn targets_own_ranks_that_are_the_common_ones_are_dropped() {
    let with = |increments: &str, start: &str| {
        let arm = format!("{{method: vlora, vlora: {{{increments}}}, start: {start}}}");
        Spec::images().arm("vlora", &arm).experiment().variants[1].spec.clone()
    };
    let resolved = |targets: &str| with(&format!("rank: 2, targets: {targets}"), "null");
    let plain = resolved("[attn.qkv, mlp.fc2]");
    assert_eq!(plain, resolved("[{target: mlp.fc2, alpha: 1}, {target: attn.qkv, rank: 2}]"));
    assert_ne!(plain, resolved("[{target: mlp.fc2, rank: 3}, attn.qkv]"));
    // Fields that nothing uses: the scale of what is not scaled, the start of what starts
    // elsewhere, a common rank where every matrix has its own.
    let plain = with("targets: [norm1.bias]", "null");
    assert_eq!(with("targets: [norm1.bias], alpha: 3", "null"), plain);
    let own = "targets: [{target: attn.qkv, rank: 3}]";
    assert_eq!(with(own, "null").vlora.unwrap().rank, spec::Rank::Of(3));
    let baseline = "{arm: baseline}";
    assert_eq!(with("init: lora", baseline), with("alpha: 1", baseline));
    assert_ne!(with("init: lora", "null"), with("alpha: 1", "null"));
}

/// A swept value that is its field's default has a label, as the other values have. A field that an arm
/// does not use has none.
#[test]
fn swept_defaults_have_labels() {
    let labels = |sweep: &str| -> Vec<String> {
        let experiment = Spec::tiny().set(&format!("sweep={{{sweep}}}")).experiment();
        experiment.variants.iter().map(|variant| variant.label.clone()).collect()
    };
    assert_eq!(
        labels("model.dropout: [0, 0.1]"),
        ["baseline dropout=0", "baseline dropout=0.1", "vlora dropout=0", "vlora dropout=0.1"]
    );
    assert_eq!(
        labels("training.schedule: [cosine, linear]")[..2],
        ["baseline schedule=cosine", "baseline schedule=linear"]
    );
    assert_eq!(
        labels("training.increment_weight_decay: [0, 0.5]"),
        ["baseline", "vlora increment_weight_decay=0", "vlora increment_weight_decay=0.5"]
    );
}

/// Values that change no run are named, with their line and the reason; those that one run uses are not.
#[test]
fn values_that_change_no_run_are_named() {
    let arms = "arms: {baseline: {}, vlora: {method: vlora}}\n";
    let both = format!("vlora: {{compound_size: 4, rank: 2, alpha: 16}}\n{arms}");
    let cases: &[(&str, &str, &[&str], &[&str])] = &[
        ("each value is used", &both, &[], &[]),
        (
            "a scale where no rank has factors",
            &both,
            &["vlora.rank=0"],
            &["my.yaml:6: vlora.alpha: 16 changes no run: without a rank between 0 and full"],
        ),
        ("one of several ranks has factors", &both, &["sweep.vlora.rank=[0, 2]"], &[]),
        (
            "none has",
            &both,
            &["sweep.vlora.rank=[0, full]"],
            &["my.yaml:6: vlora.alpha: 16 changes no run: without"],
        ),
        (
            "compounds of one layer",
            &both,
            &["vlora.compound_size=1"],
            &[
                "my.yaml:6: vlora.alpha: 16 changes no run: each layer has weights of its own",
                "my.yaml:6: vlora.rank: 2 changes no run: each layer has weights of its own",
            ],
        ),
        (
            "values that every arm that reads them replaces",
            "vlora: {compound_size: 4, rank: 2, alpha: 3, targets: [{target: mlp.fc1, rank: 4}]}\n\
             arms:\n  baseline: {}\n\
             \x20 a: {method: vlora, vlora: {rank: 1, targets: [mlp.fc1]}}\n\
             \x20 b: {method: vlora, vlora: {rank: 2, targets: [mlp.fc2]}}\n",
            &[],
            &[
                "my.yaml:6: vlora.rank: 2 changes no run: no arm takes it from here",
                "my.yaml:6: vlora.targets: [{target: mlp.fc1, rank: 4}] changes no run: no arm takes it from here",
            ],
        ),
        (
            "a value that one arm replaces",
            "vlora: {compound_size: 4, rank: 2}\n\
             arms: {baseline: {}, a: {method: vlora}, b: {method: vlora, vlora: {rank: 1}}}\n",
            &[],
            &[],
        ),
        (
            "an arm's value that the sweep replaces",
            "vlora: {compound_size: 4}\n\
             arms: {baseline: {}, a: {method: vlora, vlora: {rank: 1}}}\n\
             sweep: {vlora.rank: [2, 4]}\n",
            &[],
            &["my.yaml:7: arms.a.vlora.rank: 1 changes no run: it is swept over"],
        ),
        (
            "a section that every arm does without",
            "lora: {rank: 3}\narms: {baseline: {lora: null}}\n",
            &[],
            &["my.yaml:6: lora.rank: 3 changes no run: no arm takes it from here"],
        ),
        (
            "a precision that every arm replaces",
            "precision: f32\narms: {baseline: {precision: bf16}}\n",
            &[],
            &["my.yaml:6: precision: `f32` changes no run: no arm takes it from here"],
        ),
        (
            "a scale that is set",
            &both,
            &["vlora.alpha=3", "vlora.rank=full"],
            &["--set vlora.alpha=3 changes no run"],
        ),
        (
            "a default, or none",
            &both,
            &["vlora.alpha=1", "vlora.rank=0", "training.patience=null"],
            &[],
        ),
        (
            "the scale of a target",
            &format!(
                "vlora: {{compound_size: 4, rank: 2, targets: [{{target: mlp.fc1, rank: 0, alpha: 8}}, mlp.fc2]}}\n{arms}"
            ),
            &[],
            &["my.yaml:6: vlora.targets[0].alpha: 8 changes no run"],
        ),
        (
            "a required rank beside those of all targets",
            &format!(
                "vlora: {{compound_size: 4, rank: 2, targets: [{{target: mlp.fc1, rank: 3}}]}}\n{arms}"
            ),
            &[],
            &[],
        ),
        (
            "a scale beside those of all targets",
            &format!(
                "vlora: {{compound_size: 4, rank: 2, alpha: 5, targets: [{{target: mlp.fc1, alpha: 3}}]}}\n{arms}"
            ),
            &[],
            &["my.yaml:6: vlora.alpha: 5 changes no run: each target"],
        ),
        (
            "a section that is set",
            arms,
            &["vlora={compound_size: 4, rank: full, alpha: 7}"],
            &[
                "--set vlora={compound_size: 4, rank: full, alpha: 7}: vlora.alpha: 7 changes no run",
            ],
        ),
        (
            "the layer before in compounds of two",
            &both,
            &["vlora.compound_size=2", "vlora.reference=previous"],
            &["--set vlora.reference=previous changes no run"],
        ),
        (
            "a section that only a dense arm has",
            "arms: {baseline: {vlora: {compound_size: 2}}}\n",
            &[],
            &[
                "my.yaml:6: arms.baseline.vlora: a mapping with compound_size changes no run: `method` is dense",
            ],
        ),
        (
            "a section that no arm reads",
            "vlora: {compound_size: 2, rank: 1}\narms: {baseline: {}}\n",
            &[],
            &[
                "my.yaml:6: vlora: a mapping with compound_size, rank changes no run: `method` is dense",
            ],
        ),
        (
            "rates of increments without any",
            arms,
            &["vlora={compound_size: 2, rank: 0}", "training.increment_learning_rate=0.1"],
            &["--set training.increment_learning_rate=0.1 changes no run: no increment"],
        ),
        (
            "patience of as many epochs",
            &both,
            &["training.select=best", "training.patience=2"],
            &["--set training.patience=2 changes no run: it takes 4 epochs to act, of 3"],
        ),
        (
            "patience that may end the training",
            &both,
            &["training.select=best", "training.patience=1"],
            &[],
        ),
        (
            "a plateau that is too long",
            &both,
            &[
                "training.schedule=plateau",
                "training.plateau_patience=1",
                "training.plateau_factor=0.5",
            ],
            &[
                "--set training.plateau_factor=0.5 changes no run: it takes 4 epochs",
                "--set training.plateau_patience=1 changes no run: it takes 4 epochs",
            ],
        ),
        (
            "a plateau that may be reached",
            &both,
            &["training.schedule=plateau", "training.plateau_patience=0"],
            &[],
        ),
        (
            "a filter without a change of size",
            &both,
            &["data.interpolation=bicubic"],
            &["--set data.interpolation=bicubic changes no run: no image"],
        ),
        ("a filter with one", &both, &["data.interpolation=bicubic", "data.resize=exact"], &[]),
    ];
    for (what, text, set, want) in cases {
        let text = format!("{BARE}{text}");
        let experiment = parse_with(&text, set).unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut found = experiment.notes;
        found.sort();
        assert_eq!(found.len(), want.len(), "{what}: {found:?}");
        for (found, want) in found.iter().zip(*want) {
            assert!(found.starts_with(want), "{what}: {found}");
        }
    }
}

/// A note names the arms that keep a value of their own beside a common override.
#[test]
fn arms_that_an_override_does_not_change_are_named() {
    let arms = "vlora: {compound_size: 4, rank: 2}\narms:\n  baseline: {}\n\
                \x20 a: {method: vlora, training: {epochs: 5}}\n  b: {method: vlora, vlora: {rank: 3}}\n";
    let told = |set: &[&str]| parse_with(&format!("{BARE}{arms}"), set).unwrap().notes;
    assert_eq!(told(&[]), Vec::<String>::new());
    assert_eq!(told(&["training.batch_size=7"]), Vec::<String>::new());
    assert_eq!(told(&["training.epochs=5"]), Vec::<String>::new());
    assert_eq!(
        told(&["training.epochs=9", "vlora={rank: 4}"]),
        [
            "--set training.epochs=9 leaves 1 of 3 arms at a `training.epochs` of their own: a",
            "--set vlora={rank: 4} leaves 1 of 2 arms at a `vlora.rank` of their own: b",
        ]
    );
}

/// `--set arms.NAME=null` leaves an arm out; what refers to it then has no such arm.
#[test]
fn an_arm_can_be_left_out() {
    let arms = "vlora: {compound_size: 4, rank: 2}\narms: {baseline: {}, a: {method: vlora}, \
                b: {method: vlora, vlora: {rank: 3}}, c: {start: {arm: b}, method: vlora, vlora: {rank: 3}}}\n";
    let left = |set: &[&str]| parse_with(&format!("{BARE}{arms}"), set);
    let experiment = left(&["arms.a=null"]).unwrap();
    let names: Vec<&str> = experiment.variants.iter().map(|v| v.arm.as_str()).collect();
    assert_eq!(names, ["baseline", "b", "c"]);
    for (set, part) in [
        ("arms.d=null", "there is no such arm"),
        ("arms.b=null", "there is no such arm"),
        ("arms.baseline=null", "there is no baseline arm"),
    ] {
        let error = left(&[set]).unwrap_err().to_string();
        assert!(error.contains(part), "{set}: {error}");
    }
}

/// What a matched arm cannot be.
#[test]
fn a_matched_arm_has_one_size_and_is_another_arm() {
    let vlora = "vlora: {compound_size: 4, rank: 2}\n";
    for (arms, part) in [
        (
            "a: {method: vlora}, b: {match: {arm: a, by: width}, model: {dim: 32}}",
            "arms.b.model.dim: the arm's size is given twice",
        ),
        ("b: {match: {arm: baseline, by: width}}", "the arm is the one that it is matched to"),
    ] {
        let text = format!("{BARE}{vlora}arms: {{baseline: {{}}, {arms}}}\n");
        let error = parse_with(&text, &[]).unwrap_err().to_string();
        assert!(error.contains(part), "{arms}: {error}");
    }
    // Another size of the same kind is one.
    let arms = "arms: {baseline: {}, b: {match: {arm: a, by: width}}, a: {method: vlora}}\n";
    assert!(parse_with(&format!("{BARE}{vlora}{arms}"), &[]).is_ok());
}

/// The specs that are shown to others have no such values.
#[test]
fn committed_specs_have_no_unused_values() {
    let mut paths = Vec::new();
    committed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments"), &mut paths);
    let unused: Vec<String> = paths
        .iter()
        .flat_map(|path| spec::load(path, &[], &models::parameters).unwrap().notes)
        .collect();
    assert_eq!(unused, Vec::<String>::new());
}

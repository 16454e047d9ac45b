//! `precision`: what it resolves to, what it does to a run's id, what is refused, what a table says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use vlora::hub::Hub;
use vlora::models;
use vlora::report::Summary;
use vlora::results::{ExperimentFolder, ExperimentRecord, RunFolder, RunResult, SpecRecord};
use vlora::runner::{Plan, execute};
use vlora::spec::{
    self, DeviceKind, Experiment, Precision, SpecIdentity, flatten, identifying_fields,
};
use vlora::tasks::evidence;

use crate::common::program::vlora;
use crate::common::spec::TINY;
use crate::common::workers::{ALONE, Silent, at_once};

const CPU: Option<DeviceKind> = Some(DeviceKind::Cpu);
const CUDA: Option<DeviceKind> = Some(DeviceKind::Cuda);

fn parse(
    device: Option<DeviceKind>,
    text: &str,
    overrides: &[&str],
) -> Result<Experiment, spec::SpecError> {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    spec::parse_for(device, text.as_bytes(), "tiny.yaml", "tiny", &overrides, &models::parameters)
}

fn precisions(experiment: &Experiment) -> Vec<Precision> {
    experiment.variants.iter().map(|v| v.spec.precision).collect()
}

#[test]
fn auto_is_what_the_device_is_made_for() {
    use Precision::{Bf16, Float32, Tf32};
    for set in [&[][..], &["precision=auto"], &["precision=null"]] {
        for (device, want) in [(CPU, Float32), (CUDA, Bf16), (None, Float32)] {
            assert_eq!(precisions(&parse(device, TINY, set).unwrap()), [want; 2], "{set:?}");
        }
    }
    for (name, want) in [("float32", Float32), ("tf32", Tf32), ("bf16", Bf16)] {
        for device in [CUDA, None] {
            let set = format!("precision={name}");
            assert_eq!(precisions(&parse(device, TINY, &[&set]).unwrap()), [want; 2]);
        }
    }
    // An arm's own goes before the common one.
    let set = ["precision=tf32", "arms.vlora.precision=float32"];
    assert_eq!(precisions(&parse(CUDA, TINY, &set).unwrap()), [Tf32, Float32]);
    let swept = parse(CUDA, TINY, &["sweep={precision: [float32, bf16]}"]).unwrap();
    assert_eq!(precisions(&swept), [Float32, Bf16, Float32, Bf16]);
    let labels: Vec<&str> = swept.variants.iter().map(|v| v.label.as_str()).collect();
    assert_eq!(labels[2..], ["vlora precision=float32", "vlora precision=bf16"]);
    assert_eq!(swept.baseline_of(&swept.variants[3]).unwrap().spec.precision, Bf16);
}

#[test]
fn other_precisions_are_other_runs_and_float32_is_the_run_it_was() {
    let spec = |set: &[&str]| parse(CUDA, TINY, set).unwrap().variants[0].spec.clone();
    let id = |set: &[&str]| SpecIdentity::of(&spec(set)).run_id(0, "data", None);
    let ids = ["float32", "tf32", "bf16"].map(|p| id(&[&format!("precision={p}")]));
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    assert_eq!(id(&[]), ids[2]);

    // A spec of before there was a choice.
    let new = parse(CPU, TINY, &[]).unwrap().variants[0].spec.clone();
    assert_eq!(flatten(&new)["precision"], "\"float32\"");
    assert!(!identifying_fields(&new).contains_key("precision"));
    let mut json = serde_json::to_value(&new).unwrap();
    json.as_object_mut().unwrap().remove("precision").unwrap();
    assert_eq!(serde_json::from_value::<spec::RunSpec>(json).unwrap(), new);

    // The table in the repository is of the runs that the program plans today.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let record = std::fs::read(root.join("results/quickstart/experiment.json")).unwrap();
    let record: ExperimentRecord = serde_json::from_slice(&record).unwrap();
    let quickstart =
        spec::load_for(CPU, &root.join("experiments/quickstart.yaml"), &[], &models::parameters);
    let dir = tempfile::tempdir().unwrap();
    let folder = ExperimentFolder::new(dir.path());
    let plan = Plan::new(quickstart.unwrap(), &folder, &Hub::default()).unwrap();
    assert_eq!(plan.record(), record);
}

#[test]
fn a_precision_that_the_device_lacks_is_refused_with_its_line() {
    let text = TINY.replace("task:", "precision: bf16\ntask:");
    let told = |text: &str, set: &[&str]| parse(CPU, text, set).unwrap_err().to_string();
    assert_eq!(
        told(&text, &[]),
        "tiny.yaml:2:1: precision: this precision needs a CUDA device\n  \
         found:    `bf16` on the CPU\n  \
         expected: `float32` or `auto`, which is float32 on the CPU and bf16 on CUDA\n  \
         help:     --device cuda computes on an NVIDIA GPU, in a build with the feature `cuda`"
    );
    assert!(told(TINY, &["precision=tf32"]).starts_with("tiny.yaml: --set precision=tf32: this"));
    let arm = TINY.replace("vlora: {method: vlora}", "vlora: {method: vlora, precision: tf32}");
    assert!(
        told(&arm, &[]).starts_with("tiny.yaml:25:26: arms.vlora.precision: this"),
        "{}",
        told(&arm, &[])
    );
    let swept = told(TINY, &["sweep={precision: [float32, bf16]}"]);
    assert!(swept.contains("`bf16` on the CPU"), "{swept}");

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tiny.yaml"), &text).unwrap();
    for command in ["run", "plan", "bench"] {
        let ran = vlora(dir.path(), &[command, "tiny.yaml", "--device", "cpu"]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{command}: {}", ran.err);
        assert!(ran.err.contains("tiny.yaml:2:1: precision: this"), "{command}: {}", ran.err);
    }
    // Sizes depend on no device.
    assert_eq!(vlora(dir.path(), &["params", "tiny.yaml"]).code, 0);
    let plan =
        vlora(dir.path(), &["plan", "tiny.yaml", "--set", "precision=auto", "--device", "cpu"]);
    assert!(plan.out.contains("  precision: float32\n"), "{}", plan.out);
    // A plan for a GPU needs none.
    let plan = vlora(dir.path(), &["plan", "tiny.yaml", "--device", "cuda"]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    assert!(plan.out.contains("  precision: bf16\n"), "{}", plan.out);
}

/// No run is computed in another precision than its id says, however the spec was read.
#[test]
fn a_plan_for_another_device_is_not_executed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = ExperimentFolder::new(dir.path());
    let plan = Plan::new(parse(CUDA, TINY, &[]).unwrap(), &folder, &Hub::default()).unwrap();
    for workers in [ALONE, at_once(2)] {
        let told = execute(&plan, &folder, workers, &AtomicBool::new(false), &mut Silent);
        let told = told.unwrap_err().to_string();
        assert!(told.starts_with("arm baseline: this precision needs a CUDA device"), "{told}");
    }
}

#[test]
fn a_table_says_in_what_it_was_computed_and_where_arms_differ() {
    let dir = tempfile::tempdir().unwrap();
    let folder = ExperimentFolder::new(dir.path());
    let plan = Plan::new(parse(CPU, TINY, &[]).unwrap(), &folder, &Hub::default()).unwrap();
    execute(&plan, &folder, ALONE, &AtomicBool::new(false), &mut Silent).unwrap();
    let mut record = plan.record();
    let alike = Summary::of(record.clone(), &folder, evidence).unwrap().markdown();
    assert!(alike.contains("- Precision: computed in float32 (`precision: float32`)."), "{alike}");
    assert!(!alike.contains("| precision |") && !alike.contains("Not all arms"), "{alike}");

    // The second arm's evidence as a GPU leaves it.
    let arm = &mut record.variants[1];
    arm.spec.precision = Precision::Bf16;
    let run = folder.run(&arm.runs[0]);
    let mut kept: SpecRecord = run.read_json(RunFolder::SPEC).unwrap();
    kept.spec.precision = Precision::Bf16;
    run.write_json(RunFolder::SPEC, &kept).unwrap();
    without_sizes(&run);
    let summary = Summary::of(record, &folder, evidence).unwrap();
    let table = summary.markdown();
    for part in [
        "| precision |",
        "Precision: `baseline`: computed in float32",
        "Precision: `vlora`: activations and matrix products in bfloat16; parameters, AdamW's moments",
        "Not all arms were computed in the same precision",
    ] {
        assert!(table.contains(part), "{part} is missing in {table}");
    }
    let (arms, _) = table.split_once("\n## ").unwrap();
    let cells: BTreeMap<&str, &str> = arms
        .lines()
        .filter(|l| l.starts_with("| baseline |") || l.starts_with("| vlora |"))
        .map(|l| {
            let cells: Vec<&str> = l.split('|').map(str::trim).collect();
            (cells[1], cells[4])
        })
        .collect();
    assert_eq!(cells, BTreeMap::from([("baseline", "float32"), ("vlora", "bf16")]));
}

/// Records of earlier versions have no sizes and hashes of the run's files, so that these may change.
fn without_sizes(run: &RunFolder) {
    let mut result: RunResult = run.read_json(RunFolder::RESULT).unwrap();
    (result.files, result.digest) = (Default::default(), None);
    run.write_json(RunFolder::RESULT, &result).unwrap();
}

//! Evidence of runs that were never trained, with the results a test wants.

use std::path::Path;

use serde_json::{Value, json};
use vlora::models;
use vlora::results::{
    ExperimentFolder, ExperimentRecord, Failure, RunFolder, SCHEMA_VERSION, SpecRecord,
};
use vlora::spec::Variant;
use vlora::tasks::ClassificationOutcome;

use crate::common::spec::Spec;

/// What a run came to.
pub enum Outcome {
    /// Right test examples of [`EXAMPLES`]; those that are wrong are called the class behind theirs.
    Right(usize),
    /// Every example is called the same class.
    Always(u32),
    Failed(&'static str),
    Unfinished,
}

/// Test examples: a tenth of each of ten classes.
pub const EXAMPLES: usize = 1000;

/// Leaves the evidence of a spec's runs in `dir`; `outcome` is asked for each variant (by its
/// place) and seed.
pub fn leave(
    dir: &Path,
    spec: &Spec,
    outcome: &dyn Fn(usize, u64) -> Outcome,
) -> (ExperimentFolder, ExperimentRecord) {
    let experiment = spec.experiment();
    let folder = ExperimentFolder::new(dir);
    let id = |variant: usize, seed: u64| format!("{variant:06}{seed:06}");
    // As JSON, in which what is left out has its default.
    let variants = experiment.variants.iter().enumerate().map(|(i, v)| {
        json!({
            "label": v.label,
            "arm": v.arm,
            "point": v.point,
            "parameters": models::parameters(&v.spec),
            "trained": models::parameters(&v.spec),
            "start": v.start,
            "matched": v.matched,
            "trial_of": v.trial_of,
            "spec": v.spec,
            "runs": experiment.seeds.iter().map(|seed| id(i, *seed)).collect::<Vec<_>>(),
        })
    });
    let record: ExperimentRecord = serde_json::from_value(json!({
        "schema": SCHEMA_VERSION,
        "name": experiment.name,
        "description": experiment.description,
        "baseline": experiment.baseline,
        "tuned": experiment.tuned,
        "seeds": experiment.seeds,
        "variants": variants.collect::<Vec<_>>(),
    }))
    .unwrap();
    folder.write_record(&record).unwrap();
    for (i, variant) in experiment.variants.iter().enumerate() {
        for seed in &experiment.seeds {
            let id = id(i, *seed);
            let run = folder.run(&id);
            match outcome(i, *seed) {
                Outcome::Unfinished => {}
                Outcome::Failed(reason) => {
                    let failure =
                        Failure { schema: SCHEMA_VERSION, reason: reason.into(), tries: 1 };
                    run.write_json(RunFolder::FAILURE, &failure).unwrap();
                }
                Outcome::Right(right) => {
                    finish(&run, id, *seed, variant, &|i, label| match i < right {
                        true => label,
                        false => (label + 1) % 10,
                    });
                }
                Outcome::Always(class) => finish(&run, id, *seed, variant, &|_, _| class),
            }
        }
    }
    (folder, record)
}

fn finish(
    run: &RunFolder,
    id: String,
    seed: u64,
    variant: &Variant,
    predict: &dyn Fn(usize, u32) -> u32,
) {
    let spec = &variant.spec;
    let record = SpecRecord { schema: SCHEMA_VERSION, id: id.clone(), seed, spec: spec.clone() };
    run.write_json(RunFolder::SPEC, &record).unwrap();
    let tests: Vec<ClassificationOutcome> = (0..EXAMPLES)
        .map(|example| {
            let label = (example % 10) as u32;
            ClassificationOutcome { example, label, prediction: predict(example, label), loss: 1.0 }
        })
        .collect();
    let right = tests.iter().filter(|t| t.label == t.prediction).count();
    let metric = right as f64 / EXAMPLES as f64;
    run.write_lines(RunFolder::TEST, &tests).unwrap();
    let epochs: Vec<Value> = (1..=spec.training.epochs)
        .map(|epoch| {
            json!({
                "epoch": epoch,
                "step": epoch,
                "train_loss": 1.0 / epoch as f64,
                "validation_loss": 1.0,
                "validation_metric": metric * epoch as f64 / spec.training.epochs as f64,
            })
        })
        .collect();
    run.write_lines(RunFolder::EPOCHS, &epochs).unwrap();
    let step = json!({
        "step": spec.training.epochs, "epoch": spec.training.epochs, "loss": 1.0,
        "learning_rate": 1e-3, "gradient_norm": 1.0,
    });
    run.write_lines(RunFolder::STEPS, &[step]).unwrap();
    let provenance = json!({
        "data_sha256": "0123456789abcdef",
        "files": {},
        "class_names": [],
        "pixel_mean": [0.5],
        "pixel_std": [0.5],
        "train_examples": 6000,
        "validation_examples": 1000,
        "test_examples": EXAMPLES,
        "sessions": [{
            "program": "vlora 0.0.0",
            "numerics_version": 3,
            "device": "cpu",
            "processor": "a processor",
            "threads": 1,
            "precision": spec.precision,
            "system": "a system",
            "started": "2026-01-01T00:00:00Z",
        }],
    });
    run.write_json(RunFolder::PROVENANCE, &provenance).unwrap();
    let result = json!({
        "schema": SCHEMA_VERSION,
        "metric_name": "accuracy",
        "test_metric": metric,
        "test_loss": 1.0,
        "selected_epoch": spec.training.epochs,
        "parameters": models::parameters(spec),
        "trained": models::parameters(spec),
        "steps": spec.training.epochs,
        "training_seconds": 1.5,
        "evaluation_seconds": 0.5,
        "throughput": 1000.0,
        "peak_bytes": 1 << 20,
        // As with real runs, each has weights of its own.
        "model_sha256": id,
    });
    run.write_json(RunFolder::RESULT, &result).unwrap();
}

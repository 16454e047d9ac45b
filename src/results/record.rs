//! The records that a run writes, as types.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::task_fields::TaskFields;
use crate::spec::{Conversion, Kept, Matched, Precision, RunSpec, agree};

/// Increased whenever a record's fields change their meaning.
pub const SCHEMA_VERSION: u32 = 2;

/// `experiment.json`: what the report compares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRecord {
    pub schema: u32,
    pub name: String,
    pub description: String,
    /// The arm the others are compared with.
    pub baseline: String,
    pub seeds: Vec<u64>,
    /// The comparison that the spec names as the one to be tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_contrast: Option<PrimaryContrast>,
    /// The swept fields whose values are chosen for each arm on validation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tuned: Vec<String>,
    /// The changes that `--set` made to the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
    pub variants: Vec<VariantRecord>,
}

/// The one comparison of an experiment that is tested alone. All others are exploratory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimaryContrast {
    /// The label of the variant that is compared with its baseline.
    pub label: String,
    /// The ids of its runs and of the baseline's, a seed each. If they change, another comparison is
    /// named.
    pub runs: Vec<String>,
    /// SHA-256 of the spec file when it was named.
    pub spec_sha256: String,
    /// Runs in the experiment's folder that had finished when it was named. If there were any, their
    /// results may have led to the choice, and it counts as exploratory.
    pub finished_before: usize,
}

impl PrimaryContrast {
    /// Whether it was named before any run had finished.
    pub fn is_in_advance(&self) -> bool {
        self.finished_before == 0
    }
}

impl ExperimentRecord {
    /// The baseline variant that `variant` is compared with: the one whose swept fields all agree.
    /// None for a baseline itself.
    pub fn baseline_of(&self, variant: &VariantRecord) -> Option<&VariantRecord> {
        if variant.arm == self.baseline {
            return None;
        }
        let mut baselines = self.variants.iter().filter(|v| v.arm == self.baseline);
        baselines.find(|baseline| agree(&baseline.point, &variant.point))
    }

    /// Whether this variant is the primary contrast, named before any run had finished.
    pub fn is_primary(&self, variant: &VariantRecord) -> bool {
        let primary = self.primary_contrast.as_ref().filter(|primary| primary.is_in_advance());
        primary.is_some_and(|primary| primary.label == variant.label)
    }

    /// The ids of all its runs.
    pub fn run_ids(&self) -> BTreeSet<&str> {
        self.variants.iter().flat_map(|v| &v.runs).map(String::as_str).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantRecord {
    pub label: String,
    pub arm: String,
    /// Swept fields this arm uses, with their values as text.
    pub point: Vec<(String, String)>,
    pub parameters: u64,
    /// Trainable parameters among them.
    pub trained: u64,
    /// The label of the variant it starts from.
    pub start: Option<String>,
    /// What its size was matched to.
    pub matched: Vec<Matched>,
    /// The label of the arm that this is one of several trials of; None where nothing is tuned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_of: Option<String>,
    pub spec: RunSpec,
    /// The run of each seed, in the order of `seeds`.
    pub runs: Vec<String>,
}

/// `spec.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpecRecord {
    pub schema: u32,
    pub id: String,
    pub seed: u64,
    pub spec: RunSpec,
}

/// `provenance.json`: where a run's numbers come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Hash over all files read, split by split.
    pub data_sha256: String,
    /// SHA-256 of every file read, by name.
    pub files: BTreeMap<String, String>,
    /// Facts about the data that only the run's task knows.
    #[serde(flatten)]
    pub task: TaskFields,
    pub train_examples: usize,
    pub validation_examples: usize,
    pub test_examples: usize,
    /// Notes on the data for the table, one sentence each: examples that were converted, left out
    /// or found twice.
    #[serde(default)]
    pub data_notes: Vec<String>,
    /// One per time the run was started or resumed.
    pub sessions: Vec<Session>,
}

/// `start.json`: the weights that a run started from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartRecord {
    /// A checkpoint's path, or `run <id>`.
    pub from: String,
    /// Hash of the file with these weights.
    pub sha256: String,
    /// The alpha that the file's increments were read with, where the file does not store one.
    pub alpha: Option<f64>,
    pub conversion: Conversion,
    /// What a decomposition kept, one entry per increment; empty without a decomposition.
    pub kept: Vec<Kept>,
    /// What the run's task changed in the weights to make them fit its data.
    #[serde(flatten)]
    pub task: TaskFields,
}

/// How weights were changed so that a run could start from them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Started {
    /// The alpha that the file's increments were read with, where the file does not store one.
    pub alpha: Option<f64>,
    pub conversion: Conversion,
    /// What the run's task changed in them to make them fit its data.
    pub task: TaskFields,
}

impl StartRecord {
    pub fn started(&self) -> Started {
        Started { alpha: self.alpha, conversion: self.conversion, task: self.task.clone() }
    }
}

/// A process that worked on the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// `vlora` and its version.
    pub program: String,
    pub numerics_version: u32,
    /// `cpu`, or `cuda` with the GPU's name.
    pub device: String,
    /// The CPU's model name.
    pub processor: String,
    /// Threads that operations on the CPU share.
    pub threads: usize,
    #[serde(default)]
    pub precision: Precision,
    /// Runs that the process trained at the same time, including this one.
    #[serde(default = "one_job")]
    pub jobs: usize,
    /// Operating system and architecture.
    pub system: String,
    /// UTC, RFC 3339.
    pub started: String,
    /// The command line as typed, quoted for a shell. None where there was none. Records of earlier
    /// versions lack this field and the three below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// SHA-256 of the spec file. It is that of `experiment.yaml` unless another spec was run since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_sha256: Option<String>,
    /// The git repository that the command ran in; None outside one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryState>,
    /// The step that the process went on after; 0 if it began the run. None in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<u64>,
    /// Consecutive starts at that step that left no later checkpoint, this one included.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub starts_there: u32,
    /// Why the newest checkpoint was not used and the one before it was; None if it was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<String>,
    /// The value of VLORA_COMMIT when the program was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_commit: Option<String>,
}

/// A git repository as it was checked out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryState {
    pub commit: String,
    /// Whether tracked files, apart from results, differed from the commit. None where git could
    /// not be run.
    pub modified: Option<bool>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn one_job() -> usize {
    1
}

/// A line of `steps.jsonl`. It has no timings, so that equal runs leave equal files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The optimiser step, from 1.
    pub step: u64,
    /// From 1.
    pub epoch: usize,
    /// Mean over the step's examples in nats, with label smoothing.
    pub loss: f64,
    /// That of this step, increments with a rate of their own aside.
    pub learning_rate: f64,
    /// The global Euclidean norm before clipping.
    pub gradient_norm: f64,
}

/// A line of `epochs.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Optimiser steps done by its end.
    pub step: u64,
    /// Mean over the epoch's examples in nats, with label smoothing.
    pub train_loss: f64,
    /// Loss on the validation split; None without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_metric: Option<f64>,
}

/// `result.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    pub schema: u32,
    /// The primary metric of the run's task.
    pub metric_name: String,
    pub test_metric: f64,
    /// The values of the task's other metrics, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub test_metrics: BTreeMap<String, f64>,
    pub test_loss: f64,
    /// The epoch whose weights were tested.
    pub selected_epoch: usize,
    pub parameters: u64,
    /// Trained parameters among them.
    pub trained: u64,
    pub steps: u64,
    /// Forward, backward, update and waiting for data, without evaluation.
    pub training_seconds: f64,
    pub evaluation_seconds: f64,
    /// Units of work (see [`WorkUnit`](super::WorkUnit)) per second of training.
    pub throughput: f64,
    /// Peak of allocated bytes during the run, including its data where they are allocated. None
    /// where it is not counted, and for a run trained beside others.
    pub peak_bytes: Option<u64>,
    /// SHA-256 of `model.safetensors`.
    pub model_sha256: String,
    /// The other files of the run, by name. Empty in records of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileRecord>,
    /// The share of processor time, in [0, 1], that other programs used during training. None where
    /// the system does not report it, and in records of earlier versions; the same holds for the
    /// next field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_programs: Option<f64>,
    /// The share that other processes of this program used. They may have shared its GPU, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_vlora: Option<f64>,
    /// SHA-256 of the file, with zeros in place of these digits. None in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl RunResult {
    /// A figure of the training; None if weights were only tested.
    pub fn of_training<T>(&self, figure: T) -> Option<T> {
        (self.steps > 0).then_some(figure)
    }

    /// The epoch whose weights were tested.
    pub fn tested_epoch<'a>(&self, epochs: &'a [EpochRecord]) -> Option<&'a EpochRecord> {
        epochs.iter().find(|epoch| epoch.epoch == self.selected_epoch)
    }
}

/// A file as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    pub bytes: u64,
    pub sha256: String,
}

#[cfg(test)]
impl RunResult {
    /// A record with the fields that every version has.
    pub fn least() -> RunResult {
        let fields = serde_json::json!({
            "schema": 2, "metric_name": "score", "test_metric": 0.1, "test_loss": 1.0,
            "selected_epoch": 1, "parameters": 1, "trained": 1, "steps": 1, "training_seconds": 1.0,
            "evaluation_seconds": 1.0, "throughput": 1.0, "peak_bytes": null, "model_sha256": "",
        });
        serde_json::from_value(fields).unwrap()
    }
}

impl RunResult {
    /// Above this share of processor time, other programs count as having slowed a run down.
    pub const BUSY: f64 = 0.1;
    /// The same limit for another `vlora`. It is smaller, since a process that trains on the same
    /// GPU keeps only one of many processors busy.
    pub const BESIDE: f64 = 0.005;

    /// Whether other programs used so much of the machine that this run's times are not comparable.
    pub fn was_slowed(&self) -> bool {
        self.other_programs.is_some_and(|share| share > Self::BUSY)
    }

    /// Whether another process of this program was computing at the same time.
    pub fn was_beside_another(&self) -> bool {
        self.other_vlora.is_some_and(|share| share > Self::BESIDE)
    }

    /// Whether the run did not have the machine to itself, so that its times are not comparable.
    pub fn shared_the_machine(&self) -> bool {
        self.was_slowed() || self.was_beside_another()
    }
}

/// `failure.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub schema: u32,
    pub reason: String,
    /// How often in a row the run has failed.
    #[serde(default = "one_try")]
    pub tries: u32,
}

fn one_try() -> u32 {
    1
}

/// `verified.json`: what came of repeating the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    pub schema: u32,
    /// SHA-256 of the `result.json` that it is about.
    pub result: String,
    /// Optimiser steps that were repeated.
    pub steps: u64,
    /// Whether all of the run was: its training, selection and test.
    pub full: bool,
    /// Whether the repetition was interrupted and resumed. Too short a run cannot be.
    pub interrupted: bool,
    /// The first thing that was not the same; None if every bit was.
    pub difference: Option<String>,
    /// What another seed would change. None in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed_effects: Option<SeedEffects>,
    /// The process that repeated it.
    pub session: Session,
}

/// What another seed changes of how a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedEffects {
    /// The initial weights. None where they are loaded.
    pub weights: Option<bool>,
    /// The order of the training examples.
    pub order: bool,
}

impl SeedEffects {
    /// What another seed should change, and does not.
    pub fn missing(self) -> Vec<&'static str> {
        let weights = (self.weights == Some(false)).then_some("initial weights");
        let order = (!self.order).then_some("order of examples");
        weights.into_iter().chain(order).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Session;

    #[test]
    fn sessions_of_earlier_versions_are_read() {
        let text = r#"{"program": "vlora 0.1.0", "numerics_version": 2, "device": "cpu",
            "processor": "p", "threads": 2, "system": "linux x86_64",
            "started": "2026-11-24T18:17:53Z"}"#;
        let session: Session = serde_json::from_str(text).unwrap();
        assert_eq!((session.jobs, session.command, session.repository), (1, None, None));
    }
}

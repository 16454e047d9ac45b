//! An arm's runs, as they are read from their evidence.

use super::comparison::Comparison;
use super::statistics::Spread;
use crate::results::{
    Assessment, EpochRecord, LogitLens, Metric, Provenance, RunResult, StartRecord,
    TrivialBaseline, VariantRecord, Verification, Weights,
};

/// One arm at one sweep point, over its seeds.
#[derive(Clone, Debug)]
pub struct ArmSummary {
    pub variant: VariantRecord,
    pub runs: Vec<FinishedRun>,
    /// Failed runs: seed and reason.
    pub failures: Vec<(u64, String)>,
    /// Finished runs whose files have changed since. They are left out.
    pub damaged: Vec<DamagedRun>,
    pub unfinished: usize,
    pub test: Option<Spread>,
    /// Validation metric of the epochs whose weights were tested; None if any run has none.
    pub validation: Option<Spread>,
    /// Against the baseline; None for the baseline itself, and without a seed that both have finished.
    pub comparison: Option<Comparison>,
    /// 1 − parameters / the baseline's; None for the baseline itself.
    pub reduction: Option<f64>,
}

/// A finished run whose evidence is not as it left it.
#[derive(Clone, Debug)]
pub struct DamagedRun {
    pub id: String,
    pub seed: u64,
    /// Names the file, and says what is wrong with it and what helps.
    pub reason: String,
}

impl DamagedRun {
    /// The first line of the reason, without the path of the run's folder, which is another wherever a
    /// report is made.
    pub fn summary(&self) -> &str {
        let line = self.reason.lines().next().unwrap_or_default();
        let behind = line.split_once(&self.id).map_or(line, |(_, behind)| behind);
        behind.trim_start_matches(['/', '\\', ':', ' '])
    }
}

/// A finished run's evidence.
#[derive(Clone, Debug)]
pub struct FinishedRun {
    pub id: String,
    pub seed: u64,
    pub result: RunResult,
    /// Whether the tested weights are present. A report does not need them.
    pub weights: Weights,
    pub epochs: Vec<EpochRecord>,
    /// Validation metric of the epoch whose weights were tested.
    pub validation: Option<f64>,
    /// Recomputed from its outcomes on the test split.
    pub assessment: Assessment,
    pub(super) learned: bool,
    pub provenance: Provenance,
    /// Present if the run starts from other weights.
    pub start: Option<StartRecord>,
    /// The verdict of `vlora verify`; None if it was not verified.
    pub verification: Option<Verification>,
    /// Scores of the logit lens; None if `vlora probe` has not read them.
    pub logit_lens: Option<LogitLens>,
}

impl FinishedRun {
    /// Whether it is better on the test split than the trivial baseline. True if none is known.
    pub fn learned(&self) -> bool {
        self.learned
    }

    /// The metric of the answers on its test examples that it must beat to have learned anything.
    pub fn trivial_value(&self) -> Option<f64> {
        self.assessment.trivial().map(TrivialBaseline::value)
    }
}

impl ArmSummary {
    /// Finished runs that did not learn.
    pub fn not_learned(&self) -> impl Iterator<Item = &FinishedRun> {
        self.runs.iter().filter(|run| !run.learned())
    }

    /// A metric of its task on the test split; None without runs, or where a run has no such value.
    pub fn tested(&self, metric: &Metric) -> Option<Spread> {
        let value = |run: &FinishedRun| {
            let result = &run.result;
            let is_primary = result.metric_name == metric.name;
            let other = || result.test_metrics.get(metric.name).copied();
            is_primary.then_some(result.test_metric).or_else(other)
        };
        let values: Option<Vec<f64>> = self.runs.iter().map(value).collect();
        values.and_then(|values| Spread::of(&values))
    }

    pub fn seeds(&self) -> Vec<u64> {
        self.runs.iter().map(|run| run.seed).collect()
    }
}

//! What a report has to know of a task to read what its runs left.

use super::folder::RunFolder;
use super::metric::{Metric, WorkUnit};
use super::record::Provenance;
use super::task_fields::TaskFields;
use crate::error::Result;
use crate::spec::RunSpec;

/// How the evidence of a task's runs is read. Each task has one.
pub trait Evidence: Sync {
    /// The numbers that its runs are compared by, the primary one first; at least one.
    fn metrics(&self) -> &'static [Metric];

    /// What its work is counted in.
    fn work_unit(&self) -> WorkUnit;

    /// Computes a run's test results again from its stored outcomes, `test.jsonl`.
    fn assess(&self, run: &RunFolder) -> Result<Assessment>;

    /// What stands under a table of the model, its inputs and how they were varied in training.
    /// Without the provenance of a run, as the spec says it.
    fn setting(&self, spec: &RunSpec, provenance: Option<&Provenance>) -> Setting;

    /// What was done to the weights that a run starts from so that they fit its data, a clause each;
    /// `fields` are those of `start.json`. `is_arm`: the weights are another arm's.
    fn start_notes(&self, fields: &TaskFields, is_arm: bool) -> Vec<String>;

    /// Which of the data count in a run's peak memory, as a clause.
    fn memory_note(&self) -> &'static str;

    /// The primary metric.
    fn primary(&self) -> &'static Metric {
        &self.metrics()[0]
    }
}

/// Finds how the evidence of a run is read. The report is given it, since it knows no task.
pub type EvidenceOf = fn(&RunSpec) -> &'static dyn Evidence;

/// The results of a run on the test split.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    pub examples: usize,
    pub scores: Scores,
    /// What an answer that ignores the input reaches; None where the task knows none.
    pub trivial: Option<Trivial>,
    /// Whether all examples got one answer.
    pub is_constant: bool,
}

/// The numbers that outcomes of examples come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Mean over examples, as the task counts it, without label smoothing.
    pub loss: f64,
    /// In the order of the task's metrics.
    pub metrics: Vec<f64>,
}

impl Scores {
    /// The value of the primary metric.
    pub fn primary(&self) -> f64 {
        self.metrics.first().copied().unwrap_or(f64::NAN)
    }
}

/// The best constant answer on some examples, beside which a model that learned nothing shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trivial {
    /// Its value of the primary metric.
    pub value: f64,
    /// Standard error of that value over the examples.
    pub error: f64,
    pub examples: usize,
    /// Which answer it is.
    pub answer: &'static str,
}

impl Trivial {
    /// Whether a value is no better, one standard error granted: what a test of the examples'
    /// number cannot tell from the constant answer.
    pub fn is_reached_by(&self, metric: &Metric, value: f64) -> bool {
        let granted = match metric.better {
            super::Better::Higher => self.value + self.error,
            super::Better::Lower => self.value - self.error,
        };
        !metric.is_better(value, granted)
    }
}

/// A run's setting as texts, each a part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The architecture and its sizes.
    pub model: String,
    /// What the model is given.
    pub inputs: String,
    /// How training examples were varied; None where that is nothing to say.
    pub augmentation: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::super::Better;
    use super::*;

    #[test]
    fn a_constant_answer_is_compared_in_the_metrics_direction() {
        let trivial = Trivial { value: 0.6, error: 0.1, examples: 10, answer: "a" };
        let higher = Metric {
            name: "m",
            unit: "",
            difference_unit: "",
            scale: 1.0,
            decimals: 1,
            better: Better::Higher,
        };
        let lower = Metric { better: Better::Lower, ..higher };
        assert!(trivial.is_reached_by(&higher, 0.7) && !trivial.is_reached_by(&higher, 0.8));
        assert!(trivial.is_reached_by(&lower, 0.5) && !trivial.is_reached_by(&lower, 0.4));
        // What is no number is no result.
        assert!(trivial.is_reached_by(&higher, f64::NAN));
    }
}

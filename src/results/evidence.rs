//! The interface between the report and a task: how the evidence of the task's runs is read.

use super::confusion::Confusion;
use super::flags::Flags;
use super::folder::RunFolder;
use super::metric::{Metric, WorkUnit};
use super::record::Provenance;
use super::task_fields::TaskFields;
use crate::error::Result;
use crate::spec::RunSpec;

/// Reads the evidence of a task's runs. Each task has one implementation.
pub trait Evidence: Sync {
    /// The metrics that its runs are compared by, the primary one first; never empty.
    fn metrics(&self) -> &'static [Metric];

    /// The unit in which its work is counted.
    fn work_unit(&self) -> WorkUnit;

    /// Recomputes a run's test results from its stored outcomes in `test.jsonl`.
    fn assess(&self, run: &RunFolder) -> Result<Assessment>;

    /// How often each answer was given to the test examples of each class. None where answers are
    /// not classes, or where there are more than [`Confusion::MOST_CLASSES`]. It is no part of
    /// [`Assessment`], since the counts of thousands of runs would take too much memory.
    fn confusion(&self, _: &RunFolder) -> Result<Option<Confusion>> {
        Ok(None)
    }

    /// What a table note says about the model, its inputs and their augmentation. Without the
    /// provenance of a run, the note follows the spec alone.
    fn setting(&self, spec: &RunSpec, provenance: Option<&Provenance>) -> Setting;

    /// How the start weights were changed to fit the data, one clause per change. `fields` are
    /// those of `start.json`. `is_arm`: the weights are those of another arm.
    fn start_notes(&self, fields: &TaskFields, is_arm: bool) -> Vec<String>;

    /// A batch of training, where it is not `training.batch_size` examples.
    fn batch_note(&self, _: &RunSpec) -> Option<String> {
        None
    }

    /// Which data count towards a run's peak memory, as a clause.
    fn memory_note(&self) -> &'static str;

    /// The primary metric.
    fn primary(&self) -> &'static Metric {
        &self.metrics()[0]
    }
}

/// Finds the [`Evidence`] of a spec's task. The report receives it, since it knows no task.
pub type EvidenceOf = fn(&RunSpec) -> &'static dyn Evidence;

/// The results of a run on the test split.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    pub examples: usize,
    pub scores: Scores,
    /// The best constant answer; None where the task has none.
    pub trivial: Option<Trivial>,
    /// Whether the model gave all examples the same answer.
    pub is_constant: bool,
    /// Equal for runs on the same test examples, in the same order.
    pub examples_hash: u64,
    /// Which examples it has right; None where an answer is not simply right or wrong.
    pub correct: Option<Flags>,
}

/// Loss and metrics over the outcomes of examples.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Mean over examples, as the task counts them, without label smoothing.
    pub loss: f64,
    /// In the order of the task's metrics.
    pub metrics: Vec<f64>,
}

impl Scores {
    /// The value of the primary metric.
    pub fn primary(&self) -> f64 {
        self.metrics.first().copied().unwrap_or(f64::NAN)
    }

    /// Whether the primary metric is the loss itself, which then need not be shown twice.
    pub fn compare_by_loss(&self) -> bool {
        self.primary() == self.loss
    }
}

/// The best constant answer on some examples. A model that is no better has learned nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trivial {
    /// The value of the primary metric that it reaches.
    pub value: f64,
    /// Standard error of that value over the examples.
    pub error: f64,
    pub examples: usize,
    /// Describes the answer.
    pub answer: &'static str,
}

impl Trivial {
    /// Whether a value is at most one standard error better. A test of this many examples cannot
    /// tell such a value from the constant answer.
    pub fn is_reached_by(&self, metric: &Metric, value: f64) -> bool {
        let bound = match metric.better {
            super::Better::Higher => self.value + self.error,
            super::Better::Lower => self.value - self.error,
        };
        !metric.is_better(value, bound)
    }
}

/// A run's setting as texts, each of them part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The architecture and its sizes.
    pub model: String,
    /// The inputs of the model.
    pub inputs: String,
    /// How training examples were augmented; None without augmentation.
    pub augmentation: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::super::Better;
    use super::*;

    #[test]
    fn constant_answers_are_compared_in_the_direction_of_the_metric() {
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
        // NaN counts as not better.
        assert!(trivial.is_reached_by(&higher, f64::NAN));
    }
}

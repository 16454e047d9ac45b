//! The interface between the report and a task: how the evidence of the task's runs is read.

use super::confusion::Confusion;
use super::example_statistics::ExampleStatistics;
use super::flags::Flags;
use super::folder::RunFolder;
use super::metric::{Metric, WorkUnit};
use super::record::Provenance;
use super::samples::Samples;
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
    /// not classes, or where there are more than [`Confusion::MAX_CLASSES`]. It is no part of
    /// [`Assessment`], since the counts of thousands of runs would take too much memory.
    fn confusion(&self, _: &RunFolder) -> Result<Option<Confusion>> {
        Ok(None)
    }

    /// At most `most` test examples with the run's outputs, at [`super::evenly_spaced`] places. None
    /// where outputs are no texts to read.
    fn samples(&self, _run: &RunFolder, _most: usize) -> Result<Option<Samples>> {
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
    /// What predictions without a trained model reach on the same examples.
    pub trivial_baselines: Vec<TrivialBaseline>,
    /// Whether the model predicted the same for all examples.
    pub is_constant: bool,
    /// Equal for runs on the same test examples, in the same order.
    pub examples_hash: u64,
    /// Which examples it has right; None where a prediction is not simply right or wrong.
    pub correct: Option<Flags>,
    /// What each example adds to the primary metric, for the paired bootstrap. None where another
    /// test compares runs example by example.
    pub statistics: Option<ExampleStatistics>,
}

impl Assessment {
    /// What a model must beat, or it has learned nothing. None where the task knows none.
    pub fn trivial(&self) -> Option<&TrivialBaseline> {
        self.trivial_baselines.iter().find(|baseline| baseline.error.is_some())
    }
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
}

/// Answers to some examples that need no trained model, and what they reach.
#[derive(Clone, Debug, PartialEq)]
pub struct TrivialBaseline {
    /// Describes the answers.
    pub answer: &'static str,
    /// The values that they reach, in the order of the task's metrics; None for metrics that need a
    /// model.
    pub metrics: Vec<Option<f64>>,
    pub examples: usize,
    /// Standard error of the primary metric over the examples, where a model that is no better than
    /// this baseline has learned nothing.
    pub error: Option<f64>,
    /// Whether every example gets the same prediction.
    pub is_constant: bool,
}

impl TrivialBaseline {
    /// The best constant prediction. A model that is no better has learned nothing.
    pub fn constant(
        answer: &'static str,
        value: f64,
        error: f64,
        examples: usize,
    ) -> TrivialBaseline {
        let (metrics, error) = (vec![Some(value)], Some(error));
        TrivialBaseline { answer, metrics, examples, error, is_constant: true }
    }

    /// The value of the primary metric.
    pub fn value(&self) -> f64 {
        self.metrics.first().copied().flatten().unwrap_or(f64::NAN)
    }

    /// Whether a value is at most one standard error better. A test of this many examples cannot
    /// tell such a value from that of these answers.
    pub fn is_reached_by(&self, metric: &Metric, value: f64) -> bool {
        let error = self.error.unwrap_or_default();
        let bound = match metric.better {
            super::Better::Higher => self.value() + error,
            super::Better::Lower => self.value() - error,
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
        let trivial = TrivialBaseline::constant("a", 0.6, 0.1, 10);
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

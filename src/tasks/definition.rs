//! The interface of a task to the rest of the program.

use std::collections::BTreeMap;

use super::data_set::Split;
use super::generation::{Continuation, Generation, Lines, Translated};
use super::spec_lines::Dataset;
use super::start::{Base, Fitted, Settled};
use super::task::{Run, TaskVisitor};
use crate::checkpoints::{Checkpoint, Metadata};
use crate::data::UsedExamples;
use crate::error::{Fault, Result};
use crate::hub::{Hub, Source};
use crate::models::Cost;
use crate::results::{Evidence, TaskFields};
use crate::spec::{DataSpec, RunSpec};

/// The size of a training batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// So many examples.
    Examples(usize),
    /// As many examples as fit into this number of tokens, padding included.
    Tokens(usize),
}

/// Facts about a task that need no data.
pub trait Definition: Evidence {
    /// Everything in the spec that decides the result of [`OpenTask::open`]. Runs with equal keys
    /// share their data.
    fn data_key(&self, spec: &RunSpec) -> String;

    /// Bytes of an example on a device that holds the data.
    fn example_bytes(&self, spec: &RunSpec) -> usize;

    /// Size of the run's model, and FLOPs of its matrix products for one unit of work.
    fn cost(&self, spec: &RunSpec) -> Cost;

    /// Tokens of an example; the maximum if examples differ.
    fn tokens(&self, spec: &RunSpec) -> usize;

    /// Whether validation measures the metric after every epoch.
    fn validates_metric_always(&self, _: &RunSpec) -> bool {
        true
    }

    /// A description of a batch, such as `64 images of 50 tokens`.
    fn batch_text(&self, spec: &RunSpec) -> String;

    /// The size of a training batch.
    fn batch_size(&self, spec: &RunSpec) -> BatchSize {
        BatchSize::Examples(spec.training.batch_size)
    }

    /// A description of the data of [`OpenTask::synthetic`].
    fn synthetic_note(&self) -> &'static str;

    /// The data section without settings that apply only to training.
    fn evaluated_data(&self, data: &DataSpec) -> DataSpec;

    /// Files of models on the Hub that are read when the data are opened. The weights that the run
    /// starts from are not among them.
    fn model_files(&self, _: &RunSpec) -> Result<Vec<ModelFiles>> {
        Ok(Vec::new())
    }

    /// The lines of a spec that reads a dataset for this task, or a sentence that says what the dataset
    /// lacks for them. None if its examples are of another kind.
    fn spec_lines(&self, dataset: &Dataset) -> Option<std::result::Result<String, String>>;

    /// Number of outputs of a new head, if the spec defines it.
    fn head_outputs(&self, spec: &RunSpec) -> Option<usize>;

    /// The prompt and its continuation by a trained model. Errors for a task whose models do not write.
    fn generate(&self, generation: &Generation) -> Result<Continuation> {
        Err(Fault::new("the model does not write text")
            .found(format!("a run of the task {}", generation.spec.task.name()))
            .expected("a run of a task whose models predict the next token")
            .into())
    }

    /// The translations of lines by a trained model. Errors for a task whose models do not translate.
    fn translate(&self, lines: &Lines) -> Result<Translated> {
        Err(Fault::new("the model does not translate")
            .found(format!("a run of the task {}", lines.spec.task.name()))
            .expected("a run of a task whose models turn a sentence into another")
            .into())
    }
}

/// Files of a model's repository.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFiles {
    pub source: Source,
    pub paths: Vec<String>,
}

/// The data of a run of any task.
pub trait TaskData: Send + Sync {
    /// Number of examples.
    fn len(&self, split: Split) -> usize;

    fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// Errors if the split that `--split` names has no examples. Only validation may have none.
    fn expect_examples(&self, split: Split) -> Result<()> {
        match self.is_empty(split) {
            false => Ok(()),
            true => Err(Fault::new("there is nothing to validate on")
                .within("--split")
                .found("`data.validation: null`")
                .expected("--split test, or a spec with validation examples")
                .into()),
        }
    }

    /// Units of work in an epoch of training.
    fn train_units(&self) -> u64;

    /// Batches of an epoch of this run's training.
    fn batches_per_epoch(&self, spec: &RunSpec) -> usize;

    /// A hash of all files read, independent of their location.
    fn sha256(&self) -> String;

    /// What is trained, selected and tested on.
    fn used(&self) -> &UsedExamples;

    /// The files that were read, and the changes to their data.
    fn record(&self) -> DataRecord;

    /// The content of the `tokenizer.json` that made the examples. It is saved with a run.
    fn tokenizer(&self) -> Option<&str> {
        None
    }

    /// Bytes of the data that a GPU will hold during the run.
    fn held_bytes(&self) -> u64;

    /// A checkpoint's weights, fitted to a run on these data that starts from them.
    fn fit(&self, checkpoint: &Checkpoint, spec: &RunSpec) -> Result<Fitted>;

    /// A checkpoint adapted to these data for evaluation, and the changes to it.
    fn adapt(&self, checkpoint: &Checkpoint, spec: &RunSpec) -> Result<(Checkpoint, TaskFields)>;

    /// Notes on the changes to data and checkpoint before an evaluation, one clause each. `fields`
    /// are those of [`Settled`] and of [`TaskData::adapt`].
    fn evaluation_notes(&self, fields: &TaskFields) -> Vec<String>;

    /// The metadata for checkpoints of a run on these data.
    fn metadata(&self) -> Metadata;
}

/// The data of a run, with the task's own type.
pub trait OpenTask: TaskData + Clone {
    /// Reads and checks the data.
    fn open(spec: &RunSpec, hub: &Hub) -> Result<Self>;

    /// Random data that fit the run's model, for benchmarks.
    fn synthetic(spec: &RunSpec, train: usize, validation: usize) -> Result<Self>;

    /// The same data for benchmarks, with at most this number of validation examples. If there are
    /// none, training examples are used instead.
    fn for_timing(&self, validation: usize) -> Self;

    /// Fills in the fields of a spec that depend on the weights that the run starts from. Errors if
    /// the weights do not fit the data.
    fn settle(&self, spec: &RunSpec, base: Option<Base<Self>>) -> Result<Settled>;

    /// The data for a settled spec. Large memory is shared with `self`.
    fn settled(&self, spec: &RunSpec) -> Self;

    /// Calls the visitor with the run's task and the blueprint of its model.
    fn visit<W: TaskVisitor>(&self, run: Run, visitor: W) -> W::Output;
}

/// The part of `provenance.json` about a run's data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataRecord {
    /// SHA-256 of every file read, by name.
    pub files: BTreeMap<String, String>,
    pub task: TaskFields,
    /// Notes on converted, skipped or duplicate examples, one sentence each.
    pub notes: Vec<String>,
}

/// The note on training batches whose texts are not `grouped` by length; None where they are.
pub fn random_lengths(spec: &RunSpec, grouped: bool) -> Option<String> {
    let size = spec.training.batch_size * spec.training.accumulation;
    (!grouped).then(|| format!("batch {size} of random lengths"))
}

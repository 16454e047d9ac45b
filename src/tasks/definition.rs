//! What the rest of the program asks a task for.

use std::collections::BTreeMap;

use super::data_set::Split;
use super::spec_lines::Dataset;
use super::start::{Base, Fitted, Settled};
use super::task::{Run, Work};
use crate::checkpoints::{Checkpoint, Metadata};
use crate::error::Result;
use crate::hub::{Hub, Source};
use crate::models::Cost;
use crate::results::{Evidence, TaskFields};
use crate::spec::{DataSpec, RunSpec};

/// What is known of a task without data.
pub trait Definition: Evidence {
    /// Everything in the spec that decides what [`OpenTask::open`] makes. Runs for which it is the
    /// same share their data.
    fn data_key(&self, spec: &RunSpec) -> String;

    /// Bytes that an example takes where a device holds the data.
    fn example_bytes(&self, spec: &RunSpec) -> usize;

    /// Size of the run's model, and FLOPs of its matrix products for a unit of work.
    fn cost(&self, spec: &RunSpec) -> Cost;

    /// Tokens of an example, the most where examples differ.
    fn tokens(&self, spec: &RunSpec) -> usize;

    /// A batch of the run as text: `64 images of 50 tokens`.
    fn batch_text(&self, spec: &RunSpec) -> String;

    /// What the data of [`OpenTask::synthetic`] are, as text.
    fn synthetic_note(&self) -> &'static str;

    /// The data section without what is done in training alone.
    fn evaluated_data(&self, data: &DataSpec) -> DataSpec;

    /// Files of models on the Hub that opening the data reads, besides the examples and the weights
    /// that the run starts from.
    fn model_files(&self, _: &RunSpec) -> Result<Vec<ModelFiles>> {
        Ok(Vec::new())
    }

    /// The lines of a spec that reads a dataset for this task, or a sentence that says what the dataset
    /// lacks for them. None where its examples are of another kind.
    fn spec_lines(&self, dataset: &Dataset) -> Option<std::result::Result<String, String>>;

    /// Outputs of a new head, where the spec says how many.
    fn head_outputs(&self, spec: &RunSpec) -> Option<usize>;
}

/// Files of a model's repository.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFiles {
    pub source: Source,
    pub paths: Vec<String>,
}

/// The data of a run, whatever its task.
pub trait TaskData: Send + Sync {
    /// Number of examples.
    fn len(&self, split: Split) -> usize;

    fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// Units of work in an epoch of training.
    fn train_units(&self) -> u64;

    /// Batches of an epoch of this run's training.
    fn train_batches(&self, spec: &RunSpec) -> usize;

    /// A hash over all files read, independent of where they lay.
    fn sha256(&self) -> String;

    /// What the data were read from and what was done to them.
    fn record(&self) -> DataRecord;

    /// The tokenizer that made the examples, as the content of a `tokenizer.json`: it is saved with a run.
    fn tokenizer(&self) -> Option<&str> {
        None
    }

    /// Bytes of the data that a GPU will hold.
    fn held_bytes(&self) -> u64;

    /// A checkpoint's weights for a run on these data to start from.
    fn fit(&self, checkpoint: &Checkpoint, spec: &RunSpec) -> Result<Fitted>;

    /// A checkpoint as it is on these data, and what was done to it: for evaluation.
    fn adapt(&self, checkpoint: &Checkpoint, spec: &RunSpec) -> Result<(Checkpoint, TaskFields)>;

    /// What was done to data and checkpoint before an evaluation, a clause each. `fields` are those
    /// of [`Settled`] and of [`TaskData::adapt`].
    fn evaluation_notes(&self, fields: &TaskFields) -> Vec<String>;

    /// What a checkpoint of a run on these data says besides its weights.
    fn metadata(&self) -> Metadata;
}

/// The data of a run as the type that its task has for them.
pub trait OpenTask: TaskData + Clone {
    /// Reads and checks them.
    fn open(spec: &RunSpec, hub: &Hub) -> Result<Self>;

    /// Made-up data that the run's model takes, for measurements.
    fn synthetic(spec: &RunSpec, train: usize, validation: usize) -> Result<Self>;

    /// The same data for measurements: with so many validation examples, or all where there are
    /// fewer; training examples where there are none.
    fn for_timing(&self, validation: usize) -> Self;

    /// Fills in what a run's spec leaves to the weights that it starts from. Errors where they do
    /// not fit the data.
    fn settle(&self, spec: &RunSpec, base: Option<Base<Self>>) -> Result<Settled>;

    /// The data for a spec that was settled. What takes much memory is shared.
    fn settled(&self, spec: &RunSpec) -> Self;

    /// Does work on the run's task.
    fn work<W: Work>(&self, run: Run, work: W) -> W::Output;
}

/// What `provenance.json` holds of a run's data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataRecord {
    /// SHA-256 of every file read, by name.
    pub files: BTreeMap<String, String>,
    pub task: TaskFields,
    /// What was converted, left out or found twice, a sentence each.
    pub notes: Vec<String>,
}

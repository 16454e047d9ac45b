//! The tasks that models are trained for. Each task has a folder.
//!
//! A task has three parts:
//!
//! - a [`DataSet`]: the examples of each split, and their batches;
//! - a [`Task`]: the loss of a batch, the model's answers, and the outcomes and scores from them;
//! - a [`Definition`] and an [`OpenTask`]: facts about the task without data, and its data.
//!
//! [`Opened`] chooses the task by `spec.task`. The rest of the program works with any task. It uses
//! the methods that are equal for all tasks ([`TaskData`]), and passes code that depends on a
//! task's types as [`TaskVisitor`].

mod blueprint;
mod classification;
mod data_set;
mod definition;
mod generation;
mod image_classification;
mod language_modelling;
mod opened;
mod perplexity;
mod sampling;
mod spec_lines;
mod start;
mod task;
mod text_classification;
mod translation;

pub use blueprint::{Blueprint, activations};
pub use classification::Outcome as ClassificationOutcome;
pub use data_set::{BatchPlan, DataSet, Split, batches_of, epoch_order};
pub use definition::{BatchSize, DataRecord, Definition, ModelFiles, OpenTask, TaskData};
pub use generation::{Continuation, Generation, Lines, Translated};
pub use image_classification::{ImageBatch, ImageBatches, ImageClassification};
pub use opened::{Opened, definition, evidence};
pub use sampling::Sampling;
pub use spec_lines::Dataset as SpecDataset;
pub use start::{Base, Fitted, Settled, assumed_alpha};
pub use task::{Evaluation, Run, Task, TaskVisitor};

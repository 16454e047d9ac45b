//! What models are trained for, a folder a task.
//!
//! A task is written in three parts:
//!
//! - a [`DataSet`]: examples by split, and the batches that they come in;
//! - a [`Task`]: the loss of a batch, the answers of the model, and what the answers come to;
//! - a [`Definition`] and an [`OpenTask`]: what is known of the task without data, and with them.
//!
//! [`Opened`] is where `spec.task` decides. The rest of the program works with any task: it asks an
//! [`Opened`] for what is the same for all ([`TaskData`]), and has it do what depends on the types
//! of a task ([`Work`]).

mod blueprint;
mod classification;
mod data_set;
mod definition;
mod image_classification;
mod opened;
mod spec_lines;
mod start;
mod task;
mod text_classification;

pub use blueprint::{Blueprint, activations};
pub use classification::Outcome as ClassificationOutcome;
pub use data_set::{BatchPlan, DataSet, Split, batches_of, epoch_order};
pub use definition::{DataRecord, Definition, ModelFiles, OpenTask, TaskData};
pub use image_classification::{ImageBatches, ImageClassification};
pub use opened::{Opened, definition, evidence};
pub use spec_lines::Dataset as SpecDataset;
pub use start::{Base, Fitted, Settled, assumed_alpha};
pub use task::{Evaluation, Run, Task, Work};

//! What a task is: a batch to a loss, a split to metrics.

mod ahead;
mod image_classification;

pub use ahead::{Batches, ahead};
pub use image_classification::{ImageClassification, activations, held_bytes};

use candle_core::{DType, Result};

use crate::nn::{ParameterBuilder, StepKey, Trained, Variable};

/// A task on its data, with the model that solves it. Its batches are made on another thread than
/// the model works on.
pub trait Task: Sync {
    type Model;
    /// Training examples as the model takes them.
    type Batch: Send;

    /// Builds the model on `source`.
    fn model(&self, source: &mut dyn ParameterBuilder) -> Result<Self::Model>;

    /// Which parameters are trained.
    fn trained(&self) -> Trained {
        Box::new(|_| true)
    }

    /// The type that activations are computed in. Parameters are float32 in any case.
    fn activations(&self) -> DType {
        DType::F32
    }

    /// Number of training examples.
    fn train_len(&self) -> usize;

    /// Whether there are examples to validate on.
    fn has_validation(&self) -> bool {
        true
    }

    /// These training examples as they are in this epoch (from 0).
    fn train_batch(&self, epoch: usize, examples: &[usize]) -> Result<Self::Batch>;

    /// The mean loss over a batch at this place in training, differentiable, a scalar.
    fn loss(&self, model: &Self::Model, key: StepKey, batch: &Self::Batch) -> Result<Variable>;

    /// Metrics on a whole split, which has examples.
    fn evaluate(&self, model: &Self::Model, split: Split) -> Result<Evaluation>;
}

/// A split that metrics are taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Validation,
    Test,
}

/// Metrics of a model on a split. Higher `metric` is better.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean over examples, without label smoothing.
    pub loss: f64,
    /// The task's metric; for classification accuracy, in \[0, 1\].
    pub metric: f64,
    /// In the split's order.
    pub outcomes: Vec<Outcome>,
}

/// What the model said of one example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub label: u32,
    pub prediction: u32,
    pub loss: f32,
}

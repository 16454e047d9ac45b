//! The interface of a task to training and evaluation.

use std::fmt::Debug;

use candle_core::{Device, Result};
use serde::Serialize;

use super::blueprint::Blueprint;
use super::data_set::{BatchPlan, DataSet, Split};
use crate::nn::{StepKey, Variable};
use crate::results::{Metric, Scores};
use crate::spec::RunSpec;

/// A task with its data. Batches are made on another thread than the model's.
pub trait Task: Sync {
    type Data: DataSet;
    /// The model that solves it.
    type Model;
    /// A model's predictions for a batch. They may still be on the device.
    type Predictions;
    /// The stored result of one test example, a line of `test.jsonl`.
    type Outcome: Clone + Debug + PartialEq + Serialize;

    fn data(&self) -> &Self::Data;

    /// The metrics. The first is the primary one, which `select: best` uses.
    fn metrics(&self) -> &'static [Metric];

    /// The differentiable loss of a batch at this step of training: a scalar, the mean over the
    /// units that [`BatchPlan::weight`] counts.
    fn loss(
        &self,
        model: &Self::Model,
        key: StepKey,
        batch: &<Self::Data as DataSet>::Batch,
    ) -> Result<Variable>;

    /// The model's predictions for a batch in evaluation.
    fn predict(
        &self,
        model: &Self::Model,
        batch: &<Self::Data as DataSet>::Batch,
    ) -> Result<Self::Predictions>;

    /// Whether validation after this epoch, from 1, measures only the loss, since the metrics take long.
    fn validates_only_loss(&self, _epoch: usize, _epochs: usize) -> bool {
        false
    }

    /// The model's predictions where only the loss is measured.
    fn predict_for_loss(
        &self,
        model: &Self::Model,
        batch: &<Self::Data as DataSet>::Batch,
    ) -> Result<Self::Predictions> {
        self.predict(model, batch)
    }

    /// The predictions that the model's head would make after the embedding and after each layer; the last
    /// ones are those of [`predict`](Task::predict).
    fn predict_logit_lens(
        &self,
        model: &Self::Model,
        batch: &<Self::Data as DataSet>::Batch,
    ) -> Result<Vec<Self::Predictions>>;

    /// Converts the predictions for all batches of a split to one outcome for each example, in the
    /// split's order. This waits for the device, once for all batches.
    fn outcomes(
        &self,
        split: Split,
        batches: &[BatchPlan],
        predictions: Vec<Self::Predictions>,
    ) -> Result<Vec<Self::Outcome>>;

    /// Loss and metrics of at least one outcome.
    fn scores(&self, outcomes: &[Self::Outcome]) -> Scores;
}

/// The result of a model on a split.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation<O> {
    pub scores: Scores,
    /// Outcomes in the split's order.
    pub outcomes: Vec<O>,
}

/// The part of a run that its task needs.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub spec: &'a RunSpec,
    pub seed: u64,
    pub device: &'a Device,
}

/// Code that works for every task but depends on the task's types.
pub trait TaskVisitor {
    type Output;

    /// Runs the code on this task. The blueprint builds the run's model.
    fn visit<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) -> Self::Output;
}

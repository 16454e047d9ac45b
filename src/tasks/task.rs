//! What a task is to training and evaluation.

use std::fmt::Debug;

use candle_core::{Device, Result};
use serde::Serialize;

use super::blueprint::Blueprint;
use super::data_set::{BatchPlan, DataSet, Split};
use crate::nn::{StepKey, Variable};
use crate::results::{Metric, Scores};
use crate::spec::RunSpec;

/// A task on its data. Batches are made on another thread than the model works on.
pub trait Task: Sync {
    type Data: DataSet;
    /// The model that solves it.
    type Model;
    /// What a model says of a batch. It may still be on the device.
    type Answers;
    /// What is stored of one test example, a line of `test.jsonl`.
    type Outcome: Clone + Debug + PartialEq + Serialize;

    fn data(&self) -> &Self::Data;

    /// Numbers that models are compared by, the primary one first: `select: best` goes by it.
    fn metrics(&self) -> &'static [Metric];

    /// The loss of a batch at this step of training, differentiable, a scalar: the mean over what
    /// [`BatchPlan::weight`] counts.
    fn loss(
        &self,
        model: &Self::Model,
        key: StepKey,
        batch: &<Self::Data as DataSet>::Batch,
    ) -> Result<Variable>;

    /// What the model says of a batch in evaluation.
    fn answer(
        &self,
        model: &Self::Model,
        batch: &<Self::Data as DataSet>::Batch,
    ) -> Result<Self::Answers>;

    /// What the answers to all batches of a split come to: an outcome an example, in the split's
    /// order. Here a device is waited for, once for all batches.
    fn outcomes(
        &self,
        split: Split,
        batches: &[BatchPlan],
        answers: Vec<Self::Answers>,
    ) -> Result<Vec<Self::Outcome>>;

    /// Loss and metrics of outcomes, of which there is at least one.
    fn scores(&self, outcomes: &[Self::Outcome]) -> Scores;
}

/// What a model comes to on a split.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation<O> {
    pub scores: Scores,
    /// In the split's order.
    pub outcomes: Vec<O>,
}

/// A run, as far as its task needs to know it.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub spec: &'a RunSpec,
    pub seed: u64,
    pub device: &'a Device,
}

/// Something that is done in the same way for every task, with the types that the task has.
pub trait Work {
    type Output;

    /// Does it on this task. The blueprint builds the run's model.
    fn on<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) -> Self::Output;
}

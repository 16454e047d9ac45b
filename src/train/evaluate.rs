//! Evaluation: the model answers every example of a split once, without a graph.

use candle_core::{Result, bail};

use super::prefetch::prefetch;
use crate::results::Scores;
use crate::tasks::{DataSet, Evaluation, Split, Task};

/// What an evaluation measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The loss and all metrics.
    Metrics,
    /// The loss, and of the metrics those that cost no more.
    Loss,
}

/// Evaluates a model on a split, which must have examples.
pub fn evaluate<T: Task>(
    task: &T,
    model: &T::Model,
    split: Split,
) -> Result<Evaluation<T::Outcome>> {
    match evaluate_unless(task, model, split, Detail::Metrics, &|| false)? {
        Some(evaluation) => Ok(evaluation),
        None => bail!("the evaluation was stopped"),
    }
}

/// The same; None if `is_stopped` returns true before a batch.
pub fn evaluate_unless<T: Task>(
    task: &T,
    model: &T::Model,
    split: Split,
    detail: Detail,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<Evaluation<T::Outcome>>> {
    let data = task.data();
    let batches = data.evaluation(split);
    let make = |plan| data.evaluation_batch(split, plan);
    let predictions = prefetch(batches.iter(), make, |ready| {
        let mut predictions = Vec::with_capacity(batches.len());
        for _ in &batches {
            if is_stopped() {
                return Ok(None);
            }
            let batch = ready.take()?;
            predictions.push(match detail {
                Detail::Metrics => task.predict(model, &batch)?,
                Detail::Loss => task.predict_for_loss(model, &batch)?,
            });
        }
        Ok::<_, candle_core::Error>(Some(predictions))
    })?;
    let Some(predictions) = predictions else { return Ok(None) };
    let outcomes = task.outcomes(split, &batches, predictions)?;
    Ok(Some(Evaluation { scores: task.scores(&outcomes), outcomes }))
}

/// The scores that a model's head would reach on a split after the embedding and after each layer.
pub fn evaluate_logit_lens<T: Task>(
    task: &T,
    model: &T::Model,
    split: Split,
) -> Result<Vec<Scores>> {
    let data = task.data();
    let batches = data.evaluation(split);
    let make = |plan| data.evaluation_batch(split, plan);
    let of_layers = prefetch(batches.iter(), make, |ready| {
        let mut of_layers: Vec<Vec<T::Predictions>> = Vec::new();
        for _ in &batches {
            let predictions = task.predict_logit_lens(model, &ready.take()?)?;
            of_layers.resize_with(predictions.len(), Vec::new);
            of_layers
                .iter_mut()
                .zip(predictions)
                .for_each(|(layer, predictions)| layer.push(predictions));
        }
        Ok::<_, candle_core::Error>(of_layers)
    })?;
    let scores = of_layers.into_iter().map(|predictions| {
        let outcomes = task.outcomes(split, &batches, predictions)?;
        Ok(task.scores(&outcomes))
    });
    scores.collect()
}

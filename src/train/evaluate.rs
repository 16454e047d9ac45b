//! Evaluation: the model answers every example of a split once, without a graph.

use candle_core::{Result, bail};

use super::prefetch::prefetch;
use crate::tasks::{DataSet, Evaluation, Split, Task};

/// Evaluates a model on a split, which must have examples.
pub fn evaluate<T: Task>(
    task: &T,
    model: &T::Model,
    split: Split,
) -> Result<Evaluation<T::Outcome>> {
    match evaluate_unless(task, model, split, &|| false)? {
        Some(evaluation) => Ok(evaluation),
        None => bail!("the evaluation was stopped"),
    }
}

/// The same; None if `is_stopped` returns true before a batch.
pub fn evaluate_unless<T: Task>(
    task: &T,
    model: &T::Model,
    split: Split,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<Evaluation<T::Outcome>>> {
    let data = task.data();
    let batches = data.evaluation(split);
    let make = |plan| data.evaluation_batch(split, plan);
    let answers = prefetch(batches.iter(), make, |ready| {
        let mut answers = Vec::with_capacity(batches.len());
        for _ in &batches {
            if is_stopped() {
                return Ok(None);
            }
            answers.push(task.answer(model, &ready.take()?)?);
        }
        Ok::<_, candle_core::Error>(Some(answers))
    })?;
    let Some(answers) = answers else { return Ok(None) };
    let outcomes = task.outcomes(split, &batches, answers)?;
    Ok(Some(Evaluation { scores: task.scores(&outcomes), outcomes }))
}

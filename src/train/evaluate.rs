//! Evaluation: the model answers every example of a split once, without a graph.

use candle_core::Result;

use super::prefetch::prefetch;
use crate::tasks::{DataSet, Evaluation, Split, Task};

/// Evaluates a model on a split, which must have examples.
pub fn evaluate<T: Task>(
    task: &T,
    model: &T::Model,
    split: Split,
) -> Result<Evaluation<T::Outcome>> {
    let data = task.data();
    let batches = data.evaluation(split);
    let make = |plan| data.evaluation_batch(split, plan);
    let answers = prefetch(batches.iter(), make, |ready| {
        let answer = |_| task.answer(model, &ready.take()?);
        batches.iter().map(answer).collect::<Result<Vec<T::Answers>>>()
    })?;
    let outcomes = task.outcomes(split, &batches, answers)?;
    Ok(Evaluation { scores: task.scores(&outcomes), outcomes })
}

//! Shared parts of tasks with one label for each example: the loss, the record of an example, the
//! metrics, and the counts of predictions.

use std::hash::{DefaultHasher, Hash, Hasher};

use candle_core::{D, DType, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::data_set::BatchPlan;
use crate::error;
use crate::nn::{Variable, ops};
use crate::results::{
    Assessment, Better, ClassMatch, Confusion, Metric, Provenance, RunFolder, Scores, SpecRecord,
    TrivialBaseline, Unnamed,
};

/// The field of `provenance.json` with the names of the classes, in the order of their labels.
pub const CLASS_NAMES: &str = "class_names";

/// The stored result of one test example, a line of `test.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Index in the split.
    pub example: usize,
    pub label: u32,
    pub prediction: u32,
    /// Cross-entropy, without label smoothing.
    pub loss: f32,
}

/// Share of examples with the right prediction.
pub const ACCURACY: Metric = Metric {
    name: "accuracy",
    unit: "%",
    difference_unit: "points",
    scale: 100.0,
    decimals: 1,
    better: Better::Higher,
};

/// The value of [`ACCURACY`].
pub fn accuracy(outcomes: &[Outcome]) -> f64 {
    let correct = outcomes.iter().filter(|o| o.label == o.prediction).count();
    correct as f64 / outcomes.len() as f64
}

/// Mean cross-entropy over examples.
fn mean_loss(outcomes: &[Outcome]) -> f64 {
    outcomes.iter().map(|o| f64::from(o.loss)).sum::<f64>() / outcomes.len() as f64
}

/// The loss and the metrics, each computed by one of these functions.
pub fn scores(outcomes: &[Outcome], metrics: &[fn(&[Outcome]) -> f64]) -> Scores {
    let metrics = metrics.iter().map(|metric| metric(outcomes)).collect();
    Scores { loss: mean_loss(outcomes), metrics }
}

/// Mean cross-entropy of logits \[batch, classes\] and labels \[batch\]; a scalar.
pub fn loss(logits: &Variable, labels: &Tensor, smoothing: f64) -> Result<Variable> {
    ops::mean(&ops::cross_entropy(logits, labels, smoothing)?)
}

/// A model's predictions for a batch, still on its device.
pub struct Predictions {
    /// Cross-entropy of each example, without label smoothing.
    losses: Tensor,
    predictions: Tensor,
}

impl Predictions {
    /// The predictions by logits \[batch, classes\] and the losses for labels \[batch\].
    pub fn of(logits: &Variable, labels: &Tensor) -> Result<Predictions> {
        let losses = ops::cross_entropy(logits, labels, 0.0)?.tensor().clone();
        let predictions = logits.tensor().to_dtype(DType::F32)?.argmax(D::Minus1)?;
        Ok(Predictions { losses, predictions })
    }

    /// One outcome for each example, in the split's order. `labels` are those of the whole split.
    /// `predictions` has one entry for each of `batches`.
    pub fn outcomes(
        batches: &[BatchPlan],
        predictions: &[Predictions],
        labels: &[u32],
    ) -> Result<Vec<Outcome>> {
        let all = |of: fn(&Predictions) -> &Tensor| {
            Tensor::cat(&predictions.iter().map(of).collect::<Vec<_>>(), 0)
        };
        let losses = all(|a| &a.losses)?.to_vec1::<f32>()?;
        let predictions = all(|a| &a.predictions)?.to_vec1::<u32>()?;
        let examples = batches.iter().flat_map(|batch| &batch.examples);
        let outcome = |((example, prediction), loss): ((&usize, u32), f32)| {
            let (example, label) = (*example, labels[*example]);
            Outcome { example, label, prediction, loss }
        };
        let mut outcomes: Vec<Outcome> =
            examples.zip(predictions).zip(losses).map(outcome).collect();
        outcomes.sort_by_key(|outcome| outcome.example);
        Ok(outcomes)
    }
}

/// A note on how the rows of a kept head were matched to the data's classes. An arm of the same
/// experiment needs no note if there are no class names, since its data have the same numbers.
pub fn classes_note(classes: &ClassMatch, is_arm: bool) -> Option<&'static str> {
    match classes {
        ClassMatch::Same => None,
        ClassMatch::Permuted(_) => {
            Some("the rows of its head put by name into the order of the data's classes")
        }
        ClassMatch::ByNumber(Unnamed::Both) if is_arm => None,
        ClassMatch::ByNumber(Unnamed::Both) => {
            Some("its head matched to the data's classes by number, since neither names them")
        }
        ClassMatch::ByNumber(Unnamed::Checkpoint) => {
            Some("its head matched to the data's classes by number, since it does not name them")
        }
        ClassMatch::ByNumber(Unnamed::Data) => Some(
            "its head matched to the data's classes by number, since the data do not name them",
        ),
    }
}

/// Computes the results of a run from its stored outcomes.
pub fn assess(run: &RunFolder, metrics: &[fn(&[Outcome]) -> f64]) -> error::Result<Assessment> {
    let outcomes: Vec<Outcome> = run.read_lines(RunFolder::TEST)?;
    Ok(Assessment {
        examples: outcomes.len(),
        scores: scores(&outcomes, metrics),
        trivial_baselines: vec![trivial(&outcomes)],
        is_constant: outcomes.windows(2).all(|pair| pair[0].prediction == pair[1].prediction),
        examples_hash: examples_hash(&outcomes),
        correct: Some(outcomes.iter().map(|o| o.label == o.prediction).collect()),
        statistics: None,
    })
}

/// Counts a run's predictions for the test examples of each class. Classes without a name are numbers.
pub fn confusion(run: &RunFolder) -> error::Result<Option<Confusion>> {
    let record: SpecRecord = run.read_json(RunFolder::SPEC)?;
    let provenance: Provenance = run.read_json(RunFolder::PROVENANCE)?;
    let outcomes: Vec<Outcome> = run.read_lines(RunFolder::TEST)?;
    let names: Vec<String> = provenance.task.get(CLASS_NAMES).unwrap_or_default();
    Ok(confusion_of(&outcomes, &names, record.spec.model.classes()))
}

/// `outputs`: how many classes the model can predict.
fn confusion_of(outcomes: &[Outcome], names: &[String], outputs: usize) -> Option<Confusion> {
    let classes = outputs.max(names.len()).max(occurring(outcomes));
    // Before memory is taken for them.
    if classes > Confusion::MAX_CLASSES {
        return None;
    }
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    Some(Confusion { classes: (0..classes).map(name).collect(), counts: counts(outcomes, classes) })
}

/// Number of examples for each label and prediction: \[label\]\[prediction\]. There are at least
/// `least` classes, and more if labels or predictions need them.
pub fn counts(outcomes: &[Outcome], least: usize) -> Vec<Vec<u64>> {
    let classes = least.max(occurring(outcomes));
    let mut counts = vec![vec![0; classes]; classes];
    for o in outcomes {
        counts[o.label as usize][o.prediction as usize] += 1;
    }
    counts
}

/// The number of classes up to the highest label or prediction.
fn occurring(outcomes: &[Outcome]) -> usize {
    let highest = outcomes.iter().map(|o| o.label.max(o.prediction)).max();
    highest.map_or(0, |class| (class as usize).saturating_add(1))
}

/// A hash over the labels of the test examples.
fn examples_hash(outcomes: &[Outcome]) -> u64 {
    let mut hasher = DefaultHasher::new();
    outcomes.iter().for_each(|outcome| (outcome.example, outcome.label).hash(&mut hasher));
    hasher.finish()
}

/// The best constant answer: the most frequent label of the test examples. No other constant answer
/// is better, not even the training split's most frequent label. Its accuracy p over n examples has
/// the standard error √(p (1 − p) / n).
fn trivial(outcomes: &[Outcome]) -> TrivialBaseline {
    let mut labels: Vec<u32> = outcomes.iter().map(|o| o.label).collect();
    labels.sort_unstable();
    let most = labels.chunk_by(|a, b| a == b).map(<[u32]>::len).max().unwrap_or(0);
    let examples = outcomes.len();
    let value = most as f64 / examples.max(1) as f64;
    let error = (value * (1.0 - value) / examples.max(1) as f64).sqrt();
    TrivialBaseline::constant("the most frequent label of the test split", value, error, examples)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(label: u32, prediction: u32) -> Outcome {
        Outcome { example: 0, label, prediction, loss: 0.5 }
    }

    #[test]
    fn a_line_of_the_evidence_has_fixed_fields_in_a_fixed_order() {
        let line = r#"{"example":7,"label":1,"prediction":2,"loss":0.33333334}"#;
        let outcome: Outcome = serde_json::from_str(line).unwrap();
        assert_eq!((outcome.example, outcome.loss), (7, 1.0 / 3.0));
        assert_eq!(serde_json::to_string(&outcome).unwrap(), line);
    }

    #[test]
    fn accuracy_and_loss_equal_the_closed_form() {
        let outcomes: Vec<Outcome> =
            (0..8).map(|i| outcome(i, if i < 6 { i } else { 0 })).collect();
        assert_eq!(scores(&outcomes, &[accuracy]), Scores { loss: 0.5, metrics: vec![0.75] });
        assert_eq!(ACCURACY.text(0.75), "75.0 %");
    }

    #[test]
    fn the_trivial_answer_is_the_most_frequent_label() {
        let outcomes = [1, 0, 1, 2, 1, 0, 1, 1, 2, 1].map(|label| outcome(label, 7));
        let trivial = trivial(&outcomes);
        assert_eq!((trivial.value(), trivial.examples), (0.6, 10));
        assert!((trivial.error.unwrap() - 0.024f64.sqrt()).abs() < 1e-12);
        assert!(trivial.is_reached_by(&ACCURACY, 0.7) && !trivial.is_reached_by(&ACCURACY, 0.8));
    }

    #[test]
    fn answers_are_counted_by_class() {
        let pairs = [(0, 0), (0, 2), (1, 1), (0, 2)];
        let outcomes = pairs.map(|(label, answer)| outcome(label, answer));
        let confusion = confusion_of(&outcomes, &["x".into(), "y".into()], 4).unwrap();
        // The model has four answers, of which the data name two.
        assert_eq!(confusion.classes, ["x", "y", "2", "3"]);
        assert_eq!(confusion.counts, [[1, 0, 2, 0], [0, 1, 0, 0], [0; 4], [0; 4]]);
        let most = Confusion::MAX_CLASSES;
        assert_eq!(confusion_of(&outcomes, &[], most).unwrap().classes.len(), most);
        assert_eq!(confusion_of(&outcomes, &[], most + 1), None);
        assert_eq!(confusion_of(&[outcome(u32::MAX, 0)], &[], 2), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The diagonal has the examples that are right, and a row those of its class.
        #[test]
        fn counts_agree_with_the_metric(
            pairs in proptest::collection::vec((0u32..7, 0u32..7), 1..300), split in 0usize..300,
        ) {
            let outcomes: Vec<Outcome> =
                pairs.iter().map(|(label, answer)| outcome(*label, *answer)).collect();
            let all = confusion_of(&outcomes, &[], 7).unwrap();
            let right: u64 = (0..7).map(|class| all.counts[class][class]).sum();
            prop_assert_eq!(right as f64 / outcomes.len() as f64, accuracy(&outcomes));
            for class in 0..7 {
                let labelled = outcomes.iter().filter(|o| o.label == class as u32).count() as u64;
                prop_assert_eq!(all.examples(class), labelled);
            }
            // Parts that are counted alone come to the same.
            let (first, second) = outcomes.split_at(split.min(outcomes.len()));
            let first = confusion_of(first, &[], 7).unwrap();
            let second = confusion_of(second, &[], 7).unwrap();
            prop_assert_eq!(first.merge(&second), Some(all));
        }
    }
}

//! The evidence of a window, and what is computed from it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::data::language::Window;
use crate::error::Result;
use crate::results::{
    Assessment, Better, LOSS_NAME, Metric, Provenance, RunFolder, Scores, TrivialBaseline,
};
use crate::tasks::perplexity::{PERPLEXITY, perplexity};

/// The field of `provenance.json` with the SHA-256 of the test split's tokens.
pub const TEST_TOKENS: &str = "test_tokens_sha256";

/// The stored result of one window of the test split, a line of `test.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Index of the window.
    pub window: usize,
    /// The first token that is scored, by its index in the split.
    pub start: usize,
    /// How many tokens are scored.
    pub tokens: usize,
    /// How many bytes of the text they stand for.
    pub bytes: u64,
    /// The sum of their cross-entropies, in nats.
    pub loss: f64,
    /// The same sum if each token is predicted with its frequency among the split's tokens.
    pub unigram: f64,
}

/// Mean cross-entropy of a token.
pub const LOSS: Metric = Metric {
    name: LOSS_NAME,
    unit: "nats",
    difference_unit: "nats",
    scale: 1.0,
    decimals: 4,
    better: Better::Lower,
};

/// The cross-entropy of a text over its length in bytes. Other than the loss of a token, it compares across
/// tokenizers.
pub const BITS_PER_BYTE: Metric = Metric {
    name: "bits/byte",
    unit: "",
    difference_unit: "",
    scale: 1.0,
    decimals: 4,
    better: Better::Lower,
};

/// The metrics, the primary one first.
pub const METRICS: [Metric; 3] = [LOSS, PERPLEXITY, BITS_PER_BYTE];

/// The loss and the metrics of at least one window.
pub fn scores(outcomes: &[Outcome]) -> Scores {
    let sum = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>();
    let nats = sum(|o| o.loss);
    let loss = nats / sum(|o| o.tokens as f64);
    let bits = nats / std::f64::consts::LN_2 / sum(|o| o.bytes as f64);
    Scores { loss, metrics: vec![loss, perplexity(loss), bits] }
}

/// The outcomes of windows of a text. `ids` are its tokens, `bytes` are how many bytes each stands for, and
/// `losses` are those of all predictions of a window.
pub fn outcomes<'l>(
    windows: &[Window],
    ids: &[u32],
    bytes: &[u32],
    losses: impl Fn(usize) -> &'l [f32],
) -> Vec<Outcome> {
    let surprise = unigram(ids.get(1..).unwrap_or_default());
    let outcome = |(index, window): (usize, &Window)| {
        let (start, losses) = (window.first(), losses(index));
        let scored = start..window.end + 1;
        Outcome {
            window: index,
            start,
            tokens: window.scored,
            bytes: bytes[scored.clone()].iter().map(|bytes| u64::from(*bytes)).sum(),
            loss: losses[losses.len() - window.scored..].iter().map(|loss| f64::from(*loss)).sum(),
            unigram: ids[scored].iter().filter_map(|id| surprise.get(id)).sum(),
        }
    };
    windows.iter().enumerate().map(outcome).collect()
}

/// For each token −ln of its share of all.
fn unigram(ids: &[u32]) -> HashMap<u32, f64> {
    let mut counts: HashMap<u32, f64> = HashMap::new();
    ids.iter().for_each(|id| *counts.entry(*id).or_default() += 1.0);
    let all = ids.len() as f64;
    counts.values_mut().for_each(|count| *count = (all / *count).ln());
    counts
}

/// Computes the results of a run from its stored outcomes.
pub fn assess(run: &RunFolder) -> Result<Assessment> {
    let outcomes: Vec<Outcome> = run.read_lines(RunFolder::TEST)?;
    let provenance: Provenance = run.read_json(RunFolder::PROVENANCE)?;
    let tokens: String = provenance.task.get(TEST_TOKENS).unwrap_or_default();
    Ok(Assessment {
        examples: outcomes.len(),
        scores: scores(&outcomes),
        trivial_baselines: vec![trivial(&outcomes)],
        // What a model predicts for each token is not stored.
        is_constant: false,
        examples_hash: examples_hash(&outcomes, &tokens),
        correct: None,
        statistics: None,
    })
}

/// A hash over the windows and over the tokens of their text.
fn examples_hash(outcomes: &[Outcome], tokens: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    outcomes.iter().for_each(|o| (o.window, o.start, o.tokens, o.bytes).hash(&mut hasher));
    tokens.hash(&mut hasher);
    hasher.finish()
}

/// The best constant answer: one distribution for every token, which is best if it is that of the test
/// split's tokens. No other one has a smaller loss on the whole split, not even the training split's; on
/// random windows of it, about none. The standard error of its
/// loss is that of a ratio of sums over windows.
fn trivial(outcomes: &[Outcome]) -> TrivialBaseline {
    let tokens: f64 = outcomes.iter().map(|o| o.tokens as f64).sum();
    let value = outcomes.iter().map(|o| o.unigram).sum::<f64>() / tokens;
    let squares = outcomes.iter().map(|o| (o.unigram - value * o.tokens as f64).powi(2));
    let n = outcomes.len() as f64;
    let error = squares.sum::<f64>().sqrt() / tokens * (n / (n - 1.0).max(1.0)).sqrt();
    let answer = "the frequencies of the test split's tokens";
    TrivialBaseline::constant(answer, value, error, outcomes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(window: usize, begin: usize, end: usize, scored: usize) -> (usize, Window) {
        (window, Window { begin, end, scored })
    }

    #[test]
    fn a_line_of_the_evidence_has_fixed_fields_in_a_fixed_order() {
        let line =
            r#"{"window":7,"start":449,"tokens":64,"bytes":70,"loss":120.5,"unigram":200.25}"#;
        let outcome: Outcome = serde_json::from_str(line).unwrap();
        assert_eq!((outcome.start, outcome.bytes), (449, 70));
        assert_eq!(serde_json::to_string(&outcome).unwrap(), line);
    }

    /// Five tokens, of which four are predicted: three in the first window and one in the second, which
    /// has two tokens of context in front.
    #[test]
    fn scored_tokens_are_summed() {
        let windows = [of(0, 0, 3, 3).1, of(1, 1, 4, 1).1];
        let (ids, bytes) = ([9, 1, 1, 2, 1], [1, 2, 1, 3, 1]);
        let losses: [&[f32]; 2] = [&[0.5, 1.0, 1.5], &[7.0, 7.0, 2.0]];
        let outcomes = outcomes(&windows, &ids, &bytes, |window| losses[window]);
        let entropy = [(4f64 / 3.0).ln(), 4f64.ln()];
        let want = [
            Outcome {
                window: 0,
                start: 1,
                tokens: 3,
                bytes: 6,
                loss: 3.0,
                unigram: entropy[0] + entropy[0] + entropy[1],
            },
            Outcome { window: 1, start: 4, tokens: 1, bytes: 1, loss: 2.0, unigram: entropy[0] },
        ];
        assert_eq!(outcomes, want);
        let scores = scores(&outcomes);
        assert_eq!((scores.loss, scores.metrics[0]), (1.25, 1.25));
        assert!((scores.metrics[1] - 1.25f64.exp()).abs() < 1e-12);
        assert!((scores.metrics[2] - 5.0 / 2f64.ln() / 7.0).abs() < 1e-12);
        let trivial = trivial(&outcomes);
        // The entropy of shares 3/4 and 1/4.
        assert!((trivial.value() - (0.75 * entropy[0] + 0.25 * entropy[1])).abs() < 1e-12);
        assert!(trivial.error.unwrap() > 0.0 && trivial.is_reached_by(&LOSS, 1.25));
        assert!(!trivial.is_reached_by(&LOSS, 0.01));
    }

    #[test]
    fn texts_and_windows_have_hashes_of_their_own() {
        let outcome = Outcome { window: 0, start: 1, tokens: 3, bytes: 3, loss: 1.0, unigram: 1.0 };
        let hash = |outcome, tokens| examples_hash(&[outcome], tokens);
        assert_eq!(hash(outcome, "a"), hash(Outcome { loss: 2.0, ..outcome }, "a"));
        assert_ne!(hash(outcome, "a"), hash(outcome, "b"));
        assert_ne!(hash(outcome, "a"), hash(Outcome { start: 2, ..outcome }, "a"));
    }
}

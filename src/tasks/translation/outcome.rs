//! The evidence of a sentence, and what is computed from it.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::data::section;
use super::scoring::{BleuCounts, ChrfScheme, Scheme, TerCounts, TerScheme, Tokenization};
use crate::error::Result;
use crate::results::{Assessment, Better, Metric, RunFolder, Scores, SpecRecord};
use crate::spec::RunSpec;
use crate::tasks::perplexity::{PERPLEXITY, perplexity};

/// The stored result of one sentence of the test split, a line of `test.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Index of the sentence.
    pub sentence: usize,
    pub source: String,
    pub reference: String,
    /// The model's translation. None where only the loss was measured.
    pub hypothesis: Option<String>,
    /// Predicted tokens of the reference, its end included.
    pub tokens: usize,
    /// The sum of their cross-entropies, in nats.
    pub loss: f64,
    /// By sacrebleu's tokenisation of reference and translation.
    pub bleu: BleuCounts,
    /// By the words of the data's tokenizer.
    pub word_bleu: BleuCounts,
    pub ter: TerCounts,
}

/// What a translation is compared with.
pub struct Reference<'a> {
    pub sentence: usize,
    pub source: &'a str,
    pub reference: &'a str,
    /// The reference as words of the data's tokenizer.
    pub in_words: &'a str,
    pub tokens: usize,
    pub loss: f64,
}

impl Reference<'_> {
    /// The outcome with the model's translation.
    pub fn outcome(&self, hypothesis: Option<String>, schemes: &Schemes) -> Outcome {
        let Reference { sentence, source, reference, in_words, tokens, loss } = *self;
        let of = |hypothesis: &String| {
            (
                BleuCounts::of(hypothesis, reference, schemes.bleu),
                BleuCounts::of(hypothesis, in_words, schemes.word_bleu),
                TerCounts::of(hypothesis, reference, schemes.ter),
            )
        };
        let (bleu, word_bleu, ter) = hypothesis.as_ref().map(of).unwrap_or_default();
        let (source, reference) = (source.to_string(), reference.to_string());
        Outcome { sentence, source, reference, hypothesis, tokens, loss, bleu, word_bleu, ter }
    }
}

/// How translations are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schemes {
    pub bleu: Scheme,
    pub word_bleu: Scheme,
    pub chrf: ChrfScheme,
    pub ter: TerScheme,
}

impl Schemes {
    pub fn of(spec: &RunSpec) -> Schemes {
        let lowercase = section(spec).lowercase;
        Schemes {
            bleu: Scheme { tokenization: Tokenization::V13a, lowercase },
            word_bleu: Scheme { tokenization: Tokenization::None, lowercase },
            chrf: ChrfScheme { lowercase },
            ter: TerScheme { lowercase },
        }
    }

    /// The signatures by which scores of other programs are comparable, in the order of the metrics.
    pub fn signatures(&self) -> [(&'static str, String); 4] {
        [
            (BLEU.name, self.bleu.signature()),
            (CHRF.name, self.chrf.signature()),
            (TER.name, self.ter.signature()),
            (WORD_BLEU.name, self.word_bleu.signature()),
        ]
    }
}

const fn score(name: &'static str, better: Better) -> Metric {
    Metric { name, unit: "", difference_unit: "points", scale: 1.0, decimals: 2, better }
}

/// BLEU by sacrebleu's tokenisation.
pub const BLEU: Metric = score("BLEU", Better::Higher);
pub const CHRF: Metric = score("chrF2++", Better::Higher);
pub const TER: Metric = score("TER", Better::Lower);
/// BLEU by the words of the data's tokenizer. It does not compare with [`BLEU`].
pub const WORD_BLEU: Metric = score("word BLEU", Better::Higher);

/// The metrics, the primary one first.
pub const METRICS: [Metric; 5] = [BLEU, CHRF, TER, WORD_BLEU, PERPLEXITY];

/// The loss and the metrics of at least one sentence. There are no metrics where only the loss was
/// measured.
pub fn scores(outcomes: &[Outcome], schemes: &Schemes) -> Scores {
    let nats: f64 = outcomes.iter().map(|o| o.loss).sum();
    let loss = nats / outcomes.iter().map(|o| o.tokens as f64).sum::<f64>();
    if outcomes.iter().any(|o| o.hypothesis.is_none()) {
        return Scores { loss, metrics: Vec::new() };
    }
    let text = |o: &Outcome| o.hypothesis.clone().unwrap_or_default();
    let hypotheses: Vec<String> = outcomes.iter().map(text).collect();
    let pairs = hypotheses.iter().zip(outcomes).map(|(h, o)| (h.as_str(), o.reference.as_str()));
    let metrics = vec![
        outcomes.iter().map(|o| o.bleu).sum::<BleuCounts>().score(),
        schemes.chrf.score(pairs),
        outcomes.iter().map(|o| o.ter).sum::<TerCounts>().score(),
        outcomes.iter().map(|o| o.word_bleu).sum::<BleuCounts>().score(),
        perplexity(loss),
    ];
    Scores { loss, metrics }
}

/// Computes the results of a run from its stored outcomes.
pub fn assess(run: &RunFolder) -> Result<Assessment> {
    let outcomes: Vec<Outcome> = run.read_lines(RunFolder::TEST)?;
    let record: SpecRecord = run.read_json(RunFolder::SPEC)?;
    let mut hypotheses = outcomes.iter().map(|o| &o.hypothesis);
    let first = hypotheses.next();
    Ok(Assessment {
        examples: outcomes.len(),
        scores: scores(&outcomes, &Schemes::of(&record.spec)),
        trivial: None,
        is_constant: outcomes.len() > 1 && hypotheses.all(|other| Some(other) == first),
        examples_hash: examples_hash(&outcomes),
        correct: None,
    })
}

/// A hash over the sentences and their references.
fn examples_hash(outcomes: &[Outcome]) -> u64 {
    let mut hasher = DefaultHasher::new();
    outcomes.iter().for_each(|o| (o.sentence, &o.source, &o.reference).hash(&mut hasher));
    hasher.finish()
}

//! The evidence of a sentence, and what is computed from it.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::data::section;
use super::scoring::{BleuCounts, ChrfScheme, Scheme, TerCounts, TerScheme, Tokenization};
use crate::error::Result;
use crate::results::{
    Assessment, Better, ExampleStatistics, Metric, RunFolder, Sample, Samples, Scores, SpecRecord,
    TrivialBaseline, evenly_spaced,
};
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
    #[serde(flatten)]
    pub without_model: WithoutModel,
}

/// What scores are computed from, for one sentence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// By sacrebleu's tokenisation of reference and translation.
    pub bleu: BleuCounts,
    /// By the words of the data's tokenizer.
    pub word_bleu: BleuCounts,
    pub ter: TerCounts,
}

/// A sentence whose words were replaced by those of the dictionary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replaced {
    pub text: String,
    #[serde(flatten)]
    pub counts: Counts,
}

/// Translations of a sentence that need no model, part of a line of `test.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WithoutModel {
    /// The source itself. None in evidence of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Counts>,
    /// By the dictionary of the training split. None in evidence of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dictionary: Option<Replaced>,
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
    pub fn outcome(
        &self,
        hypothesis: Option<String>,
        without_model: WithoutModel,
        schemes: &Schemes,
    ) -> Outcome {
        let Reference { sentence, source, reference, tokens, loss, .. } = *self;
        // Of a model's translation, words have spaces between them already.
        let of = |hypothesis: &String| self.counts(hypothesis, hypothesis, schemes);
        let Counts { bleu, word_bleu, ter } = hypothesis.as_ref().map(of).unwrap_or_default();
        let (source, reference) = (source.to_string(), reference.to_string());
        Outcome {
            sentence,
            source,
            reference,
            hypothesis,
            tokens,
            loss,
            bleu,
            word_bleu,
            ter,
            without_model,
        }
    }

    /// The counts of a translation. `in_words` is the translation as words of the data's tokenizer.
    pub fn counts(&self, translation: &str, in_words: &str, schemes: &Schemes) -> Counts {
        Counts {
            bleu: BleuCounts::of(translation, self.reference, schemes.bleu),
            word_bleu: BleuCounts::of(in_words, self.in_words, schemes.word_bleu),
            ter: TerCounts::of(translation, self.reference, schemes.ter),
        }
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
    let translated = outcomes.iter().map(|o| {
        let counts = Counts { bleu: o.bleu, word_bleu: o.word_bleu, ter: o.ter };
        (o.hypothesis.as_deref().unwrap_or_default(), counts)
    });
    let mut metrics = Vec::from(corpus_scores(outcomes, translated, schemes));
    metrics.push(perplexity(loss));
    Scores { loss, metrics }
}

/// The metrics of translations of all sentences, in their order, but for the perplexity.
fn corpus_scores<'o>(
    outcomes: &'o [Outcome],
    translated: impl Iterator<Item = (&'o str, Counts)> + Clone,
    schemes: &Schemes,
) -> [f64; 4] {
    let texts = translated.clone().map(|(text, _)| text);
    let pairs = texts.zip(outcomes).map(|(text, o)| (text, o.reference.as_str()));
    let counts = || translated.clone().map(|(_, counts)| counts);
    [
        counts().map(|counts| counts.bleu).sum::<BleuCounts>().score(),
        schemes.chrf.score(pairs),
        counts().map(|counts| counts.ter).sum::<TerCounts>().score(),
        counts().map(|counts| counts.word_bleu).sum::<BleuCounts>().score(),
    ]
}

/// What is reached without a model, as far as the evidence has it. A model that is no better than
/// copying the source has learned nothing.
fn trivial_baselines(outcomes: &[Outcome], schemes: &Schemes) -> Vec<TrivialBaseline> {
    let of = |answer: &'static str, translated: Option<Vec<(&str, Counts)>>, is_least: bool| {
        let translated = translated.filter(|translations| !translations.is_empty())?;
        let scores = corpus_scores(outcomes, translated.iter().copied(), schemes);
        let metrics = scores.map(Some).into_iter().chain([None]).collect();
        let counts = translated.iter().map(|(_, counts)| counts.bleu);
        let error = is_least.then(|| statistics(counts).standard_error());
        Some(TrivialBaseline {
            answer,
            metrics,
            examples: outcomes.len(),
            error,
            is_constant: false,
        })
    };
    let copied = outcomes.iter().map(|o| Some((o.source.as_str(), o.without_model.copy?)));
    let replaced = outcomes.iter().map(|o| {
        let translation = o.without_model.dictionary.as_ref()?;
        Some((translation.text.as_str(), translation.counts))
    });
    let copied = of("copying the source", copied.collect(), true);
    let dictionary = "a word-for-word dictionary of the training split (IBM Model 1)";
    copied.into_iter().chain(of(dictionary, replaced.collect(), false)).collect()
}

/// What each sentence adds to BLEU.
fn statistics(counts: impl Iterator<Item = BleuCounts>) -> ExampleStatistics {
    ExampleStatistics::new(counts.map(|sentence| sentence.to_row()), |sums| {
        BleuCounts::of_row(sums).score()
    })
}

/// Computes the results of a run from its stored outcomes.
pub fn assess(run: &RunFolder) -> Result<Assessment> {
    let outcomes: Vec<Outcome> = run.read_lines(RunFolder::TEST)?;
    let record: SpecRecord = run.read_json(RunFolder::SPEC)?;
    let schemes = Schemes::of(&record.spec);
    let mut hypotheses = outcomes.iter().map(|o| &o.hypothesis);
    let first = hypotheses.next();
    let is_translated = outcomes.iter().all(|o| o.hypothesis.is_some());
    Ok(Assessment {
        examples: outcomes.len(),
        scores: scores(&outcomes, &schemes),
        trivial_baselines: trivial_baselines(&outcomes, &schemes),
        is_constant: outcomes.len() > 1 && hypotheses.all(|other| Some(other) == first),
        examples_hash: examples_hash(&outcomes),
        correct: None,
        statistics: is_translated.then(|| statistics(outcomes.iter().map(|o| o.bleu))),
    })
}

/// Sentences with the run's translations, at most `most`.
pub fn samples(run: &RunFolder, most: usize) -> Result<Samples> {
    let outcomes: Vec<Outcome> = run.read_lines(RunFolder::TEST)?;
    let examples = evenly_spaced(outcomes.len(), most).map(|place| {
        let outcome = &outcomes[place];
        Sample {
            example: outcome.sentence,
            input: outcome.source.clone(),
            reference: outcome.reference.clone(),
            output: outcome.hypothesis.clone().unwrap_or_default(),
        }
    });
    Ok(Samples { input: "source", of: outcomes.len(), examples: examples.collect() })
}

/// A hash over the sentences and their references.
fn examples_hash(outcomes: &[Outcome]) -> u64 {
    let mut hasher = DefaultHasher::new();
    outcomes.iter().for_each(|o| (o.sentence, &o.source, &o.reference).hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: Schemes = Schemes {
        bleu: Scheme { tokenization: Tokenization::V13a, lowercase: false },
        word_bleu: Scheme { tokenization: Tokenization::None, lowercase: false },
        chrf: ChrfScheme { lowercase: false },
        ter: TerScheme { lowercase: false },
    };

    /// Source, reference, translation, and what the dictionary gives.
    const SENTENCES: [[&str; 4]; 3] = [
        ["ein Mann sieht Berlin .", "a man sees Berlin .", "a man sees Berlin .", "a man Berlin ."],
        [
            "zwei Hunde in New York !",
            "two dogs in New York !",
            "a dog in York !",
            "two dogs in York !",
        ],
        ["eine Frau lacht .", "a woman is laughing .", "a woman sees .", "a woman laughs ."],
    ];

    fn outcomes() -> Vec<Outcome> {
        let outcome = |(sentence, texts): (usize, [&str; 4])| {
            let [source, reference, hypothesis, replaced] = texts;
            let target = Reference {
                sentence,
                source,
                reference,
                in_words: reference,
                tokens: 5,
                loss: 4.0,
            };
            let counts = |text: &str| target.counts(text, text, &SCHEMES);
            let text = replaced.to_string();
            let dictionary = Some(Replaced { counts: counts(&text), text });
            let without_model = WithoutModel { copy: Some(counts(source)), dictionary };
            target.outcome(Some(hypothesis.into()), without_model, &SCHEMES)
        };
        SENTENCES.into_iter().enumerate().map(outcome).collect()
    }

    #[test]
    fn trivial_baselines_are_scored_as_translations() {
        let outcomes = outcomes();
        let found = trivial_baselines(&outcomes, &SCHEMES);
        assert_eq!(found.len(), 2);
        for (baseline, text) in found.iter().zip([0, 3]) {
            // The same texts as translations of a model.
            let of_model: Vec<Outcome> = (outcomes.iter().zip(SENTENCES))
                .map(|(o, texts)| {
                    let translation = texts[text];
                    let reference = Reference {
                        sentence: 0,
                        source: "",
                        reference: &o.reference,
                        in_words: &o.reference,
                        tokens: 5,
                        loss: 4.0,
                    };
                    reference.outcome(Some(translation.into()), WithoutModel::default(), &SCHEMES)
                })
                .collect();
            let want = scores(&of_model, &SCHEMES).metrics;
            let metrics: Vec<f64> = baseline.metrics.iter().filter_map(|value| *value).collect();
            assert_eq!((metrics.as_slice(), baseline.metrics.len()), (&want[..4], 5));
            assert!(baseline.value() > 0.0);
        }
        // A model must beat copying.
        assert!(found[0].error.unwrap() > 0.0 && found[1].error.is_none());
        assert!(found[0].is_reached_by(&BLEU, found[0].value()));
    }

    #[test]
    fn evidence_of_earlier_versions_has_no_trivial_baselines() {
        let mut outcome = outcomes().remove(0);
        let line = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), outcome);
        outcome.without_model = WithoutModel::default();
        let line = serde_json::to_string(&outcome).unwrap();
        let end = r#""ter":{"edits":0,"reference":5.0}}"#;
        assert!(line.ends_with(end) && !line.contains("copy"), "{line}");
        let old: Outcome = serde_json::from_str(&line).unwrap();
        assert_eq!(old, outcome);
        assert!(trivial_baselines(&[old], &SCHEMES).is_empty());
    }

    /// BLEU of all sentences is not the mean of theirs, and the statistics know it.
    #[test]
    fn statistics_give_the_metric_of_the_whole() {
        let outcomes = outcomes();
        let statistics = statistics(outcomes.iter().map(|o| o.bleu));
        let whole = scores(&outcomes, &SCHEMES).metrics[0];
        assert_eq!(statistics.score(&[0, 1, 2]), whole);
        let mean = (0..3).map(|i| statistics.score(&[i])).sum::<f64>() / 3.0;
        assert!((mean - whole).abs() > 1.0, "{mean} {whole}");
        let twice = [&outcomes[1], &outcomes[1]].map(|o| o.clone());
        assert_eq!(statistics.score(&[1, 1]), scores(&twice, &SCHEMES).metrics[0]);
    }
}

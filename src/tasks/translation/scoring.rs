//! Scores of translations as Python's sacrebleu 2.6.0 gives them (Post 2018), each with one
//! reference and in percent: BLEU, chrF2++ and TER.
//!
//! BLEU (Papineni et al. 2002) is `100 · BP · exp(¼ Σ ln pₙ)` for n = 1 to 4. `pₙ` is the share of
//! the hypothesis' n-grams that are in the reference, each at most as often as there. The brevity
//! penalty `BP` is `min(1, exp(1 − reference / hypothesis))` of the lengths in tokens.
//!
//! chrF2++ (Popović 2017) is an F-score with β = 2: recall counts more than precision. Both are
//! means over n-grams of 1 to 6 characters and of 1 and 2 words.
//!
//! TER (Snover et al. 2006) is the number of edits that turn the hypothesis into the reference, in
//! percent of the words of the reference. An edit inserts, deletes or replaces a word, or moves a
//! phrase. Lower is better, and more than 100 is possible.
//!
//! All three are ratios of sums over a corpus. The mean of the scores of its sentences is another
//! number.

use std::iter::Sum;
use std::ops::AddAssign;

use sacrebleu_rs::{Bleu, Chrf, MAX_NGRAM_ORDER, Ter, compute_bleu};
use serde::{Deserialize, Serialize};

/// References of a sentence, as signatures name them.
const REFERENCES: i64 = 1;

/// How BLEU cuts a text into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenization {
    /// By the rules of mteval-v13a, as at WMT.
    V13a,
    /// At white space. For texts that are tokenized already.
    None,
}

/// What BLEU compares. The score depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    pub tokenization: Tokenization,
    pub lowercase: bool,
}

impl Scheme {
    /// The signature of sacrebleu, by which scores of other programs are comparable.
    pub fn signature(&self) -> String {
        self.metric().signature(REFERENCES)
    }

    fn metric(&self) -> Bleu {
        let tokenize = match self.tokenization {
            Tokenization::V13a => "13a",
            Tokenization::None => "none",
        };
        Bleu { lowercase: self.lowercase, tokenize: tokenize.to_owned(), ..Bleu::default() }
    }
}

/// What BLEU is computed from, for a sentence or a corpus. Counts of a corpus are the sums of those
/// of its sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BleuCounts {
    /// The n-grams that match, for n = 1 to 4.
    pub correct: [u64; MAX_NGRAM_ORDER],
    /// All n-grams of the hypothesis, for n = 1 to 4.
    pub total: [u64; MAX_NGRAM_ORDER],
    /// Tokens of the hypothesis.
    pub hypothesis: u64,
    /// Tokens of the reference.
    pub reference: u64,
}

impl BleuCounts {
    /// The counts of one sentence.
    pub fn of(hypothesis: &str, reference: &str, scheme: Scheme) -> BleuCounts {
        let score = scheme.metric().sentence_score(&spaced(hypothesis), &[spaced(reference)]);
        let four = |counts: &[i64]| std::array::from_fn(|n| counts[n].unsigned_abs());
        BleuCounts {
            correct: four(&score.counts),
            total: four(&score.totals),
            hypothesis: score.sys_len.unsigned_abs(),
            reference: score.ref_len.unsigned_abs(),
        }
    }

    /// All counts as one row of numbers, whose sums are those of a corpus.
    pub fn to_row(self) -> [f64; 2 * MAX_NGRAM_ORDER + 2] {
        let counts = self.correct.into_iter().chain(self.total);
        let mut counts = counts.chain([self.hypothesis, self.reference]);
        std::array::from_fn(|_| counts.next().unwrap_or_default() as f64)
    }

    /// The counts of a sum of rows; missing numbers are 0.
    pub fn of_row(row: &[f64]) -> BleuCounts {
        // Saturates, as sums of counts do.
        let count = |place: usize| row.get(place).copied().unwrap_or_default() as u64;
        BleuCounts {
            correct: std::array::from_fn(count),
            total: std::array::from_fn(|n| count(MAX_NGRAM_ORDER + n)),
            hypothesis: count(2 * MAX_NGRAM_ORDER),
            reference: count(2 * MAX_NGRAM_ORDER + 1),
        }
    }

    /// BLEU of the corpus, with sacrebleu's defaults. The first order of n-grams without a match is
    /// taken to have half a match, the next one a quarter, and so on (`smooth:exp`). The score is 0
    /// if nothing matches, or if no hypothesis has four tokens (`eff:no`).
    pub fn score(&self) -> f64 {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let score = compute_bleu(
            self.correct.map(signed).to_vec(),
            self.total.map(signed).to_vec(),
            signed(self.hypothesis),
            signed(self.reference),
            "exp",
            None,
            false,
            MAX_NGRAM_ORDER,
        );
        score.score
    }
}

impl AddAssign for BleuCounts {
    // Saturates, because counts are also read from files.
    fn add_assign(&mut self, other: BleuCounts) {
        let add = |count: &mut u64, other: u64| *count = count.saturating_add(other);
        for n in 0..MAX_NGRAM_ORDER {
            add(&mut self.correct[n], other.correct[n]);
            add(&mut self.total[n], other.total[n]);
        }
        add(&mut self.hypothesis, other.hypothesis);
        add(&mut self.reference, other.reference);
    }
}

impl Sum for BleuCounts {
    fn sum<I: Iterator<Item = BleuCounts>>(counts: I) -> BleuCounts {
        total(counts)
    }
}

/// chrF2++: n-grams of up to 6 characters and 2 words, β = 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChrfScheme {
    pub lowercase: bool,
}

impl ChrfScheme {
    /// The signature of sacrebleu.
    pub fn signature(&self) -> String {
        self.metric().signature(REFERENCES)
    }

    /// The score of a corpus of hypotheses, each with its reference. It is 0 for none.
    ///
    /// It takes texts, because the counts of a sentence are private to sacrebleu_rs.
    pub fn score<'t>(&self, pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> f64 {
        let (hypotheses, references): (Vec<String>, Vec<String>) = pairs
            .into_iter()
            .map(|(hypothesis, reference)| (spaced(hypothesis), spaced(reference)))
            .unzip();
        self.metric().corpus_score(&hypotheses, &[references]).score
    }

    fn metric(&self) -> Chrf {
        Chrf { char_order: 6, word_order: 2, beta: 2, lowercase: self.lowercase, ..Chrf::default() }
    }
}

/// What TER compares: words at white space, with their punctuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerScheme {
    pub lowercase: bool,
}

impl TerScheme {
    /// The signature of sacrebleu.
    pub fn signature(&self) -> String {
        self.metric().signature(REFERENCES)
    }

    fn metric(&self) -> Ter {
        Ter { case_sensitive: !self.lowercase, ..Ter::default() }
    }
}

/// What TER is computed from, for a sentence or a corpus. Counts of a corpus are the sums of those
/// of its sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TerCounts {
    pub edits: u64,
    /// Words of the reference.
    pub reference: f64,
}

impl TerCounts {
    /// The counts of one sentence.
    pub fn of(hypothesis: &str, reference: &str, scheme: TerScheme) -> TerCounts {
        let score = scheme.metric().sentence_score(&spaced(hypothesis), &[spaced(reference)]);
        TerCounts { edits: score.num_edits.unsigned_abs(), reference: score.ref_length }
    }

    /// TER of the corpus. If its references are empty, it is 0 without edits and otherwise 100.
    pub fn score(&self) -> f64 {
        match (self.reference > 0.0, self.edits) {
            (true, edits) => 100.0 * (edits as f64 / self.reference),
            (false, 0) => 0.0,
            (false, _) => 100.0,
        }
    }
}

impl AddAssign for TerCounts {
    // Saturates, because counts are also read from files.
    fn add_assign(&mut self, other: TerCounts) {
        self.edits = self.edits.saturating_add(other.edits);
        self.reference += other.reference;
    }
}

impl Sum for TerCounts {
    fn sum<I: Iterator<Item = TerCounts>>(counts: I) -> TerCounts {
        total(counts)
    }
}

fn total<C: AddAssign + Default>(counts: impl Iterator<Item = C>) -> C {
    counts.fold(C::default(), |mut total, one| {
        total += one;
        total
    })
}

/// The text with spaces for the four control characters that are white space to Python and not to
/// Rust. A model of bytes can write them.
fn spaced(text: &str) -> String {
    text.replace(['\u{1c}', '\u{1d}', '\u{1e}', '\u{1f}'], " ")
}

#[cfg(test)]
mod tests {
    //! Against sacrebleu 2.6.0. `scripts/reference/make_translation_fixtures.py` made the corpora.

    use std::collections::HashMap;

    use super::*;
    use crate::report::statistics::{RESAMPLES, paired_bootstrap};

    const BLEU: [(&str, Scheme); 3] = [
        ("bleu-13a", Scheme { tokenization: Tokenization::V13a, lowercase: false }),
        ("bleu-13a-lc", Scheme { tokenization: Tokenization::V13a, lowercase: true }),
        ("bleu-none", Scheme { tokenization: Tokenization::None, lowercase: false }),
    ];
    const CHRF: [(&str, ChrfScheme); 2] =
        [("chrf", ChrfScheme { lowercase: false }), ("chrf-lc", ChrfScheme { lowercase: true })];
    const TER: [(&str, TerScheme); 2] =
        [("ter", TerScheme { lowercase: false }), ("ter-lc", TerScheme { lowercase: true })];

    #[derive(Deserialize)]
    struct Fixture {
        corpora: Vec<Corpus>,
        signatures: HashMap<String, String>,
    }

    #[derive(Deserialize)]
    struct Corpus {
        hypotheses: Vec<String>,
        references: Vec<String>,
        /// By metric.
        scores: HashMap<String, f64>,
        /// By metric: what each sentence adds.
        sentences: HashMap<String, Vec<Vec<u64>>>,
    }

    impl Corpus {
        fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
            self.hypotheses.iter().zip(&self.references).map(|(h, r)| (h.as_str(), r.as_str()))
        }

        /// The texts as the functions of sacrebleu_rs take them.
        fn texts(&self) -> (Vec<String>, [Vec<String>; 1]) {
            let spaced = |texts: &[String]| texts.iter().map(|text| spaced(text)).collect();
            (spaced(&self.hypotheses), [spaced(&self.references)])
        }

        fn check(&self, metric: &str, number: usize, score: f64) {
            let expected = self.scores[metric];
            let far = (score - expected).abs();
            assert!(far < 1e-9, "{metric} of corpus {number}: {score}, by Python {expected}");
        }
    }

    fn fixture() -> Fixture {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/translation/scores.json");
        let fixture: Fixture = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(fixture.corpora.len(), 50);
        fixture
    }

    #[test]
    fn signatures_equal_pythons() {
        let expected = fixture().signatures;
        let bleu = BLEU.iter().map(|(name, scheme)| (*name, scheme.signature()));
        let chrf = CHRF.iter().map(|(name, scheme)| (*name, scheme.signature()));
        let ter = TER.iter().map(|(name, scheme)| (*name, scheme.signature()));
        let signatures: Vec<(&str, String)> = bleu.chain(chrf).chain(ter).collect();
        assert_eq!(signatures.len(), expected.len());
        for (name, signature) in signatures {
            assert_eq!(signature, expected[name], "{name}");
        }
    }

    #[test]
    fn bleu_equals_pythons() {
        for (number, corpus) in fixture().corpora.iter().enumerate() {
            for (name, scheme) in BLEU {
                let of = |(hypothesis, reference)| BleuCounts::of(hypothesis, reference, scheme);
                let counts: Vec<BleuCounts> = corpus.pairs().map(of).collect();
                assert_eq!(counts.len(), corpus.sentences[name].len());
                for (sentence, expected) in counts.iter().zip(&corpus.sentences[name]) {
                    let lengths = [sentence.hypothesis, sentence.reference];
                    let flat = [&lengths[..], &sentence.correct, &sentence.total].concat();
                    assert_eq!(&flat, expected, "{name} of corpus {number}");
                }
                corpus.check(name, number, counts.into_iter().sum::<BleuCounts>().score());
                let (hypotheses, references) = corpus.texts();
                let whole = scheme.metric().corpus_score(&hypotheses, &references);
                corpus.check(name, number, whole.score);
            }
        }
    }

    #[test]
    fn chrf_equals_pythons() {
        for (number, corpus) in fixture().corpora.iter().enumerate() {
            for (name, scheme) in CHRF {
                corpus.check(name, number, scheme.score(corpus.pairs()));
            }
        }
    }

    #[test]
    fn ter_equals_pythons() {
        for (number, corpus) in fixture().corpora.iter().enumerate() {
            for (name, scheme) in TER {
                let of = |(hypothesis, reference)| TerCounts::of(hypothesis, reference, scheme);
                let counts: Vec<TerCounts> = corpus.pairs().map(of).collect();
                assert_eq!(counts.len(), corpus.sentences[name].len());
                for (sentence, expected) in counts.iter().zip(&corpus.sentences[name]) {
                    let expected = TerCounts { edits: expected[0], reference: expected[1] as f64 };
                    assert_eq!(*sentence, expected, "{name} of corpus {number}");
                }
                corpus.check(name, number, counts.into_iter().sum::<TerCounts>().score());
                let (hypotheses, references) = corpus.texts();
                let whole = scheme.metric().corpus_score(&hypotheses, &references);
                corpus.check(name, number, whole.score);
            }
        }
    }

    /// Two systems on the same sentences, by `scripts/reference/make_bootstrap_fixtures.py`.
    #[derive(Deserialize)]
    struct Systems {
        /// What each sentence adds.
        first: Vec<Vec<u64>>,
        second: Vec<Vec<u64>>,
        scores: [f64; 2],
        p: f64,
    }

    impl Systems {
        fn check(&self, name: &str, metric: fn(&[&Vec<u64>]) -> f64) {
            let score = |rows: &[Vec<u64>], drawn: &[u32]| {
                metric(&drawn.iter().map(|example| &rows[*example as usize]).collect::<Vec<_>>())
            };
            let all: Vec<u32> = (0..self.first.len() as u32).collect();
            for (rows, want) in [&self.first, &self.second].into_iter().zip(self.scores) {
                assert!((score(rows, &all) - want).abs() < 1e-9, "{name}");
            }
            let p_value = paired_bootstrap(self.first.len(), |drawn| {
                score(&self.first, drawn) - score(&self.second, drawn)
            });
            // Four standard errors of 1,000 resamples.
            let error = (self.p * (1.0 - self.p) / f64::from(RESAMPLES)).sqrt();
            let far = (p_value.unwrap() - self.p).abs();
            assert!(far < 4.0 * error + 0.002, "{name}: {p_value:?}, by Python {}", self.p);
        }
    }

    #[test]
    fn the_paired_bootstrap_agrees_with_pythons() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/translation/bootstrap.json");
        let corpora: Vec<HashMap<String, Systems>> =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(corpora.len(), 5);
        for corpus in &corpora {
            corpus["bleu-13a"].check("BLEU", |rows| {
                let of = |row: &&Vec<u64>| BleuCounts {
                    correct: std::array::from_fn(|n| row[2 + n]),
                    total: std::array::from_fn(|n| row[6 + n]),
                    hypothesis: row[0],
                    reference: row[1],
                };
                rows.iter().map(of).sum::<BleuCounts>().score()
            });
            corpus["ter"].check("TER", |rows| {
                let of = |row: &&Vec<u64>| TerCounts { edits: row[0], reference: row[1] as f64 };
                rows.iter().map(of).sum::<TerCounts>().score()
            });
        }
    }

    #[test]
    fn counts_pass_through_a_row_of_numbers() {
        let scheme = Scheme { tokenization: Tokenization::V13a, lowercase: false };
        let counts = BleuCounts::of("a b c d e f", "a b c d f", scheme);
        assert_eq!(BleuCounts::of_row(&counts.to_row()), counts);
        assert_eq!(BleuCounts::of_row(&[]), BleuCounts::default());
        assert_eq!(BleuCounts::of_row(&[-1.0, f64::NAN]), BleuCounts::default());
    }

    #[test]
    fn scores_without_words_are_numbers() {
        assert_eq!(BleuCounts::default().score(), 0.0);
        assert_eq!(ChrfScheme { lowercase: false }.score([]), 0.0);
        assert_eq!(TerCounts::default().score(), 0.0);
        assert_eq!(TerCounts::of("a b", " ", TerScheme { lowercase: false }).score(), 100.0);
    }

    #[test]
    fn the_largest_counts_can_be_added() {
        let most = [u64::MAX; MAX_NGRAM_ORDER];
        let counts =
            BleuCounts { correct: most, total: most, hypothesis: u64::MAX, reference: u64::MAX };
        let sum: BleuCounts = [counts, counts].into_iter().sum();
        assert_eq!(sum, counts);
        assert!((sum.score() - 100.0).abs() < 1e-9);
        let counts = TerCounts { edits: u64::MAX, reference: 1.0 };
        let sum: TerCounts = [counts, counts].into_iter().sum();
        assert_eq!(sum, TerCounts { edits: u64::MAX, reference: 2.0 });
    }
}

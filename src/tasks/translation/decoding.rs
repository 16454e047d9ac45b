//! Finds the translation of a sentence, token by token: greedy decoding and beam search.
//!
//! A beam keeps several hypotheses at once. After each token those with the highest probability stay. A
//! hypothesis that ends with [`EOS`] is finished. Finished ones are compared by the sum of their
//! log-probabilities over their number of tokens to the power of the length penalty. Greedy decoding is a
//! beam of one. The rules are fairseq's: at most `beam` hypotheses of a sentence finish, and one that has
//! reached its maximum length must end.
//!
//! Each sentence is translated by itself: the others of its batch do not change its translation, but for
//! rounding in products of another size.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::data::translation::{BOS, EOS, PAD};
use crate::models::encoder_decoder::{Cache, EncoderDecoder, Tokens};
use crate::nn::logits;
use crate::spec::DecodingSpec;

/// How translations are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decoding {
    /// Hypotheses that are kept at each step, at least 1.
    pub beam: usize,
    pub length_penalty: f64,
    /// A translation has at most `ratio · n + extra` tokens, n those of the source, and no more than the
    /// model has positions. All counts include [`EOS`].
    pub ratio: f64,
    pub extra: usize,
    /// Tokens that the tokenizer knows. Rows of the model beyond it are never chosen.
    pub known: usize,
    /// Whether sources begin with [`BOS`].
    pub sources_begin: bool,
}

impl Decoding {
    pub fn of(spec: &DecodingSpec, known: usize, sources_begin: bool) -> Decoding {
        Decoding {
            beam: spec.beam,
            length_penalty: spec.length_penalty,
            ratio: spec.length_ratio,
            extra: spec.extra_tokens,
            known,
            sources_begin,
        }
    }

    /// The same with a beam of one.
    pub fn greedy(self) -> Decoding {
        Decoding { beam: 1, ..self }
    }

    /// The most tokens of the translation of a sentence of `source` tokens, [`BOS`] among them if sources have
    /// it.
    fn max_length(&self, source: usize, positions: usize) -> usize {
        let most = self.ratio * source.saturating_sub(usize::from(self.sources_begin)) as f64;
        (most as usize).saturating_add(self.extra).clamp(1, positions.max(1))
    }
}

/// A hypothesis of a translation.
#[derive(Clone, Debug, Default)]
struct Hypothesis {
    /// Without [`BOS`].
    tokens: Vec<u32>,
    /// The sum of the log-probabilities.
    score: f64,
}

/// A sentence that is being translated.
///
/// All have one hypothesis at first, and as many as the beam keeps from then on.
struct Sentence {
    /// Its place in the batch.
    index: usize,
    max_length: usize,
    hypotheses: Vec<Hypothesis>,
    /// Finished hypotheses with what they are compared by.
    finished: Vec<(Vec<u32>, f64)>,
}

/// The translations of sentences, without special tokens, in the order of the sentences.
pub fn translate(
    model: &EncoderDecoder,
    source: &Tokens,
    decoding: &Decoding,
) -> Result<Vec<Vec<u32>>> {
    let device = source.ids.device().clone();
    let mut memory = model.memory(source)?;
    let mut cache = Cache::default();
    let mut open: Vec<Sentence> = source
        .lengths
        .iter()
        .enumerate()
        .map(|(index, length)| Sentence {
            index,
            max_length: decoding.max_length(*length, model.positions()),
            hypotheses: vec![Hypothesis::default()],
            finished: Vec::new(),
        })
        .collect();
    let mut translations = vec![Vec::new(); open.len()];
    for step in 0.. {
        if open.is_empty() {
            break;
        }
        let last = |hypothesis: &Hypothesis| hypothesis.tokens.last().copied().unwrap_or(BOS);
        let ids: Vec<u32> = open.iter().flat_map(|s| s.hypotheses.iter().map(last)).collect();
        let (rows, sentences) = (ids.len(), open.len());
        // The hypotheses of each sentence, the same number of each.
        let width = rows / sentences;
        let ids = Tensor::from_vec(ids, (rows, 1), &device)?;
        let next = model.next(&ids, &memory, &mut cache)?;
        // For each sentence, which of its hypotheses stay.
        let stay: Vec<Vec<usize>> = logits::with_logits(&next, |values| {
            let of_sentences = values.par_chunks(values.len() / sentences);
            let advanced = open.par_iter_mut().zip(of_sentences);
            Ok(advanced
                .map(|(sentence, values)| sentence.advance(values, step, decoding))
                .collect())
        })?;
        let (mut still_open, mut open_positions, mut kept_rows) = (vec![], vec![], vec![]);
        for (position, (sentence, stay)) in open.into_iter().zip(stay).enumerate() {
            if stay.is_empty() {
                let index = sentence.index;
                translations[index] = sentence.best();
                continue;
            }
            open_positions.push(position as u32);
            kept_rows
                .extend(stay.into_iter().map(|hypothesis| (position * width + hypothesis) as u32));
            still_open.push(sentence);
        }
        open = still_open;
        if !kept_rows.iter().copied().eq(0..rows as u32) {
            cache.select(&kept_rows, &device)?;
        }
        if open.len() < sentences {
            memory = memory.select(&open_positions)?;
        }
    }
    Ok(translations)
}

/// A way to continue a hypothesis by a token.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    score: f64,
    hypothesis: usize,
    token: u32,
}

impl Candidate {
    /// By falling score; equal ones by their places, so that the order is always the same.
    fn order(&self, other: &Candidate) -> std::cmp::Ordering {
        let places = (self.hypothesis, self.token).cmp(&(other.hypothesis, other.token));
        other.score.total_cmp(&self.score).then(places)
    }
}

impl Sentence {
    /// Continues the hypotheses by a token, by their logits, one row after another. Returns the hypotheses that
    /// the new ones continue, as many as the beam keeps; none if the sentence is done.
    fn advance(&mut self, logits: &[f32], step: usize, decoding: &Decoding) -> Vec<usize> {
        let must_end = step + 1 >= self.max_length;
        let wanted = 2 * decoding.beam;
        let mut best: Vec<Candidate> = Vec::new();
        let rows = logits.chunks(logits.len() / self.hypotheses.len());
        for (hypothesis, logits) in rows.enumerate() {
            let known = &logits[..decoding.known.min(logits.len())];
            let sum = logits::log_sum_exp(known);
            let score = |token: u32| {
                self.hypotheses[hypothesis].score + f64::from(known[token as usize]) - sum
            };
            if must_end {
                best.push(Candidate { score: score(EOS), hypothesis, token: EOS });
                continue;
            }
            let tokens = logits::top_k(known, wanted, &[PAD, BOS]);
            best.extend(tokens.into_iter().map(|token| Candidate {
                score: score(token),
                hypothesis,
                token,
            }));
        }
        // A candidate of probability zero is dropped, and so is NaN.
        best.retain(|candidate| candidate.score > f64::NEG_INFINITY);
        best.sort_unstable_by(Candidate::order);
        best.truncate(wanted);
        let (mut next, mut stay) = (Vec::new(), Vec::new());
        for (place, candidate) in best.into_iter().enumerate() {
            let before = &self.hypotheses[candidate.hypothesis];
            if candidate.token == EOS {
                // A translation that ends counts only if it is among the best.
                if place < decoding.beam && self.finished.len() < decoding.beam {
                    let tokens = (before.tokens.len() + 1) as f64;
                    let score = candidate.score / tokens.powf(decoding.length_penalty);
                    self.finished.push((before.tokens.clone(), score));
                }
            } else if next.len() < decoding.beam {
                let tokens = [&before.tokens[..], &[candidate.token]].concat();
                next.push(Hypothesis { tokens, score: candidate.score });
                stay.push(candidate.hypothesis);
            }
        }
        // With few tokens there can be fewer candidates than the beam keeps. Copies of probability zero
        // fill it, so that all sentences have the same number of rows.
        if let Some(first) = next.first().cloned() {
            next.resize(decoding.beam, Hypothesis { score: f64::NEG_INFINITY, ..first });
            stay.resize(decoding.beam, stay[0]);
        }
        self.hypotheses = next;
        if must_end || self.finished.len() >= decoding.beam { Vec::new() } else { stay }
    }

    /// The finished hypothesis that compares best, the first of equal ones.
    fn best(self) -> Vec<u32> {
        let better = |a: (Vec<u32>, f64), b: (Vec<u32>, f64)| if b.1 > a.1 { b } else { a };
        self.finished.into_iter().reduce(better).map(|(tokens, _)| tokens).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::models::encoder_decoder::Tokens;
    use crate::nn::{Mode, ParameterStore};
    use crate::random::{Purpose, Stream};
    use crate::spec::EncoderDecoderSpec;

    const WORDS: usize = 9;

    /// A small random model. Large embeddings make its answers differ.
    fn model(seed: u64) -> EncoderDecoder {
        let text = format!(
            r#"{{"architecture": "encoder-decoder", "source_vocabulary": 11,
                "target_vocabulary": {WORDS}, "positions": 16, "dim": 8, "depth": 1, "heads": 2}}"#
        );
        let spec: EncoderDecoderSpec = serde_json::from_str(&text).unwrap();
        let mut store = ParameterStore::new(seed, Device::Cpu);
        EncoderDecoder::new(&spec, None, None, &mut store).unwrap()
    }

    fn sentences(seed: u64, n: usize) -> Vec<Vec<u32>> {
        let mut stream = Stream::new(seed, Purpose::Noise, "sentences");
        (0..n).map(|_| (0..2 + stream.below(5)).map(|_| 2 + stream.below(9)).collect()).collect()
    }

    fn batch(sentences: &[Vec<u32>]) -> Tokens {
        let rows: Vec<&[u32]> = sentences.iter().map(Vec::as_slice).collect();
        super::super::batches::padded(&rows, &Device::Cpu).unwrap()
    }

    /// The log-probabilities of the token after `tokens` among the first `known` ones, from the whole model
    /// without a cache.
    fn log_probabilities(
        model: &EncoderDecoder,
        source: &[u32],
        tokens: &[u32],
        known: usize,
    ) -> Vec<f64> {
        let hypothesis = [&[BOS], tokens].concat();
        let (source, target) = (batch(&[source.to_vec()]), batch(&[hypothesis]));
        let logits = model.forward(&source, &target, Mode::Evaluation).unwrap();
        let mut logits = logits.tensor().to_vec2::<f32>().unwrap().pop().unwrap();
        logits.truncate(known);
        let sum: f64 = logits.iter().map(|value| f64::from(*value).exp()).sum();
        logits.into_iter().map(|value| f64::from(value) - sum.ln()).collect()
    }

    /// Beam search written down plainly: all continuations of all hypotheses, sorted as a whole.
    fn plain(model: &EncoderDecoder, source: &[u32], decoding: &Decoding) -> Vec<u32> {
        let limit = decoding.max_length(source.len(), model.positions());
        let mut hypotheses: Vec<(Vec<u32>, f64)> = vec![(Vec::new(), 0.0)];
        let mut whole: Vec<(Vec<u32>, f64)> = Vec::new();
        for step in 1..=limit {
            let mut all: Vec<(Vec<u32>, f64)> = Vec::new();
            for (tokens, score) in &hypotheses {
                let next = log_probabilities(model, source, tokens, decoding.known);
                for token in 0..next.len() as u32 {
                    let is_allowed = token == EOS || (step < limit && token != PAD && token != BOS);
                    if is_allowed {
                        all.push(([&tokens[..], &[token]].concat(), score + next[token as usize]));
                    }
                }
            }
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            all.truncate(2 * decoding.beam);
            hypotheses.clear();
            for (place, (mut tokens, score)) in all.into_iter().enumerate() {
                let compared = score / (tokens.len() as f64).powf(decoding.length_penalty);
                if tokens.last() != Some(&EOS) {
                    if hypotheses.len() < decoding.beam {
                        hypotheses.push((tokens, score));
                    }
                } else if place < decoding.beam && whole.len() < decoding.beam {
                    tokens.pop();
                    whole.push((tokens, compared));
                }
            }
            if whole.len() == decoding.beam {
                break;
            }
        }
        let best = whole.iter().map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max);
        whole.into_iter().find(|(_, score)| *score == best).unwrap().0
    }

    fn decoding(beam: usize, length_penalty: f64) -> Decoding {
        Decoding { beam, length_penalty, ratio: 1.0, extra: 4, known: WORDS, sources_begin: true }
    }

    #[test]
    fn translations_equal_those_of_a_plain_search() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..6 {
            let (model, sentences) = (model(seed), sentences(seed, 4));
            for beam in 1..=5 {
                for penalty in [0.0, 0.6, 1.0, 2.0] {
                    let decoding = decoding(beam, penalty);
                    let found = translate(&model, &batch(&sentences), &decoding).unwrap();
                    for (sentence, found) in sentences.iter().zip(&found) {
                        let want = plain(&model, sentence, &decoding);
                        assert_eq!(*found, want, "beam {beam}, penalty {penalty}, seed {seed}");
                        lengths.insert(found.len());
                    }
                }
            }
        }
        // Some translations end by themselves, some at their limit.
        assert!(lengths.len() > 2, "{lengths:?}");
    }

    /// Greedy decoding takes the most probable token each time.
    #[test]
    fn a_beam_of_one_is_greedy() {
        let (model, sentences) = (model(3), sentences(7, 5));
        let decoding = decoding(1, 1.0);
        let found = translate(&model, &batch(&sentences), &decoding).unwrap();
        for (sentence, found) in sentences.iter().zip(found) {
            let mut tokens: Vec<u32> = Vec::new();
            while tokens.len() + 1 < decoding.max_length(sentence.len(), 16) {
                let next = log_probabilities(&model, sentence, &tokens, WORDS);
                let allowed = (0..WORDS as u32).filter(|t| *t != PAD && *t != BOS);
                let best = allowed.max_by(|a, b| next[*a as usize].total_cmp(&next[*b as usize]));
                match best.unwrap() {
                    EOS => break,
                    token => tokens.push(token),
                }
            }
            assert_eq!(found, tokens);
        }
    }

    #[test]
    fn a_translation_does_not_depend_on_its_batch() {
        let (model, sentences) = (model(1), sentences(2, 12));
        for beam in [1, 4] {
            let decoding = decoding(beam, 1.0);
            let together = translate(&model, &batch(&sentences), &decoding).unwrap();
            for size in [1, 5] {
                let parts = sentences.chunks(size);
                let apart = parts.map(|part| translate(&model, &batch(part), &decoding).unwrap());
                assert_eq!(apart.collect::<Vec<_>>().concat(), together);
            }
            let mut reversed = sentences.clone();
            reversed.reverse();
            let mut found = translate(&model, &batch(&reversed), &decoding).unwrap();
            found.reverse();
            assert_eq!(found, together);
        }
    }

    /// Fewer tokens than the beam keeps leave places of the beam empty.
    #[test]
    fn a_beam_may_be_wider_than_the_vocabulary() {
        let (model, sentences) = (model(4), sentences(8, 6));
        // Two words and the end, then one word and the end.
        for known in [5, 4] {
            for beam in [2, 3, 9] {
                let decoding = Decoding { known, ..decoding(beam, 1.0) };
                let found = translate(&model, &batch(&sentences), &decoding).unwrap();
                for (sentence, found) in sentences.iter().zip(&found) {
                    let want = plain(&model, sentence, &decoding);
                    assert_eq!(*found, want, "{known} tokens, beam {beam}");
                }
            }
        }
    }

    /// Words that the tokenizer does not know are never chosen, and no translation is longer than it may be.
    #[test]
    fn max_lengths_hold() {
        let (model, sentences) = (model(2), sentences(4, 6));
        for (ratio, extra, known) in [(0.0, 1, WORDS), (0.5, 2, 6), (9.0, 90, WORDS)] {
            let decoding =
                Decoding { beam: 3, length_penalty: 1.0, ratio, extra, known, sources_begin: true };
            let found = translate(&model, &batch(&sentences), &decoding).unwrap();
            for (sentence, found) in sentences.iter().zip(found) {
                let limit = decoding.max_length(sentence.len(), 16);
                assert!(found.len() < limit, "{found:?}");
                assert!(
                    found
                        .iter()
                        .all(|token| (*token as usize) < known && *token > EOS || *token == 1)
                );
            }
        }
    }
}

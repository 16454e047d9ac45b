//! The three splits of a parallel corpus, as tokens.

use std::sync::{Arc, OnceLock};

use super::dictionary::Dictionary;
use super::pairs::{ReadPairs, SentencePairs};
use super::sizes::Sizes;
use super::special::{BOS, EOS, SPECIAL_TOKENS, UNK};
use super::tokenizers::{PairTokenizers, SentenceTokenizer};
use crate::data::UsedExamples;
use crate::data::load::{LoadedDataset, Role, load, sha256};
use crate::data::text::Encoded;
use crate::error::{Fault, Result};
use crate::hub::Hub;
use crate::random::{Purpose, Stream};
use crate::spec::TranslationDataSpec;

/// The sentence pairs of a split as tokens, with the marks of beginning and end, and as texts.
#[derive(Clone, Debug, Default)]
pub struct PairSplit {
    pub texts: SentencePairs,
    /// The references as words with spaces between them. Empty for the training split, which nothing is
    /// compared with.
    pub in_words: Vec<String>,
    source: Encoded,
    target: Encoded,
}

impl PairSplit {
    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.source.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of a source sentence.
    pub fn source(&self, pair: usize) -> &[u32] {
        self.source.get(pair).0
    }

    /// The tokens of its translation.
    pub fn target(&self, pair: usize) -> &[u32] {
        self.target.get(pair).0
    }

    /// The tokens of source and translation that a model takes. The last token of a translation is only
    /// predicted.
    pub fn lengths(&self, pair: usize) -> (usize, usize) {
        (self.source.length(pair), self.target.length(pair).saturating_sub(1))
    }

    /// Predicted tokens of all pairs.
    pub fn predictions(&self) -> u64 {
        (0..self.len()).map(|pair| self.lengths(pair).1 as u64).sum()
    }

    /// The first `count` pairs, or all if there are fewer.
    pub fn first(&self, count: usize) -> PairSplit {
        let mut few = PairSplit::default();
        for pair in 0..self.len().min(count) {
            few.push(self.source(pair), self.target(pair));
        }
        let first = |texts: &[String]| texts.iter().take(count).cloned().collect();
        few.texts.source = first(&self.texts.source);
        few.texts.target = first(&self.texts.target);
        few.in_words = first(&self.in_words);
        few
    }

    fn push(&mut self, source: &[u32], target: &[u32]) {
        for (encoded, ids) in [(&mut self.source, source), (&mut self.target, target)] {
            encoded.ids.extend_from_slice(ids);
            encoded.types.resize(encoded.ids.len(), 0);
            encoded.ends.push(encoded.ids.len());
        }
    }
}

/// The three splits of a parallel corpus. Clones share them.
#[derive(Clone, Debug)]
pub struct TranslationData {
    pub train: Arc<PairSplit>,
    /// Empty if a run trains without validation.
    pub validation: Arc<PairSplit>,
    pub test: Arc<PairSplit>,
    /// None for random sentences.
    pub tokenizers: Option<PairTokenizers>,
    /// Split, name and SHA-256 of every file read, in reading order.
    pub files: Vec<(String, String, String)>,
    /// One sentence for each fact that a reader must know.
    pub notes: Vec<String>,
    pub used: Arc<UsedExamples>,
    dictionary: Arc<OnceLock<Dictionary>>,
}

impl TranslationData {
    /// Reads, checks and tokenises the three splits.
    ///
    /// Errors if a column is missing or holds something else, if the model has fewer tokens than a
    /// tokenizer, or if no pair is left for training.
    pub fn load(data: &TranslationDataSpec, sizes: Sizes, hub: &Hub) -> Result<TranslationData> {
        let loaded = load(&data.files(), "", hub, &mut ReadPairs(data))?;
        let pairs = [Role::Train, Role::Validation, Role::Test].map(|role| {
            let mut pairs = pairs_of(&loaded, role);
            if data.lowercase {
                let both = pairs.source.iter_mut().chain(&mut pairs.target);
                both.for_each(|text| *text = text.to_lowercase());
            }
            pairs
        });
        let [train, validation, test] = pairs;
        let tokenizers = PairTokenizers::of(
            &data.tokenizer,
            train.source.iter().map(String::as_str),
            train.target.iter().map(String::as_str),
            hub,
        )?;
        tokenizers.expect_rows(&sizes)?;
        let mut notes = vec![format!(
            "Tokens of the tokenizers: {} for the source, {} for the target.",
            tokenizers.source.rows(),
            tokenizers.target.rows()
        )];
        let train = split(data, &tokenizers, train, Role::Train, &mut notes)?;
        if train.is_empty() {
            return Err(Fault::new("no sentence pair is left for training")
                .within("data.max_tokens")
                .found(format!(
                    "every pair has a sentence of more than {} tokens, or exceeds `data.max_length_ratio`",
                    data.max_tokens
                ))
                .expected("a larger value, or a larger `data.max_length_ratio`")
                .into());
        }
        let validation = split(data, &tokenizers, validation, Role::Validation, &mut notes)?;
        let test = split(data, &tokenizers, test, Role::Test, &mut notes)?;
        notes.extend(loaded.shared.notes("Sentence pairs"));
        let used = Arc::new(UsedExamples::of(&loaded));
        Ok(TranslationData {
            train: Arc::new(train),
            validation: Arc::new(validation),
            test: Arc::new(test),
            tokenizers: Some(tokenizers),
            files: loaded.files,
            notes,
            used,
            dictionary: Arc::default(),
        })
    }

    /// Random pairs for benchmarks, with sentences of 4 to `max_tokens` tokens, most of them short.
    pub fn noise(sizes: Sizes, max_tokens: usize, train: usize, other: usize) -> TranslationData {
        let split = |name: &str, pairs: usize| {
            let mut stream = Stream::new(0, Purpose::Noise, name);
            let mut split = PairSplit::default();
            let mut sentence = |rows: usize| {
                let share = stream.uniform().powi(2);
                let least = 4.min(max_tokens);
                let length = least + (share * max_tokens.saturating_sub(4) as f64) as usize;
                let words = rows.saturating_sub(SPECIAL_TOKENS).max(1) as u32;
                let within = (2..length).map(|_| SPECIAL_TOKENS as u32 + stream.below(words));
                let within: Vec<u32> = within.collect();
                [&[BOS], &within[..], &[EOS]].concat()
            };
            for _ in 0..pairs {
                let (source, target) = (sentence(sizes.source), sentence(sizes.target));
                split.push(&source, &target);
            }
            split.texts.source = vec![String::new(); pairs];
            split.texts.target = vec![String::new(); pairs];
            split.in_words = vec![String::new(); pairs];
            Arc::new(split)
        };
        TranslationData {
            train: split("train", train),
            validation: split("validation", other),
            test: split("test", other),
            tokenizers: None,
            files: Vec::new(),
            notes: Vec::new(),
            used: Arc::default(),
            dictionary: Arc::default(),
        }
    }

    /// The dictionary of the training split. It is learned when it is first asked for, since only tests
    /// need it.
    pub fn dictionary(&self) -> &Dictionary {
        let texts = &self.train.texts;
        self.dictionary.get_or_init(|| Dictionary::learn(&texts.source, &texts.target))
    }

    /// A hash of all files read and of the tokenizers, independent of their location.
    pub fn sha256(&self) -> String {
        let tokenizer = self.tokenizers.as_ref().map(PairTokenizers::sha256).unwrap_or_default();
        sha256(&self.files, None, &["tokenizer", &tokenizer])
    }
}

/// The pairs of a role, in the order of their rows.
fn pairs_of(loaded: &LoadedDataset<SentencePairs>, role: Role) -> SentencePairs {
    let (split, rows) = loaded.of(role);
    let all = &split.examples;
    let Some(rows) = rows else { return all.clone() };
    let of = |texts: &[String]| rows.iter().map(|row| texts[*row as usize].clone()).collect();
    let (source, target): (Vec<String>, Vec<String>) = (of(&all.source), of(&all.target));
    let empty = source.iter().zip(&target).filter(|(s, t)| s.is_empty() || t.is_empty()).count();
    SentencePairs { source, target, empty }
}

/// The share of unknown tokens from which on a note tells it.
const MANY_UNKNOWN: f64 = 0.01;

/// The longer length over the shorter one.
fn ratio(source: usize, target: usize) -> f64 {
    let (source, target) = (source as f64, target as f64);
    source.max(target) / source.min(target).max(1.0)
}

/// Tokenises the pairs of a role. Training leaves out pairs without words or with too many tokens; the
/// others keep every pair, so that results are those of the whole split.
fn split(
    data: &TranslationDataSpec,
    tokenizers: &PairTokenizers,
    pairs: SentencePairs,
    role: Role,
    notes: &mut Vec<String>,
) -> Result<PairSplit> {
    let most = data.max_tokens;
    // One token more shows which training sentences are longer.
    let longest = if role == Role::Train { most + 1 } else { most };
    let source = tokenizers.source.encode(&pairs.source, longest)?;
    let target = tokenizers.target.encode(&pairs.target, longest)?;
    if role != Role::Train {
        let cut = source.cut + target.cut;
        if cut > 0 {
            notes.push(format!(
                "Sentences of the {} split cut to {most} tokens: {cut}.",
                role.name()
            ));
        }
        if pairs.empty > 0 {
            notes.push(format!(
                "Pairs of the {} split with an empty sentence: {}.",
                role.name(),
                pairs.empty
            ));
        }
        for (encoded, what) in [(&source, "sources"), (&target, "references")] {
            let unknown = encoded.ids.iter().filter(|id| **id == UNK).count();
            let share = unknown as f64 / encoded.ids.len().max(1) as f64;
            if role == Role::Test && share > MANY_UNKNOWN {
                notes.push(format!(
                    "Of the test split's {what} {:.1} % of the tokens are unknown to the tokenizer.",
                    100.0 * share
                ));
            }
        }
        let in_words = pairs.target.iter().map(|text| tokenizers.target.in_words(text));
        let in_words = in_words.collect::<Result<_>>()?;
        return Ok(PairSplit { texts: pairs, in_words, source, target });
    }
    let mut split = PairSplit::default();
    let (mut long, mut empty, mut uneven) = (0, 0, 0);
    let without_marks = |pair: usize| {
        let words = |tokenizer: &SentenceTokenizer, encoded: &Encoded| {
            encoded.length(pair).saturating_sub(1 + usize::from(tokenizer.begins()))
        };
        (words(&tokenizers.source, &source), words(&tokenizers.target, &target))
    };
    let is_uneven = |pair: usize| {
        let (source, target) = without_marks(pair);
        data.max_length_ratio.is_some_and(|most| ratio(source, target) > most)
    };
    for (pair, (from, to)) in pairs.source.into_iter().zip(pairs.target).enumerate() {
        if from.is_empty() || to.is_empty() {
            empty += 1;
        } else if source.length(pair) > most || target.length(pair) > most {
            long += 1;
        } else if is_uneven(pair) {
            uneven += 1;
        } else {
            split.push(source.get(pair).0, target.get(pair).0);
            split.texts.source.push(from);
            split.texts.target.push(to);
        }
    }
    for (count, what) in [
        (empty, "an empty sentence".to_string()),
        (long, format!("a sentence of more than {most} tokens")),
        (uneven, "one sentence of too many times the tokens of the other".to_string()),
    ] {
        if count > 0 {
            notes.push(format!("Training pairs left out because of {what}: {count}."));
        }
    }
    Ok(split)
}

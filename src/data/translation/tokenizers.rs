//! The tokens of sentences: whole words, or pieces of them. Both are made by Hugging Face's `tokenizers`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::normalizers::unicode::NFKC;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;
use tokenizers::{NormalizedString, Normalizer};

use super::sizes::Sizes;
use super::unigram::unigram;
use crate::data::text::{Encoded, Texts, Tokenizer, around, words};
use crate::error::{Error, Fault, Result};
use crate::spec::{
    Normalisation, TrainedTokenizer, TranslationTokenizer, TranslationTokenizerKind as Kind, hex,
};

/// The id of padding.
pub const PADDING: u32 = 0;
/// The id of an unknown word.
const UNKNOWN: u32 = 1;
/// The id of the token in front of a sentence.
pub const BEGIN: u32 = 2;
/// The id of the token behind a sentence.
pub const END: u32 = 3;
/// Number of special tokens. They have the first ids.
pub const SPECIAL_TOKENS: usize = 4;
/// How an unknown word is written in a translation.
const UNKNOWN_TEXT: &str = "<unk>";

/// Words, numbers and punctuation marks. `n't` and `'s` are words. On English captions these are the words
/// of spaCy's tokenizer but in one sentence of some 700.
const SPLIT_HYPHENS: &str = r"\w+(?=n't)|n't|'s\b|\d+(?:[.,:]\d+)+|\w+|[^\w\s]";
/// The same, but hyphens and apostrophes within words belong to them, as does a hyphen at the end. On German
/// captions these are the words of spaCy's tokenizer but in one sentence of some 300.
const KEEP_HYPHENS: &str = r"\w+(?:[-'&]\w+)*-?|[^\w\s]";

/// The tokenizer of one language's sentences.
#[derive(Clone, Debug)]
pub struct SentenceTokenizer {
    tokenizer: Tokenizer,
    kind: Kind,
}

impl SentenceTokenizer {
    /// Trains a tokenizer on the training split's sentences.
    fn train<'t>(
        spec: &TranslationTokenizer,
        keeps_hyphens: bool,
        sentences: impl Iterator<Item = &'t str> + Clone + Send,
    ) -> Result<SentenceTokenizer> {
        let tokenizer = match spec.normalisation {
            Normalisation::None => trained(spec, keeps_hyphens, sentences)?,
            Normalisation::Nfkc => {
                let normal = sentences.map(nfkc).collect::<tokenizers::Result<Vec<String>>>();
                let normal = normal.map_err(failed)?;
                let own = trained(spec, keeps_hyphens, normal.iter().map(String::as_str))?;
                let mut own = own.inner().clone();
                own.with_normalizer(Some(NFKC)).map_err(failed)?;
                Tokenizer::of(own)?
            }
        };
        Ok(SentenceTokenizer::new(tokenizer, spec.train))
    }

    fn new(tokenizer: Tokenizer, kind: Kind) -> SentenceTokenizer {
        // A sentence with the text `[SEP]` does not end there.
        SentenceTokenizer { tokenizer: tokenizer.with_special_tokens_as_text(), kind }
    }

    /// Rows that an embedding needs.
    pub fn rows(&self) -> usize {
        self.tokenizer.rows()
    }

    /// The tokens of sentences with [`BEGIN`] and [`END`] around them, each cut to `max_tokens`.
    pub fn encode(&self, sentences: &[String], max_tokens: usize) -> Result<Encoded> {
        self.tokenizer.encode(&Texts { first: sentences, second: None }, max_tokens)
    }

    /// The sentence of tokens; special ones are left out, but unknown words are written as `<unk>`.
    pub fn text(&self, ids: &[u32]) -> Result<String> {
        match self.kind {
            Kind::ByteLevelBpe => Ok(self.tokenizer.text(ids)?.trim().to_string()),
            Kind::Unigram => {
                let parts = ids.split(|id| *id == UNKNOWN).map(|part| self.tokenizer.text(part));
                let parts = parts.collect::<Result<Vec<String>>>()?;
                let unknown = format!(" {UNKNOWN_TEXT} ");
                let text = parts.iter().map(|part| part.trim()).collect::<Vec<_>>().join(&unknown);
                Ok(text.trim().to_string())
            }
            Kind::Words => {
                let word = |id: &u32| match *id {
                    UNKNOWN => Some(UNKNOWN_TEXT.to_string()),
                    PADDING | BEGIN | END => None,
                    id => self.tokenizer.inner().id_to_token(id),
                };
                Ok(ids.iter().filter_map(word).collect::<Vec<_>>().join(" "))
            }
        }
    }

    /// A sentence as its words with spaces between them; as it is if tokens are pieces of words.
    pub fn in_words(&self, sentence: &str) -> Result<String> {
        match self.kind {
            Kind::ByteLevelBpe | Kind::Unigram => Ok(sentence.to_string()),
            Kind::Words => Ok(words(self.tokenizer.inner(), sentence).map_err(failed)?.join(" ")),
        }
    }

    fn json(&self) -> &str {
        self.tokenizer.json()
    }
}

/// A tokenizer that is trained on sentences as they are.
fn trained<'t>(
    spec: &TranslationTokenizer,
    keeps_hyphens: bool,
    sentences: impl Iterator<Item = &'t str> + Clone + Send,
) -> Result<Tokenizer> {
    match spec.train {
        Kind::ByteLevelBpe => {
            let vocabulary = spec.vocabulary();
            Tokenizer::train(&TrainedTokenizer::ByteLevelBpe { vocabulary }, sentences)
        }
        Kind::Words => {
            let pattern = if keeps_hyphens { KEEP_HYPHENS } else { SPLIT_HYPHENS };
            whole_words(pattern, spec.minimum_count(), sentences).map_err(failed)
        }
        Kind::Unigram => {
            let pieces =
                unigram(spec.vocabulary(), &Tokenizer::SPECIAL, UNKNOWN as usize, sentences);
            let mut tokenizer = pieces.map_err(failed)?;
            around(&mut tokenizer).map_err(failed)?;
            Tokenizer::of(tokenizer)
        }
    }
}

/// A text in Unicode's NFKC.
fn nfkc(text: &str) -> tokenizers::Result<String> {
    let mut normal = NormalizedString::from(text);
    NFKC.normalize(&mut normal)?;
    Ok(normal.get().to_string())
}

/// A tokenizer of whole words: those that occur at least `minimum_count` times, the most frequent first,
/// equally frequent ones in alphabetical order.
fn whole_words<'t>(
    pattern: &str,
    minimum_count: usize,
    sentences: impl Iterator<Item = &'t str>,
) -> tokenizers::Result<Tokenizer> {
    let split = |tokenizer: &mut tokenizers::Tokenizer| -> tokenizers::Result<()> {
        let pattern = SplitPattern::Regex(pattern.into());
        // What lies between matches is white space.
        let split = Split::new(pattern, SplitDelimiterBehavior::Removed, true)?;
        tokenizer.with_pre_tokenizer(Some(split));
        Ok(())
    };
    let mut tokenizer = tokenizers::Tokenizer::new(WordLevel::default());
    split(&mut tokenizer)?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for sentence in sentences {
        for word in words(&tokenizer, sentence)? {
            *counts.entry(word).or_default() += 1;
        }
    }
    let mut frequent: Vec<(String, usize)> =
        counts.into_iter().filter(|(_, count)| *count >= minimum_count).collect();
    // The sort is stable, so equally frequent words stay in alphabetical order.
    frequent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let special = Tokenizer::SPECIAL.iter().map(|token| token.to_string());
    let all = special.chain(frequent.into_iter().map(|(word, _)| word));
    let numbers: HashMap<String, u32> = all.zip(0..).collect();
    let unknown = Tokenizer::SPECIAL[UNKNOWN as usize].to_string();
    let model =
        WordLevel::builder().vocab(numbers.into_iter().collect()).unk_token(unknown).build()?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    split(&mut tokenizer)?;
    around(&mut tokenizer)?;
    Tokenizer::of(tokenizer).map_err(|e| e.to_string().into())
}

fn failed(e: impl Display) -> Error {
    Fault::failed(format!("the tokenizer failed: {e}")).into()
}

/// The tokenizers of both languages, which may be one.
#[derive(Clone, Debug)]
pub struct PairTokenizers {
    pub source: SentenceTokenizer,
    pub target: SentenceTokenizer,
    /// The content of the file that is saved with a run.
    json: String,
}

/// The fields of the saved file if the languages have a tokenizer each. One for both is written as a
/// `tokenizer.json` of Hugging Face's.
const SOURCE: &str = "source";
const TARGET: &str = "target";

impl PairTokenizers {
    /// Trains tokenizers on the training split's sentences. With `joint` both languages are trained on
    /// together.
    pub fn train<'t>(
        spec: &TranslationTokenizer,
        source: impl Iterator<Item = &'t str> + Clone + Send,
        target: impl Iterator<Item = &'t str> + Clone + Send,
    ) -> Result<PairTokenizers> {
        let (source, target) = match spec.joint {
            true => {
                let keeps = spec.keep_hyphens.of_source();
                let both = SentenceTokenizer::train(spec, keeps, source.chain(target))?;
                (both.clone(), both)
            }
            false => (
                SentenceTokenizer::train(spec, spec.keep_hyphens.of_source(), source)?,
                SentenceTokenizer::train(spec, spec.keep_hyphens.of_target(), target)?,
            ),
        };
        let json = match spec.joint {
            true => source.json().to_string(),
            false => {
                let of = |own: &SentenceTokenizer| -> Result<Value> {
                    serde_json::from_str(own.json()).map_err(failed)
                };
                let both = json!({SOURCE: of(&source)?, TARGET: of(&target)?});
                serde_json::to_string_pretty(&both).map_err(failed)?
            }
        };
        Ok(PairTokenizers { source, target, json })
    }

    /// Reads what a run saved. `name` is the file's name in errors.
    pub fn read(spec: &TranslationTokenizer, name: &str, json: &str) -> Result<PairTokenizers> {
        let unreadable = |e: &dyn Display| {
            Fault::new("the tokenizer cannot be read")
                .source(name)
                .found(e)
                .expected("the file that a run of translation saved")
        };
        let of = |text: &str| -> Result<SentenceTokenizer> {
            let own = SentenceTokenizer::new(Tokenizer::read(name, text.as_bytes())?, spec.train);
            let has_special = (0..)
                .zip(Tokenizer::SPECIAL)
                .all(|(id, token)| own.tokenizer.inner().id_to_token(id).as_deref() == Some(token));
            match has_special {
                true => Ok(own),
                false => Err(unreadable(&"other special tokens").into()),
            }
        };
        let (source, target) = match spec.joint {
            true => (of(json)?, of(json)?),
            false => {
                let both: Value = serde_json::from_str(json).map_err(|e| unreadable(&e))?;
                let part = |field: &str| match both.get(field) {
                    Some(own) => of(&own.to_string()),
                    None => Err(unreadable(&format!("no field `{field}`")).into()),
                };
                (part(SOURCE)?, part(TARGET)?)
            }
        };
        Ok(PairTokenizers { source, target, json: json.to_string() })
    }

    /// Errors if the model has fewer rows than a tokenizer has tokens.
    pub fn expect_rows(&self, sizes: &Sizes) -> Result<()> {
        for (field, own, rows) in [
            ("model.source_vocabulary", &self.source, sizes.source),
            ("model.target_vocabulary", &self.target, sizes.target),
        ] {
            if own.rows() > rows {
                return Err(Fault::new("the tokenizer has more tokens than the model")
                    .within(field)
                    .found(format!("{} tokens of the training split", own.rows()))
                    .expected(format!("at most {rows}, the rows of the model's embedding"))
                    .help(format!("`{field}: {}`", own.rows()))
                    .into());
            }
        }
        Ok(())
    }

    /// The content of the file that is saved with a run.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// SHA-256 of the content of that file.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.json))
    }
}

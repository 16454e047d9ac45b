//! The tokens of sentences: whole words, or pieces of them. Both are made by Hugging Face's `tokenizers`,
//! trained on the training split, or are those of a base model.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::normalizers::unicode::NFKC;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;
use tokenizers::{NormalizedString, Normalizer};

use super::marian::{MarianFolder, MarianTokenizer};
use super::sizes::Sizes;
use super::special::{BOS, EOS, PAD, UNK};
use super::unigram::unigram;
use crate::data::text::{Encoded, SentencePiece, Texts, Tokenizer, around, words};
use crate::error::{Error, Fault, Result};
use crate::hub::Hub;
use crate::spec::{
    Normalisation, TrainedTokenizer, TranslationTokenizer, TranslationTokenizerKind as Kind, hex,
};

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
pub enum SentenceTokenizer {
    /// Trained on the training split.
    Trained(TrainedTokens),
    /// That of a base model.
    Marian(MarianTokenizer),
}

/// A tokenizer that was trained on the training split.
#[derive(Clone, Debug)]
pub struct TrainedTokens {
    tokenizer: Tokenizer,
    kind: Kind,
}

impl SentenceTokenizer {
    /// Trains a tokenizer on the training split's sentences.
    fn train<'t>(
        spec: &TranslationTokenizer,
        kind: Kind,
        keeps_hyphens: bool,
        sentences: impl Iterator<Item = &'t str> + Clone + Send,
    ) -> Result<SentenceTokenizer> {
        let tokenizer = match spec.normalisation {
            Normalisation::None => trained(spec, kind, keeps_hyphens, sentences)?,
            Normalisation::Nfkc => {
                let normal = sentences.map(nfkc).collect::<tokenizers::Result<Vec<String>>>();
                let normal = normal.map_err(failed)?;
                let tokenizer =
                    trained(spec, kind, keeps_hyphens, normal.iter().map(String::as_str))?;
                let mut inner = tokenizer.inner().clone();
                inner.with_normalizer(Some(NFKC)).map_err(failed)?;
                Tokenizer::of(inner)?
            }
        };
        Ok(SentenceTokenizer::Trained(TrainedTokens::new(tokenizer, kind)))
    }

    /// Rows that an embedding needs.
    pub fn rows(&self) -> usize {
        match self {
            SentenceTokenizer::Trained(trained) => trained.tokenizer.rows(),
            SentenceTokenizer::Marian(marian) => marian.rows(),
        }
    }

    /// The tokens of sentences with the marks of beginning and end around them, each cut to `max_tokens`.
    /// All end with [`EOS`]. They begin with [`BOS`], but for the sources of a base model.
    pub fn encode(&self, sentences: &[String], max_tokens: usize) -> Result<Encoded> {
        match self {
            SentenceTokenizer::Trained(trained) => {
                trained.tokenizer.encode(&Texts { first: sentences, second: None }, max_tokens)
            }
            SentenceTokenizer::Marian(marian) => marian.encode(sentences, max_tokens),
        }
    }

    /// Whether sentences begin with [`BOS`].
    pub fn begins(&self) -> bool {
        match self {
            SentenceTokenizer::Trained(_) => true,
            SentenceTokenizer::Marian(marian) => marian.begins(),
        }
    }

    /// The sentence of tokens. Special ones are left out. Unknown words are written as `<unk>`; those of a base
    /// model are left out, as transformers does.
    pub fn text(&self, ids: &[u32]) -> Result<String> {
        match self {
            SentenceTokenizer::Trained(trained) => trained.text(ids),
            SentenceTokenizer::Marian(marian) => Ok(marian.text(ids)),
        }
    }

    /// A sentence as its words with spaces between them; as it is if tokens are pieces of words.
    pub fn in_words(&self, sentence: &str) -> Result<String> {
        match self {
            SentenceTokenizer::Trained(TrainedTokens { tokenizer, kind: Kind::Words }) => {
                Ok(words(tokenizer.inner(), sentence).map_err(failed)?.join(" "))
            }
            SentenceTokenizer::Trained(_) | SentenceTokenizer::Marian(_) => {
                Ok(sentence.to_string())
            }
        }
    }

    /// What is saved of one of two tokenizers.
    fn saved(&self) -> Result<Value> {
        match self {
            SentenceTokenizer::Trained(trained) => {
                serde_json::from_str(trained.tokenizer.json()).map_err(failed)
            }
            SentenceTokenizer::Marian(marian) => marian.saved(),
        }
    }
}

impl TrainedTokens {
    fn new(tokenizer: Tokenizer, kind: Kind) -> TrainedTokens {
        // A sentence with the text `[SEP]` does not end there.
        TrainedTokens { tokenizer: tokenizer.with_special_tokens_as_text(), kind }
    }

    fn text(&self, ids: &[u32]) -> Result<String> {
        match self.kind {
            Kind::ByteLevelBpe => Ok(self.tokenizer.text(ids)?.trim().to_string()),
            Kind::Unigram => {
                let parts = ids.split(|id| *id == UNK).map(|part| self.tokenizer.text(part));
                let parts = parts.collect::<Result<Vec<String>>>()?;
                let unknown = format!(" {UNKNOWN_TEXT} ");
                let text = parts.iter().map(|part| part.trim()).collect::<Vec<_>>().join(&unknown);
                Ok(text.trim().to_string())
            }
            Kind::Words => {
                let word = |id: &u32| match *id {
                    UNK => Some(UNKNOWN_TEXT.to_string()),
                    PAD | BOS | EOS => None,
                    id => self.tokenizer.inner().id_to_token(id),
                };
                Ok(ids.iter().filter_map(word).collect::<Vec<_>>().join(" "))
            }
        }
    }
}

/// A tokenizer that is trained on sentences as they are.
fn trained<'t>(
    spec: &TranslationTokenizer,
    kind: Kind,
    keeps_hyphens: bool,
    sentences: impl Iterator<Item = &'t str> + Clone + Send,
) -> Result<Tokenizer> {
    match kind {
        Kind::ByteLevelBpe => {
            let vocabulary = spec.vocabulary();
            Tokenizer::train(&TrainedTokenizer::ByteLevelBpe { vocabulary }, sentences)
        }
        Kind::Words => {
            let pattern = if keeps_hyphens { KEEP_HYPHENS } else { SPLIT_HYPHENS };
            whole_words(pattern, spec.minimum_count(), sentences).map_err(failed)
        }
        Kind::Unigram => {
            let pieces = unigram(spec.vocabulary(), &Tokenizer::SPECIAL, UNK as usize, sentences);
            let mut tokenizer = pieces?;
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
    let unknown = Tokenizer::SPECIAL[UNK as usize].to_string();
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
/// A further one for a base model's: its pieces in the order of its rows.
const PIECES: &str = "pieces";

/// What is saved of two tokenizers.
fn saved(
    source: &SentenceTokenizer,
    target: &SentenceTokenizer,
    pieces: Option<Vec<String>>,
) -> Result<String> {
    let mut both = json!({SOURCE: source.saved()?, TARGET: target.saved()?});
    match pieces {
        // Tens of thousands of pieces and rules, a line each, would be ten times as large.
        Some(pieces) => {
            both[PIECES] = pieces.into();
            serde_json::to_string(&both).map_err(failed)
        }
        None => serde_json::to_string_pretty(&both).map_err(failed),
    }
}

impl PairTokenizers {
    /// The tokenizers that a spec names: those of a base model, or such as are trained on the training split's
    /// sentences. With `joint` both languages are trained on together.
    pub fn of<'t>(
        spec: &TranslationTokenizer,
        source: impl Iterator<Item = &'t str> + Clone + Send,
        target: impl Iterator<Item = &'t str> + Clone + Send,
        hub: &Hub,
    ) -> Result<PairTokenizers> {
        if let Some(folder) = MarianFolder::of_spec(spec, hub)? {
            return PairTokenizers::of_folder(&folder);
        }
        let kind = spec.train.unwrap_or_default();
        if spec.joint {
            let keeps = spec.keep_hyphens.of_source();
            let both = SentenceTokenizer::train(spec, kind, keeps, source.chain(target))?;
            let SentenceTokenizer::Trained(trained) = &both else {
                return Err(failed("no tokenizer"));
            };
            let json = trained.tokenizer.json().to_string();
            return Ok(PairTokenizers { source: both.clone(), target: both, json });
        }
        let source = SentenceTokenizer::train(spec, kind, spec.keep_hyphens.of_source(), source)?;
        let target = SentenceTokenizer::train(spec, kind, spec.keep_hyphens.of_target(), target)?;
        let json = saved(&source, &target, None)?;
        Ok(PairTokenizers { source, target, json })
    }

    /// The tokenizers of a base model.
    pub fn of_folder(folder: &MarianFolder) -> Result<PairTokenizers> {
        let both = folder.tokenizers()?;
        let pieces = both[0].pieces().to_vec();
        let [source, target] = both.map(SentenceTokenizer::Marian);
        let json = saved(&source, &target, Some(pieces))?;
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
        let parts = || -> Result<[Value; 3]> {
            let mut both: Value = serde_json::from_str(json).map_err(|e| unreadable(&e))?;
            let mut part = |field: &str| match both.get_mut(field) {
                Some(value) => Ok(value.take()),
                None => Err(Error::from(unreadable(&format!("no field `{field}`")))),
            };
            Ok([part(SOURCE)?, part(TARGET)?, both])
        };
        let json = json.to_string();
        let Some(kind) = spec.train else {
            let [source, target, rest] = parts()?;
            let read = |part: Value| SentencePiece::of_saved(name, part);
            let pieces = Vec::deserialize(rest.get(PIECES).unwrap_or(&Value::Null));
            let pieces = pieces.map_err(|e| unreadable(&e))?;
            let both = MarianTokenizer::both([read(source)?, read(target)?], pieces);
            let [source, target] = both.map(SentenceTokenizer::Marian);
            return Ok(PairTokenizers { source, target, json });
        };
        let of = |text: &str| -> Result<SentenceTokenizer> {
            let trained = TrainedTokens::new(Tokenizer::read(name, text.as_bytes())?, kind);
            let has_special = (0..).zip(Tokenizer::SPECIAL).all(|(id, token)| {
                trained.tokenizer.inner().id_to_token(id).as_deref() == Some(token)
            });
            match has_special {
                true => Ok(SentenceTokenizer::Trained(trained)),
                false => Err(unreadable(&"other special tokens").into()),
            }
        };
        let (source, target) = match spec.joint {
            true => (of(&json)?, of(&json)?),
            false => {
                let [source, target, _] = parts()?;
                (of(&source.to_string())?, of(&target.to_string())?)
            }
        };
        Ok(PairTokenizers { source, target, json })
    }

    /// Errors if the model has fewer rows than a tokenizer has tokens.
    pub fn expect_rows(&self, sizes: &Sizes) -> Result<()> {
        for (field, tokenizer, rows) in [
            ("model.source_vocabulary", &self.source, sizes.source),
            ("model.target_vocabulary", &self.target, sizes.target),
        ] {
            if tokenizer.rows() > rows {
                return Err(Fault::new("the tokenizer has more tokens than the model")
                    .within(field)
                    .found(format!("{} tokens of the training split", tokenizer.rows()))
                    .expected(format!("at most {rows}, the rows of the model's embedding"))
                    .help(format!("`{field}: {}`", tokenizer.rows()))
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

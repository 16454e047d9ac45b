//! The tokens of Marian's models in Hugging Face's layout: a SentencePiece model for each language,
//! `source.spm` and `target.spm`, and one vocabulary of the pieces of both, `vocab.json`.
//!
//! A model of this program has its special tokens first. So a piece has another number here than in
//! `vocab.json`: padding, the unknown piece, the beginning of a translation and the end of a sentence come
//! first, then the others in their order. Marian begins a translation with padding, so the row of the
//! beginning is a copy of that of padding.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::special::{BOS, EOS, PAD, SPECIAL_TOKENS, UNK};
use crate::data::text::{Encoded, SentencePiece, WORD_BEGIN};
use crate::error::{Error, Fault, Result};
use crate::hub::{Hub, Kind, Source};
use crate::spec::{HUB_PREFIX, TranslationTokenizer};

/// The file of the vocabulary.
pub const VOCABULARY: &str = "vocab.json";
/// The SentencePiece models of both languages.
const SOURCE_PIECES: &str = "source.spm";
const TARGET_PIECES: &str = "target.spm";

/// The files in a repository or a folder of such a model.
pub const MARIAN_FILES: [&str; 3] = [SOURCE_PIECES, TARGET_PIECES, VOCABULARY];

/// The special tokens in `vocab.json`, by their number here. The beginning of a translation is padding there.
const SPECIAL: [&str; SPECIAL_TOKENS] = ["<pad>", "<unk>", "<pad>", "</s>"];

/// The pieces of a `vocab.json`, in their order.
pub struct Vocabulary(Vec<String>);

impl Vocabulary {
    /// Reads the file's content; `name` is its name in errors. Errors unless the pieces are numbered from 0
    /// without a gap and the special tokens are among them.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Vocabulary> {
        let fault = || Fault::new("the vocabulary cannot be used").source(name);
        let expected = "an object from pieces to their numbers, as Marian's models have it";
        let numbers: BTreeMap<String, u64> = serde_json::from_slice(bytes)
            .map_err(|e| Error::from(fault().found(e).expected(expected)))?;
        let mut pieces = vec![None; numbers.len()];
        for (piece, number) in numbers {
            let place = usize::try_from(number).ok().and_then(|number| pieces.get_mut(number));
            match place {
                Some(place @ None) => *place = Some(piece),
                Some(Some(other)) => {
                    let found = format!("number {number} for {piece:?} and {other:?}");
                    return Err(fault().found(found).expected("a number for each piece").into());
                }
                None => {
                    let found =
                        format!("number {number} for {piece:?}, of {} pieces", pieces.len());
                    return Err(fault().found(found).expected("numbers without a gap").into());
                }
            }
        }
        let vocabulary = Vocabulary(pieces.into_iter().flatten().collect());
        match SPECIAL.into_iter().find(|token| vocabulary.number(token).is_none()) {
            None => Ok(vocabulary),
            Some(missing) => Err(fault()
                .found(format!("no `{missing}`"))
                .expected(SPECIAL[1..].join(", "))
                .into()),
        }
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of a piece in the file.
    pub fn number(&self, piece: &str) -> Option<usize> {
        self.0.iter().position(|listed| listed == piece)
    }

    /// The file's number of each row of a model of this program.
    pub fn rows(&self) -> Vec<usize> {
        let special = SPECIAL.iter().filter_map(|token| self.number(token));
        let others = (0..self.len()).filter(|number| !SPECIAL.contains(&self.0[*number].as_str()));
        special.chain(others).collect()
    }
}

/// The tokens of one language's sentences.
#[derive(Clone, Debug)]
pub struct MarianTokenizer {
    pieces: SentencePiece,
    rows: Arc<Rows>,
    /// Whether a sentence begins with a special token: translations do.
    begins: bool,
}

/// The pieces by their numbers here.
#[derive(Debug)]
struct Rows {
    pieces: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl MarianTokenizer {
    /// The tokenizers of source and target, made of their SentencePiece models. `pieces` are those of both,
    /// in the order of a model's rows.
    pub fn both([source, target]: [SentencePiece; 2], pieces: Vec<String>) -> Both {
        // The special ones are no pieces of a text.
        let numbers = pieces.iter().cloned().zip(0..).skip(SPECIAL_TOKENS).collect();
        let rows = Arc::new(Rows { pieces, numbers });
        [(source, false), (target, true)].map(|(pieces, begins)| MarianTokenizer {
            pieces,
            rows: rows.clone(),
            begins,
        })
    }

    /// The pieces of both languages, in the order of a model's rows.
    pub fn pieces(&self) -> &[String] {
        &self.rows.pieces
    }

    pub fn rows(&self) -> usize {
        self.rows.pieces.len()
    }

    /// What is saved of its SentencePiece model.
    pub fn saved(&self) -> Result<Value> {
        self.pieces.saved()
    }

    /// Whether sentences begin with [`BOS`].
    pub fn begins(&self) -> bool {
        self.begins
    }

    /// The tokens of sentences with special ones around them, each cut to `max_tokens`. A sentence may
    /// begin with a language's code, such as `>>fra<<`, which is one token.
    pub fn encode(&self, sentences: &[String], max_tokens: usize) -> Result<Encoded> {
        let most = max_tokens.saturating_sub(1 + usize::from(self.begins));
        let mut encoded = Encoded::default();
        for sentence in self.pieces.of_all(sentences.iter().map(|sentence| code(sentence).1))? {
            let (code, _) = code(&sentences[encoded.len()]);
            let pieces = code.into_iter().chain(sentence.iter().map(String::as_str));
            // A text that is no piece of this language may be one of the other.
            let number = |piece: &str| self.rows.numbers.get(piece).copied().unwrap_or(UNK);
            encoded.cut += usize::from(pieces.clone().count() > most);
            encoded.ids.extend(self.begins.then_some(BOS));
            encoded.ids.extend(pieces.take(most).map(number));
            encoded.ids.push(EOS);
            encoded.types.resize(encoded.ids.len(), 0);
            encoded.ends.push(encoded.ids.len());
        }
        Ok(encoded)
    }

    /// The sentence of tokens, without special ones and unknown pieces.
    pub fn text(&self, ids: &[u32]) -> String {
        let words = ids.iter().filter(|id| ![PAD, UNK, BOS, EOS].contains(id));
        let pieces = words.filter_map(|id| self.rows.pieces.get(*id as usize));
        let text: String = pieces.map(String::as_str).collect();
        text.replace(WORD_BEGIN, " ").trim().to_string()
    }
}

/// The language's code in front of a sentence, and the rest of the sentence.
fn code(sentence: &str) -> (Option<&str>, &str) {
    let end = sentence.starts_with(">>").then(|| sentence.find("<<")).flatten();
    let (code, rest) = sentence.split_at(end.map_or(0, |end| end + 2));
    ((!code.is_empty()).then_some(code), rest)
}

/// The tokenizers of source and target.
pub type Both = [MarianTokenizer; 2];

/// The three files of the tokenizers: name and content of each.
pub struct MarianFolder([(String, Vec<u8>); 3]);

impl MarianFolder {
    /// Reads the files that a spec names. None where it names none.
    pub fn of_spec(spec: &TranslationTokenizer, hub: &Hub) -> Result<Option<MarianFolder>> {
        let source = match (&spec.hub, &spec.path) {
            (Some(name), _) => Source::of_hub(&format!("{HUB_PREFIX}{name}"), Kind::Model)?,
            (None, Some(path)) => Some(Source::Folder(path.into())),
            (None, None) => None,
        };
        let Some(source) = source else { return Ok(None) };
        let opened = hub.open(&source, Kind::Model)?;
        let read = |file: &str| -> Result<(String, Vec<u8>)> {
            let file = opened.read(file)?;
            Ok((file.name, file.bytes.into_owned()))
        };
        let [source, target, vocabulary] = MARIAN_FILES.map(read);
        Ok(Some(MarianFolder([source?, target?, vocabulary?])))
    }

    /// Reads the files in the folder of a file. None unless all three are there.
    pub fn beside(file: &Path) -> Result<Option<MarianFolder>> {
        let mut files = Vec::new();
        for name in MARIAN_FILES {
            let path = file.with_file_name(name);
            match fs::read(&path) {
                Ok(bytes) => files.push((path.display().to_string(), bytes)),
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                Err(e) => {
                    return Err(Fault::new("the tokenizer cannot be read")
                        .source(path.display())
                        .found(e)
                        .into());
                }
            }
        }
        Ok(files.try_into().ok().map(MarianFolder))
    }

    /// The tokenizers that the files describe.
    pub fn tokenizers(&self) -> Result<Both> {
        let [source, target, (name, vocabulary)] = &self.0;
        let vocabulary = Vocabulary::parse(name, vocabulary)?;
        let pieces = vocabulary.rows().into_iter().map(|number| vocabulary.0[number].clone());
        let of = |(name, bytes): &(String, Vec<u8>)| SentencePiece::read(name, bytes);
        Ok(MarianTokenizer::both([of(source)?, of(target)?], pieces.collect()))
    }
}

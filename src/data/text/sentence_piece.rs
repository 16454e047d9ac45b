//! Reads the file of a SentencePiece model (`.spm`, `.model`), and makes its pieces of texts.
//!
//! Hugging Face's `tokenizers` finds the pieces. Its own replacement of characters by such a model's rules
//! looks at whole letters with their accents, and leaves some accents out. So the rules are applied here:
//! of those that fit at a place of a text the longest is, as SentencePiece does it.

use std::collections::BTreeMap;
use std::fmt::Display;

use prost::Message;
use serde_json::{Value, json};
use tokenizers::Tokenizer;
use tokenizers::models::unigram::Unigram;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use crate::error::{Error, Fault, Result};

/// SentencePiece's mark of a word's beginning.
pub const WORD_BEGIN: char = '▁';

/// Number of texts that become pieces together: enough for all threads, few enough for memory.
const CHUNK: usize = 4096;

/// The fields of SentencePiece's `ModelProto` that decide the pieces of a text. A field that is not there
/// has the default of sentencepiece_model.proto.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    /// The logarithm of its probability.
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3", default = "1")]
    kind: Option<i32>,
}

/// Kinds of pieces.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    #[prost(int32, optional, tag = "3", default = "1")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    treat_whitespace_as_suffix: Option<bool>,
}

/// Names of the model types, by number from 1.
const MODEL_TYPES: [&str; 4] = ["unigram", "bpe", "word", "char"];

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    escape_whitespaces: Option<bool>,
}

/// A SentencePiece model of unigram pieces.
#[derive(Clone, Debug)]
pub struct SentencePiece {
    tokenizer: Tokenizer,
    rules: Rules,
}

/// The fields of what is saved.
const TOKENIZER: &str = "tokenizer";
const RULES: &str = "rules";

impl SentencePiece {
    /// Reads a file's content; `name` is its name in errors. Errors for what would make other pieces than
    /// SentencePiece does.
    pub fn read(name: &str, bytes: &[u8]) -> Result<SentencePiece> {
        let fault = |summary: &str| Fault::new(summary).source(name);
        let unsupported = |found: String, expected: &str| {
            fault("the SentencePiece model is not supported").found(found).expected(expected)
        };
        let unreadable = |found: &dyn Display| {
            fault("the SentencePiece model cannot be read").found(found).expected(
                "the file that SentencePiece writes, as `source.spm` of Helsinki-NLP's models",
            )
        };
        let model = Model::decode(bytes).map_err(|e| unreadable(&e))?;
        if model.pieces.is_empty() {
            return Err(unreadable(&"no pieces").into());
        }
        let trainer = model.trainer.unwrap_or_default();
        let kind = trainer.model_type();
        if kind != 1 {
            let named = usize::try_from(kind - 1).ok().and_then(|at| MODEL_TYPES.get(at));
            let found = named.map_or(format!("model_type {kind}"), |name| format!("`{name}`"));
            return Err(unsupported(found, "`unigram`").into());
        }
        let normalizer = model.normalizer.unwrap_or_default();
        for (flag, value, wanted) in [
            ("treat_whitespace_as_suffix", trainer.treat_whitespace_as_suffix(), false),
            ("add_dummy_prefix", normalizer.add_dummy_prefix(), true),
            ("remove_extra_whitespaces", normalizer.remove_extra_whitespaces(), true),
            ("escape_whitespaces", normalizer.escape_whitespaces(), true),
        ] {
            if value != wanted {
                return Err(unsupported(format!("{flag}: {value}"), &wanted.to_string()).into());
            }
        }
        let mut pieces: Vec<(String, f64)> = Vec::new();
        let mut unknown = None;
        for piece in &model.pieces {
            let scored = (piece.piece().to_string(), f64::from(piece.score()));
            match piece.kind() {
                NORMAL => pieces.push(scored),
                UNKNOWN => {
                    unknown = Some(pieces.len());
                    pieces.push(scored);
                }
                // They stand for no text.
                CONTROL | UNUSED => {}
                other => {
                    let found = format!("piece `{}` of type {other}", scored.0);
                    let expected =
                        "normal, unknown, control and unused pieces (types 1, 2, 3 and 5)";
                    return Err(unsupported(found, expected).into());
                }
            }
        }
        let Some(unknown) = unknown else {
            return Err(unreadable(&"no piece for unknown text").into());
        };
        let rules = Rules::parse(&normalizer.precompiled_charsmap.unwrap_or_default())
            .ok_or_else(|| unreadable(&"damaged rules (precompiled_charsmap)"))?;
        let unigram = Unigram::from(pieces, Some(unknown), false).map_err(|e| unreadable(&e))?;
        let mut tokenizer = Tokenizer::new(unigram);
        let words = Metaspace::new(WORD_BEGIN, PrependScheme::Always, true);
        tokenizer.with_pre_tokenizer(Some(words));
        Ok(SentencePiece { tokenizer, rules })
    }

    /// What is saved of it: a `tokenizer.json` of its pieces, and the rules that come before.
    pub fn saved(&self) -> Result<Value> {
        let json = self.tokenizer.to_string(false).map_err(|e| failed(&e))?;
        let tokenizer: Value = serde_json::from_str(&json).map_err(|e| failed(&e))?;
        Ok(json!({TOKENIZER: tokenizer, RULES: self.rules.by}))
    }

    /// The model of what was saved; `name` is its name in errors.
    pub fn of_saved(name: &str, mut saved: Value) -> Result<SentencePiece> {
        let unreadable = |e: &dyn Display| {
            let fault = Fault::new("the tokenizer cannot be read").source(name).found(e);
            Error::from(fault.expected("what a run of translation saved"))
        };
        let mut part = |field: &str| saved.get_mut(field).map(Value::take).unwrap_or_default();
        let tokenizer = part(TOKENIZER).to_string();
        let tokenizer = Tokenizer::from_bytes(tokenizer).map_err(|e| unreadable(&e))?;
        let by = serde_json::from_value(part(RULES)).map_err(|e| unreadable(&e))?;
        Ok(SentencePiece { tokenizer, rules: Rules::new(by) })
    }

    /// The pieces of each text. What is no piece is there as it is.
    pub fn of_all<'t>(&self, texts: impl Iterator<Item = &'t str>) -> Result<Vec<Vec<String>>> {
        let texts: Vec<String> = texts.map(|text| self.rules.apply(text)).collect();
        let mut all = Vec::with_capacity(texts.len());
        for chunk in texts.chunks(CHUNK) {
            let inputs = chunk.iter().map(String::as_str).collect();
            // `encode_batch_fast` leaves out the texts of pieces.
            let pieces = self.tokenizer.encode_batch::<&str>(inputs, false);
            let pieces = pieces.map_err(|e| failed(&e))?;
            all.extend(pieces.into_iter().map(|encoding| encoding.get_tokens().to_vec()));
        }
        Ok(all)
    }
}

fn failed(e: &dyn Display) -> Error {
    Fault::failed(format!("tokenising failed: {e}")).into()
}

/// Which texts are replaced, and by what.
#[derive(Clone, Debug)]
struct Rules {
    by: BTreeMap<String, String>,
    /// For each first character of a rule, the most bytes of a rule that begins so.
    longest: BTreeMap<char, usize>,
}

impl Rules {
    fn new(by: BTreeMap<String, String>) -> Rules {
        let mut longest: BTreeMap<char, usize> = BTreeMap::new();
        for text in by.keys() {
            if let Some(first) = text.chars().next() {
                let most = longest.entry(first).or_default();
                *most = text.len().max(*most);
            }
        }
        Rules { by, longest }
    }

    /// The rules of a compiled map: the size of a trie in bytes, the trie, and the replacements, each ended
    /// by a zero byte. None if it is damaged. An empty one has no rules.
    fn parse(compiled: &[u8]) -> Option<Rules> {
        if compiled.is_empty() {
            return Some(Rules::new(BTreeMap::new()));
        }
        let (size, rest) = compiled.split_first_chunk::<4>()?;
        let (trie, replacements) =
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*size)).ok()?)?;
        let (units, rest) = trie.as_chunks::<4>();
        let trie = Trie(units.iter().map(|unit| u32::from_le_bytes(*unit)).collect());
        let mut by = BTreeMap::new();
        for (text, place) in trie.entries()? {
            let end = replacements.get(place..)?.iter().position(|byte| *byte == 0)?;
            let replacement = replacements.get(place..place + end)?;
            by.insert(String::from_utf8(text).ok()?, std::str::from_utf8(replacement).ok()?.into());
        }
        rest.is_empty().then(|| Rules::new(by))
    }

    /// A text with these replacements, without spaces around it and with one between words.
    fn apply(&self, text: &str) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let most = self.longest.get(&first).copied().unwrap_or(0).min(rest.len());
            let fits = (1..=most).rev().find_map(|end| {
                let start = rest.get(..end)?;
                Some((self.by.get(start)?, end))
            });
            let end = match fits {
                Some((by, end)) => {
                    replaced.push_str(by);
                    end
                }
                None => {
                    replaced.push(first);
                    first.len_utf8()
                }
            };
            rest = &rest[end..];
        }
        replaced.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// A trie of byte strings as a double array, as Darts-clone writes it.
struct Trie(Vec<u32>);

/// The longest rule and the most nodes of a trie that are read. Real ones are far below.
const LONGEST: usize = 64;
const MAX_NODES: usize = 1 << 20;

impl Trie {
    /// All strings with their values. None if the array is damaged.
    fn entries(&self) -> Option<Vec<(Vec<u8>, usize)>> {
        let offset = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let has_value = |unit: u32| unit >> 8 & 1 == 1;
        // Nodes that are still to be visited: the place that their children's are counted from, and their
        // string.
        let mut open = vec![(offset(*self.0.first()?), Vec::new())];
        let mut found = Vec::new();
        let mut visited = 0;
        while let Some((base, text)) = open.pop() {
            for byte in 1..=u8::MAX {
                let place = base ^ u32::from(byte);
                // Other nodes lie between the children, so most of these places have another label.
                let Some(unit) = self.0.get(usize::try_from(place).ok()?).copied() else {
                    continue;
                };
                if unit & (1 << 31 | 0xff) != u32::from(byte) {
                    continue;
                }
                let text = [&text[..], &[byte]].concat();
                let base = place ^ offset(unit);
                if has_value(unit) {
                    let value = self.0.get(usize::try_from(base).ok()?)? & !(1 << 31);
                    found.push((text.clone(), usize::try_from(value).ok()?));
                }
                // Equal subtrees are stored once, so a small damaged array may have any number of paths.
                visited += 1;
                if text.len() > LONGEST || visited > MAX_NODES {
                    return None;
                }
                open.push((base, text));
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_rule_is_applied() {
        let by = [("a", "1"), ("ab", "2"), ("abcd", "3"), ("ü", ""), ("\t", " ")];
        let rules = Rules::new(by.map(|(text, by)| (text.into(), by.into())).into());
        assert_eq!(rules.apply("abcabcdx ü\t a  "), "2c3x 1");
        assert_eq!(rules.apply("über"), "ber");
        assert_eq!(rules.apply(" \t "), "");
    }

    /// Eight levels of 255 nodes that all have the next level as their children: 255⁸ paths.
    #[test]
    fn a_small_trie_of_too_many_paths_is_refused() {
        const LEVELS: u32 = 8;
        let unit = |place: u32| match place / 256 {
            0 => 256 << 10,
            level if level <= LEVELS => (place % 256) | ((place ^ (256 * (level + 1))) << 10),
            _ => 0,
        };
        let paths = |levels: u32| Trie((0..256 * (levels + 1)).map(unit).collect()).entries();
        assert!(paths(LEVELS).is_none());
        assert_eq!(paths(2).map(|rules| rules.len()), Some(0));
    }

    #[test]
    fn damaged_rules_are_refused() {
        assert!(Rules::parse(&[]).unwrap().by.is_empty());
        for bytes in [&[1][..], &[0, 0, 0, 0], &[9, 0, 0, 0, 1], &[4, 0, 0, 0, 1, 1, 1, 1]] {
            assert!(Rules::parse(bytes).is_none_or(|rules| rules.by.is_empty()), "{bytes:?}");
        }
    }
}

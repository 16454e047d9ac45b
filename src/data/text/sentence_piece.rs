//! Reads the file of a SentencePiece model (`.spm`, `.model`), as a tokenizer of Hugging Face's `tokenizers`.

use std::fmt::Display;

use prost::Message;
use tokenizers::Tokenizer;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::precompiled::Precompiled;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{NormalizerWrapper, Replace, Sequence};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use crate::error::{Fault, Result};

/// SentencePiece's mark of a word's beginning.
pub const WORD_BEGIN: char = '▁';

/// The fields of SentencePiece's `ModelProto` that decide the tokens of a text. A field that is not there
/// has the default of sentencepiece_model.proto.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Rules>,
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
struct Rules {
    /// Replacements of characters, compiled.
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    escape_whitespaces: Option<bool>,
}

/// The tokenizer of a model of unigram pieces. It adds no special tokens, and takes those that stand in a text
/// for text. `name` is the file's name in errors.
pub fn sentence_piece(name: &str, bytes: &[u8]) -> Result<Tokenizer> {
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
    let rules = model.normalizer.unwrap_or_default();
    let flags = [
        ("treat_whitespace_as_suffix", trainer.treat_whitespace_as_suffix(), false),
        ("add_dummy_prefix", rules.add_dummy_prefix(), true),
        ("remove_extra_whitespaces", rules.remove_extra_whitespaces(), true),
        ("escape_whitespaces", rules.escape_whitespaces(), true),
    ];
    if let Some((flag, value, wanted)) = flags.into_iter().find(|(_, is, wanted)| is != wanted) {
        return Err(unsupported(format!("{flag}: {value}"), &wanted.to_string()).into());
    }
    let mut pieces: Vec<(String, f64)> = Vec::new();
    let mut unknown = None;
    for piece in &model.pieces {
        let text = piece.piece().to_string();
        match piece.kind() {
            NORMAL => pieces.push((text, f64::from(piece.score()))),
            UNKNOWN => {
                unknown = Some(pieces.len());
                pieces.push((text, f64::from(piece.score())));
            }
            CONTROL | UNUSED => {}
            other => {
                let found = format!("piece `{text}` of type {other}");
                let expected = "normal, unknown, control and unused pieces (types 1, 2, 3, 5)";
                return Err(unsupported(found, expected).into());
            }
        }
    }
    let Some(unknown) = unknown else {
        return Err(unreadable(&"no piece for unknown text").into());
    };
    let failed = |e: &dyn Display| unreadable(e);
    let charsmap = rules.precompiled_charsmap.unwrap_or_default();
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if !charsmap.is_empty() {
        normalizers.push(Precompiled::from(&charsmap).map_err(|e| failed(&e))?.into());
    }
    for (spaces, by) in [("^ +| +$", ""), (" {2,}", " ")] {
        let spaces = ReplacePattern::Regex(spaces.into());
        normalizers.push(Replace::new(spaces, by).map_err(|e| failed(&e))?.into());
    }
    let unigram = Unigram::from(pieces, Some(unknown), false).map_err(|e| failed(&e))?;
    let mut tokenizer = Tokenizer::new(unigram);
    tokenizer.with_normalizer(Some(Sequence::new(normalizers))).map_err(|e| failed(&e))?;
    tokenizer.with_pre_tokenizer(Some(Metaspace::new(WORD_BEGIN, PrependScheme::Always, true)));
    Ok(tokenizer)
}

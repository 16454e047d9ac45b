//! Checks that the token ids of a `tokenizer.json` are rows of the model's embedding.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::fields::{Fields, kind};
use super::file_names::TOKENIZER;
use crate::error::{Fault, Result};

/// The model types of the `tokenizers` library.
const KINDS: [&str; 4] = ["BPE", "Unigram", "WordLevel", "WordPiece"];

/// The tokenizer in the folder of a weights file, if there is one.
pub fn beside(weights: &Path) -> Result<Option<Vec<u8>>> {
    let path = weights.with_file_name(TOKENIZER);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Fault::of_file(&path, "the tokenizer cannot be read").found(e).into()),
    }
}

/// Checks the tokenizer in this folder, if there is one, against the size of the vocabulary.
pub fn check(folder: &Path, vocab_size: usize) -> Result<()> {
    let path = folder.join(TOKENIZER);
    if !path.exists() {
        return Ok(());
    }
    let bytes = fs::read(&path)
        .map_err(|e| Fault::of_file(&path, "the tokenizer cannot be read").found(e))?;
    let (token, highest) = highest(&path, &bytes)?;
    if highest < vocab_size as u64 {
        return Ok(());
    }
    Err(Fault::of_file(&path, "the tokenizer has more tokens than the model")
        .found(format!("token {token:?} with number {highest}"))
        .expected(format!("numbers below {vocab_size}, vocab_size of config.json"))
        .help("the tokenizer is another model's, or the embedding was not resized for its tokens")
        .into())
}

/// The token with the highest id, added tokens included.
fn highest(path: &Path, bytes: &[u8]) -> Result<(String, u64)> {
    let fields = Fields::parse(path, bytes, "the tokenizer")?;
    let fault = |field: &str, summary: &str| fields.fault(field, summary);
    let wrong = |field: &str, found: Option<&Value>, expected: &str| {
        let found = found.map_or("none", kind);
        fault(field, "the tokenizer cannot be used").found(found).expected(expected)
    };
    let model = match fields.get("model") {
        Some(Value::Object(model)) => model,
        other => return Err(wrong("model", other, "an object with type and vocab").into()),
    };
    let listed = match model.get("type") {
        // Old files have no type.
        None => matches!(model.get("vocab"), Some(Value::Array(_))),
        Some(Value::String(name)) if KINDS.contains(&name.as_str()) => name == "Unigram",
        Some(Value::String(name)) => {
            return Err(fault("model.type", "the tokenizer is of no known kind")
                .found(format!("`{name}`"))
                .expected(format!("one of {}", KINDS.join(", ")))
                .into());
        }
        other => return Err(wrong("model.type", other, "a text").into()),
    };
    let mut tokens: Vec<(String, u64)> = Vec::new();
    match model.get("vocab") {
        Some(Value::Object(vocab)) if !listed => {
            for (token, id) in vocab {
                let Some(number) = id.as_u64() else {
                    let field = format!("model.vocab.{token}");
                    return Err(wrong(&field, Some(id), "a whole number").into());
                };
                tokens.push((token.clone(), number));
            }
        }
        Some(Value::Array(vocab)) if listed => {
            for (number, pair) in vocab.iter().enumerate() {
                let Some(token) = pair[0].as_str() else {
                    let field = format!("model.vocab[{number}]");
                    return Err(wrong(&field, Some(pair), "a token and its score").into());
                };
                tokens.push((token.into(), number as u64));
            }
        }
        other => {
            let expected = match listed {
                true => "a list of tokens and their scores",
                false => "an object of tokens and their numbers",
            };
            return Err(wrong("model.vocab", other, expected).into());
        }
    }
    match fields.get("added_tokens") {
        None => {}
        Some(Value::Array(added)) => {
            for (at, token) in added.iter().enumerate() {
                let (Some(number), Some(content)) =
                    (token["id"].as_u64(), token["content"].as_str())
                else {
                    let field = format!("added_tokens[{at}]");
                    return Err(wrong(&field, Some(token), "an object with id and content").into());
                };
                tokens.push((content.into(), number));
            }
        }
        other => return Err(wrong("added_tokens", other, "a list").into()),
    }
    let highest = tokens.into_iter().max_by_key(|(_, number)| *number);
    highest.ok_or_else(|| fault("model.vocab", "the tokenizer has no tokens").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<(String, u64)> {
        highest(Path::new(TOKENIZER), text.as_bytes())
    }

    #[test]
    fn the_highest_token_id_is_found_for_each_kind() {
        for (text, token, number) in [
            (r#"{"model": {"type": "WordPiece", "vocab": {"a": 0, "b": 7, "c": 3}}}"#, "b", 7),
            (
                r#"{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 9, "content": "[X]"}]}"#,
                "[X]",
                9,
            ),
            (
                r#"{"model": {"type": "Unigram", "vocab": [["a", -1.5], ["b", -2]]}, "added_tokens": null}"#,
                "b",
                1,
            ),
        ] {
            assert_eq!(of(text).unwrap(), (token.to_string(), number));
        }
    }

    #[test]
    fn errors_name_the_field() {
        for (text, part) in [
            ("", "the tokenizer cannot be used"),
            ("{}", "model: the tokenizer cannot be used"),
            (r#"{"model": {"type": "WordPeice", "vocab": {}}}"#, "model.type"),
            (r#"{"model": {"type": 3, "vocab": {}}}"#, "model.type"),
            (r#"{"model": {"type": "BPE", "vocab": []}}"#, "model.vocab"),
            (r#"{"model": {"type": "BPE", "vocab": {"a": -1}}}"#, "model.vocab.a"),
            (r#"{"model": {"type": "BPE", "vocab": {}}}"#, "no tokens"),
            (r#"{"model": {"type": "Unigram", "vocab": [[1, 2]]}}"#, "model.vocab[0]"),
            (r#"{"model": {"vocab": {"a": 1}}, "added_tokens": [{"id": "1"}]}"#, "added_tokens[0]"),
            (r#"{"model": {"vocab": {"a": 1}}, "added_tokens": {}}"#, "added_tokens"),
        ] {
            let message = of(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}

//! Parts of errors that several formats of weights share.

use std::path::Path;

use crate::error::{Fault, Result};

/// The message of a JSON error, with the text before the place where it occurred.
pub fn json_fault(text: &str, error: &serde_json::Error) -> String {
    const SHOWN: usize = 30;
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    let message = message.replace("expected usize", "expected a whole number, 0 or more");
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let before = line.get(..error.column().min(line.len())).unwrap_or_default();
    let from = before.char_indices().rev().nth(SHOWN).map_or(0, |(at, _)| at);
    let cut = if from > 0 { "…" } else { "" };
    format!("{message}, at `{cut}{}` in line {}", &before[from..], error.line())
}

/// The first of `names`, and how many more there are.
pub fn first_of(names: &[&str]) -> String {
    match names {
        [] => "none".into(),
        [only] => (*only).into(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

/// Errors if a size in the config at `path` contradicts the weights. Each size is the field,
/// its value, the value in the weights, and the tensor that shows that value.
pub fn expect_agreement(path: &Path, sizes: &[(&str, usize, usize, &str)]) -> Result<()> {
    match sizes.iter().find(|(_, said, shown, _)| said != shown) {
        None => Ok(()),
        Some((field, said, shown, tensor)) => {
            Err(Fault::of_file(path, format!("{field} contradicts the weights"))
                .found(said)
                .expected(format!("{shown}, by {tensor}"))
                .into())
        }
    }
}

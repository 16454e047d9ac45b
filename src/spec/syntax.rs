//! Errors of the YAML crate, in plain words.

use super::error::SpecError;
use super::position::Position;
use super::wording::shorten;

/// The error for a document that is not YAML, at the parser's position.
pub fn syntax_error(text: &str, error: &serde_yaml::Error) -> SpecError {
    let reason = plain_reason(error);
    if reason.contains("more than one document") {
        return several_documents(text);
    }
    let position = error.location().map(|l| Position { line: l.line(), column: l.column() });
    let line = position.and_then(|p| text.lines().nth(p.line.saturating_sub(1)));
    let found = match line {
        Some(line) => format!("`{}`", shorten(line.trim())),
        None => "text that does not parse".into(),
    };
    let indent = |l: &str| l.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    let help = match line.is_some_and(indent) {
        true => "indent with spaces: YAML allows no tabs there".into(),
        false => {
            in_plain_words(&reason).map_or(reason.clone(), |words| format!("{reason}: {words}"))
        }
    };
    let out = SpecError::new("the file is not valid YAML").found(found).expected("YAML").help(help);
    match position {
        Some(position) => out.at_position(position),
        None => out,
    }
}

/// The usual cause of a parser error in a spec.
fn in_plain_words(reason: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 7] = [
        (
            "mapping values are not allowed",
            "the line before lacks its `:`, or a text that contains `: ` stands without quotes",
        ),
        ("did not find expected key", "the line is indented differently from those beside it"),
        (
            "cannot start any token",
            "quote a text that begins with @, ` or %; indent with spaces, not with tabs",
        ),
        ("unexpected end of stream", "a quote or a bracket is not closed"),
        ("did not find expected ','", "a bracket is not closed, or a comma is missing"),
        ("unknown anchor", "`*name` repeats what `&name` marks further up"),
        ("recursion limit exceeded", "no spec is nested this deeply"),
    ];
    WORDS.iter().find(|(found, _)| reason.contains(found)).map(|(_, words)| *words)
}

/// The error for a file with more than one document.
fn several_documents(text: &str) -> SpecError {
    let is_empty = |line: &str| line.trim().is_empty() || line.starts_with(['#', '%']);
    let lines = || text.lines().enumerate();
    let first = lines().find(|(_, line)| !is_empty(line)).map_or(0, |(at, _)| at);
    let next = lines().find(|(at, line)| *at > first && line.starts_with("---"));
    let error = SpecError::new("the file holds several YAML documents")
        .found("`---`, which begins another document")
        .expected("one experiment in a file");
    match next {
        Some((at, _)) => error.at_position(Position { line: at + 1, column: 1 }),
        None => error,
    }
}

/// The parser's reason without path and position.
pub fn plain_reason(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    let text = match text.find(" at line ") {
        Some(cut) => text[..cut].to_string(),
        None => text,
    };
    // Nested errors start with their path: `arms: duplicate entry …`.
    match text.find("duplicate entry") {
        Some(start) => text[start..].to_string(),
        None => text,
    }
}

/// Describes a mapping key that is not text.
pub fn describe_key(key: &serde_yaml::Value) -> String {
    match serde_yaml::to_string(key) {
        Ok(text) => format!("the key {}", text.trim()),
        Err(_) => "a key that is a mapping or a list".into(),
    }
}

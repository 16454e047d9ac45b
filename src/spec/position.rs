//! Finds the line of a field, and turns the YAML crate's errors into ours.
//!
//! `serde_yaml` gives no positions for values that parsed, but it does give the
//! position of an error. So a visitor walks to the wanted field and fails there;
//! the position of that failure is the field's. This runs only when an error is
//! about to be printed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::{Position, SpecError};
use super::node::{Step, shorten};

/// The position of `steps` in `text`, or of the nearest enclosing field that can be found.
/// The document itself has none. With `second`, the last key's second appearance in its mapping.
pub fn locate(text: &str, steps: &[Step], second: bool) -> Option<Position> {
    (1..=steps.len()).rev().find_map(|n| {
        let walk = Walk { steps: &steps[..n], second: second && n == steps.len() };
        let error = walk.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
        if !error.to_string().contains(HERE) {
            return None;
        }
        error.location().map(|l| Position { line: l.line(), column: l.column() })
    })
}

/// A document that is not YAML, with the position the parser gives.
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

/// What the parser's reason mostly means to someone who writes a spec.
fn in_plain_words(reason: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 7] = [
        (
            "mapping values are not allowed",
            "the line before lacks its `:`, or a text that contains `: ` stands without quotes",
        ),
        ("did not find expected key", "the line is indented otherwise than those beside it"),
        (
            "cannot start any token",
            "a text that begins with one of @ ` % stands in quotes; tabs are no blanks",
        ),
        ("unexpected end of stream", "a quote or a bracket is not closed"),
        ("did not find expected ','", "a bracket is not closed, or a comma is missing"),
        ("unknown anchor", "`*name` repeats what `&name` marks further up"),
        ("recursion limit exceeded", "no spec is nested so deeply"),
    ];
    WORDS.iter().find(|(found, _)| reason.contains(found)).map(|(_, words)| *words)
}

/// The file holds more than one document.
fn several_documents(text: &str) -> SpecError {
    let is_empty = |line: &str| line.trim().is_empty() || line.starts_with(['#', '%']);
    let lines = || text.lines().enumerate();
    let first = lines().find(|(_, line)| !is_empty(line)).map_or(0, |(at, _)| at);
    let next = lines().find(|(at, line)| *at > first && line.starts_with("---"));
    let error = SpecError::new("the file holds several YAML documents")
        .found("`---`, which begins another document")
        .expected("one experiment a file");
    match next {
        Some((at, _)) => error.at_position(Position { line: at + 1, column: 1 }),
        None => error,
    }
}

/// The parser's reason without the path and position it adds.
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

/// A mapping key that is not text, as a reader would recognise it.
pub fn describe_key(key: &serde_yaml::Value) -> String {
    match serde_yaml::to_string(key) {
        Ok(text) => format!("the key {}", text.trim()),
        Err(_) => "a key that is a mapping or a list".into(),
    }
}

const HERE: &str = "\u{1}here";

struct Walk<'a> {
    steps: &'a [Step],
    second: bool,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

/// At the end of the path every kind of value fails; on the way only containers matter.
macro_rules! scalar {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E: Error>(self, _: $type) -> Result<(), E> {
            if self.steps.is_empty() { Err(E::custom(HERE)) } else { Ok(()) }
        })*
    };
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any value")
    }

    scalar!(
        visit_bool: bool,
        visit_i64: i64,
        visit_u64: u64,
        visit_i128: i128,
        visit_u128: u128,
        visit_f64: f64,
        visit_str: &str
    );

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.steps.is_empty() { Err(E::custom(HERE)) } else { Ok(()) }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.steps.split_first() else {
            return Err(A::Error::custom(HERE));
        };
        let key = match first {
            Step::Key(key) => key.as_str(),
            Step::Index(_) => "",
        };
        let mut skip = self.second && rest.is_empty();
        while let Some(found) =
            map.next_key_seed(Key { name: key, last: rest.is_empty() && !skip })?
        {
            if found && skip {
                skip = false;
                map.next_value::<IgnoredAny>()?;
            } else if found {
                map.next_value_seed(Walk { steps: rest, second: self.second })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.steps.split_first() else {
            return Err(A::Error::custom(HERE));
        };
        let wanted = match first {
            Step::Index(index) => *index,
            Step::Key(_) => usize::MAX,
        };
        let mut index = 0;
        loop {
            let more = if index == wanted {
                seq.next_element_seed(Walk { steps: rest, second: self.second })?.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }
}

struct Key<'a> {
    name: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
        d.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match key == self.name {
            true if self.last => Err(E::custom(HERE)),
            same => Ok(same),
        }
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nb:\n  c: [x, y,\n    z]\n  d: {e: 5}\nlist:\n  - k: 1\n  - k: 2\n";

    fn line(steps: &[Step]) -> Option<(usize, usize)> {
        locate(TEXT, steps, false).map(|p| (p.line, p.column))
    }

    fn key(k: &str) -> Step {
        Step::Key(k.into())
    }

    #[test]
    fn finds_keys_and_elements() {
        assert_eq!(line(&[key("a")]), Some((1, 1)));
        assert_eq!(line(&[key("b"), key("c")]), Some((3, 3)));
        assert_eq!(line(&[key("b"), key("c"), Step::Index(2)]), Some((4, 5)));
        assert_eq!(line(&[key("b"), key("d"), key("e")]), Some((5, 7)));
        assert_eq!(line(&[key("list"), Step::Index(1), key("k")]), Some((8, 5)));
    }

    #[test]
    fn falls_back_to_the_enclosing_field() {
        assert_eq!(line(&[key("b"), key("missing")]), Some((2, 1)));
        assert_eq!(line(&[key("missing")]), None);
    }
}

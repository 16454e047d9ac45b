//! Errors of a spec: a [`Fault`] at a value of the document. The place stays known while arms,
//! sweeps and overrides are merged.

use std::fmt;

use super::origin::{Origin, dotted};
use super::position::{Position, locate};
use super::wording::{one_of, shorten};
use crate::error::{Error, Fault};

/// One error of a spec. The code that finds it builds it without a file; [`SpecError::in_file`]
/// adds the file and the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError(Box<Parts>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parts {
    /// Everything except the place.
    fault: Fault,
    position: Option<Position>,
    origin: Option<Origin>,
    /// The error is at the second key of this name.
    second: bool,
    /// An unknown field, with the fields that its section has.
    unknown_field: Option<(String, Vec<&'static str>)>,
    /// A value that its field does not accept.
    unknown_value: Option<String>,
    missing: Option<&'static str>,
    /// A value where a section is expected.
    for_section: Option<String>,
}

impl SpecError {
    /// A field that is not among `names`. A suggestion is added later, when the place of the field
    /// is known.
    pub fn unknown(found: &str, names: &[&'static str]) -> SpecError {
        let mut error = SpecError::new("unknown field")
            .found(format!("`{}`", shorten(&visible(found))))
            .expected(one_of(names));
        error.0.unknown_field = Some((found.to_string(), names.to_vec()));
        error
    }

    pub fn unknown_value(mut self, found: &str) -> SpecError {
        self.0.unknown_value = Some(found.to_string());
        self
    }

    /// A required field that is not given.
    pub fn missing(mut self, field: &'static str) -> SpecError {
        self.0.missing = Some(field);
        self
    }

    /// Places the error at the second occurrence of the key in its mapping.
    pub fn second(mut self) -> SpecError {
        self.0.second = true;
        self
    }

    pub fn unknown_field(&self) -> Option<(&str, &[&'static str])> {
        self.0.unknown_field.as_ref().map(|(found, names)| (found.as_str(), &names[..]))
    }

    /// The value is in a place where a section is expected.
    pub fn for_section(mut self, found: String) -> SpecError {
        self.0.for_section = Some(found);
        self
    }

    pub fn value_for_section(&self) -> Option<&str> {
        self.0.for_section.as_deref()
    }

    pub fn unknown_value_found(&self) -> Option<&str> {
        self.0.unknown_value.as_deref()
    }

    /// The text of what was expected.
    pub fn expected_text(&self) -> &str {
        self.0.fault.expected_text()
    }

    pub fn missing_field(&self) -> Option<&'static str> {
        self.0.missing
    }

    pub fn new(summary: impl Into<String>) -> SpecError {
        SpecError(Box::new(Parts { fault: Fault::new(summary.into()), ..Parts::default() }))
    }

    /// Changes the fault.
    fn with(mut self, add: impl FnOnce(Fault) -> Fault) -> SpecError {
        self.0.fault = add(std::mem::take(&mut self.0.fault));
        self
    }

    pub fn found(self, found: impl Into<String>) -> SpecError {
        self.with(|fault| fault.found(found.into()))
    }

    pub fn expected(self, expected: impl Into<String>) -> SpecError {
        self.with(|fault| fault.expected(expected.into()))
    }

    pub fn help(self, help: impl Into<String>) -> SpecError {
        self.with(|fault| fault.only_help(help.into()))
    }

    /// Sets the origin of the value. The first call wins, since it is the innermost.
    pub fn at(mut self, origin: Origin) -> SpecError {
        self.0.origin.get_or_insert(origin);
        self
    }

    pub fn at_position(mut self, position: Position) -> SpecError {
        self.0.position = Some(position);
        self
    }

    /// The origin of the value, if known.
    pub fn origin(&self) -> Option<&Origin> {
        self.0.origin.as_ref()
    }

    /// Names the arm and sweep point with the error, if the field does not show them.
    pub fn context(self, context: impl Into<String>) -> SpecError {
        self.with(|fault| fault.context(context.into()))
    }

    /// Adds the file and the line of the field, found in its text.
    pub fn in_file(mut self, file: &str, text: &str) -> SpecError {
        self = self.with(|fault| fault.source(file));
        if let (None, Some(Origin::File(steps))) = (self.0.position, &self.0.origin) {
            self.0.position = locate(text, steps, self.0.second);
        }
        self
    }

    /// Suggests the nearest of `names`, if one is similar enough. A name that is refused for another reason
    /// than its spelling is not suggested again.
    pub fn suggest<'a>(self, found: &str, names: impl IntoIterator<Item = &'a str>) -> SpecError {
        match nearest(found, names.into_iter().filter(|name| *name != found)) {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// Escapes invisible characters of a name. Special spaces and zero-width characters get in when
/// text is copied from web pages.
fn visible(text: &str) -> String {
    let hidden = |c: char| {
        (c.is_whitespace() && c != ' ')
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    };
    text.chars()
        .map(|c| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() })
        .collect()
}

/// The name most similar to `found`, if it is similar enough to be what was meant.
pub fn nearest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_from(0.5, found, names)
}

/// The same with another threshold of similarity, from 0 to 1.
pub fn nearest_from<'a>(
    enough: f64,
    found: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(found, name), name))
        .filter(|(likeness, _)| *likeness >= enough)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

impl From<SpecError> for Fault {
    fn from(error: SpecError) -> Fault {
        let Parts { mut fault, position, origin, .. } = *error.0;
        if let Some(Position { line, column }) = position {
            fault = fault.position(line, column);
        }
        match origin {
            Some(Origin::File(steps)) if !steps.is_empty() => fault.within(dotted(&steps)),
            Some(Origin::Set(argument)) => fault.within(format!("--set {argument}")),
            _ => fault,
        }
    }
}

impl From<SpecError> for Error {
    fn from(error: SpecError) -> Error {
        Fault::from(error).into()
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        Fault::from(self.clone()).fmt(f)
    }
}

impl std::error::Error for SpecError {}

#[cfg(test)]
mod tests {
    use super::{SpecError, nearest};

    #[test]
    fn nearest_needs_some_likeness() {
        assert_eq!(nearest("rnak", ["rank", "alpha"]), Some("rank"));
        assert_eq!(nearest("zzz", ["rank", "alpha"]), None);
        let told = |found| SpecError::new("refused").suggest(found, ["rank", "alpha"]).to_string();
        assert!(told("rnak").contains("did you mean `rank`?"), "{}", told("rnak"));
        assert!(!told("rank").contains("did you mean"), "{}", told("rank"));
    }
}

//! What is wrong with a spec: a [`Fault`] whose place is a value of the document, wherever the merging of
//! arms, sweeps and overrides has carried that.

use std::fmt;

use super::origin::{Origin, dotted};
use super::position::{Position, locate};
use super::wording::{one_of, shorten};
use crate::error::{Error, Fault};

/// One fault of a spec. Built without a file by the code that finds it, then given
/// the file and text by [`SpecError::in_file`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError(Box<Parts>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parts {
    /// All but the place.
    fault: Fault,
    position: Option<Position>,
    origin: Option<Origin>,
    /// The faulty key is the second of its name.
    second: bool,
    /// A field that its section does not have, with those that it has.
    unknown_field: Option<(String, Vec<&'static str>)>,
    /// A name that its field does not take.
    unknown_value: Option<String>,
    missing: Option<&'static str>,
    /// A value that stands in a section's place.
    for_section: Option<String>,
}

impl SpecError {
    /// A field that is not among `names`. What was meant is looked for at the end, when it is
    /// clear where the field stands.
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

    /// The key stands a second time in its mapping, and that is its place.
    pub fn second(mut self) -> SpecError {
        self.0.second = true;
        self
    }

    pub fn unknown_field(&self) -> Option<(&str, &[&'static str])> {
        self.0.unknown_field.as_ref().map(|(found, names)| (found.as_str(), &names[..]))
    }

    /// The value stands where a section is expected.
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

    /// What could stand there.
    pub fn expected_text(&self) -> &str {
        self.0.fault.expected_text()
    }

    pub fn missing_field(&self) -> Option<&'static str> {
        self.0.missing
    }

    pub fn new(summary: impl Into<String>) -> SpecError {
        SpecError(Box::new(Parts { fault: Fault::new(summary.into()), ..Parts::default() }))
    }

    /// With more said of the fault itself.
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

    /// Where the value was written; the first origin given wins, being the innermost.
    pub fn at(mut self, origin: Origin) -> SpecError {
        self.0.origin.get_or_insert(origin);
        self
    }

    pub fn at_position(mut self, position: Position) -> SpecError {
        self.0.position = Some(position);
        self
    }

    /// Where the faulty value was written, once known.
    pub fn origin(&self) -> Option<&Origin> {
        self.0.origin.as_ref()
    }

    /// Which arm and sweep point showed the fault, where the field itself does not say.
    pub fn context(self, context: impl Into<String>) -> SpecError {
        self.with(|fault| fault.context(context.into()))
    }

    /// Adds the file and, from its text, the line of the field.
    pub fn in_file(mut self, file: &str, text: &str) -> SpecError {
        self = self.with(|fault| fault.source(file));
        if let (None, Some(Origin::File(steps))) = (self.0.position, &self.0.origin) {
            self.0.position = locate(text, steps, self.0.second);
        }
        self
    }

    /// Suggests the nearest of `names` where one is near.
    pub fn suggest<'a>(self, found: &str, names: impl IntoIterator<Item = &'a str>) -> SpecError {
        match nearest(found, names) {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// A name whose characters can all be seen: blanks that are no spaces, and those of no width, are
/// copied from web pages.
fn visible(text: &str) -> String {
    let hidden = |c: char| {
        (c.is_whitespace() && c != ' ')
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    };
    text.chars()
        .map(|c| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() })
        .collect()
}

/// The name most like `found`, if any is near enough to be what was meant.
pub fn nearest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_from(0.5, found, names)
}

/// The same with another likeness, from 0 to 1, that is enough.
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
    use super::nearest;

    #[test]
    fn nearest_needs_some_likeness() {
        assert_eq!(nearest("rnak", ["rank", "alpha"]), Some("rank"));
        assert_eq!(nearest("zzz", ["rank", "alpha"]), None);
    }
}

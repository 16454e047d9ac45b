//! What is wrong with a spec, in one message: where, what was found, what was expected.

use std::fmt;

use super::de::one_of;
use super::node::{Origin, dotted, shorten};
use super::position::locate;

/// 1-based line and column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// One fault of a spec. Built without a file by the code that finds it, then given
/// the file and text by [`SpecError::in_file`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError(Box<Fault>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fault {
    summary: String,
    file: Option<String>,
    position: Option<Position>,
    origin: Option<Origin>,
    context: Option<String>,
    found: Option<String>,
    expected: Option<String>,
    help: Option<String>,
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
        self.0.expected.as_deref().unwrap_or_default()
    }

    pub fn missing_field(&self) -> Option<&'static str> {
        self.0.missing
    }

    pub fn new(summary: impl Into<String>) -> SpecError {
        SpecError(Box::new(Fault { summary: summary.into(), ..Fault::default() }))
    }

    pub fn found(mut self, found: impl Into<String>) -> SpecError {
        // Control characters of a spec do not reach the terminal.
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        self.0.found = Some(found.into().chars().map(plain).collect());
        self
    }

    pub fn expected(mut self, expected: impl Into<String>) -> SpecError {
        self.0.expected = Some(expected.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> SpecError {
        self.0.help = Some(help.into());
        self
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
    pub fn context(mut self, context: impl Into<String>) -> SpecError {
        self.0.context.get_or_insert(context.into());
        self
    }

    /// Adds the file and, from its text, the line of the field.
    pub fn in_file(mut self, file: &str, text: &str) -> SpecError {
        self.0.file = Some(file.to_string());
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

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let fault = &*self.0;
        if let Some(file) = &fault.file {
            write!(f, "{file}")?;
            if let Some(p) = fault.position {
                write!(f, ":{}:{}", p.line, p.column)?;
            }
            write!(f, ": ")?;
        }
        match &fault.origin {
            Some(Origin::File(steps)) if !steps.is_empty() => write!(f, "{}: ", dotted(steps))?,
            Some(Origin::Set(argument)) => write!(f, "--set {argument}: ")?,
            _ => {}
        }
        write!(f, "{}", fault.summary)?;
        let notes = [
            ("found", &fault.found),
            ("expected", &fault.expected),
            ("where", &fault.context),
            ("help", &fault.help),
        ];
        for (name, note) in notes {
            if let Some(note) = note {
                write!(f, "\n  {:<10}{note}", format!("{name}:"))?;
            }
        }
        Ok(())
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

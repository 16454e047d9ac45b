//! The program's error: one message for the user and an exit code.
//!
//! All messages have one form, which only [`Fault`] builds and prints. Each part is on one line, so
//! that text from a file cannot pass for another part:
//!
//! ```text
//! file:line:column: field: summary
//!   tensor:   the part of the file that is affected
//!   found:    the value found
//!   expected: what is valid there
//!   where:    the arm and sweep point, or another context
//!   help:     what to do
//! ```

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can stop a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A fault. Exit code 2 for bad input, 1 for a failure although the input was good.
    #[error("{0}")]
    Fault(Box<Fault>),
    /// Stopped by the user. Exit code 130.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Fault(fault) if fault.failed => 1,
            Error::Fault(_) => 2,
            Error::Interrupted => 130,
        }
    }

    /// Lets a caller add what it knows to a fault; other errors stay unchanged.
    pub fn map_fault(self, add: impl FnOnce(Fault) -> Fault) -> Error {
        match self {
            Error::Fault(fault) => Error::from(add(*fault)),
            Error::Interrupted => Error::Interrupted,
        }
    }

    /// A failed file operation: the action and the path.
    pub fn io(action: &str, path: &Path, error: std::io::Error) -> Error {
        Fault::failed(format!("{action} failed: {error}")).file(path).into()
    }
}

/// An error message in parts. The code that finds the error builds it; callers add context.
///
/// ```
/// use std::path::Path;
/// use vlora::error::{Error, Fault};
///
/// let fault = Fault::new("the table has no such column")
///     .file(Path::new("train.csv"))
///     .line(1)
///     .found("`imge`")
///     .expected("one of image, label")
///     .help("did you mean `image`?");
/// assert_eq!(
///     Error::from(fault).to_string(),
///     "train.csv:1: the table has no such column\n  found:    `imge`\n  \
///      expected: one of image, label\n  help:     did you mean `image`?"
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    summary: String,
    /// The name that the user knows: a path, a repository, a URL.
    file: Option<String>,
    /// 1-based line, and column if known.
    line: Option<(usize, Option<usize>)>,
    /// Names before the file, outermost first, such as the arm that starts from it.
    under: Vec<String>,
    /// Names after the file, outermost first, such as a field or an argument.
    within: Vec<String>,
    /// Affected parts of the file: `tensor`, `row`.
    about: Vec<(&'static str, String)>,
    found: Option<String>,
    expected: Option<String>,
    context: Option<String>,
    /// The most specific help comes first.
    help: Vec<String>,
    /// A failure although the input was good.
    failed: bool,
}

impl Fault {
    /// Bad input: exit code 2.
    pub fn new(summary: impl Display) -> Fault {
        Fault { summary: one_line(&summary.to_string()), ..Fault::default() }
    }

    /// A failure although the input was good: exit code 1.
    pub fn failed(summary: impl Display) -> Fault {
        Fault { failed: true, ..Fault::new(summary) }
    }

    /// A failure whose summary has several lines, such as the messages of several faults. The lines
    /// stay as they are, so text from outside must be printable in them already. Exit code 1.
    pub fn of_lines(summary: impl Display) -> Fault {
        Fault { summary: summary.to_string(), failed: true, ..Fault::default() }
    }

    /// A fault in the content of a file.
    pub fn of_file(file: &Path, summary: impl Display) -> Fault {
        Fault::new(summary).file(file)
    }

    /// Sets the file, unless one is already set.
    pub fn file(self, file: &Path) -> Fault {
        self.source(file.display())
    }

    /// The same for a source without a path: a repository, a URL.
    pub fn source(mut self, name: impl Display) -> Fault {
        self.file.get_or_insert_with(|| name.to_string());
        self
    }

    /// 1-based.
    pub fn line(mut self, line: usize) -> Fault {
        self.line = Some((line, None));
        self
    }

    /// 1-based.
    pub fn position(mut self, line: usize, column: usize) -> Fault {
        self.line = Some((line, Some(column)));
        self
    }

    /// Puts a place in front of the summary, such as a row. Later places are further out.
    pub fn prefixed(mut self, place: impl Display) -> Fault {
        self.summary.insert_str(0, &one_line(&place.to_string()));
        self
    }

    /// Adds a name before the file, such as the arm that starts from it. Later names are further
    /// out.
    pub fn under(mut self, name: impl Display) -> Fault {
        self.under.insert(0, name.to_string());
        self
    }

    /// Adds the field or argument with the fault. Later names are further out.
    pub fn within(mut self, name: impl Display) -> Fault {
        self.within.insert(0, name.to_string());
        self
    }

    /// Names fields as the user gave them, such as an option in place of the field that it sets, or of a
    /// list of which an item has the fault.
    pub fn with_names(mut self, names: &[(&str, &str)]) -> Fault {
        for location in &mut self.within {
            let whole = location.split('[').next().unwrap_or_default();
            if let Some((_, name)) = names.iter().find(|(field, _)| *field == whole) {
                *location = name.to_string();
            }
        }
        self
    }

    pub fn tensor(self, name: impl Display) -> Fault {
        self.about("tensor", name)
    }

    pub fn row(self, row: impl Display) -> Fault {
        self.about("row", row)
    }

    fn about(mut self, what: &'static str, name: impl Display) -> Fault {
        self.about.push((what, printable(&name.to_string())));
        self
    }

    pub fn found(mut self, found: impl Display) -> Fault {
        self.found = Some(printable(&found.to_string()));
        self
    }

    /// Several findings, one per line.
    pub fn found_each<T: Display>(mut self, found: impl IntoIterator<Item = T>) -> Fault {
        let lines: Vec<String> = found.into_iter().map(|one| printable(&one.to_string())).collect();
        self.found = Some(lines.join(",\n            "));
        self
    }

    pub fn expected(mut self, expected: impl Display) -> Fault {
        self.expected = Some(printable(&expected.to_string()));
        self
    }

    /// The expected value; empty if not set.
    pub fn expected_text(&self) -> &str {
        self.expected.as_deref().unwrap_or_default()
    }

    /// The lines `found` and `expected` of the message.
    pub fn found_and_expected(&self) -> Vec<String> {
        let notes = [("found", &self.found), ("expected", &self.expected)];
        let line = |(name, note): (&str, &Option<String>)| {
            note.as_ref().map(|note| format!("{:<10}{note}", format!("{name}:")))
        };
        notes.into_iter().filter_map(line).collect()
    }

    /// Sets the context, unless one is already set.
    pub fn context(mut self, context: impl Display) -> Fault {
        self.context.get_or_insert_with(|| printable(&context.to_string()));
        self
    }

    /// Appends help.
    pub fn help(mut self, help: impl Display) -> Fault {
        self.help.push(printable(&help.to_string()));
        self
    }

    /// Appends the name that was probably meant, if there is one.
    pub fn did_you_mean(self, near: Option<&str>) -> Fault {
        match near {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// Adds help, unless there already is some.
    pub fn or_help(self, help: impl Display) -> Fault {
        if self.help.is_empty() { self.help(help) } else { self }
    }

    /// Replaces all help.
    pub fn only_help(mut self, help: impl Display) -> Fault {
        self.help.clear();
        self.help(help)
    }

    /// Replaces `path` by the name that the user gave, such as a cache folder by its repository.
    pub fn renamed(mut self, path: &Path, name: &str) -> Fault {
        let below = |file: &String| {
            let rest = PathBuf::from(file).strip_prefix(path).ok()?.to_path_buf();
            let inside = !rest.as_os_str().is_empty();
            Some(if inside { format!("{name}/{}", rest.display()) } else { name.to_string() })
        };
        if let Some(renamed) = self.file.as_ref().and_then(below) {
            self.file = Some(renamed);
        }
        // Notes may also list files.
        let path = path.display().to_string();
        let about = self.about.iter_mut().map(|(_, name)| name);
        let notes = [&mut self.found, &mut self.expected, &mut self.context].into_iter().flatten();
        let rest = about.chain(&mut self.help).chain([&mut self.summary]);
        for note in notes.chain(rest) {
            if note.contains(&path) {
                *note = note.replace(&path, name);
            }
        }
        self
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for name in &self.under {
            write!(f, "{}: ", one_line(name))?;
        }
        if let Some(file) = &self.file {
            // Printable only here, since `renamed` needs the path as it is.
            write!(f, "{}", one_line(file))?;
            match self.line {
                Some((line, Some(column))) => write!(f, ":{line}:{column}")?,
                Some((line, None)) => write!(f, ":{line}")?,
                None => {}
            }
            write!(f, ": ")?;
        }
        for name in &self.within {
            write!(f, "{}: ", one_line(name))?;
        }
        write!(f, "{}", self.summary)?;
        let about = self.about.iter().map(|(what, name)| (*what, Some(name)));
        let notes = [
            ("found", self.found.as_ref()),
            ("expected", self.expected.as_ref()),
            ("where", self.context.as_ref()),
        ];
        let help = self.help.iter().map(|help| ("help", Some(help)));
        for (name, note) in about.chain(notes).chain(help) {
            if let Some(note) = note {
                write!(f, "\n  {:<10}{note}", format!("{name}:"))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::Fault(Box::new(fault))
    }
}

/// Text from a file, a server or a spec as one line of limited length.
fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 600;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => one_line(&text[..end]) + "…",
        None => one_line(text),
    }
}

/// Such text as one line. Other control characters are escaped instead of dropped, since they may
/// be the fault.
fn one_line(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.push(' '),
            c if c.is_control() => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// The message of a tensor error, without the backtrace that candle adds if `RUST_BACKTRACE` is
/// set.
pub fn plain(error: &candle_core::Error) -> String {
    let text = error.to_string();
    let message: Vec<&str> =
        text.lines().take_while(|line| !line.trim_start().starts_with("0: ")).collect();
    message.join("\n").trim_end().to_string()
}

/// Tensor operations fail only without enough memory, without the device, or by a bug.
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Error {
        Fault::failed(format!("tensor operation failed: {}", plain(&error))).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_printed_in_a_fixed_order() {
        let fault = Fault::new("wrong type")
            .help("write it in quotes: '3'")
            .expected("text")
            .found("3\n\x1b")
            .tensor("head.weight")
            .context("arm vlora")
            .within("data.label_column")
            .under("arm vlora")
            .position(7, 3)
            .file(Path::new("s.yaml"))
            .file(Path::new("another"));
        let printed = "arm vlora: s.yaml:7:3: data.label_column: wrong type\n  \
                       tensor:   head.weight\n  found:    3 \\u{1b}\n  expected: text\n  \
                       where:    arm vlora\n  help:     write it in quotes: '3'";
        assert_eq!(fault.to_string(), printed);
        assert_eq!(Error::from(fault).exit_code(), 2);
        assert_eq!(Error::from(Fault::failed("x")).exit_code(), 1);
    }

    /// No text from outside begins a line.
    #[test]
    fn each_part_is_one_line() {
        let forged = "x\n  help:     y";
        let fault = Fault::new(forged)
            .prefixed(forged)
            .source(forged)
            .under(forged)
            .within(forged)
            .row(forged)
            .found(forged)
            .expected(forged)
            .context(forged)
            .help(forged);
        let printed = fault.to_string();
        // The first line, and a line each for row, found, expected, where and help.
        assert_eq!(printed.lines().count(), 6, "{printed}");
        let long = "x".repeat(1000);
        assert_eq!(Fault::new(&long).to_string(), long);
        assert_eq!(Fault::of_lines("a\nb").prefixed("c: ").to_string(), "c: a\nb");
    }

    #[test]
    fn cached_files_are_named_as_the_user_named_them() {
        let renamed = |file: &str| {
            let fault =
                Fault::of_file(Path::new(file), "cut").renamed(Path::new("/c/x"), "hub:a/b");
            fault.to_string()
        };
        assert_eq!(renamed("/c/x/config.json"), "hub:a/b/config.json: cut");
        assert_eq!(renamed("/c/x"), "hub:a/b: cut");
        assert_eq!(renamed("/c/xy"), "/c/xy: cut");
    }
}

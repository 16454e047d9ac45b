//! The program's error: one message for the user and an exit code.
//!
//! A message has one form, which [`Fault`] builds and prints, and no other place does:
//!
//! ```text
//! file:line:column: field: summary
//!   tensor:   what of the file it is about
//!   found:    what stands there
//!   expected: what could stand there
//!   where:    in which part of a larger whole
//!   help:     what to do
//! ```

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use crate::spec::SpecError;

pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can stop a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A fault in a spec. Exit code 2.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A fault in its parts. Exit code 2 for bad input, 1 for what went wrong although the input was
    /// good.
    #[error("{0}")]
    Fault(Box<Fault>),
    /// Other bad input: an argument, a dataset, stored evidence. Exit code 2.
    #[error("{0}")]
    Input(String),
    /// Something that went wrong although the input was good. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Stopped by the user. Exit code 130.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Spec(_) | Error::Input(_) => 2,
            Error::Fault(fault) if !fault.failed => 2,
            Error::Fault(_) => 1,
            Error::Failed(_) => 1,
            Error::Interrupted => 130,
        }
    }

    /// The fault with what the caller knows of it; others stay as they are.
    pub fn map_fault(self, add: impl FnOnce(Fault) -> Fault) -> Error {
        match self {
            Error::Fault(fault) => Error::from(add(*fault)),
            // Assembled by hand: its text is all there is.
            Error::Input(text) => Error::from(add(Fault::new(text))),
            Error::Failed(text) => Error::from(add(Fault::failed(text))),
            other => other,
        }
    }

    /// A failed file operation: what was tried on which path.
    pub fn io(action: &str, path: &Path, error: std::io::Error) -> Error {
        Error::Failed(format!("{}: {action} failed: {error}", path.display()))
    }
}

/// What is wrong, in its parts. Built by the code that finds it; callers that know more of where it
/// is add that.
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
    /// What the user knows it by: a path, a repository's name, a URL.
    file: Option<String>,
    /// 1-based line, and column where it is known.
    line: Option<(usize, Option<usize>)>,
    /// Names in front of the file, the outermost first: of the arm whose start it is.
    under: Vec<String>,
    /// Names behind it, the outermost first: of a field, an argument.
    within: Vec<String>,
    /// What of the file it is about: `tensor`, `row`.
    about: Vec<(&'static str, String)>,
    found: Option<String>,
    expected: Option<String>,
    context: Option<String>,
    help: Option<String>,
    /// It went wrong although the input was good.
    failed: bool,
}

impl Fault {
    /// Of bad input: exit code 2.
    pub fn new(summary: impl Display) -> Fault {
        Fault { summary: summary.to_string(), ..Fault::default() }
    }

    /// Of something that went wrong although the input was good: exit code 1.
    pub fn failed(summary: impl Display) -> Fault {
        Fault { failed: true, ..Fault::new(summary) }
    }

    /// Of a file's content.
    pub fn of_file(file: &Path, summary: impl Display) -> Fault {
        Fault::new(summary).file(file)
    }

    /// The file, unless one is named already.
    pub fn file(self, file: &Path) -> Fault {
        self.source(file.display())
    }

    /// The same for what has no path: a repository, a URL.
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

    /// What led to the file, as the arm that starts from it; one that is added later lies further out.
    pub fn under(mut self, name: impl Display) -> Fault {
        self.under.insert(0, name.to_string());
        self
    }

    /// The field or the argument that it is in; one that is added later lies further out.
    pub fn within(mut self, name: impl Display) -> Fault {
        self.within.insert(0, name.to_string());
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

    pub fn expected(mut self, expected: impl Display) -> Fault {
        self.expected = Some(printable(&expected.to_string()));
        self
    }

    /// In which part of a larger whole it showed, unless that is said already.
    pub fn context(mut self, context: impl Display) -> Fault {
        self.context.get_or_insert_with(|| printable(&context.to_string()));
        self
    }

    pub fn help(mut self, help: impl Display) -> Fault {
        self.help = Some(printable(&help.to_string()));
        self
    }

    /// Help, unless there is some already.
    pub fn or_help(self, help: impl Display) -> Fault {
        if self.help.is_some() { self } else { self.help(help) }
    }

    /// Names files below `path` as the user named it: a repository's instead of the cache's folder.
    pub fn renamed(mut self, path: &Path, name: &str) -> Fault {
        let below = |file: &String| {
            let rest = PathBuf::from(file).strip_prefix(path).ok()?.to_path_buf();
            let inside = !rest.as_os_str().is_empty();
            Some(if inside { format!("{name}/{}", rest.display()) } else { name.to_string() })
        };
        if let Some(renamed) = self.file.as_ref().and_then(below) {
            self.file = Some(renamed);
        }
        self
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for name in &self.under {
            write!(f, "{name}: ")?;
        }
        if let Some(file) = &self.file {
            write!(f, "{file}")?;
            match self.line {
                Some((line, Some(column))) => write!(f, ":{line}:{column}")?,
                Some((line, None)) => write!(f, ":{line}")?,
                None => {}
            }
            write!(f, ": ")?;
        }
        for name in &self.within {
            write!(f, "{name}: ")?;
        }
        write!(f, "{}", self.summary)?;
        let about = self.about.iter().map(|(what, name)| (*what, Some(name)));
        let notes = [
            ("found", self.found.as_ref()),
            ("expected", self.expected.as_ref()),
            ("where", self.context.as_ref()),
            ("help", self.help.as_ref()),
        ];
        for (name, note) in about.chain(notes) {
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

/// Text of a file, a server or a spec as a note can have it: in one line, and not endless.
fn printable(text: &str) -> String {
    const MOST: usize = 600;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(MOST).map(plain).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

/// A tensor error's message without the backtrace that candle adds where `RUST_BACKTRACE` is set.
pub fn plain(error: &candle_core::Error) -> String {
    let text = error.to_string();
    let message: Vec<&str> =
        text.lines().take_while(|line| !line.trim_start().starts_with("0: ")).collect();
    message.join("\n").trim_end().to_string()
}

/// Tensor operations fail only for want of memory or of a device, or by a fault of ours.
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Error {
        Error::Failed(format!("tensor operation failed: {}", plain(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_printed_in_one_order() {
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
                       tensor:   head.weight\n  found:    3  \n  expected: text\n  \
                       where:    arm vlora\n  help:     write it in quotes: '3'";
        assert_eq!(fault.to_string(), printed);
        assert_eq!(Error::from(fault).exit_code(), 2);
        assert_eq!(Error::from(Fault::failed("x")).exit_code(), 1);
    }

    #[test]
    fn a_cached_file_is_named_as_the_user_did() {
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

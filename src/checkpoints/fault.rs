//! What is wrong with a weights file, in one message: where, what was found, what was expected,
//! what to do.

use std::fmt::Display;
use std::path::Path;

use crate::error::Error;

/// A fault, mostly of one file; becomes the program's error.
pub struct Fault {
    summary: String,
    notes: Vec<(&'static str, String)>,
}

impl Fault {
    pub fn new(file: &Path, summary: impl Display) -> Fault {
        Fault { summary: format!("{}: {summary}", file.display()), notes: Vec::new() }
    }

    /// Where it is not a file's: the caller knows whose.
    pub fn of(summary: impl Display) -> Fault {
        Fault { summary: summary.to_string(), notes: Vec::new() }
    }

    pub fn tensor(self, name: &str) -> Fault {
        self.note("tensor", name)
    }

    pub fn found(self, found: impl Display) -> Fault {
        self.note("found", found)
    }

    pub fn expected(self, expected: impl Display) -> Fault {
        self.note("expected", expected)
    }

    pub fn help(self, help: impl Display) -> Fault {
        self.note("help", help)
    }

    fn note(mut self, name: &'static str, text: impl Display) -> Fault {
        self.notes.push((name, shown(&text.to_string())));
        self
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        let notes = fault.notes.iter();
        let lines = notes.map(|(name, text)| format!("\n  {:<10}{text}", format!("{name}:")));
        Error::Input(fault.summary + &lines.collect::<String>())
    }
}

/// Text out of a file as it may reach the terminal: no control characters, not endless.
fn shown(text: &str) -> String {
    const MOST: usize = 600;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(MOST).map(plain).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

/// What is wrong with JSON, with the piece of text that shows it.
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

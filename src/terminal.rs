//! Output to a terminal. No other file writes to standard output or standard error.
//!
//! Text from a dataset, a card, a checkpoint, a spec, a file name or a server may have control
//! sequences. These can hide lines, forge lines, or type for the user. So everything printed for
//! people goes through [`visible`] here, and callers need not care.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal, Write};

use indicatif::ProgressBar;

use crate::error::{Error, Fault, Result};

/// Shows control characters as escapes (`\x1b`, `\u{202e}`), except line breaks and tabs.
/// Characters that change the writing direction count as control characters, since they display a
/// text in another order.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_terminal_control(c) && !matches!(c, '\n' | '\t'))
}

/// The same as one line: line breaks and tabs are escaped, too.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_terminal_control)
}

/// C0, DEL, C1; line and paragraph separators; direction marks, embeddings, overrides and isolates
/// (Unicode's annex 9).
fn is_terminal_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            c if !hidden(c) => out.write_char(c),
            '\n' => out.write_str("\\n"),
            '\t' => out.write_str("\\t"),
            c if (c as u32) < 0x100 => write!(out, "\\x{:02x}", c as u32),
            c => write!(out, "\\u{{{:x}}}", c as u32),
        };
    }
    Cow::Owned(out)
}

/// Prints to standard output for people. A closed pipe (`| head`) is not an error.
pub fn print(text: &str) -> Result<()> {
    write_output(&visible(text))
}

/// Prints to standard output for a program, unchanged, since CSV and JSON have their own escapes.
/// On a terminal the text is printed as by [`print`].
pub fn print_data(text: &str) -> Result<()> {
    match std::io::stdout().is_terminal() {
        true => print(text),
        false => write_output(text),
    }
}

/// Prints in place of what the last call printed, on a terminal. Elsewhere it prints below.
pub fn redraw(text: &str) -> Result<()> {
    // To the corner; the rest of each line, and of the screen, is cleared as it is written over.
    let shown = visible(text);
    match std::io::stdout().is_terminal() {
        true => write_output(&format!("\x1b[H{}\x1b[J", shown.replace('\n', "\x1b[K\n"))),
        false => write_output(&shown),
    }
}

fn write_output(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Fault::failed(format!("writing to standard output failed: {e}")).into())
        }
        _ => Ok(()),
    }
}

/// Prints a line to standard error. A closed pipe is not an error.
pub fn eprint_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", visible(line));
}

/// Asks a question on standard error. Only `y` and `yes` mean yes.
pub fn confirm(question: &str) -> Result<bool> {
    let mut err = std::io::stderr();
    let _ = write!(err, "{}", visible(question)).and_then(|()| err.flush());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|e| {
        Error::from(Fault::failed(format!("reading from standard input failed: {e}")))
    })?;
    if !answer.ends_with('\n') {
        // The next output must begin on a new line.
        eprint_line("");
    }
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Whether standard error is a terminal, so that bars can be drawn.
pub fn draws_bars() -> bool {
    std::io::stderr().is_terminal()
}

/// The width of standard output in characters: `COLUMNS`, else the width of the terminal. None
/// without a terminal, as in a pipe or a file.
pub fn output_width() -> Option<usize> {
    let given = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    given.filter(|columns| *columns > 0).or_else(|| {
        let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
        Some(usize::from(width.0))
    })
}

/// Sets the text beside a bar.
pub fn set_message(bar: &ProgressBar, text: &str) {
    bar.set_message(visible_line(text).into_owned());
}

/// Prints clap's message about the arguments: help on standard output, errors on standard error.
/// clap would print control characters of an argument. If there are any, the message is printed
/// escaped and without colours, followed by that argument.
pub fn print_argument_message(error: &clap::Error) {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let with_controls: Vec<_> =
        arguments.iter().filter(|a| a.contains(is_terminal_control)).collect();
    if with_controls.is_empty() || !error.use_stderr() {
        // A closed pipe is not an error.
        return drop(error.print());
    }
    eprint_line(error.render().to_string().trim_end());
    for argument in with_controls {
        eprint_line(&format!("argument with control characters: {}", visible_line(argument)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_control_characters_are_escaped() {
        for (text, shown) in [
            ("plain, größer, 日本, 👩‍👩‍👧, שלום", "plain, größer, 日本, 👩‍👩‍👧, שלום"),
            ("two\n\tlines", "two\n\tlines"),
            ("train\x1b[31m", "train\\x1b[31m"),
            ("a\rb\x08\x07\0", "a\\x0db\\x08\\x07\\x00"),
            ("\x7f\u{9b}31m", "\\x7f\\x9b31m"),
            ("\u{202e}gnp.exe\u{2066}\u{2069}", "\\u{202e}gnp.exe\\u{2066}\\u{2069}"),
            ("\u{2028}\u{2029}", "\\u{2028}\\u{2029}"),
        ] {
            assert_eq!(visible(text), shown);
            // Escaping again changes nothing.
            assert_eq!(visible(shown), shown);
        }
        assert_eq!(visible_line("a\n\tb\x1b"), "a\\n\\tb\\x1b");
    }
}

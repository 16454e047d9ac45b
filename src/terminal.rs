//! Where text leaves for a terminal: the one file that writes to standard output and standard error.
//!
//! What a dataset, a card, a checkpoint, a spec, a file's name or a server says may hold the control
//! sequences that steer a terminal: they hide lines, forge others, or type for the user. So whatever
//! is printed for people goes through [`visible`] here, and no call has to think of it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal, Write};

use indicatif::ProgressBar;

use crate::error::{Error, Fault, Result};

/// A text whose control characters are shown as escapes (`\x1b`, `\u{202e}`); lines and tabs stay.
/// Those that turn the direction of writing count as such: they show a text in another order than it
/// has.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |c| steers(c) && !matches!(c, '\n' | '\t'))
}

/// The same in one line: for a text that stands among others, lines and tabs are escaped, too.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    escaped(text, steers)
}

/// C0, DEL, C1; line and paragraph separators; direction marks, embeddings, overrides and isolates
/// (Unicode's annex 9).
fn steers(c: char) -> bool {
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

/// Prints to standard output for people. A reader that has gone away (`| head`) is no error.
pub fn print(text: &str) -> Result<()> {
    to_output(&visible(text))
}

/// Prints to standard output for a program, which gets every character as it is: CSV and JSON have
/// escapes of their own. A terminal gets them as [`print`] has them.
pub fn print_data(text: &str) -> Result<()> {
    match std::io::stdout().is_terminal() {
        true => print(text),
        false => to_output(text),
    }
}

fn to_output(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Fault::failed(format!("writing to standard output failed: {e}")).into())
        }
        _ => Ok(()),
    }
}

/// Prints a line to standard error. A reader that has gone away is no error.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", visible(line));
}

/// Asks on standard error. Only `y` or `yes` is one; no answer is none.
pub fn ask(question: &str) -> Result<bool> {
    let mut err = std::io::stderr();
    let _ = write!(err, "{}", visible(question)).and_then(|()| err.flush());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|e| {
        Error::from(Fault::failed(format!("reading from standard input failed: {e}")))
    })?;
    if !answer.ends_with('\n') {
        // So that what comes next begins a line.
        tell("");
    }
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Whether standard error is a terminal, which bars may be drawn on.
pub fn draws_bars() -> bool {
    std::io::stderr().is_terminal()
}

/// Characters that a line of standard output may have: what `COLUMNS` says, else the terminal's width.
/// None where there is no terminal, as in a pipe or a file.
pub fn output_width() -> Option<usize> {
    let given = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    given.filter(|columns| *columns > 0).or_else(|| {
        let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
        Some(usize::from(width.0))
    })
}

/// The text beside a bar.
pub fn set_message(bar: &ProgressBar, text: &str) {
    bar.set_message(visible_line(text).into_owned());
}

/// What clap says of the arguments, in its colours: help on standard output, faults on standard error.
/// Where an argument holds a control character, which clap would print, without colours and with that
/// argument behind it.
pub fn tell_of_arguments(said: &clap::Error) {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let odd: Vec<_> = arguments.iter().filter(|a| a.contains(steers)).collect();
    if odd.is_empty() || !said.use_stderr() {
        // A reader that has gone away is no error.
        return drop(said.print());
    }
    tell(said.render().to_string().trim_end());
    for argument in odd {
        tell(&format!("argument with control characters: {}", visible_line(argument)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown() {
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
            // What is shown once is not escaped again.
            assert_eq!(visible(shown), shown);
        }
        assert_eq!(visible_line("a\n\tb\x1b"), "a\\n\\tb\\x1b");
    }
}

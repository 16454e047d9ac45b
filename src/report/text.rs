//! Escapes texts from outside (names of experiments, arms, files, classes; descriptions; failure
//! reasons) for each output form of a report. JSON and Parquet need no escaping.

use std::borrow::Cow;

pub use crate::terminal::visible_line;

/// One line of Markdown text. No character acts as markup, HTML or the end of a table cell.
pub fn markdown(text: &str) -> String {
    let text = visible_line(text);
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied().unwrap_or(' ');
        let markup = match c {
            // Between letters and digits, as in field names, an underscore is not markup.
            '_' => !(before.is_alphanumeric() && next.is_alphanumeric()),
            c => "\\`*[]<>&|~$".contains(c),
        };
        if markup {
            out.push('\\');
        }
        out.push(c);
        before = c;
    }
    out
}

/// Paragraphs of Markdown with the same lines. No line begins a heading, a list, a quote or code.
pub fn markdown_lines(text: &str) -> String {
    let line = |line: &str| {
        let line = markdown(line.trim());
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let at = match line[digits..].starts_with(['.', ')']) {
            true if digits > 0 => digits,
            _ if line.starts_with(['#', '-', '+', '=']) => 0,
            _ => return line,
        };
        format!("{}\\{}", &line[..at], &line[at..])
    };
    text.trim().lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Code in Markdown, where only the backtick is special.
pub fn code(text: &str) -> String {
    let text = visible_line(text);
    if !text.contains('`') {
        return format!("`{text}`");
    }
    let runs = text.split(|c: char| c != '`').map(str::len);
    let fence = "`".repeat(runs.max().unwrap_or(0) + 1);
    format!("{fence} {text} {fence}")
}

/// A part of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    Code(&'a str),
    Bold(&'a str),
}

/// The parts of Markdown made by [`markdown`] and [`code`], without its escapes.
pub fn pieces(markdown: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = markdown;
    while let Some(at) = rest.find(['\\', '`', '*']) {
        out.push(Piece::Text(&rest[..at]));
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix('*') {
            // Bold words have nothing else in them.
            let bold = after.strip_prefix('*').and_then(|inside| inside.split_once("**"));
            match bold.filter(|(inside, _)| !inside.contains(['\\', '`', '*'])) {
                Some((inside, behind)) => {
                    out.push(Piece::Bold(inside));
                    rest = behind;
                }
                None => {
                    out.push(Piece::Text("*"));
                    rest = after;
                }
            }
            continue;
        }
        if let Some(after) = rest.strip_prefix('\\') {
            let escaped = after.chars().next().filter(char::is_ascii_punctuation);
            // One punctuation character is one byte, as the backslash is.
            out.push(Piece::Text(if escaped.is_some() { &after[..1] } else { &rest[..1] }));
            rest = &after[usize::from(escaped.is_some())..];
            continue;
        }
        let fence = &rest[..rest.bytes().take_while(|b| *b == b'`').count()];
        let inside = &rest[fence.len()..];
        let end = inside.match_indices(fence).map(|(at, _)| at).find(|at| {
            !inside[..*at].ends_with('`') && !inside[at + fence.len()..].starts_with('`')
        });
        match end {
            Some(end) => {
                let text = &inside[..end];
                let padded = text.strip_prefix(' ').and_then(|t| t.strip_suffix(' '));
                out.push(Piece::Code(padded.unwrap_or(text)));
                rest = &inside[end + fence.len()..];
            }
            None => {
                out.push(Piece::Text(fence));
                rest = inside;
            }
        }
    }
    out.push(Piece::Text(rest));
    out
}

/// The text with a capital at its beginning.
pub fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// A note as plain text for a terminal.
pub fn plain(markdown: &str) -> String {
    let text = |piece: Piece| match piece {
        Piece::Text(text) | Piece::Code(text) | Piece::Bold(text) => text.to_string(),
    };
    pieces(markdown).into_iter().map(text).collect()
}

/// A note as LaTeX.
pub fn latex_note(markdown: &str) -> String {
    let text = |piece: Piece| match piece {
        Piece::Text(text) => latex(text),
        Piece::Code(code) => format!("\\texttt{{{}}}", latex(code)),
        Piece::Bold(text) => format!("\\textbf{{{}}}", latex(text)),
    };
    pieces(markdown).into_iter().map(text).collect()
}

/// Text of LaTeX, in which no character acts as a command, the end of a cell or a comment. Letters
/// beyond Latin ones stay as they are; LuaLaTeX and XeLaTeX read them.
pub fn latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible_line(text).chars() {
        match c {
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '`' => out += "\\textasciigrave{}",
            '<' => out += "\\textless{}",
            '>' => out += "\\textgreater{}",
            '|' => out += "\\textbar{}",
            '"' if out.is_empty() || out.ends_with([' ', '(']) => out += "``",
            '"' => out += "''",
            '{' | '}' | '$' | '&' | '#' | '_' | '%' => out.extend(['\\', c]),
            // After the end of a row, these would belong to it.
            '[' | '*' => out.extend(['{', c, '}']),
            // Two would be a dash.
            '-' if out.ends_with('-') => out += "{}-",
            '−' => out += "$-$",
            '±' => out += "$\\pm$",
            '×' => out += "$\\times$",
            '·' => out += "$\\cdot$",
            '≥' => out += "$\\geq$",
            '≤' => out += "$\\leq$",
            '→' => out += "$\\rightarrow$",
            c if greek(c).is_some() => out += &format!("$\\{}$", greek(c).unwrap_or_default()),
            'ⁿ' => out += "\\textsuperscript{n}",
            '²' => out += "\\textsuperscript{2}",
            '—' => out += "---",
            '–' => out += "--",
            '…' => out += "\\dots{}",
            '†' => out += "\\dag{}",
            '‡' => out += "\\ddag{}",
            c => out.push(c),
        }
    }
    out
}

/// The command of a Greek letter; None for those that look like Latin ones.
fn greek(c: char) -> Option<&'static str> {
    Some(match c {
        'α' => "alpha",
        'β' => "beta",
        'γ' => "gamma",
        'δ' => "delta",
        'ε' => "varepsilon",
        'ζ' => "zeta",
        'η' => "eta",
        'θ' => "theta",
        'κ' => "kappa",
        'λ' => "lambda",
        'μ' | 'µ' => "mu",
        'ν' => "nu",
        'ξ' => "xi",
        'π' => "pi",
        'ρ' => "rho",
        'σ' => "sigma",
        'τ' => "tau",
        'φ' => "varphi",
        'χ' => "chi",
        'ψ' => "psi",
        'ω' => "omega",
        'Γ' => "Gamma",
        'Δ' => "Delta",
        'Θ' => "Theta",
        'Λ' => "Lambda",
        'Ξ' => "Xi",
        'Π' => "Pi",
        'Σ' => "Sigma",
        'Φ' => "Phi",
        'Ψ' => "Psi",
        'Ω' => "Omega",
        _ => return None,
    })
}

/// A CSV cell. A text that a spreadsheet would take for a formula gets an apostrophe before it;
/// numbers, including negative ones, do not.
pub fn csv_cell(text: &str) -> Cow<'_, str> {
    let text = visible_line(text);
    match text.starts_with(['=', '+', '-', '@']) && text.parse::<f64>().is_err() {
        true => format!("'{text}").into(),
        false => text,
    }
}

/// Text for a chart. Characters that XML cannot represent are shown as escapes.
pub fn chart_text(text: &str) -> String {
    visible_line(text).replace('\u{fffe}', "\\u{fffe}").replace('\u{ffff}', "\\u{ffff}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each text in each form. The Markdown, when rendered, shows the text.
    #[test]
    fn bold_words_are_pieces_of_their_own() {
        use Piece::{Bold, Code, Text};
        let cases: &[(&str, &[Piece], &str, &str)] = &[
            (
                "**Size.** of `D`",
                &[Bold("Size."), Code("D")],
                "Size. of D",
                "\\textbf{Size.} of \\texttt{D}",
            ),
            ("a ** b", &[], "a ** b", "a {*}{*} b"),
            ("**a `b` c**", &[Code("b")], "**a b c**", "{*}{*}a \\texttt{b} c{*}{*}"),
            ("\\*\\*a\\*\\*", &[], "**a**", "{*}{*}a{*}{*}"),
        ];
        for (markdown, marked, plain, latex) in cases {
            let pieces = pieces(markdown);
            let found: Vec<_> =
                pieces.into_iter().filter(|piece| !matches!(piece, Text(_))).collect();
            assert_eq!(found, *marked, "{markdown}");
            assert_eq!(super::plain(markdown), *plain);
            assert_eq!(latex_note(markdown), *latex);
        }
    }

    #[test]
    fn texts_are_escaped_in_each_form() {
        for (text, as_markdown, as_code, as_csv) in [
            ("vlora rank=4", "vlora rank=4", "`vlora rank=4`", "vlora rank=4"),
            ("learning_rate", "learning_rate", "`learning_rate`", "learning_rate"),
            ("_a_ *b*", "\\_a\\_ \\*b\\*", "`_a_ *b*`", "_a_ *b*"),
            ("a|b", "a\\|b", "`a|b`", "a|b"),
            ("<img src=x>", "\\<img src=x\\>", "`<img src=x>`", "<img src=x>"),
            ("&lt;", "\\&lt;", "`&lt;`", "&lt;"),
            ("a`b", "a\\`b", "`` a`b ``", "a`b"),
            ("``", "\\`\\`", "``` `` ```", "``"),
            ("[x](y)", "\\[x\\](y)", "`[x](y)`", "[x](y)"),
            ("C:\\x", "C:\\\\x", "`C:\\x`", "C:\\x"),
            ("=1+1", "=1+1", "`=1+1`", "'=1+1"),
            ("@x", "@x", "`@x`", "'@x"),
            ("-x", "-x", "`-x`", "'-x"),
            ("-1.5e-3", "-1.5e-3", "`-1.5e-3`", "-1.5e-3"),
            ("größer 日本", "größer 日本", "`größer 日本`", "größer 日本"),
        ] {
            assert_eq!(markdown(text), as_markdown);
            assert_eq!(code(text), as_code);
            assert_eq!(csv_cell(text), as_csv);
            assert_eq!(plain(as_markdown), text);
            assert_eq!(plain(&format!("a {as_code} b")), format!("a {text} b"));
        }
        for (text, as_latex) in [
            ("$\\input{x}$", "\\$\\textbackslash{}input\\{x\\}\\$"),
            ("50 % & #1_a~b^c", "50 \\% \\& \\#1\\_a\\textasciitilde{}b\\textasciicircum{}c"),
            ("--help | x", "-{}-help \\textbar{} x"),
            ("[0, *]", "{[}0, {*}]"),
            ("5 μm (\"x\")", "5 $\\mu$m (``x'')"),
            ("−3.4 ± 0.1", "$-$3.4 $\\pm$ 0.1"),
        ] {
            assert_eq!(latex(text), as_latex);
        }
        assert_eq!(latex_note("a\\_b `c_d` \\<e"), "a\\_b \\texttt{c\\_d} \\textless{}e");
        let control = "\x1b[31m\r\nb\u{202e}";
        for shown in [
            markdown(control),
            code(control),
            latex(control),
            csv_cell(control).into(),
            chart_text(control),
        ] {
            assert!(!shown.contains(|c: char| c.is_control() || c == '\u{202e}'), "{shown:?}");
        }
        assert_eq!(chart_text("a\u{ffff}"), "a\\u{ffff}");
    }

    #[test]
    fn no_line_begins_a_block() {
        let text = "  # a\n\n- b\n1. c\n2024 was\n===\n    code\n";
        assert_eq!(markdown_lines(text), "\\# a\n\n\\- b\n1\\. c\n2024 was\n\\===\ncode");
    }

    #[test]
    fn unpaired_backticks_and_backslashes_stay() {
        assert_eq!(plain("a ` b"), "a ` b");
        assert_eq!(plain("a \\ b \\"), "a \\ b \\");
    }
}

//! The wording of names and values in messages.

/// The text on one line, cut if it is long.
pub fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(MAX_CHARS) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

/// `one of a, b, c`, or the single name.
pub fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".into(),
        [only] => format!("`{only}`"),
        _ => format!("one of {}", names.join(", ")),
    }
}

/// `rank` of `vlora.rank`.
pub fn last_field(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

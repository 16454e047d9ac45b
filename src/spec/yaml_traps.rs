//! Common mistakes in YAML that give a value of the wrong type: `yes`, `'3'`, `010`, `1e3`.

use serde::de::Unexpected;

/// The help for a value of the wrong type, if it is a common mistake.
pub fn help(found: Unexpected, expected: &str) -> Option<String> {
    let number = expected.contains("number");
    Some(match found {
        Unexpected::Str(text) if expected == "true or false" => {
            match text.trim().to_lowercase().as_str() {
                "yes" | "y" | "on" | "true" => "write `true`, without quotes".into(),
                "no" | "n" | "off" | "false" => "write `false`, without quotes".into(),
                _ => return None,
            }
        }
        Unexpected::Unsigned(0) if expected == "true or false" => "write `false`".into(),
        Unexpected::Unsigned(1) if expected == "true or false" => "write `true`".into(),
        Unexpected::Str(text) if number => of_number(text)?,
        Unexpected::Float(x) if number && x.fract() == 0.0 && (0.0..1e15).contains(&x) => {
            format!("write it without a point or an exponent: {x}")
        }
        Unexpected::Unsigned(n) if expected == "text" => format!("write it in quotes: '{n}'"),
        Unexpected::Signed(n) if expected == "text" => format!("write it in quotes: '{n}'"),
        Unexpected::Float(x) if expected == "text" => format!("write it in quotes: '{x}'"),
        Unexpected::Bool(b) if expected == "text" => format!("write it in quotes: '{b}'"),
        Unexpected::Str(text) if expected == "a list" && text.contains(',') => {
            format!("write it in brackets: [{text}]")
        }
        // For `data.validation` and `data.test`.
        Unexpected::Unit if expected.starts_with("a split") => {
            "every run is tested; `{fraction: 0.1}` takes a tenth of the training split".into()
        }
        Unexpected::Float(x) if expected.starts_with("a split") && x > 0.0 && x < 1.0 => {
            format!("a part of the training split is `{{fraction: {x}}}`")
        }
        Unexpected::Bool(_) | Unexpected::Unsigned(0) if expected.starts_with("a split") => {
            "`validation: null` trains without validation; every run is tested".into()
        }
        Unexpected::Str(_) | Unexpected::Unsigned(_) | Unexpected::Float(_)
            if expected == "a list" =>
        {
            "a list stands in brackets, as in [1, 2]".into()
        }
        _ => return None,
    })
}

/// A number that YAML reads as text.
fn of_number(text: &str) -> Option<String> {
    let text = text.trim();
    let share = text.strip_suffix('%').and_then(|share| share.trim().parse::<f64>().ok());
    if let Some(share) = share.filter(|share| share.is_finite()) {
        return Some(format!("write it as a number: {}", share / 100.0));
    }
    // A single comma is a decimal comma, unless it could separate thousands.
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if let Some((whole, part)) = text.split_once(',')
        && digits(whole)
        && digits(part)
        && (part.len() != 3 || whole.starts_with('0'))
    {
        return Some(format!("write a point for the comma: {whole}.{part}"));
    }
    let bare: String = text.chars().filter(|c| !matches!(c, '_' | ',' | '\'' | ' ')).collect();
    bare.parse().ok().filter(|value: &f64| value.is_finite())?;
    let leading =
        bare.len() > 1 && bare.starts_with('0') && bare.bytes().all(|b| b.is_ascii_digit());
    Some(match (bare == text, leading) {
        (true, false) => format!("write it without quotes: {text}"),
        // Keep the digits, since a large number has no exact value as a float.
        (true, true) => {
            let digits = bare.trim_start_matches('0');
            format!(
                "write it without leading zeros: {}",
                if digits.is_empty() { "0" } else { digits }
            )
        }
        (false, _) => format!("write the digits alone: {bare}"),
    })
}

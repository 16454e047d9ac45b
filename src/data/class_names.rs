//! What the labels 0, 1, … of a column mean.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::spec::shorten;

/// The problem of a file whose labels mean other classes than those of the files before.
pub const OTHER: &str = "the classes are named otherwise than in the files before";

/// How `found` differs from `expected`, as the two lines of an error; None where it does not.
pub fn difference(found: &[String], expected: &[String]) -> Option<String> {
    if found == expected {
        return None;
    }
    let all = |names: &[String]| match names.len() {
        0 => "no names of classes".to_string(),
        1 => format!("1 class, {}", names[0]),
        n => format!("{n} classes, {}", shorten(&names.join(", "))),
    };
    let (found_all, expected_all) = (all(found), all(expected));
    let first = found.iter().zip(expected).position(|(a, b)| a != b);
    Some(match first {
        Some(label) => format!(
            "found:    {} for the label {label}, of {found_all}\n  expected: {}, of {expected_all}",
            found[label], expected[label]
        ),
        // One list goes on where the other ends.
        None => format!("found:    {found_all}\n  expected: {expected_all}"),
    })
}

/// The labels of values that are written as names. Errors for a name that is none of `names`;
/// `place` says where a row is.
pub fn numbers(
    texts: &[Option<String>],
    names: &[String],
    place: &dyn Fn(usize) -> String,
) -> Result<Vec<Option<i64>>> {
    let mut labels: HashMap<&str, i64> = HashMap::new();
    for (label, name) in (0..).zip(names) {
        labels.entry(name).or_insert(label);
    }
    let number = |(row, text): (usize, &Option<String>)| match text {
        None => Ok(None),
        Some(text) => match labels.get(&text[..]) {
            Some(label) => Ok(Some(*label)),
            None => Err(Error::Input(format!(
                "{}: unknown class\n  found:    `{text}`\n  expected: {}",
                place(row),
                shorten(&names.join(", "))
            ))),
        },
    };
    texts.iter().enumerate().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_of_class_names_is_named() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let of = |found: &[&str], expected: &[&str]| difference(&names(found), &names(expected));
        assert_eq!(of(&["a", "b"], &["a", "b"]), None);
        assert_eq!(
            of(&["a", "c"], &["a", "b"]).unwrap(),
            "found:    c for the label 1, of 2 classes, a, c\n  expected: b, of 2 classes, a, b"
        );
        assert_eq!(
            of(&["a"], &["a", "b"]).unwrap(),
            "found:    1 class, a\n  expected: 2 classes, a, b"
        );
        assert!(of(&[], &["a"]).unwrap().starts_with("found:    no names of classes\n"));
    }
}

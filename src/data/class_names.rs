//! The class names of the labels 0, 1, … of a column.

use std::collections::HashMap;

use crate::error::{Fault, Result};
use crate::spec::shorten;

/// The error for a file whose class names differ from those of the files before; None if they are
/// equal.
pub fn difference(found: &[String], expected: &[String]) -> Option<Fault> {
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
    let fault = Fault::new("the class names differ from those of the files before");
    Some(match first {
        Some(label) => fault
            .found(format!("{} for the label {label}, of {found_all}", found[label]))
            .expected(format!("{}, of {expected_all}", expected[label])),
        // One list is the beginning of the other.
        None => fault.found(found_all).expected(expected_all),
    })
}

/// Converts class names to their labels. Errors for a name that is not in `names`; `place`
/// describes a row in errors.
pub fn to_labels(
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
            None => Err(Fault::new("unknown class")
                .source(place(row))
                .found(format!("`{text}`"))
                .expected(shorten(&names.join(", ")))
                .into()),
        },
    };
    texts.iter().enumerate().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_first_class_that_differs() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let of = |found: &[&str], expected: &[&str]| difference(&names(found), &names(expected));
        assert_eq!(of(&["a", "b"], &["a", "b"]), None);
        let message = |found: &[&str], expected: &[&str]| of(found, expected).unwrap().to_string();
        let summary = "the class names differ from those of the files before\n  ";
        assert_eq!(
            message(&["a", "c"], &["a", "b"]),
            format!(
                "{summary}found:    c for the label 1, of 2 classes, a, c\n  expected: b, of 2 classes, a, b"
            )
        );
        assert_eq!(
            message(&["a"], &["a", "b"]),
            format!("{summary}found:    1 class, a\n  expected: 2 classes, a, b")
        );
        let none = format!("{summary}found:    no names of classes\n");
        assert!(message(&[], &["a"]).starts_with(&none));
    }
}

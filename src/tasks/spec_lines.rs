//! The lines of a spec that reads a dataset, for `vlora data`: what they have in common for every task.

use std::fmt::Write;

use crate::data::class_difference;
use crate::data::contents::{Contents, Label, Labels, Split};
use crate::data::role;
use crate::terminal::visible_line;

/// Larger labels are not class numbers.
const MAX_CLASSES: i64 = 1_000_000;

/// A dataset that a spec may read.
pub struct Dataset<'a> {
    /// As the command line names it: a folder, `hub:owner/name`, `embedded:name`.
    pub name: &'a str,
    pub config: Option<&'a str>,
    pub ignore: &'a [String],
    pub columns: &'a [String],
    /// Whether the first row of the files names the columns, as in CSV and TSV.
    pub named_by_first_row: bool,
    /// Names of all splits. `contents` may have fewer.
    pub splits: Vec<&'a str>,
    pub contents: &'a Contents,
}

impl Dataset<'_> {
    /// The fields of `data` that say where the examples are.
    fn source(&self) -> Section {
        let mut section = Section::new("data");
        match self.name.split_once(':') {
            Some((place @ ("hub" | "embedded"), name)) => section.put(place, scalar(name)),
            _ => section.put("path", scalar(self.name)),
        }
        if let Some(config) = self.config {
            section.put("config", scalar(config));
        }
        for (field, all) in [("ignore", self.ignore), ("columns", self.columns)] {
            if !all.is_empty() {
                let all: Vec<String> = all.iter().map(|one| scalar(one)).collect();
                section.put(field, format!("[{}]", all.join(", ")));
            }
        }
        section
    }

    /// `data` up to the names of splits. `columns` are fields with the column that each names and the
    /// one that it names by default.
    pub fn section(&self, columns: &[(&str, &str, &str)], roles: &Roles) -> Section {
        let mut section = self.source();
        for (field, column, usual) in columns {
            if column != usual {
                section.put(field, scalar(column));
            }
        }
        section.put("train", scalar(roles.train));
        for (field, split) in [("validation", roles.validation), ("test", roles.test)] {
            let part = || format!("{{fraction: {}}}", roles.fraction);
            section.put(field, split.map_or_else(part, scalar));
        }
        section
    }

    /// The column of labels. Errors where there is none.
    pub fn label_column(&self) -> Result<&str, String> {
        self.contents.label_column().ok_or_else(|| {
            "no column holds labels: whole numbers or names that repeat. `data.label_column` names \
             one"
            .to_string()
        })
    }
}

/// A name in one line, without what steers a terminal.
pub fn shown(name: &str) -> String {
    visible_line(name).into_owned()
}

/// A section of a spec.
pub struct Section(String);

impl Section {
    pub fn new(name: &str) -> Section {
        Section(format!("{name}:\n"))
    }

    /// Adds a field; the value is YAML.
    pub fn put(&mut self, field: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "  {field}: {value}");
    }

    /// Adds a comment of one line.
    pub fn remark(&mut self, text: &str) {
        let _ = writeln!(self.0, "  # {}", visible_line(text));
    }

    pub fn text(self) -> String {
        self.0
    }
}

/// The splits for training, validation and test.
pub struct Roles<'a> {
    pub train: &'a str,
    /// None: a part of the training split.
    pub validation: Option<&'a str>,
    pub test: Option<&'a str>,
    /// The fraction of the training split that each part takes.
    pub fraction: f64,
}

impl<'a> Roles<'a> {
    /// Roles of splits of examples. A part is drawn from those of training.
    pub fn of(contents: &Contents, names: &[&'a str]) -> Result<Roles<'a>, String> {
        let roles = Roles::of_text(names, 0.1)?;
        let parts = usize::from(roles.validation.is_none()) + usize::from(roles.test.is_none());
        let fraction = match contents.split(roles.train) {
            Some(split) => fraction(split.rows, parts).ok_or_else(|| {
                format!(
                    "the split {} has {} examples, too few to take validation or test examples \
                     from it",
                    shown(roles.train),
                    split.rows
                )
            })?,
            None => roles.fraction,
        };
        Ok(Roles { fraction, ..roles })
    }

    /// Roles of splits of a text, of which each part takes `fraction`.
    pub fn of_text(names: &[&'a str], fraction: f64) -> Result<Roles<'a>, String> {
        let of = |want: &str| {
            let same = names.iter().find(|name| **name == want);
            same.or_else(|| names.iter().find(|name| role(name) == Some(want))).copied()
        };
        // One split alone serves for everything, whatever it is called.
        let only = if let [only] = names { Some(*only) } else { None };
        let other = || names.iter().find(|name| role(name).is_none()).copied();
        let Some(train) = of("train").or(only).or_else(other) else {
            return Err(format!(
                "there is no split to train on, only {}. `data.train` may name one of them",
                shown(&names.join(", "))
            ));
        };
        let apart = |want| of(want).filter(|name| *name != train);
        let (validation, test) = (apart("validation"), apart("test"));
        Ok(Roles { train, validation, test, fraction })
    }

    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        [Some(self.train), self.validation, self.test].into_iter().flatten()
    }

    /// The splits that are read, as far as they are shown.
    pub fn splits<'c>(&self, contents: &'c Contents) -> impl Iterator<Item = &'c Split> {
        self.names().filter_map(|name| contents.split(name))
    }
}

/// A share that gives each of `parts` parts of `rows` examples at least one and leaves some to train
/// on: a tenth, where that is possible.
fn fraction(rows: usize, parts: usize) -> Option<f64> {
    let fits = |fraction: &f64| {
        // As data/parts.rs rounds.
        let taken = (fraction * rows as f64 + 1e-9).floor() as usize;
        parts == 0 || (taken > 0 && taken * parts < rows && fraction * (parts as f64) < 1.0)
    };
    [0.1, 0.2, 0.25, 0.34, 0.5].into_iter().find(fits)
}

/// The number of classes in a column of labels. Errors where labels are missing or mean different things.
pub fn class_count(dataset: &Dataset, roles: &Roles, column: &str) -> Result<usize, String> {
    let column_name = shown(column);
    let mut all: Vec<(String, &Labels)> = Vec::new();
    for split in roles.splits(dataset.contents) {
        let name = shown(&split.name);
        let Some(labels) = split.labels(column) else {
            return Err(format!("the split {name} has no labels in `{column_name}`"));
        };
        if let Some(n) = labels.counts.get(&Label::None) {
            let n = match n {
                1 => "1 row".to_string(),
                n => format!("{n} rows"),
            };
            return Err(format!("the split {name} has {n} without a label in `{column_name}`"));
        }
        if labels.mixed {
            return Err(format!(
                "the labels in `{column_name}` are numbers in one file of the split {name}, text in \
                 another"
            ));
        }
        all.push((name, labels));
    }
    let classes = match &all[..] {
        [] => 0,
        [(train, first), others @ ..] => {
            let names = known_names(first);
            let by_text = first.class_names.is_empty();
            for (name, labels) in others {
                agree(labels, names.as_deref(), by_text, train, name)?;
            }
            match names {
                Some(names) => {
                    agree(first, Some(&names), false, train, train)?;
                    names.len()
                }
                None => all.iter().map(|(_, labels)| numbers(labels)).max().unwrap_or(0),
            }
        }
    };
    let numbers = all.iter().flat_map(|(_, labels)| labels.counts.keys());
    let out = numbers
        .filter_map(|label| if let Label::Number(n) = label { Some(*n) } else { None })
        .find(|n| !(0..MAX_CLASSES).contains(n));
    match (out, classes) {
        (Some(n), _) => Err(format!("`{column_name}` holds {n}, which is not a class number")),
        (None, 0 | 1) => Err(format!("`{column_name}` has fewer than two classes")),
        (None, classes) => Ok(classes),
    }
}

/// The names of the classes, as a run that trains on these labels knows them: those of the
/// dataset, else the texts in order. None for numbers that nothing names.
fn known_names(labels: &Labels) -> Option<Vec<String>> {
    if !labels.class_names.is_empty() {
        return Some(labels.class_names.clone());
    }
    let text = |label: &Label| match label {
        Label::Name(name) => Some(name.clone()),
        _ => None,
    };
    let names: Vec<String> = labels.counts.keys().filter_map(text).collect();
    (!names.is_empty()).then_some(names)
}

/// One more than the largest number.
fn numbers(labels: &Labels) -> usize {
    let number = |label: &Label| match label {
        Label::Number(n) => usize::try_from(*n).map_or(0, |n| n.saturating_add(1)),
        _ => 0,
    };
    labels.counts.keys().map(number).max().unwrap_or(0).max(labels.class_names.len())
}

/// Errors where the labels of the split `name` are not among the classes `names` of the split
/// `train`, which are its labels themselves where they are given `by_text`.
fn agree(
    labels: &Labels,
    names: Option<&[String]>,
    by_text: bool,
    train: &str,
    name: &str,
) -> Result<(), String> {
    let text = |label: &Label| matches!(label, Label::Name(_));
    let Some(names) = names else {
        return match labels.counts.keys().any(text) {
            true => {
                Err(format!("labels are numbers in the split {train} and text in the split {name}"))
            }
            false => Ok(()),
        };
    };
    if !labels.class_names.is_empty()
        && let Some(difference) = class_difference(&labels.class_names, names)
    {
        let lines = difference.found_and_expected().into_iter();
        let lines: Vec<String> = lines.map(|line| format!("\n  {}", shown(&line))).collect();
        return Err(format!(
            "the classes of the split {name} have other names than those of {train}{}",
            lines.concat()
        ));
    }
    if by_text && !labels.counts.keys().all(text) {
        return Err(format!(
            "labels are text in the split {train} and numbers in the split {name}"
        ));
    }
    let unknown = labels.counts.keys().find_map(|label| match label {
        Label::Name(text) if !names.contains(text) => Some(format!("the class {}", shown(text))),
        Label::Number(n) if !usize::try_from(*n).is_ok_and(|n| n < names.len()) => {
            Some(format!("the label {n}, which has no name"))
        }
        _ => None,
    });
    match unknown {
        Some(what) => Err(format!(
            "the split {name} has {what}; the split {train} has {} classes, 0 to {}",
            names.len(),
            names.len().saturating_sub(1)
        )),
        None => Ok(()),
    }
}

/// Writes a text as a YAML scalar that is read as the same text.
pub fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./@".contains(c);
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '.')
        && text.chars().all(plain);
    let special = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    let lower = text.to_ascii_lowercase();
    match word && !special.contains(&lower.trim_start_matches('.')) && !is_number(text) {
        true => text.to_string(),
        // A JSON string is one of YAML, too.
        false => serde_json::Value::from(text).to_string(),
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::yaml_to_json;

    #[test]
    fn scalars_stay_texts_in_yaml() {
        for text in
            ["cifar10", "a b", "2019", "no", "1e3", ".5", ".inf", "a: b", "\"x\"", "#a", "~", ""]
        {
            let yaml = format!("a: {}\n", scalar(text));
            assert_eq!(yaml_to_json(&yaml).unwrap()["a"], *text, "{yaml}");
        }
        assert_eq!(scalar("data/my-set_1.x"), "data/my-set_1.x");
    }

    #[test]
    fn parts_take_at_least_one_example_and_leave_one() {
        for parts in 1..=2 {
            for rows in 0..200 {
                match fraction(rows, parts) {
                    Some(fraction) => {
                        let taken = (fraction * rows as f64 + 1e-9) as usize;
                        assert!(taken >= 1 && rows > parts * taken, "{rows} {parts}");
                    }
                    None => assert!(rows <= parts, "{rows} {parts}"),
                }
            }
        }
        assert_eq!(
            (fraction(10, 2), fraction(3, 2), fraction(2, 1)),
            (Some(0.1), Some(0.34), Some(0.5))
        );
    }
}

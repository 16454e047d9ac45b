//! The label column of a classification dataset. It holds numbers or class names. Names get their
//! numbers from the dataset, or else in sorted order.

use serde::{Deserialize, Serialize};

use super::class_names::{self, to_labels};
use super::table::{Column, Table, Values};
use crate::error::{Error, Fault, Result};
use crate::spec::shorten;

/// What is known about the classes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// Names of the labels 0, 1, …; empty if they have no names.
    pub names: Vec<String>,
    /// Whether the files hold names, which became numbers by their order in `names`.
    pub named_labels: bool,
}

/// Collects the labels of one split.
pub struct Labels {
    classes: usize,
    known: Classes,
    /// Whether the splits before have numbers without names.
    are_numbers: bool,
    numbers: Vec<u32>,
    /// Labels that are names and have no numbers yet.
    texts: Vec<String>,
}

impl Labels {
    /// Starts without labels. Labels must be below `classes`; `known` are the classes of the splits
    /// before. `is_first` says that there are none.
    pub fn new(classes: usize, is_first: bool, known: Classes) -> Labels {
        let are_numbers = !is_first && known.names.is_empty();
        Labels { classes, known, are_numbers, numbers: Vec::new(), texts: Vec::new() }
    }

    /// Adds a table's labels. Errors if a label is missing, out of range or an unknown class, or if
    /// the labels of two tables mean different classes. The error names the row.
    pub fn add(&mut self, table: &Table, column: &Column) -> Result<()> {
        self.name_classes(table, &column.class_names)?;
        self.add_values(table, column)?;
        // Checked after the labels, since an error about a label out of range names its row.
        match &column.class_names[..] {
            [] => Ok(()),
            names => {
                let listed = format!("class names, {}", shorten(&names.join(", ")));
                self.count(table.file(), names.len(), &listed)
            }
        }
    }

    fn add_values(&mut self, table: &Table, column: &Column) -> Result<()> {
        let mixed = || wrong_type(table, column, "the type of the files before");
        // A column without values has no type of its own.
        let has_text = |texts: &Vec<Option<String>>| texts.iter().any(Option::is_some);
        let is_named =
            column.named || matches!(&column.values, Values::Text(texts) if has_text(texts));
        match &column.values {
            // The splits before have numbers, and nothing says which names they have.
            Values::Integers(_) | Values::Text(_) if self.are_numbers && is_named => {
                let expected = "whole numbers, as the labels of the training split are";
                Err(wrong_type(table, column, expected))
            }
            // The files before hold names, so the meaning of a number is unknown.
            Values::Integers(_) if self.known.named_labels && column.class_names.is_empty() => {
                Err(wrong_type(table, column, "names, as the labels of the files before are"))
            }
            Values::Integers(values) if self.texts.is_empty() => {
                self.known.named_labels |= column.named;
                self.add_numbers(table, values)
            }
            Values::Text(texts) if self.known.names.is_empty() && self.numbers.is_empty() => {
                self.add_texts(table, texts)
            }
            Values::Text(texts) if !self.known.names.is_empty() => {
                self.known.named_labels = true;
                let values = to_labels(texts, &self.known.names, &|row| table.place(row))?;
                self.add_numbers(table, &values)
            }
            Values::Integers(_) | Values::Text(_) => Err(mixed()),
            _ => Err(wrong_type(table, column, "class labels: whole numbers or names")),
        }
    }

    /// Errors if a label means another class than in the files before.
    fn name_classes(&mut self, table: &Table, names: &[String]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        if self.known.names.is_empty() {
            self.known.names = names.to_vec();
        }
        match class_names::difference(names, &self.known.names) {
            None => Ok(()),
            Some(difference) => Err(difference.source(table.file()).into()),
        }
    }

    fn count(&self, file: &str, found: usize, what: &str) -> Result<()> {
        match found == self.classes {
            true => Ok(()),
            false => Err(Fault::new("the dataset has another number of classes")
                .source(file)
                .found(format!("{found} {what}"))
                .expected(format!("model.classes, {}", self.classes))
                .into()),
        }
    }

    fn add_numbers(&mut self, table: &Table, values: &[Option<i64>]) -> Result<()> {
        for (row, label) in values.iter().enumerate() {
            match label {
                Some(label) if (0..self.classes as i64).contains(label) => {
                    self.numbers.push(*label as u32);
                }
                Some(label) => {
                    return Err(Fault::new("label out of range")
                        .source(table.place(row))
                        .found(label)
                        .expected(format!(
                            "0 to {} (model.classes is {})",
                            self.classes - 1,
                            self.classes
                        ))
                        .into());
                }
                None => return Err(no_label(table, row)),
            }
        }
        Ok(())
    }

    fn add_texts(&mut self, table: &Table, texts: &[Option<String>]) -> Result<()> {
        for (row, text) in texts.iter().enumerate() {
            self.texts.push(text.clone().ok_or_else(|| no_label(table, row))?);
        }
        Ok(())
    }

    /// The labels of all rows, and what is now known about the classes. Names without numbers get
    /// numbers in sorted order. Errors if the number of names is not the number of classes.
    pub fn finish(mut self) -> Result<(Vec<u32>, Classes)> {
        if !self.texts.is_empty() {
            let mut names = self.texts.clone();
            names.sort_unstable();
            names.dedup();
            self.count("data", names.len(), "different labels in the training split")?;
            let place = |text: &String| names.binary_search(text).map_or(0, |place| place as u32);
            self.numbers = self.texts.iter().map(place).collect();
            self.known = Classes { names, named_labels: true };
        }
        Ok((self.numbers, self.known))
    }
}

/// The error for a column of the wrong type.
pub fn wrong_type(table: &Table, column: &Column, expected: &str) -> Error {
    Error::from(
        Fault::new(format!("column `{}` has the wrong type", column.name))
            .source(table.file())
            .found(column.kind())
            .expected(expected),
    )
}

fn no_label(table: &Table, row: usize) -> Error {
    Error::from(
        Fault::new("there is no label")
            .source(table.place(row))
            .found("an empty value")
            .expected("a class label"),
    )
}

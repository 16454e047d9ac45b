//! Puts the rows of a kept classifier in the order of the data's classes.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde_json::{Map, Value};

use super::checkpoint::Checkpoint;
use crate::error::{Fault, Result};
use crate::models::head_parameters;
use crate::spec::{ClassMatch, Unnamed};

/// Matches the classes of a checkpoint to those of the data. They are matched by name if both have
/// names, else by number. A list is empty if there are no names. Errors if the names differ.
pub fn match_classes(checkpoint: &[String], data: &[String]) -> Result<ClassMatch> {
    match (checkpoint.is_empty(), data.is_empty()) {
        (true, true) => return Ok(ClassMatch::ByNumber(Unnamed::Both)),
        (true, false) => return Ok(ClassMatch::ByNumber(Unnamed::Checkpoint)),
        (false, true) => return Ok(ClassMatch::ByNumber(Unnamed::Data)),
        (false, false) if checkpoint == data => return Ok(ClassMatch::Same),
        (false, false) => {}
    }
    let rows: BTreeMap<&String, usize> =
        checkpoint.iter().enumerate().map(|(i, n)| (n, i)).collect();
    let known: BTreeMap<&String, usize> = data.iter().enumerate().map(|(i, n)| (n, i)).collect();
    let only = |names: &[String], others: &BTreeMap<&String, usize>| {
        let only: Vec<&str> =
            names.iter().filter(|name| !others.contains_key(name)).map(String::as_str).collect();
        listed(&only)
    };
    let (only_checkpoint, only_data) = (only(checkpoint, &known), only(data, &rows));
    if only_checkpoint.is_some() || only_data.is_some() {
        let text = |names: Option<String>| names.unwrap_or_else(|| "none".into());
        return Err(Fault::new("the classes of the checkpoint are not those of the data")
            .found(format!("only in the checkpoint: {}", text(only_checkpoint)))
            .expected(format!("the data's names; only in the data: {}", text(only_data)))
            .help(
                "`start.head: new` trains a head for the data's classes; where both mean the same, \
                   give them the same names, in the dataset's card or the checkpoint's config",
            )
            .into());
    }
    if rows.len() != checkpoint.len() || known.len() != data.len() {
        let twice = |names: &[String]| {
            let again = |(i, name): &(usize, &String)| names[..*i].contains(name);
            names.iter().enumerate().find(again).map(|(_, name)| name.clone())
        };
        let name = twice(checkpoint).or_else(|| twice(data)).unwrap_or_default();
        return Err(Fault::new("the order of the classes differs between checkpoint and data")
            .found(format!("two classes called `{name}`, which cannot be told apart"))
            .expected("each name once, or the same names in the same order")
            .into());
    }
    // Both sides have the same names by now.
    Ok(ClassMatch::Permuted(data.iter().filter_map(|name| rows.get(name).copied()).collect()))
}

/// The fields `id2label` and `label2id` of a Hugging Face config. Classes without names are
/// `LABEL_0` and so on. Of classes of one name, `label2id` has the last, as in transformers.
pub fn label_fields(classes: usize, names: &[String]) -> (Map<String, Value>, Map<String, Value>) {
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| format!("LABEL_{class}"));
    let all = || (0..classes).map(|class| (class, name(class)));
    (
        all().map(|(class, name)| (class.to_string(), name.into())).collect(),
        all().map(|(class, name)| (name, class.into())).collect(),
    )
}

/// The first few names and how many more there are; None if the list is empty.
fn listed(names: &[&str]) -> Option<String> {
    const SHOWN: usize = 8;
    let more = names.len().saturating_sub(SHOWN);
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| shown.join(", ") + &more)
}

impl Checkpoint {
    /// The checkpoint with its classifier's rows, and their names, in the order of `classes`.
    pub fn in_order(mut self, classes: &ClassMatch) -> Result<Checkpoint> {
        let ClassMatch::Permuted(rows) = classes else { return Ok(self) };
        let index: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        // Each parameter of the head has one row for each class.
        for name in head_parameters(&self.model)? {
            if let Some(tensor) = self.tensors.get_mut(&name) {
                let index = Tensor::new(index.as_slice(), tensor.device())?;
                *tensor = tensor.index_select(&index, 0)?;
            }
        }
        let names = rows.iter().filter_map(|row| self.metadata.class_names.get(*row).cloned());
        self.metadata.class_names = names.collect();
        Ok(self)
    }
}

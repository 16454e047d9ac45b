//! A dataset card: the YAML between the two `---` lines at the head of a repository's README.md.
//!
//! This module reads `configs` (the files of each split), the class names in `dataset_info` and the
//! licence. A missing card, or one without front matter, counts as empty.

use std::collections::BTreeMap;

use serde_json::Value;

use super::options::options;
use crate::error::{Error, Fault, Result};
use crate::hub::Repository;
use crate::spec::{shorten, yaml_to_json};

/// Path of the card in its repository.
pub const CARD: &str = "README.md";

/// Bytes of front matter at most. Real ones are far shorter.
const MAX_BYTES: usize = 4 << 20;

/// The content of a card.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card {
    /// The file's name for errors.
    pub name: String,
    pub configs: Vec<CardConfig>,
    pub license: Option<String>,
    /// Class names by configuration and column.
    classes: Vec<ColumnClasses>,
    /// The whole text.
    text: String,
}

/// A configuration's name (None if the card has none) and the class names of each column.
type ColumnClasses = (Option<String>, BTreeMap<String, Vec<String>>);

/// One entry of `configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct CardConfig {
    pub name: String,
    /// Whether it is the default configuration.
    pub default: bool,
    /// The folder of its files.
    pub folder: Option<String>,
    /// Splits in the card's order, each with the patterns of its files.
    pub splits: Vec<(String, Vec<String>)>,
    /// Reader options with values other than their defaults.
    pub options: Vec<(String, Value)>,
}

impl Card {
    /// Reads the repository's card. Errors if it is not UTF-8 or its front matter is not YAML.
    pub fn of(repository: &Repository) -> Result<Card> {
        if !repository.files().iter().any(|path| path == CARD) {
            return Ok(Card::default());
        }
        let file = repository.read(CARD)?;
        let named = |fault: Fault| fault.source(&file.name);
        let text = std::str::from_utf8(&file.bytes).map_err(|e| {
            let at = e.valid_up_to();
            named(Fault::new(format!("the dataset card is not text: byte {at} is not UTF-8")))
        })?;
        let text = text.to_string();
        match front_matter(&text) {
            None => Ok(Card { name: file.name.clone(), text, ..Card::default() }),
            Some(yaml) if yaml.len() > MAX_BYTES => {
                Err(named(Fault::new("the dataset card is too long"))
                    .found(format!("{} bytes of front matter", yaml.len()))
                    .expected(format!("at most {MAX_BYTES}"))
                    .into())
            }
            Some(yaml) => {
                let json = yaml_to_json(yaml).map_err(|e| {
                    let problem = "the dataset card's front matter is not valid YAML";
                    named(Fault::new(format!("{problem}: {e}")))
                })?;
                let configs = configs(&json).map_err(|error| error.map_fault(named))?;
                let license = json.get("license").and_then(text_of);
                let classes = classes(&json).map_err(|error| error.map_fault(named))?;
                Ok(Card { name: file.name.clone(), configs, license, classes, text })
            }
        }
    }

    /// Whether the card's text names the file, for example because it shows a picture.
    pub fn shows(&self, path: &str) -> bool {
        // `11.png` and `other/1.png` do not name `1.png`. `./1.png` and its address on the Hub do.
        let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let starts = |before: &str| {
            let word = before.rsplit([' ', '\n', '(', '"', '\'', '<', '[', '`']).next();
            let word = word.unwrap_or_default();
            let of_hub = ["/resolve/", "/raw/", "/blob/"].iter().any(|part| word.contains(part));
            match word.ends_with('/') {
                true => word == "./" || word == "/" || of_hub,
                false => !before.ends_with(part_of_name),
            }
        };
        let shown = |name: &str| {
            self.text.match_indices(name).any(|(at, _)| {
                let after = &self.text[at + name.len()..];
                starts(&self.text[..at]) && !after.starts_with(char::is_alphanumeric)
            })
        };
        shown(path) || shown(&path.replace(' ', "%20"))
    }

    /// Class names of a column in the configuration; empty if the card has none.
    pub fn class_names(&self, config: Option<&str>, column: &str) -> Vec<String> {
        let of_config = |(name, _): &&ColumnClasses| match (name, config) {
            (Some(name), Some(config)) => name == config,
            // A single entry applies to every configuration.
            _ => self.classes.len() == 1,
        };
        let found = self.classes.iter().find(of_config).and_then(|(_, names)| names.get(column));
        found.cloned().unwrap_or_default()
    }
}

/// The text between a first line `---` and the next such line.
fn front_matter(text: &str) -> Option<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rest = text.strip_prefix("---")?;
    let rest = rest.strip_prefix('\r').unwrap_or(rest).strip_prefix('\n')?;
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some(&rest[..end]);
        }
        end += line.len();
    }
    None
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        // Cards may name several licences.
        Value::Array(items) => {
            let names: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            (!names.is_empty()).then(|| names.join(", "))
        }
        _ => None,
    }
}

fn configs(card: &Value) -> Result<Vec<CardConfig>> {
    let Some(entries) = card.get("configs") else { return Ok(Vec::new()) };
    let wrong = |what: &str| {
        Error::from(
            Fault::new(format!("the dataset card's `configs` {what}"))
                .expected("a list of {config_name, data_files}, as the Hub documents it"),
        )
    };
    let entries = entries.as_array().ok_or_else(|| wrong("is no list"))?;
    entries
        .iter()
        .enumerate()
        .map(|(i, entry)| {
            if !entry.is_object() {
                return Err(wrong(&format!("has an entry that is no mapping, number {}", i + 1)));
            }
            let name = entry.get("config_name").and_then(name_of);
            let name = name.as_deref().unwrap_or("default");
            let splits = match entry.get("data_files") {
                None | Some(Value::Null) => Vec::new(),
                Some(files) => data_files(files).ok_or_else(|| {
                    wrong(&format!("has `data_files` that are not understood, of `{name}`"))
                })?,
            };
            Ok(CardConfig {
                name: name.to_string(),
                default: entry.get("default").and_then(Value::as_bool).unwrap_or(false),
                folder: entry.get("data_dir").and_then(Value::as_str).map(str::to_string),
                splits,
                options: options(entry),
            })
        })
        .collect()
}

/// Parses `data_files` in every form that the Hub accepts: a pattern or a list of patterns (for
/// `train`), a list of `{split, path}`, or a mapping from splits to patterns.
fn data_files(value: &Value) -> Option<Vec<(String, Vec<String>)>> {
    let patterns = |value: &Value| -> Option<Vec<String>> {
        match value {
            Value::String(path) => Some(vec![path.clone()]),
            Value::Array(items) => {
                items.iter().map(|v| v.as_str().map(str::to_string)).collect::<Option<_>>()
            }
            _ => None,
        }
    };
    let train = |paths| vec![("train".to_string(), paths)];
    match value {
        Value::Array(items) if items.iter().any(Value::is_object) => items
            .iter()
            .map(|item| {
                let split = item.get("split")?.as_str()?;
                Some((split.to_string(), patterns(item.get("path")?)?))
            })
            .collect::<Option<Vec<_>>>()
            .map(merged),
        Value::Object(map) => {
            map.iter().map(|(split, v)| Some((split.clone(), patterns(v)?))).collect()
        }
        value => patterns(value).map(train),
    }
}

/// Merges entries of the same split.
fn merged(entries: Vec<(String, Vec<String>)>) -> Vec<(String, Vec<String>)> {
    let mut splits: Vec<(String, Vec<String>)> = Vec::new();
    for (name, patterns) in entries {
        match splits.iter_mut().find(|(other, _)| *other == name) {
            Some((_, all)) => all.extend(patterns),
            None => splits.push((name, patterns)),
        }
    }
    splits
}

/// Class names in `dataset_info`. Malformed entries are ignored: names are optional, and cards are
/// written by hand. Errors, as `datasets` does, if only some of the
/// classes have a name.
fn classes(card: &Value) -> Result<Vec<ColumnClasses>> {
    let infos = match card.get("dataset_info") {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(info) => vec![info],
        None => Vec::new(),
    };
    infos
        .into_iter()
        .map(|info| {
            let config = info.get("config_name").and_then(name_of);
            let features = info.get("features").and_then(Value::as_array);
            let mut named = BTreeMap::new();
            for feature in features.into_iter().flatten() {
                let names = feature.pointer("/dtype/class_label/names");
                let column = feature.get("name").and_then(Value::as_str);
                let (Some(names), Some(column)) = (names, column) else { continue };
                expect_all_named(names, column)?;
                named.extend(class_names(names).map(|names| (column.to_string(), names)));
            }
            Ok((config, named))
        })
        .collect()
}

/// A configuration's name. YAML reads a name such as 2019 as a number.
fn name_of(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Errors if class names, given as a mapping from labels, leave out a label.
fn expect_all_named(names: &Value, column: &str) -> Result<()> {
    let Value::Object(map) = names else { return Ok(()) };
    match (0..map.len()).find(|label| !map.contains_key(&label.to_string())) {
        None => Ok(()),
        Some(missing) => Err(Fault::new("the dataset card does not name all classes")
            .within(format!("class_label of `{}`", shorten(column)))
            .found(format!("{} names, and none of the label {missing}", map.len()))
            .expected("a name for each label, from 0 on")
            .into()),
    }
}

/// Parses class names, given as a list or as a mapping from each label 0, 1, … to its name.
fn class_names(names: &Value) -> Option<Vec<String>> {
    let text = |v: &Value| match v {
        Value::String(s) => Some(s.clone()),
        // YAML reads a class called 3 or true as a number or a boolean.
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    };
    match names {
        Value::Array(items) => items.iter().map(text).collect(),
        Value::Object(map) => {
            (0..map.len()).map(|label| text(map.get(&label.to_string())?)).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(yaml: &str) -> Value {
        yaml_to_json(yaml).unwrap()
    }

    #[test]
    fn front_matter_lies_between_two_lines() {
        assert_eq!(front_matter("---\na: 1\n---\n# Title\n"), Some("a: 1\n"));
        assert_eq!(front_matter("---\r\na: 1\r\n---\r\n"), Some("a: 1\r\n"));
        assert_eq!(front_matter("---\n---"), Some(""));
        for none in ["# Title\n---\na: 1\n---\n", "", "---", "---\na: 1\n", "----\na: 1\n---\n"] {
            assert_eq!(front_matter(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_card_names_files_by_path_or_address() {
        let shows =
            |text: &str, path: &str| Card { text: text.into(), ..Card::default() }.shows(path);
        for text in ["![a](1.png)", "![a](./1.png)", "<img src=\"1.png\">", "see 1.png."] {
            assert!(shows(text, "1.png"), "{text}");
        }
        assert!(shows("(https://h/datasets/o/n/resolve/main/1.png)", "1.png"));
        assert!(shows("![a](a%20b.png)", "a b.png"));
        assert!(shows("![a](d/1.png)", "d/1.png"));
        for text in ["![a](11.png)", "![a](other/1.png)", "![a](1.png2)", "![a](x-1.png)", ""] {
            assert!(!shows(text, "1.png"), "{text}");
        }
    }

    #[test]
    fn data_files_come_in_five_forms() {
        let read = |yaml: &str| {
            let configs = configs(&parsed(&format!("configs:\n- data_files: {yaml}"))).unwrap();
            configs[0].splits.clone()
        };
        let of = |split: &str, paths: &[&str]| {
            (split.to_string(), paths.iter().map(|p| p.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(read("'*.csv'"), [of("train", &["*.csv"])]);
        assert_eq!(read("[a.csv, b.csv]"), [of("train", &["a.csv", "b.csv"])]);
        let want = [of("test", &["t.csv"]), of("train", &["a.csv", "b.csv"])];
        assert_eq!(
            read("[{split: test, path: t.csv}, {split: train, path: [a.csv, b.csv]}]"),
            want
        );
        assert_eq!(read("{test: t.csv, train: [a.csv, b.csv]}"), want);
        let twice = "[{split: test, path: t.csv}, {split: train, path: a.csv}, \
            {split: train, path: b.csv}]";
        assert_eq!(read(twice), want);
        let error = configs(&parsed("configs: [{data_files: 3}]")).unwrap_err().to_string();
        assert!(error.contains("`default`"), "{error}");
        assert!(configs(&parsed("configs: 3")).is_err());
    }

    #[test]
    fn class_names_are_found_by_configuration_and_column() {
        let info = "features: [{name: label, dtype: {class_label: {names: {'1': dog, '0': cat}}}}]";
        let card =
            |yaml: &str| Card { classes: classes(&parsed(yaml)).unwrap(), ..Card::default() };
        let one = card(&format!("dataset_info: {{{info}}}"));
        assert_eq!(one.class_names(None, "label"), ["cat", "dog"]);
        assert_eq!(one.class_names(Some("any"), "label"), ["cat", "dog"]);
        assert!(one.class_names(None, "image").is_empty());
        let two = card(&format!(
            "dataset_info: [{{config_name: a, {info}}}, {{config_name: b, features: []}}]"
        ));
        assert_eq!(two.class_names(Some("a"), "label"), ["cat", "dog"]);
        assert!(two.class_names(Some("b"), "label").is_empty());
        assert!(two.class_names(None, "label").is_empty());
        let gap = "dataset_info: {features: [{name: l, dtype: {class_label: {names: {'1': a}}}}]}";
        let error = classes(&parsed(gap)).unwrap_err().to_string();
        assert!(error.contains("none of the label 0"), "{error}");
    }
}

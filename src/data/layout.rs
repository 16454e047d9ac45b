//! Which files of a repository hold which split, as the `datasets` library of Hugging Face finds
//! them: by the dataset card's `configs`, else by the names of files and folders.

use std::collections::BTreeSet;

use super::card::{CARD, Card, CardConfig};
use super::names::{Format, canonical};
use super::splits::{Split, by_card, by_name};
use crate::error::{Error, Result};
use crate::hub::Repository;
use crate::spec::{DataSpec, SplitSpec, nearest};

/// One configuration of a dataset.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Of the repository, as errors name it.
    name: String,
    /// The configuration's name, where the dataset has configurations.
    pub config: Option<String>,
    pub card: Card,
    splits: Vec<Split>,
}

impl Layout {
    /// Reads the card, if there is one, and the list of files.
    pub fn of(repository: &Repository, config: Option<&str>) -> Result<Layout> {
        let card = Card::of(repository)?;
        let name = repository.name().to_string();
        let data: Vec<&str> = repository
            .files()
            .iter()
            .map(String::as_str)
            .filter(|path| Format::of(path).is_some())
            .collect();
        if card.configs.is_empty() {
            let (config, folder) = by_folder(&name, &data, config)?;
            let splits = by_name(&data, &folder);
            return Ok(Layout { name, config, card, splits });
        }
        let chosen = choose(&card, config)?.clone();
        let splits = match chosen.splits.is_empty() {
            true => by_name(&data, &folder_of(&chosen, &data)),
            false => by_card(&chosen, &folder_of(&chosen, &data), &data),
        };
        Ok(Layout { name, config: Some(chosen.name), card, splits })
    }

    /// Names of the splits.
    pub fn splits(&self) -> impl Iterator<Item = &str> {
        self.splits.iter().map(|split| split.name.as_str())
    }

    /// Paths of a split's files, in the order of their rows. `val` and `dev` find `validation`,
    /// and so on. Errors if there is no such split, or if its files are not whole.
    pub fn files(&self, split: &str) -> Result<&[String]> {
        let Some(found) = self.find(split) else {
            let names: Vec<&str> = self.splits().collect();
            let help = nearest(split, names.iter().copied())
                .map(|near| format!("\n  help:     did you mean `{near}`?"))
                .unwrap_or_default();
            let config = self.config.as_ref().map(|c| format!(" of `{c}`")).unwrap_or_default();
            let there = match names.is_empty() {
                true => "no files of rows".to_string(),
                false => format!("the splits {}", names.join(", ")),
            };
            return Err(Error::Input(format!(
                "{}: there are no files of the split `{split}`{config}\n  found:    {there}\n  \
                 expected: {split}.parquet, .csv, .tsv or .jsonl, or a folder {split}, or files \
                 that the dataset card names{help}",
                self.name
            )));
        };
        match &found.fault {
            Some(fault) => Err(Error::Input(format!("{}: {fault}", self.name))),
            None => Ok(&found.files),
        }
    }

    /// [`Layout::files`] of a split that is asked for as `data.validation` or `data.test`: where the
    /// dataset has none, the error says what serves instead.
    pub fn files_for(&self, role: &str, split: &str) -> Result<&[String]> {
        let instead = match role {
            "validation" => {
                "`data.validation: {fraction: 0.1}` takes a tenth of the training split, \
                 `data.validation: null` trains without validation"
            }
            "test" => "`data.test: {fraction: 0.1}` takes a tenth of the training split",
            _ => return self.files(split),
        };
        self.files(split).map_err(|error| match self.find(split) {
            None => Error::Input(format!("{error}\n  help:     {instead}")),
            Some(_) => error,
        })
    }

    fn find(&self, split: &str) -> Option<&Split> {
        let same = |own: &&Split| own.name == split;
        let means =
            |own: &&Split| canonical(split).is_some() && canonical(&own.name) == canonical(split);
        self.splits.iter().find(same).or_else(|| self.splits.iter().find(means))
    }

    /// The classes of image folders, sorted, over all splits: a class may be missing in one.
    pub fn folder_classes(&self) -> Vec<String> {
        // What cannot be read has no classes: images that lie in no class's folder would be taken
        // for a class of their split's name.
        let whole = self.splits.iter().filter(|split| split.fault.is_none());
        let files = whole.flat_map(|split| &split.files);
        let names: BTreeSet<&str> = files.filter_map(|path| class_of(path)).collect();
        names.into_iter().map(str::to_string).collect()
    }
}

/// The class of an image in a folder a class: the folder's name.
pub fn class_of(path: &str) -> Option<&str> {
    path.rsplit('/').nth(1)
}

/// The paths that a run of `data` reads, the card's first; nothing else is read later.
pub fn needed(repository: &Repository, data: &DataSpec) -> Result<Vec<String>> {
    let layout = Layout::of(repository, data.config.as_deref())?;
    let card = repository.files().iter().filter(|path| *path == CARD);
    let mut paths: Vec<String> = card.cloned().collect();
    let mut splits = vec![("train", data.train.as_str())];
    for (role, split) in [("validation", data.validation.as_ref()), ("test", Some(&data.test))] {
        if let Some(SplitSpec::Named(name)) = split {
            splits.push((role, name));
        }
    }
    for (role, split) in splits {
        for path in layout.files_for(role, split)? {
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
    }
    Ok(paths)
}

/// The configuration that is asked for, or the one that stands out.
fn choose<'a>(card: &'a Card, config: Option<&str>) -> Result<&'a CardConfig> {
    let names: Vec<&str> = card.configs.iter().map(|c| c.name.as_str()).collect();
    let found = match config {
        Some(config) => card.configs.iter().find(|c| c.name == config),
        None => {
            let marked = card.configs.iter().find(|c| c.default);
            let marked = marked.or_else(|| card.configs.iter().find(|c| c.name == "default"));
            marked.or(if let [only] = &card.configs[..] { Some(only) } else { None })
        }
    };
    found.ok_or_else(|| unclear(&card.name, &names, config))
}

/// No configuration, or more than one, is meant.
fn unclear(name: &str, names: &[&str], config: Option<&str>) -> Error {
    let listed = match names.len() {
        0 => "no configurations".to_string(),
        // Some datasets have one a language pair.
        n if n > 20 => format!("{}, … ({n} in all)", names[..20].join(", ")),
        _ => names.join(", "),
    };
    Error::Input(match config {
        Some(config) => {
            let help = nearest(config, names.iter().copied())
                .map(|near| format!("\n  help:     did you mean `{near}`?"))
                .unwrap_or_default();
            format!(
                "{name}: there is no configuration `{config}`\n  found:    {listed}\n  expected: \
                 data.config to name one of the dataset's, or to be left out{help}"
            )
        }
        None => format!(
            "{name}: the dataset has several configurations\n  found:    {listed}\n  expected: \
             data.config to name one"
        ),
    })
}

/// The folder whose files a card's configuration has where it names none of them.
fn folder_of(config: &CardConfig, data: &[&str]) -> String {
    let named = format!("{}/", config.name);
    match &config.folder {
        Some(folder) => match folder.trim_start_matches("./").trim_matches('/') {
            "" | "." => String::new(),
            folder => format!("{folder}/"),
        },
        None if data.iter().any(|path| path.starts_with(&named)) => named,
        None => String::new(),
    }
}

/// Without a card: folders beside no files of rows are configurations.
fn by_folder(name: &str, data: &[&str], config: Option<&str>) -> Result<(Option<String>, String)> {
    let folders: BTreeSet<&str> =
        data.iter().filter_map(|path| path.split_once('/')).map(|(folder, _)| folder).collect();
    let of_splits = |folder: &str| folder == "data" || canonical(folder).is_some();
    let flat = data.iter().any(|path| !path.contains('/')) || folders.iter().any(|f| of_splits(f));
    // Classes of images are no configurations: those have files of tables, or folders of splits.
    let is_config = |folder: &&str| {
        data.iter().filter_map(|path| path.strip_prefix(*folder)?.strip_prefix('/')).any(|rest| {
            let inner = rest.split_once('/').map(|(folder, _)| folder);
            Format::of(rest) != Some(Format::ImageFolder) || inner.is_some_and(of_splits)
        })
    };
    let configs: Vec<&str> = match flat {
        true => Vec::new(),
        false => folders.iter().copied().filter(is_config).collect(),
    };
    let chosen = match config {
        Some(config) => folders.iter().copied().find(|folder| *folder == config),
        None => match configs[..] {
            [] => return Ok((None, String::new())),
            [only] => Some(only),
            _ => configs.iter().copied().find(|folder| *folder == "default"),
        },
    };
    match chosen {
        Some(chosen) => Ok((Some(chosen.to_string()), format!("{chosen}/"))),
        None => Err(unclear(name, &configs, config)),
    }
}

#[cfg(test)]
mod tests;

//! Chooses the configuration of a dataset: one of the card's, or a folder of that name.

use std::collections::BTreeSet;

use super::card::{CARD, Card, CardConfig};
use super::formats::{Format, is_metadata};
use super::names::names_split;
use super::splits::Found;
use crate::error::{Error, Fault, Result};
use crate::spec::nearest;

/// The configuration called `config`, or else the default one.
pub fn choose<'a>(card: &'a Card, config: Option<&str>) -> Result<&'a CardConfig> {
    let names: Vec<&str> = card.configs.iter().map(|c| c.name.as_str()).collect();
    let found = match config {
        Some(config) => card.configs.iter().find(|c| c.name == config),
        None => {
            let marked = card.configs.iter().find(|c| c.default);
            let marked = marked.or_else(|| card.configs.iter().find(|c| c.name == "default"));
            marked.or(if let [only] = &card.configs[..] { Some(only) } else { None })
        }
    };
    found.ok_or_else(|| no_configuration(&card.name, &names, config, None))
}

/// The error if no configuration, or more than one, fits.
fn no_configuration(name: &str, names: &[&str], config: Option<&str>, help: Option<&str>) -> Error {
    let listed = match names.len() {
        0 => "no configurations".to_string(),
        // Some datasets have one for each language pair.
        n if n > 20 => format!("{}, … ({n} in all)", names[..20].join(", ")),
        _ => names.join(", "),
    };
    let fault = match config {
        Some(config) => Fault::new(format!("there is no configuration `{config}`"))
            .expected("data.config to name one of the dataset's, or to be left out")
            .did_you_mean(nearest(config, names.iter().copied())),
        None => {
            Fault::new("the dataset has several configurations").expected("data.config to name one")
        }
    };
    let fault = fault.source(name).found(listed);
    Error::from(match help {
        Some(help) => fault.help(help),
        None => fault,
    })
}

/// The folder of a configuration's files, with a slash at its end; empty for the repository itself.
pub fn folder_of(config: &CardConfig) -> String {
    match config.folder.as_deref().map(|f| f.trim_start_matches("./").trim_matches('/')) {
        None | Some("" | ".") => String::new(),
        Some(folder) => format!("{folder}/"),
    }
}

/// The fault of a configuration that names no files, if it has one. Its folder may hold no rows. Or
/// there is a folder of the configuration's name beside others: `datasets` reads all files then,
/// but the author probably means that folder.
pub fn without_files(config: &CardConfig, rows: &[&str], folder: &str) -> Option<Found> {
    let by = "the dataset card";
    let fault = |fault| Some(Found { fault: Some(fault), by, ..Found::default() });
    if !folder.is_empty() && !rows.iter().any(|path| path.starts_with(folder)) {
        return fault(
            Fault::new(format!("a folder that {CARD} names has no files of rows"))
                .found(format!("data_dir {folder} of the configuration `{}`", config.name))
                .expected("the folder of its files"),
        );
    }
    let prefix = format!("{}/", config.name);
    let (inside, outside): (Vec<&str>, Vec<&str>) =
        rows.iter().partition(|path| path.starts_with(&prefix));
    if config.folder.is_some() || inside.is_empty() || outside.is_empty() {
        return None;
    }
    let name = &config.name;
    fault(
        Fault::new(format!("the configuration `{name}` of {CARD} names no files"))
            .found(format!("{}, and outside of that folder {}", inside[0], outside[0]))
            .expected(format!(
                "data_files or data_dir in its entry, `data_dir: {name}` for that folder"
            )),
    )
}

/// Chooses a configuration without a card: each folder is one, if no files of rows lie beside the
/// folders. `rows` are the paths of files that hold rows. Returns the name, and the folder with a
/// slash at its end.
pub fn by_folder(
    name: &str,
    rows: &[&str],
    config: Option<&str>,
) -> Result<(Option<String>, String)> {
    let folders: BTreeSet<&str> =
        rows.iter().filter_map(|path| path.split_once('/')).map(|(folder, _)| folder).collect();
    if let Some(config) = config {
        return match folders.contains(config) {
            true => Ok((Some(config.to_string()), format!("{config}/"))),
            false => {
                Err(no_configuration(name, &configurations(rows, &folders), Some(config), None))
            }
        };
    }
    match configurations(rows, &folders)[..] {
        [] => Ok((None, String::new())),
        [only] => Ok((Some(only.to_string()), String::new())),
        ref several => {
            let images = rows.iter().all(|path| Format::of(path) == Some(Format::ImageFolder));
            let help =
                "if these are classes, put the folders of the splits first, as in train/cat/1.png";
            Err(no_configuration(name, several, None, images.then_some(help)))
        }
    }
}

/// Folders that are configurations: they hold tables or folders of splits, and no files of rows lie
/// beside them.
fn configurations<'a>(rows: &[&'a str], folders: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let of_splits = |folder: &str| folder == "data" || names_split(folder);
    let images = rows.iter().any(|path| Format::of(path) == Some(Format::ImageFolder));
    let describes = |path: &str| images && is_metadata(path);
    let flat = rows.iter().any(|path| !path.contains('/')) || folders.iter().any(|f| of_splits(f));
    // A folder of images alone is a class, not a configuration.
    let is_config = |folder: &&str| {
        rows.iter().filter_map(|path| path.strip_prefix(*folder)?.strip_prefix('/')).any(|rest| {
            let inner = rest.split_once('/').map(|(folder, _)| folder);
            (Format::of(rest) != Some(Format::ImageFolder) && !describes(rest))
                || inner.is_some_and(of_splits)
        })
    };
    match flat {
        true => Vec::new(),
        false => folders.iter().copied().filter(is_config).collect(),
    }
}

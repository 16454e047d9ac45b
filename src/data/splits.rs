//! Files to splits: by the patterns of a dataset card, or by the names of files and folders.

use std::collections::{BTreeMap, BTreeSet};

use super::card::{CARD, CardConfig};
use super::glob;
use super::names::{Format, Shard, canonical, idx};

/// A split's files, in the order of their rows.
#[derive(Clone, Debug)]
pub struct Split {
    pub name: String,
    pub files: Vec<String>,
    /// Why the files cannot be read as they are. Told only when the split is asked for: a folder
    /// may hold one split of a card's three.
    pub fault: Option<String>,
}

/// Splits by the patterns of a card's configuration, which are relative to `folder` (with a slash
/// at its end, or empty). `data` are the paths of files that hold rows.
pub fn by_card(config: &CardConfig, folder: &str, data: &[&str]) -> Vec<Split> {
    // Without `data_dir`, patterns are the repository's paths.
    let folder = if config.folder.is_some() { folder } else { "" };
    let split = |(name, patterns): &(String, Vec<String>)| {
        let mut files: BTreeSet<String> = BTreeSet::new();
        let mut fault = None;
        for pattern in patterns {
            let full = format!("{folder}{}", pattern.trim_start_matches("./"));
            let mut found = data.iter().filter(|path| glob::matches(&full, path)).peekable();
            if found.peek().is_none() {
                fault = fault.or(Some(format!(
                    "files that {CARD} names are not there\n  found:    no file of rows that \
                     matches `{full}`\n  expected: the files of the split `{name}` of `{}`",
                    config.name
                )));
            }
            files.extend(found.map(|path| path.to_string()));
        }
        let split = finish(name.clone(), files.into_iter().collect(), false);
        Split { fault: fault.or(split.fault), ..split }
    };
    config.splits.iter().map(split).collect()
}

/// Splits by the names of the files below `folder` (with a slash at its end, or empty).
///
/// Of these the first that finds any: files named by a split alone, at the top or in `data/`;
/// folders named by a split; files with one split's word in their names. Nothing found, everything
/// is `train`.
pub fn by_name(data: &[&str], folder: &str) -> Vec<Split> {
    let below = || data.iter().filter_map(|path| Some((*path, path.strip_prefix(folder)?)));
    let Some(format) = format_of(below().map(|(_, rest)| rest)) else { return Vec::new() };
    let files: Vec<(&str, &str)> =
        below().filter(|(_, rest)| Format::of(rest) == Some(format)).collect();
    let tables = format != Format::ImageFolder;
    let grouped = |split: &dyn Fn(&str) -> Option<String>| {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, rest) in &files {
            if let Some(split) = split(rest) {
                groups.entry(split).or_default().push(path.to_string());
            }
        }
        groups
    };
    let exact = tables && files.iter().any(|(_, rest)| canonical(own_name(rest)).is_some());
    let groups = if format == Format::Idx {
        grouped(&|rest| {
            let (split, _) = idx(rest)?;
            Some(canonical(split).unwrap_or("train").to_string())
        })
    } else if exact {
        grouped(&|rest| {
            let name = own_name(rest);
            (!name.is_empty()).then(|| canonical(name).unwrap_or(name).to_string())
        })
    } else if files.iter().any(|(_, rest)| folder_split(rest).is_some()) {
        grouped(&|rest| folder_split(rest).map(str::to_string))
    } else if tables && files.iter().any(|(_, rest)| Shard::of(rest).split_in_name().is_some()) {
        grouped(&|rest| Shard::of(rest).split_in_name().map(str::to_string))
    } else {
        grouped(&|_| Some("train".to_string()))
    };
    let place = |name: &str| {
        let known = ["train", "validation", "test"];
        known.iter().position(|known| *known == name).unwrap_or(known.len())
    };
    let mut groups: Vec<(String, Vec<String>)> = groups.into_iter().collect();
    groups.sort_by_key(|(name, _)| place(name));
    let single = exact && format != Format::Idx;
    groups.into_iter().map(|(name, files)| finish(name, files, single)).collect()
}

/// The one format that is a dataset's. A few images beside tables are pictures of its card; a few
/// tables that no split is named in, beside many images in folders, are notes on these.
fn format_of<'a>(files: impl Iterator<Item = &'a str> + Clone) -> Option<Format> {
    let first = files.clone().filter_map(Format::of).min()?;
    let tables = || files.clone().filter(|rest| Format::of(rest) == Some(first));
    let images =
        || files.clone().filter(|r| r.contains('/') && Format::of(r) == Some(Format::ImageFolder));
    let notes = images().count() > tables().count()
        && tables().all(|rest| canonical(own_name(rest)).is_none());
    Some(if notes { Format::ImageFolder } else { first })
}

/// The name of a file at the top or in `data/`, without a shard's number; else nothing.
fn own_name(rest: &str) -> &str {
    match rest.strip_prefix("data/").unwrap_or(rest) {
        deep if deep.contains('/') => "",
        file => Shard::of(file).name(),
    }
}

/// The split that a folder on the way to a file names.
fn folder_split(rest: &str) -> Option<&'static str> {
    let (folders, _) = rest.rsplit_once('/')?;
    folders.split('/').find_map(canonical)
}

/// Puts a split's files in the order of their rows and checks that they are whole sets; with
/// `single`, one set.
fn finish(name: String, mut files: Vec<String>, single: bool) -> Split {
    files.sort_by(|a, b| (Shard::of(a), a).cmp(&(Shard::of(b), b)));
    let fault = fault(&name, &files, single);
    Split { name, files, fault }
}

/// Whether the folder of an image is the split's own and names no class: it is called after a split,
/// and none of the split's images lies elsewhere.
fn lies_in_split(name: &str, path: &str, files: &[String]) -> bool {
    let Some((folder, _)) = path.rsplit_once('/') else { return false };
    let (above, last) = folder.rsplit_once('/').unwrap_or(("", folder));
    let of_split = |folder: &str| canonical(folder).is_some() || folder == name;
    // A class may be called `train`, as in train/train/1.png.
    if !of_split(last) || above.split('/').any(of_split) {
        return false;
    }
    files.iter().all(|f| f.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
}

fn fault(name: &str, files: &[String], single: bool) -> Option<String> {
    let formats: BTreeSet<Format> = files.iter().filter_map(|path| Format::of(path)).collect();
    let listed = || match files {
        few if few.len() <= 6 => few.join(", "),
        many => format!("{}, … ({} in all)", many[..6].join(", "), many.len()),
    };
    if formats.len() > 1 {
        return Some(format!(
            "the files of the split `{name}` have several formats\n  found:    {}\n  expected: \
             files of one format",
            listed()
        ));
    }
    if formats.contains(&Format::ImageFolder) {
        let path = files.iter().find(|path| lies_in_split(name, path, files))?;
        let (folder, file) = path.rsplit_once('/')?;
        return Some(format!(
            "an image of the split `{name}` lies in no folder of its class\n  found:    {path}\n  \
             expected: {folder}/<class>/{file}"
        ));
    }
    let mut sets: BTreeMap<&str, Vec<Shard>> = BTreeMap::new();
    for shard in files.iter().map(|path| Shard::of(path)) {
        sets.entry(shard.prefix).or_default().push(shard);
    }
    let whole = |set: &Vec<Shard>| {
        set.len() == set[0].count.unwrap_or(1)
            && set.iter().enumerate().all(|(i, s)| s.index == i && s.count == set[0].count)
    };
    // Anything else would lose or repeat rows.
    let sound = sets.values().all(whole) && !(single && sets.len() > 1);
    (!sound).then(|| {
        format!(
            "the files of the split `{name}` are not one whole set\n  found:    {}\n  expected: \
             one file, or every one of {name}-00000-of-N to {name}-(N−1)-of-N",
            listed()
        )
    })
}

//! Assigns files to splits, by the patterns of a dataset card or by the names of files and folders.
//!
//! The result is that of Hugging Face's `datasets` 5.2, in the same order. But `datasets` silently
//! drops files that match no pattern or are not of the most common format. Here such files are an
//! error if they may hold rows or images; otherwise they are listed.

use std::collections::{BTreeMap, BTreeSet};

use super::card::{CARD, CardConfig};
use super::faults::{
    case_fault, formats_fault, hidden_fault, no_split_fault, split_fault, twice_fault, unread_fault,
};
use super::formats::{Format, Holds, holds, is_metadata, named};
use super::glob;
use super::names::{self, SPLITS};
use crate::error::Fault;

/// A split's files.
#[derive(Clone, Debug)]
pub struct Split {
    pub name: String,
    /// Files with rows, in order.
    pub files: Vec<String>,
    /// Metadata files of images.
    pub metadata: Vec<String>,
    /// Why the files cannot be read. It is reported only when the split is used, since a folder may
    /// hold only some of the card's splits.
    pub fault: Option<Fault>,
}

/// The splits and other files of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub splits: Vec<Split>,
    /// Why no split can be read.
    pub fault: Option<Fault>,
    /// Files of unknown formats, which may or may not hold rows.
    pub left_out: Vec<String>,
    /// Files of other configurations, or of none.
    pub elsewhere: Vec<String>,
    /// How the splits were found, as text.
    pub by: &'static str,
}

impl Found {
    /// Lists files that are not read, with those of other configurations if there is a card that has
    /// some.
    pub fn leave_out<'f>(&mut self, files: impl Iterator<Item = &'f str>, of_card: bool) {
        let all = if of_card { &mut self.elsewhere } else { &mut self.left_out };
        all.extend(files.map(str::to_string));
        all.sort();
    }
}

/// Splits by the patterns of a card's configuration. Patterns are relative to `folder`, which is
/// empty or ends with a slash. All other files belong to other configurations or to none.
pub fn by_card(config: &CardConfig, folder: &str, files: &[&str]) -> Found {
    // Without `data_dir`, patterns are relative to the repository.
    let folder = if config.folder.is_some() { folder } else { "" };
    let mut taken = BTreeSet::new();
    let mut unread = Vec::new();
    let mut split = |(name, patterns): &(String, Vec<String>)| {
        let mut paths: Vec<&str> = Vec::new();
        let mut fault = None;
        for pattern in patterns {
            let full = format!("{folder}{}", pattern.trim_start_matches("./"));
            let matching = |path: &&str| !left_aside(path, &full) && glob::matches(&full, path);
            let found: Vec<&str> = files.iter().copied().filter(matching).collect();
            unread.extend(found.iter().copied().filter(|path| named(path) == Holds::Unread));
            if !found.iter().any(|path| matches!(named(path), Holds::Rows(_) | Holds::Unread)) {
                fault.get_or_insert_with(|| {
                    Fault::new(format!("files that {CARD} names are not there"))
                        .found(format!("no file of rows that matches `{full}`"))
                        .expected(format!("the files of the split `{name}` of `{}`", config.name))
                });
            }
            paths.extend(found);
        }
        taken.extend(paths.iter().copied());
        let mut once = BTreeSet::new();
        let rows = paths.iter().filter(|path| Format::of(path).is_some());
        if let Some(twice) = rows.copied().find(|path| !once.insert(*path)) {
            fault.get_or_insert_with(|| {
                Fault::new(format!("a file is in the split `{name}` twice"))
                    .found(format!("{twice}, by {}", patterns.join(" and by ")))
                    .expected(format!("one pattern of {CARD} for each file"))
            });
        }
        let split = arranged(name.clone(), paths);
        Split { fault: fault.or(split.fault), ..split }
    };
    let splits = config.splits.iter().map(&mut split).collect();
    let of = |want: &dyn Fn(&str) -> bool| -> Vec<String> {
        files.iter().filter(|path| want(path)).map(|path| path.to_string()).collect()
    };
    Found {
        splits,
        fault: unread_fault(&unread),
        left_out: of(&|path| taken.contains(path) && named(path) == Holds::Unknown),
        elsewhere: of(&|path| !taken.contains(path) && holds(path) != Holds::Nothing),
        by: "the dataset card",
    }
}

/// Whether a card's configuration includes the file, by a pattern or by its folder.
pub fn claims(config: &CardConfig, folder: &str, path: &str) -> bool {
    let named = |pattern: &String| {
        let full = format!("{folder}{}", pattern.trim_start_matches("./"));
        glob::matches(&full, path)
    };
    match config.splits.is_empty() {
        true => !folder.is_empty() && path.starts_with(folder),
        false => config.splits.iter().flat_map(|(_, patterns)| patterns).any(named),
    }
}

/// Whether the path has a folder that begins with two underscores, or a hidden part, that the
/// pattern does not name. `datasets` does not match such paths.
fn left_aside(path: &str, pattern: &str) -> bool {
    let parts = |text: &str, of: fn(&str) -> bool| text.split('/').filter(|part| of(part)).count();
    let hidden = |part: &str| part.starts_with('.') && !part.bytes().all(|b| b == b'.');
    let folders = |text: &str| match text.rsplit_once('/') {
        Some((folders, _)) => parts(folders, |part| part.starts_with("__")),
        None => 0,
    };
    folders(path) != folders(pattern) || parts(path, hidden) != parts(pattern, hidden)
}

/// Facts from the card about files that are in no split by their names.
pub struct CardHints<'a> {
    /// Whether the card shows the image.
    pub shown: &'a dyn Fn(&str) -> bool,
    /// Whether one of the card's configurations includes the file.
    pub claimed: &'a dyn Fn(&str) -> bool,
}

/// Splits by the names of the files below `folder`, which is empty or ends with a slash.
///
/// Three rules are tried in order, and the first that finds a split is used: shards in `data/` that
/// are named by a split, folders that are named by a split, files that are named by a split. If
/// none finds a split, all files are `train`.
pub fn by_name(files: &[&str], folder: &str, card: &CardHints) -> Found {
    let files = || files.iter().copied().filter(|path| holds(path) != Holds::Nothing);
    let below: Vec<&str> = files().filter(|path| path.starts_with(folder)).collect();
    let is_image = |path: &str| holds(path) == Holds::Rows(Format::ImageFolder);
    let images = below.iter().filter(|path| is_image(path)).count();
    let rows = below.iter().filter(|path| matches!(holds(path), Holds::Rows(_))).count();
    let tables = rows - images;
    // Images beside tables are illustrations if the card shows them.
    let picture = |path: &str| images <= tables && is_image(path) && (card.shown)(path);
    let all: Vec<&str> = below.into_iter().filter(|path| !picture(path)).collect();
    // Folders that begin with two underscores belong to no split.
    let rest = |path: &&str| path.strip_prefix(folder).unwrap_or(path).to_string();
    let aside = |path: &&str| left_aside(&rest(path), "*");
    let seen: Vec<&str> = all.iter().copied().filter(|path| !aside(path)).collect();

    let (by, groups) = grouped(&seen, folder);
    let mut taken: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (split, paths) in &groups {
        paths.iter().for_each(|path| taken.entry(path).or_default().push(split));
    }
    // A file in no split of this configuration may belong to another configuration.
    let others = |path: &str| {
        !path.starts_with(folder) || (!taken.contains_key(path) && (card.claimed)(path))
    };
    let of = |want: fn(Holds) -> bool| -> Vec<&str> {
        all.iter().copied().filter(|path| want(holds(path)) && !others(path)).collect()
    };
    let rows = of(|holds| matches!(holds, Holds::Rows(_)));
    let loose: Vec<&str> = rows.iter().copied().filter(|path| !taken.contains_key(path)).collect();
    let names: Vec<&str> = match loose.iter().all(aside) {
        true => Vec::new(),
        false => groups.iter().map(|(split, _)| &split[..]).collect(),
    };
    let fault = unread_fault(&of(|holds| holds == Holds::Unread))
        .or_else(|| hidden_fault(&of(|holds| holds == Holds::Hidden)))
        .or_else(|| twice_fault(&rows, &taken))
        .or_else(|| no_split_fault(&loose, &rows, by, &names))
        .or_else(|| formats_fault(&rows))
        .or_else(|| (by == NO_NAMES).then(|| case_fault(&rows, folder)).flatten());
    let (left_out, elsewhere) = {
        let owned = |paths: Vec<&str>| paths.into_iter().map(str::to_string).collect::<Vec<_>>();
        let unknown = owned(of(|holds| holds == Holds::Unknown));
        (unknown, owned(files().filter(|path| others(path)).collect()))
    };
    let holds_rows =
        |(_, paths): &(String, Vec<&str>)| paths.iter().any(|p| Format::of(p).is_some());
    let splits = groups.into_iter().filter(holds_rows);
    let splits = splits.map(|(name, paths)| arranged(name, paths)).collect();
    Found { splits, fault, left_out, elsewhere, by }
}

/// The text for [`Found::by`] if no name contains a split.
const NO_NAMES: &str = "no names: all files are train";

/// The rule that found the splits, and each split with its files. A file is listed once for each
/// pattern of `datasets` that matches it.
fn grouped<'a>(files: &[&'a str], folder: &str) -> (&'static str, Vec<(String, Vec<&'a str>)>) {
    let rest = |path: &str| path.strip_prefix(folder).unwrap_or(path).to_string();
    if files.iter().any(|path| Format::of(path) == Some(Format::Idx)) {
        return ("the names of files", idx(files));
    }
    let mut shards: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for path in files {
        if let Some(split) = names::in_data(&rest(path)) {
            shards.entry(split.to_string()).or_default().push(path);
        }
    }
    if !shards.is_empty() {
        let place = |name: &str| {
            SPLITS.iter().position(|(split, _)| *split == name).unwrap_or(SPLITS.len())
        };
        let mut groups: Vec<_> = shards.into_iter().collect();
        groups.sort_by_key(|(name, _)| place(name));
        return ("the names of shards in data/", groups);
    }
    type Takes = fn(&str, &[&str]) -> names::Matches;
    let families: [(&str, Takes); 2] =
        [("the names of folders", names::in_folders), ("the names of files", names::in_file)];
    for (by, matches) in families {
        let mut groups = Vec::new();
        for (split, words) in SPLITS {
            let mut found: Vec<((usize, u8), &str)> = Vec::new();
            for path in files {
                found.extend(
                    matches(&rest(path), words).into_iter().map(|pattern| (pattern, *path)),
                );
            }
            found.sort_unstable();
            if !found.is_empty() {
                groups.push((split.to_string(), found.into_iter().map(|(_, path)| path).collect()));
            }
        }
        if !groups.is_empty() {
            return (by, groups);
        }
    }
    (NO_NAMES, vec![("train".to_string(), files.to_vec())])
}

/// Splits of IDX files. `datasets` does not support this format.
fn idx<'a>(files: &[&'a str]) -> Vec<(String, Vec<&'a str>)> {
    let split = |path: &str| names::idx(path).and_then(|(split, _)| split);
    if !files.iter().any(|path| split(path).is_some()) {
        return vec![("train".to_string(), files.to_vec())];
    }
    let of = |name: &str| files.iter().copied().filter(|path| split(path) == Some(name)).collect();
    let groups = SPLITS.iter().map(|(name, _)| (name.to_string(), of(name)));
    groups.filter(|(_, files): &(_, Vec<&str>)| !files.is_empty()).collect()
}

/// A split of these paths, in order, without files that hold no rows.
fn arranged(name: String, paths: Vec<&str>) -> Split {
    let rows: Vec<&str> = paths.into_iter().filter(|path| Format::of(path).is_some()).collect();
    let images = rows.iter().any(|path| Format::of(path) == Some(Format::ImageFolder));
    let describes = |path: &&str| images && is_metadata(path);
    let owned = |paths: Vec<&str>| paths.into_iter().map(str::to_string).collect::<Vec<_>>();
    let (metadata, files): (Vec<&str>, Vec<&str>) = rows.into_iter().partition(describes);
    let (files, metadata) = (owned(files), owned(metadata));
    let fault = split_fault(&name, &files);
    Split { name, files, metadata, fault }
}

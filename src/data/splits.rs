//! Files to splits: by the patterns of a dataset card, or by the names of files and folders.
//!
//! What is found is what Hugging Face's `datasets` 5.2 finds, in its order. It drops without a word
//! what no pattern takes and what is not of the commonest format; here such files are a fault of
//! the whole dataset if they may hold rows or images, and are listed if they may not.

use std::collections::{BTreeMap, BTreeSet};

use super::card::{CARD, CardConfig};
use super::formats::{Format, Holds, holds, in_another_case, is_image_ending, is_metadata, named};
use super::glob;
use super::names::{self, SPLITS, Shard};

/// A split's files.
#[derive(Clone, Debug)]
pub struct Split {
    pub name: String,
    /// Those that hold rows, in the order of their rows.
    pub files: Vec<String>,
    /// Those that describe images in files of their own.
    pub metadata: Vec<String>,
    /// Why the files cannot be read as they are. Reported only when the split is asked for: a folder
    /// may hold one split of a card's three.
    pub fault: Option<String>,
}

/// What the files of one configuration are.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub splits: Vec<Split>,
    /// Why no split of it is read.
    pub fault: Option<String>,
    /// Files of no known format: whether they hold rows is not known.
    pub left_out: Vec<String>,
    /// Files of other configurations, or of none that the card names.
    pub elsewhere: Vec<String>,
    /// What the splits were found by.
    pub by: &'static str,
}

/// Splits by the patterns of a card's configuration, which are relative to `folder` (with a slash
/// at its end, or empty). The other files are other configurations' or nobody's: the card says so.
pub fn by_card(config: &CardConfig, folder: &str, files: &[&str]) -> Found {
    // Without `data_dir`, patterns are the repository's paths.
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
                fault = fault.or(Some(format!(
                    "files that {CARD} names are not there\n  found:    no file of rows that \
                     matches `{full}`\n  expected: the files of the split `{name}` of `{}`",
                    config.name
                )));
            }
            paths.extend(found);
        }
        taken.extend(paths.iter().copied());
        let mut once = BTreeSet::new();
        let rows = paths.iter().filter(|path| Format::of(path).is_some());
        if let Some(twice) = rows.copied().find(|path| !once.insert(*path)) {
            fault = fault.or(Some(format!(
                "a file falls into the split `{name}` twice\n  found:    {twice}, by {}\n  \
                 expected: one pattern of {CARD} for each file",
                patterns.join(" and by ")
            )));
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

/// Whether a card's configuration names the file, by a pattern or by its folder.
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

/// Whether a pattern reaches the path without naming its folder of two underscores or its hidden
/// part.
fn left_aside(path: &str, pattern: &str) -> bool {
    let parts = |text: &str, of: fn(&str) -> bool| text.split('/').filter(|part| of(part)).count();
    let hidden = |part: &str| part.starts_with('.') && !part.bytes().all(|b| b == b'.');
    let folders = |text: &str| match text.rsplit_once('/') {
        Some((folders, _)) => parts(folders, |part| part.starts_with("__")),
        None => 0,
    };
    folders(path) != folders(pattern) || parts(path, hidden) != parts(pattern, hidden)
}

/// What a card says of files that by their names are in no split.
pub struct Said<'a> {
    /// Whether it shows the image.
    pub shown: &'a dyn Fn(&str) -> bool,
    /// Whether another of its configurations has the file.
    pub claimed: &'a dyn Fn(&str) -> bool,
}

/// Splits by the names of the files below `folder` (with a slash at its end, or empty).
///
/// Of these the first that finds any: files of `data/` named by a split and a shard's numbers;
/// folders named by a split; files named by one. Nothing found, everything is `train`.
pub fn by_name(files: &[&str], folder: &str, card: &Said) -> Found {
    let files = || files.iter().copied().filter(|path| holds(path) != Holds::Nothing);
    let below: Vec<&str> = files().filter(|path| path.starts_with(folder)).collect();
    let is_image = |path: &str| holds(path) == Holds::Rows(Format::ImageFolder);
    let images = below.iter().filter(|path| is_image(path)).count();
    let rows = below.iter().filter(|path| matches!(holds(path), Holds::Rows(_))).count();
    let tables = rows - images;
    // Beside tables, images that the card shows are its pictures.
    let picture = |path: &str| images <= tables && is_image(path) && (card.shown)(path);
    let all: Vec<&str> = below.into_iter().filter(|path| !picture(path)).collect();
    // Folders in two underscores are nobody's.
    let rest = |path: &&str| path.strip_prefix(folder).unwrap_or(path).to_string();
    let aside = |path: &&str| left_aside(&rest(path), "*");
    let seen: Vec<&str> = all.iter().copied().filter(|path| !aside(path)).collect();

    let (by, groups) = grouped(&seen, folder);
    let mut taken: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (split, paths) in &groups {
        paths.iter().for_each(|path| taken.entry(path).or_default().push(split));
    }
    // What no split of this configuration takes may be another's.
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
        .or_else(|| twice(&rows, &taken))
        .or_else(|| loose_fault(&loose, &rows, by, &names))
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

/// Nothing names a split.
const NO_NAMES: &str = "nothing: everything is train";

/// Splits with their files, and what they were found by. A file is listed once for each pattern of
/// `datasets` that matches it.
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

/// Splits of IDX files, which `datasets` does not know.
fn idx<'a>(files: &[&'a str]) -> Vec<(String, Vec<&'a str>)> {
    let split = |path: &str| names::idx(path).and_then(|(split, _)| split);
    if !files.iter().any(|path| split(path).is_some()) {
        return vec![("train".to_string(), files.to_vec())];
    }
    let of = |name: &str| files.iter().copied().filter(|path| split(path) == Some(name)).collect();
    let groups = SPLITS.iter().map(|(name, _)| (name.to_string(), of(name)));
    groups.filter(|(_, files): &(_, Vec<&str>)| !files.is_empty()).collect()
}

/// A split of these paths, in this order, without what holds no rows.
fn arranged(name: String, paths: Vec<&str>) -> Split {
    let rows: Vec<&str> = paths.into_iter().filter(|path| Format::of(path).is_some()).collect();
    let images = rows.iter().any(|path| Format::of(path) == Some(Format::ImageFolder));
    let describes = |path: &&str| images && is_metadata(path);
    let owned = |paths: Vec<&str>| paths.into_iter().map(str::to_string).collect::<Vec<_>>();
    let (metadata, files): (Vec<&str>, Vec<&str>) = rows.into_iter().partition(describes);
    let (files, metadata) = (owned(files), owned(metadata));
    let fault = fault(&name, &files);
    Split { name, files, metadata, fault }
}

/// Paths as messages list them.
pub fn listed<S: AsRef<str>>(paths: &[S]) -> String {
    let names = |paths: &[S]| paths.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match paths {
        few if few.len() <= 6 => names(few),
        many => format!("{}, … ({} in all)", names(&many[..6]), many.len()),
    }
}

fn fault(name: &str, files: &[String]) -> Option<String> {
    let formats: BTreeSet<Format> = files.iter().filter_map(|path| Format::of(path)).collect();
    if formats.len() > 1 {
        return Some(format!(
            "the files of the split `{name}` have several formats\n  found:    {}\n  expected: \
             files of one format",
            listed(files)
        ));
    }
    if formats.contains(&Format::ImageFolder) {
        return None;
    }
    let mut sets: BTreeMap<&str, Vec<Shard>> = BTreeMap::new();
    for shard in files.iter().map(|path| Shard::of(path)) {
        sets.entry(shard.prefix).or_default().push(shard);
    }
    sets.values_mut().for_each(|set| set.sort());
    let whole = |set: &Vec<Shard>| {
        set.len() == set[0].count.unwrap_or(1)
            && set.iter().enumerate().all(|(i, s)| s.index == i && s.count == set[0].count)
    };
    // Anything else would lose or repeat rows.
    (!sets.values().all(whole)).then(|| {
        format!(
            "the files of the split `{name}` are not whole sets\n  found:    {}\n  expected: \
             of each name one file, or every one of NAME-00000-of-N to NAME-(N−1)-of-N",
            listed(files)
        )
    })
}

fn unread_fault(unread: &[&str]) -> Option<String> {
    let other_case = unread.iter().find_map(|path| in_another_case(path));
    let reason = other_case.map_or(String::new(), |ending| {
        format!(
            "; .{} is known in lower case{}, as `datasets` knows it, and not as .{ending}",
            ending.to_ascii_lowercase(),
            match is_image_ending(ending) {
                true => " and in upper case",
                false => "",
            }
        )
    });
    let way_out = if other_case.is_some() { "rename, convert" } else { "convert" };
    (!unread.is_empty()).then(|| {
        format!(
            "files that may hold rows or images have endings that are not read\n  found:    {}\n  \
             expected: .parquet, .csv, .tsv, .jsonl, .ndjson, .json (these five may be packed, .gz), \
             -ubyte, .png, .jpg, .jpeg, .jpe, .jfif or .webp{reason}\n  help:     {way_out} or move \
             them, or leave them out by data.ignore",
            listed(unread)
        )
    })
}

fn hidden_fault(hidden: &[&str]) -> Option<String> {
    (!hidden.is_empty()).then(|| {
        format!(
            "files that may hold rows or images are hidden\n  found:    {}\n  expected: names of \
             files and folders that do not start with a dot: `datasets` passes over those that do\n  \
             help:     rename them, or leave them out by data.ignore",
            listed(hidden)
        )
    })
}

/// Options of a card's configuration that change what its files mean. They are obeyed nowhere here,
/// so only one that asks for what is done anyway is taken.
pub fn options_fault(config: &CardConfig, rows: &[&str]) -> Option<String> {
    let separator = match rows.iter().find_map(|path| Format::of(path)) {
        Some(Format::Csv) => Some(","),
        Some(Format::Tsv) => Some("\t"),
        _ => None,
    };
    let (name, value) = config.options.iter().find(|(name, value)| match &name[..] {
        "sep" | "delimiter" => value.as_str().is_none() || value.as_str() != separator,
        _ => true,
    })?;
    let help = match &name[..] {
        "drop_labels" | "drop_metadata" => {
            "this program learns labels: leave the line out of the card where images have them"
        }
        "sep" | "delimiter" => "write the values with commas in .csv, with tabs in .tsv",
        _ => "change the files so that they need no option, and leave the line out of the card",
    };
    Some(format!(
        "{CARD} sets an option of its reader that is not known here\n  found:    {name}: {value}, in \
         the configuration `{}`\n  expected: config_name, data_files, data_dir and default alone\n  \
         help:     {help}",
        config.name
    ))
}

/// A file that patterns of two splits match, or two patterns of one: `datasets` reads it twice.
fn twice(rows: &[&str], taken: &BTreeMap<&str, Vec<&str>>) -> Option<String> {
    let mut several = rows.iter().filter_map(|path| Some((*path, taken.get(path)?)));
    let (path, splits) = several.find(|(_, splits)| splits.len() > 1)?;
    let mut names = splits.clone();
    names.dedup();
    let into = match &names[..] {
        [only] => format!("the split `{only}` twice"),
        _ => "two splits".to_string(),
    };
    let words = "each name on the path to say one split once";
    Some(format!(
        "a file falls into {into}\n  found:    {path}, in {}\n  expected: {words}\n  help:     rename \
         what is not meant as a split, or write the splits down as `configs` in {CARD}",
        names.join(" and ")
    ))
}

/// The help where images lie beside tables, which may be meant to describe them.
fn describe_images(rows: &[&str]) -> &'static str {
    let image = |path: &&str| Format::of(path) == Some(Format::ImageFolder);
    let text = |path: &&str| {
        matches!(Format::of(path), Some(Format::Csv | Format::Tsv | Format::JsonLines))
    };
    match rows.iter().any(image) && rows.iter().any(text) {
        true => {
            "\n  help:     a table whose rows name images is called metadata.csv, metadata.jsonl or \
             metadata.parquet, lies in the folder of the images' split, and has their paths in a column \
             file_name"
        }
        false => "",
    }
}

/// Files of rows that no split takes.
fn loose_fault(loose: &[&str], rows: &[&str], by: &str, splits: &[&str]) -> Option<String> {
    (!loose.is_empty()).then(|| match splits {
        [] => format!(
            "files that hold rows or images lie in a folder of two underscores\n  found:    {}\n  \
             expected: folders of other names\n  help:     rename the folder, or leave it out by \
             data.ignore",
            listed(loose)
        ),
        splits => format!(
            "files that hold rows or images are in no split\n  found:    {}\n  expected: a split for \
             each; the splits {} were found by {by}\n  help:     move or rename them, leave them out \
             by data.ignore, or write the splits down as `configs` in {CARD}{}",
            listed(loose),
            splits.join(", "),
            describe_images(rows)
        ),
    })
}

/// Files of several formats, of which `datasets` takes the commonest.
fn formats_fault(rows: &[&str]) -> Option<String> {
    let images = rows.iter().any(|path| Format::of(path) == Some(Format::ImageFolder));
    let mut formats: BTreeMap<Format, Vec<&str>> = BTreeMap::new();
    for path in rows.iter().filter(|path| !(images && is_metadata(path))) {
        if let Some(format) = Format::of(path) {
            formats.entry(format).or_default().push(path);
        }
    }
    if formats.len() < 2 {
        return None;
    }
    let mut formats: Vec<_> = formats.into_iter().collect();
    formats.sort_by_key(|(_, paths)| paths.len());
    let of =
        |(format, paths): &(Format, Vec<&str>)| format!("{}: {}", format.name(), listed(paths));
    let found: Vec<String> = formats.iter().map(of).collect();
    Some(format!(
        "the files that hold rows or images have several formats\n  found:    {}\n  expected: files of \
         one format\n  help:     leave the others out by data.ignore, or write down as `configs` in {CARD} \
         which are which split's{}",
        found.join("; "),
        describe_images(rows)
    ))
}

/// Words for splits in capitals, which `datasets` takes for none: it would train on the test split.
fn case_fault(rows: &[&str], folder: &str) -> Option<String> {
    let says = |path: &&&str| {
        let lower = path.strip_prefix(folder).unwrap_or(path).to_lowercase();
        SPLITS.iter().any(|(_, words)| {
            !names::in_folders(&lower, words).is_empty()
                || !names::in_file(&lower, words).is_empty()
        })
    };
    let path = rows.iter().find(says)?;
    Some(format!(
        "a split's name is not in lower case\n  found:    {path}\n  expected: train, validation, test or \
         another word for one of them in lower case: otherwise everything is one split"
    ))
}

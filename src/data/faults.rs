//! Errors for files of a dataset that cannot be read as they are.
//!
//! `datasets` drops such files silently or reads them twice.

use std::collections::{BTreeMap, BTreeSet};

use super::card::{CARD, CardConfig};
use super::formats::{Format, in_another_case, is_image_ending, is_metadata};
use super::names::{self, SPLITS, Shard};
use crate::error::Fault;

/// A list of paths for messages, shortened if it is long.
pub fn listed<S: AsRef<str>>(paths: &[S]) -> String {
    let names = |paths: &[S]| paths.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match paths {
        few if few.len() <= 6 => names(few),
        many => format!("{}, … ({} in all)", names(&many[..6]), many.len()),
    }
}

/// A split's files have several formats, or a set of shards is incomplete.
pub fn split_fault(name: &str, files: &[String]) -> Option<Fault> {
    let formats: BTreeSet<Format> = files.iter().filter_map(|path| Format::of(path)).collect();
    if formats.len() > 1 {
        let fault = Fault::new(format!("the files of the split `{name}` have several formats"));
        return Some(fault.found(listed(files)).expected("files of one format"));
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
    // Reading an incomplete set would lose or repeat rows.
    (!sets.values().all(whole)).then(|| {
        Fault::new(format!("the shards of the split `{name}` are incomplete or repeated"))
            .found(listed(files))
            .expected("one file of each name, or all of NAME-00000-of-N to NAME-(N−1)-of-N")
    })
}

pub fn unread_fault(unread: &[&str]) -> Option<Fault> {
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
        Fault::new("files that may hold rows or images have endings that are not read")
            .found(listed(unread))
            .expected(format!(
                ".parquet, .csv, .tsv, .jsonl, .ndjson, .json, .txt, -ubyte (except .parquet, \
                 these may be compressed, .gz), .png, .jpg, .jpeg, .jpe, .jfif or .webp{reason}"
            ))
            .help(format!("{way_out} or move them, or leave them out by data.ignore"))
    })
}

pub fn hidden_fault(hidden: &[&str]) -> Option<Fault> {
    (!hidden.is_empty()).then(|| {
        Fault::new("files that may hold rows or images are hidden")
            .found(listed(hidden))
            .expected(
                "names of files and folders that do not start with a dot: `datasets` passes over \
                 those that do",
            )
            .help("rename them, or leave them out by data.ignore")
    })
}

/// The card's configuration has an option that changes how its files are read. Options are not
/// supported, except a separator that is used anyway.
pub fn options_fault(config: &CardConfig, rows: &[&str]) -> Option<Fault> {
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
    let fault = Fault::new(format!("{CARD} sets an option of its reader that is not known here"))
        .found(format!("{name}: {value}, in the configuration `{}`", config.name))
        .expected("config_name, data_files, data_dir and default alone");
    Some(fault.help(help))
}

/// A file matches patterns of two splits, or two patterns of one. `datasets` would read it twice.
pub fn twice_fault(rows: &[&str], taken: &BTreeMap<&str, Vec<&str>>) -> Option<Fault> {
    let mut several = rows.iter().filter_map(|path| Some((*path, taken.get(path)?)));
    let (path, splits) = several.find(|(_, splits)| splits.len() > 1)?;
    let mut names = splits.clone();
    names.dedup();
    let into = match &names[..] {
        [only] => format!("the split `{only}` twice"),
        _ => "two splits".to_string(),
    };
    let fault = Fault::new(format!("a file is in {into}"))
        .found(format!("{path}, in {}", names.join(" and ")))
        .expected("a path that names one split, once");
    Some(fault.help(format!(
        "rename what is not meant as a split, or write the splits down as `configs` in {CARD}"
    )))
}

/// Adds help for images beside tables. The tables may be meant as metadata of the images.
fn describe_images(fault: Fault, rows: &[&str]) -> Fault {
    let image = |path: &&str| Format::of(path) == Some(Format::ImageFolder);
    let text = |path: &&str| {
        matches!(Format::of(path), Some(Format::Csv | Format::Tsv | Format::JsonLines))
    };
    match rows.iter().any(image) && rows.iter().any(text) {
        true => fault.help(
            "a table whose rows name images is called metadata.csv, metadata.jsonl or \
             metadata.parquet, lies in the folder of the images' split, and has their paths in a \
             column file_name",
        ),
        false => fault,
    }
}

/// Files of rows that are in no split.
pub fn no_split_fault(loose: &[&str], rows: &[&str], by: &str, splits: &[&str]) -> Option<Fault> {
    (!loose.is_empty()).then(|| match splits {
        [] => Fault::new("files that hold rows or images lie in a folder of two underscores")
            .found(listed(loose))
            .expected("folders of other names")
            .help("rename the folder, or leave it out by data.ignore"),
        splits => {
            let fault = Fault::new("files that hold rows or images are in no split")
                .found(listed(loose))
                .expected(format!(
                    "a split for each; the splits {} were found by {by}",
                    splits.join(", ")
                ))
                .help(format!(
                    "move or rename them, leave them out by data.ignore, or write the splits down \
                     as `configs` in {CARD}"
                ));
            describe_images(fault, rows)
        }
    })
}

/// The files have several formats. `datasets` would read only the most common one.
pub fn formats_fault(rows: &[&str]) -> Option<Fault> {
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
    let fault = Fault::new("the files that hold rows or images have several formats")
        .found(found.join("; "))
        .expected("files of one format")
        .help(format!(
            "leave the others out by data.ignore, or write down as `configs` in {CARD} which are \
             which split's"
        ));
    Some(describe_images(fault, rows))
}

/// The name of a split has capital letters. `datasets` does not recognise it and would train on the
/// test split.
pub fn case_fault(rows: &[&str], folder: &str) -> Option<Fault> {
    let says = |path: &&&str| {
        let lower = path.strip_prefix(folder).unwrap_or(path).to_lowercase();
        SPLITS.iter().any(|(_, words)| {
            !names::in_folders(&lower, words).is_empty()
                || !names::in_file(&lower, words).is_empty()
        })
    };
    let path = rows.iter().find(says)?;
    let fault = Fault::new("a split's name is not in lower case").found(path).expected(
        "train, validation, test or another word for one of them in lower case: otherwise \
         everything is one split",
    );
    Some(fault)
}

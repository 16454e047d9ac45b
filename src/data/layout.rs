//! Finds the files of each split in a repository, like the `datasets` library of Hugging Face: by
//! the dataset card's `configs`, else by the names of files and folders.

use std::collections::{BTreeSet, HashSet};

use super::aligned_lines::{self, Languages};
use super::card::Card;
use super::configurations::{by_folder, choose, folder_of, without_files};
use super::faults::{listed, options_fault};
use super::formats::{Format, Holds, holds, is_apple_double};
use super::glob;
use super::names::{canonical, names_split};
use super::splits::{CardHints, Found, Split, by_card, by_name, claims};
use crate::error::{Error, Fault, Result};
use crate::hub::Repository;
use crate::spec::{FilesSpec, nearest};

/// One configuration of a dataset.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The repository's name for errors.
    name: String,
    /// The configuration's name, if the dataset has configurations.
    pub config: Option<String>,
    pub card: Card,
    found: Found,
    /// Files that `data.ignore` names.
    ignored: Vec<String>,
    /// Names of the columns of CSV and TSV files that do not name them; empty where the files do.
    pub columns: Vec<String>,
    /// The endings of the files of all splits, if they are files of aligned lines.
    pub aligned: Option<Languages>,
}

impl Layout {
    /// Finds the splits from the card, if there is one, and the list of files.
    pub fn of(repository: &Repository, config: Option<&str>) -> Result<Layout> {
        Layout::without(repository, config, &[])
    }

    /// The layout that a run of `spec` reads.
    pub fn of_spec(repository: &Repository, spec: &FilesSpec) -> Result<Layout> {
        if let Some(aligned) = Layout::of_aligned_lines(repository, spec)? {
            aligned.expect_no_options(spec)?;
            return Ok(aligned);
        }
        Ok(Layout::without(repository, spec.config, spec.ignore)?.with_columns(spec.columns))
    }

    /// The pairs of files of aligned lines. None if there are none, or if there are tables.
    fn of_aligned_lines(repository: &Repository, spec: &FilesSpec) -> Result<Option<Layout>> {
        let Some(languages) = spec.languages else { return Ok(None) };
        let languages = languages.map(str::to_string);
        let (ignored, files) = without_ignored(repository, spec.ignore)?;
        let (splits, rest) = aligned_lines::pairs(&files, &languages);
        // Texts and pictures are notes.
        let is_table = |path: &&str| {
            !matches!(Format::of(path), None | Some(Format::PlainText | Format::ImageFolder))
        };
        if splits.is_empty() || rest.iter().any(is_table) {
            return Ok(None);
        }
        let mut found = Found { splits, by: "pairs of files of aligned lines", ..Found::default() };
        found.leave_out(rest.into_iter().filter(|path| holds(path) != Holds::Nothing), false);
        Ok(Some(Layout {
            name: repository.name().to_string(),
            config: None,
            card: Card::default(),
            found,
            ignored: ignored.into_iter().map(str::to_string).collect(),
            columns: Vec::new(),
            aligned: Some(languages),
        }))
    }

    /// Errors if the spec has fields that files of aligned lines do not know.
    fn expect_no_options(&self, spec: &FilesSpec) -> Result<()> {
        let config = spec.config.map(|config| ("data.config", config.to_string()));
        let columns = || ("data.columns", spec.columns.join(", "));
        let given = config.or_else(|| (!spec.columns.is_empty()).then(columns));
        given.map_or(Ok(()), |(field, found)| {
            Err(Fault::new("files of aligned lines have no configurations and name no columns")
                .source(&self.name)
                .within(field)
                .found(found)
                .expected(
                    "none: `data.source_column` and `data.target_column` are the files' endings",
                )
                .into())
        })
    }

    /// The same for CSV and TSV files whose columns these are: their first row is an example.
    pub fn with_columns(self, columns: &[String]) -> Layout {
        Layout { columns: columns.to_vec(), ..self }
    }

    /// [`Layout::of`] without the files that match a pattern of `ignore`. Errors if a pattern
    /// matches no file.
    pub fn without(
        repository: &Repository,
        config: Option<&str>,
        ignore: &[String],
    ) -> Result<Layout> {
        let card = Card::of(repository)?;
        let name = repository.name().to_string();
        let (ignored, files) = without_ignored(repository, ignore)?;
        let there: HashSet<&str> = files.iter().copied().collect();
        let files: Vec<&str> = files
            .into_iter()
            .filter(|path| !is_apple_double(path, |other| there.contains(other)))
            .collect();
        let is_rows = |path: &&str| matches!(holds(path), Holds::Rows(_));
        let is_text = |path: &&str| Format::of(path) == Some(Format::PlainText);
        let by_pattern = |path: &&str| {
            card.configs
                .iter()
                .any(|config| !config.splits.is_empty() && claims(config, &folder_of(config), path))
        };
        // Beside other rows, plain texts are notes and lists, unless the card names them.
        let tables = files.iter().any(|path| is_rows(path) && !is_text(path));
        let is_beside = |path: &&str| tables && is_text(path) && !by_pattern(path);
        let (texts, files): (Vec<&str>, Vec<&str>) = files.into_iter().partition(is_beside);
        let rows: Vec<&str> = files.iter().copied().filter(is_rows).collect();
        let shown = |path: &str| card.shows(path);
        let claimed =
            |path: &str| card.configs.iter().any(|config| claims(config, &folder_of(config), path));
        let hints = CardHints { shown: &shown, claimed: &claimed };
        let (config, mut found) = if card.configs.is_empty() {
            let (config, folder) = by_folder(&name, &rows, config)?;
            (config, by_name(&files, &folder, &hints))
        } else {
            let chosen = choose(&card, config)?.clone();
            let folder = folder_of(&chosen);
            let found = match chosen.splits.is_empty() {
                true => without_files(&chosen, &rows, &folder)
                    .unwrap_or_else(|| by_name(&files, &folder, &hints)),
                false => by_card(&chosen, &folder, &files),
            };
            let fault = found.fault.or_else(|| options_fault(&chosen, &rows));
            (Some(chosen.name), Found { fault, ..found })
        };
        found.leave_out(texts.into_iter().filter(is_rows), !card.configs.is_empty());
        let ignored = ignored.into_iter().map(str::to_string).collect();
        let fault = found.fault.take();
        let mut layout =
            Layout { name, config, card, found, ignored, columns: Vec::new(), aligned: None };
        layout.found.fault = fault.or_else(|| layout.no_labels());
        Ok(layout)
    }

    /// The repository's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the splits.
    pub fn splits(&self) -> impl Iterator<Item = &str> {
        self.found.splits.iter().map(|split| split.name.as_str())
    }

    /// Whether rows are in CSV or TSV.
    pub fn is_csv(&self) -> bool {
        let files = self.found.splits.iter().flat_map(|split| &split.files);
        let mut formats = files.filter_map(|path| Format::of(path));
        formats.any(|format| matches!(format, Format::Csv | Format::Tsv))
    }

    /// Whether there is a split of this name, or of a word with the same meaning.
    pub fn has(&self, split: &str) -> bool {
        self.find(split).is_some()
    }

    /// How the splits were found, as text.
    pub fn by(&self) -> &'static str {
        self.found.by
    }

    /// Files that are not read, each group with its reason. Files that never hold rows, such as a
    /// README, are not listed.
    pub fn left_out(&self) -> [(&'static str, &[String]); 3] {
        [
            ("of no known format", &self.found.left_out),
            ("of other configurations or none", &self.found.elsewhere),
            ("ignored, as asked for", &self.ignored),
        ]
    }

    /// A note for the user about files of no known format. None without such files.
    pub fn note(&self) -> Option<String> {
        let files = &self.found.left_out;
        let text = || format!("{}: not read, of no known format: {}", self.name, listed(files));
        (!files.is_empty()).then(text)
    }

    /// Errors if the dataset has files that may hold rows or images and are in no split.
    pub fn fault(&self) -> Result<()> {
        match &self.found.fault {
            Some(fault) => Err(fault.clone().source(&self.name).into()),
            None => Ok(()),
        }
    }

    /// A split with its files. Words of the same meaning are accepted, such as `val` and `dev` for
    /// `validation`. Errors if there is no such split, if its files are incomplete, or if the
    /// dataset has files that may hold rows or images and are in no split.
    pub fn split(&self, split: &str) -> Result<&Split> {
        self.fault()?;
        let Some(found) = self.find(split) else { return Err(self.no_split(split)) };
        match &found.fault {
            Some(fault) => Err(fault.clone().source(&self.name).into()),
            None => Ok(found),
        }
    }

    /// Paths of all files of a split: those with rows, in order, then the metadata files of images.
    pub fn files(&self, split: &str) -> Result<Vec<&str>> {
        let split = self.split(split)?;
        Ok(split.files.iter().chain(&split.metadata).map(String::as_str).collect())
    }

    fn no_split(&self, split: &str) -> Error {
        let names: Vec<&str> = self.splits().collect();
        let config = self.config.as_ref().map(|c| format!(" of `{c}`")).unwrap_or_default();
        let there = match names.is_empty() {
            true => "no files of rows".to_string(),
            false => format!("the splits {}", names.join(", ")),
        };
        let left = match &self.found.left_out[..] {
            [] => String::new(),
            left => format!("; not read: {}", listed(left)),
        };
        // Aligned lines are files of one stem, whose endings name languages.
        let endings = self.found.left_out.iter().filter_map(|path| {
            let (stem, ending) = path.rsplit('/').next()?.split_once('.')?;
            (stem == split).then_some(ending)
        });
        let endings: Vec<&str> = endings.collect();
        let fault = Fault::new(format!("there are no files of the split `{split}`{config}"))
            .source(&self.name)
            .found(format!("{there}{left}"))
            .expected(format!(
                "{split}.parquet, .csv, .tsv or .jsonl, or a folder {split}, or files that the \
                     dataset card names"
            ))
            .did_you_mean(nearest(split, names.iter().copied()));
        Error::from(match endings.len() {
            0 | 1 => fault,
            _ => fault.help(format!(
                "files of aligned lines are read where `data.source_column` and `data.target_column` name their \
                 endings, of {}",
                endings.join(", ")
            )),
        })
    }

    /// [`Layout::files`] for `data.validation` or `data.test`. If the dataset has no such split,
    /// the error names the alternatives.
    pub fn files_for(&self, role: &str, split: &str) -> Result<Vec<&str>> {
        let instead = match role {
            "validation" => {
                "`data.validation: {fraction: 0.1}` takes a tenth of the training split, \
                 `data.validation: null` trains without validation"
            }
            "test" => "`data.test: {fraction: 0.1}` takes a tenth of the training split",
            _ => return self.files(split),
        };
        self.files(split).map_err(|error| match self.find(split) {
            None if self.found.fault.is_none() => error.map_fault(|fault| fault.help(instead)),
            _ => error,
        })
    }

    fn find(&self, split: &str) -> Option<&Split> {
        let same = |found: &&Split| found.name == split;
        let means = |found: &&Split| {
            canonical(split).is_some() && canonical(&found.name) == canonical(split)
        };
        let splits = &self.found.splits;
        splits.iter().find(same).or_else(|| splits.iter().find(means))
    }

    /// The classes of image folders, sorted. They are those of all splits, since a split may lack a
    /// class. Empty if metadata files describe the images.
    pub fn folder_classes(&self) -> Vec<String> {
        if self.found.splits.iter().any(|split| !split.metadata.is_empty()) {
            return Vec::new();
        }
        let files = self.found.splits.iter().flat_map(|split| &split.files);
        let names: BTreeSet<&str> = files.filter_map(|path| class_of(path)).collect();
        names.into_iter().map(str::to_string).collect()
    }

    /// The fault if images in folders have no labels. `datasets` gives such images no labels, or
    /// uses the splits' names.
    fn no_labels(&self) -> Option<Fault> {
        let splits = &self.found.splits;
        let is_image = |path: &&String| Format::of(path) == Some(Format::ImageFolder);
        let images = || {
            splits
                .iter()
                .flat_map(|split| split.files.iter().map(move |path| (split, path)))
                .filter(|(_, path)| is_image(path))
        };
        let (first_split, first) = images().next()?;
        if splits.iter().any(|split| !split.metadata.is_empty()) {
            let bare = splits.iter().find(|split| split.metadata.is_empty())?;
            let fault = Fault::new("a split has no metadata file, others have one")
                .found(format!("{}, of `{}`", bare.files.first()?, bare.name))
                .expected("metadata.csv, .jsonl or .parquet in every split, or in none");
            return Some(fault);
        }
        let expected = "a folder a class, all at one depth, as in train/cat/1.png, or a \
             metadata.csv with the columns file_name and label";
        let depth = |path: &str| path.split('/').count();
        if let Some((_, other)) = images().find(|(_, path)| depth(path) != depth(first)) {
            let problem = "images lie at different depths, so that their folders name no classes";
            let fault = Fault::new(problem)
                .found(format!("{first}, {other}"))
                .expected(expected)
                .help("leave some out by data.ignore, if they are not to be read");
            return Some(fault);
        }
        let classes = self.folder_classes();
        if classes.is_empty() {
            let fault = Fault::new("an image lies in no folder that names its class");
            return Some(fault.found(first).expected(expected));
        }
        // A class may be called `train`, as in train/train/1.png.
        let in_split_folder = |(split, path): &(&Split, &String)| {
            let mut folders = path.rsplit('/').skip(1);
            let last = folders.next().unwrap_or_default();
            let of_split = |folder: &str| names_split(folder) || folder == split.name;
            of_split(last) && !folders.any(of_split) && self.found.by == "the names of folders"
        };
        if images().all(|image| in_split_folder(&image)) {
            let name = &first_split.name;
            let problem = format!("an image of the split `{name}` lies in no folder of its class");
            let fault = Fault::new(problem).found(first).expected(expected);
            return Some(match split_first(first) {
                Some(help) => fault.help(help),
                None => fault,
            });
        }
        (classes.len() == 1).then(|| {
            Fault::new("all images are in folders of one name, so there is only one class")
                .found(format!("{} in {first}", classes[0]))
                .expected(expected)
        })
    }
}

/// Help if a split's folder lies in a class's folder, as in cat/train/1.png.
fn split_first(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    match &parts[..] {
        [above @ .., class, split, file] => {
            let above: String = above.iter().map(|folder| format!("{folder}/")).collect();
            Some(format!("put the split's folder first: {above}{split}/{class}/{file}"))
        }
        _ => None,
    }
}

/// The files that match a pattern of `ignore`, and the others. Errors if a pattern matches no file.
fn without_ignored<'r>(
    repository: &'r Repository,
    ignore: &[String],
) -> Result<(Vec<&'r str>, Vec<&'r str>)> {
    let all = repository.files().iter().map(String::as_str);
    for pattern in ignore {
        if !all.clone().any(|path| is_ignored(path, pattern)) {
            return Err(Fault::new("no file matches a pattern of data.ignore")
                .source(repository.name())
                .found(pattern)
                .expected("a path in the dataset, a folder's, or a pattern like `**/*.tif`")
                .into());
        }
    }
    let ignores = |path: &str| ignore.iter().any(|pattern| is_ignored(path, pattern));
    Ok(all.partition(|path| ignores(path)))
}

/// Whether a pattern of `data.ignore` matches the path or a folder above it.
fn is_ignored(path: &str, pattern: &str) -> bool {
    let pattern = pattern.trim_start_matches("./").trim_end_matches('/');
    let below = |(at, _): (usize, &str)| glob::matches(pattern, &path[..at]);
    glob::matches(pattern, path) || path.match_indices('/').any(below)
}

/// The class of an image: the name of its folder.
pub fn class_of(path: &str) -> Option<&str> {
    path.rsplit('/').nth(1)
}

#[cfg(test)]
mod tests;

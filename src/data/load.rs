//! Loads the splits of a `data` section, for any kind of examples.
//!
//! This is the seam between files and examples. [`load`] opens the dataset, finds and hashes the
//! files of each split, draws parts of the training split if the spec wants them, and finds
//! examples that are in two splits. An implementation of [`ReadSplit`] makes examples of rows. Each
//! kind of examples has one, in its own folder (`images/`, `text/`).
//!
//! A new kind of examples needs:
//! - A [`ReadSplit`]. Its `read` takes the tables of `split.files` one after the other, with the
//!   columns that the spec names ([`Wanted`](super::select::Wanted)). It makes labels with
//!   [`Labels`](super::labels::Labels), and gives each example a digest of its decoded content.
//! - A call of [`load`] with the files of its section of the spec. On the result, [`LoadedDataset::of`] gives
//!   the examples for training, validation and test, and [`Shared::notes`] the notes on duplicates.
//!   [`sha256`] makes the hash that identifies the data of a run.

use std::collections::BTreeSet;
use std::iter;

use sha2::{Digest, Sha256};

use super::card::CARD;
use super::duplicates::{self, Origins, Shared, SplitDigests};
use super::formats::{Format, is_metadata};
use super::labels::Classes;
use super::layout::Layout;
use super::names;
use super::parts::{self, Parts};
use super::source::SplitFiles;
use crate::error::{Fault, Result};
use crate::hub::{Hub, Kind, Repository, Source};
use crate::spec::{Duplicates, FilesSpec, PartSpec, SplitSpec, hex};

/// The use of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Train,
    Validation,
    Test,
}

impl Role {
    /// The name of the spec's field.
    pub fn name(self) -> &'static str {
        match self {
            Role::Train => "train",
            Role::Validation => "validation",
            Role::Test => "test",
        }
    }
}

/// Makes examples of the rows of a split.
pub trait ReadSplit {
    /// The examples of one split.
    type Examples;

    /// The words for one example and for several, for messages.
    const EXAMPLE: [&'static str; 2];

    /// Reads all rows of a split, table by table from `split.files`.
    fn read(&mut self, split: &mut OpenSplit) -> Result<Read<Self::Examples>>;
}

/// A split whose files are found and hashed. Its rows are not read yet.
pub struct OpenSplit<'a> {
    pub role: Role,
    pub files: SplitFiles<'a>,
    /// The classes of the splits that were read before. The training split is read first.
    pub known: &'a Classes,
    layout: &'a Layout,
    label_column: &'a str,
}

impl OpenSplit<'_> {
    /// A hash of the files' content. With a row it names an example that others equal by chance, such as an
    /// empty one.
    pub fn digest_of_files(&self) -> Sha256 {
        let mut hash = Sha256::new();
        self.files.hashes.iter().for_each(|(_, sha256)| hash.update(sha256));
        hash
    }

    /// Words that decide the meaning of labels, besides the files' content and the columns' names.
    /// Equal files with equal words have equal labels.
    pub fn meaning(&self) -> Vec<String> {
        let config = self.layout.config.as_deref();
        let card = self.layout.card.class_names(config, self.label_column);
        let folders = match self.files.in_class_folders() {
            true => self.layout.folder_classes(),
            false => Vec::new(),
        };
        // Each list is preceded by its length, so that different lists cannot give equal words.
        let mut words = vec![self.known.named_labels.to_string()];
        // Names cannot follow the numbers of an earlier split.
        if self.role != Role::Train && self.known.names.is_empty() {
            words.push("numbers".into());
        }
        for list in [&self.known.names, &card, &folders] {
            words.push(list.len().to_string());
            words.extend(list.iter().cloned());
        }
        words
    }
}

/// A split's examples, one for each row.
pub struct Read<E> {
    pub examples: E,
    /// Digest of each example's decoded content; equal examples have equal digests.
    pub digests: Vec<u128>,
    /// The classes known after reading. Examples without classes return them unchanged.
    pub classes: Classes,
    /// Number of rows of each table, in the order of the files.
    pub tables: Vec<usize>,
}

/// A split that has its own files.
pub struct LoadedSplit<E> {
    pub role: Role,
    pub examples: E,
    /// The places of the examples, for errors.
    pub origins: Origins,
    digests: SplitDigests,
}

/// All splits of a dataset.
pub struct LoadedDataset<E> {
    train: LoadedSplit<E>,
    /// The validation and test splits that have their own files.
    others: Vec<LoadedSplit<E>>,
    /// The rows of training, validation and test in the split whose files hold them; None means all rows.
    rows: [Option<Vec<u32>>; 3],
    pub classes: Classes,
    /// Split, name and SHA-256 of every file read, in reading order. Images in folders count as one
    /// file for each split.
    pub files: Vec<(String, String, String)>,
    pub shared: Shared,
}

impl<E> LoadedDataset<E> {
    /// All splits that have their own files.
    pub fn splits(&self) -> impl Iterator<Item = &LoadedSplit<E>> {
        iter::once(&self.train).chain(&self.others)
    }

    /// The split whose files hold the examples of a role, and the rows that are these examples;
    /// None means all rows. Without validation its rows are empty.
    pub fn of(&self, role: Role) -> (&LoadedSplit<E>, Option<&[u32]>) {
        let split = self.others.iter().find(|split| split.role == role);
        (split.unwrap_or(&self.train), self.rows[role as usize].as_deref())
    }

    /// Digests of a role's examples, which are not divided.
    pub fn digests_of(&self, role: Role) -> Vec<u128> {
        let (split, rows) = self.of(role);
        let all = &split.digests.digests;
        rows.map_or_else(|| all.clone(), |rows| rows.iter().map(|row| all[*row as usize]).collect())
    }

    /// Leaves out of training and validation what a later split has. Errors if nothing is left.
    fn remove_duplicates(&mut self, example: [&str; 2]) -> Result<()> {
        let of = |role| {
            let (split, rows) = self.of(role);
            duplicates::Rows { digests: &split.digests.digests, rows }
        };
        let roles = [Role::Train, Role::Validation, Role::Test];
        let kept = duplicates::remove(&roles.map(of));
        for ((role, rows), kept) in roles.iter().zip(&mut self.rows).zip(kept) {
            let Some((left, removed)) = kept else { continue };
            if left.is_empty() {
                return Err(Fault::new(format!(
                    "no {} is left in the split `{}`",
                    example[0],
                    role.name()
                ))
                .within("data.duplicates: remove")
                .found(format!("{removed}, each of which is in a later split, too"))
                .expected(format!("{} that only this split has", example[1]))
                .into());
            }
            *rows = Some(left);
            self.shared.removed += removed;
        }
        Ok(())
    }
}

/// Reads the training, validation and test split of `spec`. `label_column` is the spec's.
///
/// Errors if the dataset or a split does not exist, if a split has no examples, if a file is in two
/// splits, or if an example is in the files of two splits and the spec does not allow that.
pub fn load<R: ReadSplit>(
    spec: &FilesSpec,
    label_column: &str,
    hub: &Hub,
    reader: &mut R,
) -> Result<LoadedDataset<R::Examples>> {
    let repository = hub.open(&Source::of(spec)?, Kind::Dataset)?;
    let layout = Layout::of_spec(&repository, spec)?;
    layout.note().iter().for_each(|note| hub.note(note));
    unread_splits(&layout, spec).iter().for_each(|note| hub.note(note));
    let mut loader = Loader {
        repository: &repository,
        layout: &layout,
        label_column,
        classes: Classes::default(),
        files: Vec::new(),
    };
    let train = loader.split(Role::Train, spec.train, reader)?;
    let (validation, test) = (spec.validation.and_then(part), spec.test.and_then(part));
    let parts = match (validation, test) {
        (None, None) => None,
        (validation, test) => Some(parts::draw(train.digests.digests.len(), validation, test)?),
    };
    let mut others = Vec::new();
    for (role, split) in [(Role::Validation, spec.validation), (Role::Test, spec.test)] {
        if let Some(SplitSpec::Named(name)) = split {
            others.push(loader.split(role, name, reader)?);
        }
    }
    let Loader { classes, files, .. } = loader;
    let all: Vec<(&SplitDigests, &Origins)> =
        iter::once(&train).chain(&others).map(|split| (&split.digests, &split.origins)).collect();
    let within = |parts: &Parts| duplicates::within(&train.digests.digests, parts);
    let mut shared = Shared::default();
    if spec.duplicates != Duplicates::Remove {
        let keep = spec.duplicates == Duplicates::Keep;
        shared.in_two_splits = duplicates::between(&all, keep, R::EXAMPLE)?;
        shared.in_two_parts = parts.as_ref().map_or(0, within);
    }
    let validates = spec.validation.is_some();
    let rows = [Role::Train, Role::Validation, Role::Test].map(|role| {
        let has_files = others.iter().any(|split| split.role == role);
        match &parts {
            _ if has_files => None,
            _ if role == Role::Validation && !validates => Some(Vec::new()),
            // Taken elsewhere.
            _ if role == Role::Test && spec.test.is_none() => Some(Vec::new()),
            None => None,
            Some(parts) => Some(match role {
                Role::Train => parts.train.clone(),
                Role::Validation => parts.validation.clone(),
                Role::Test => parts.test.clone(),
            }),
        }
    });
    let mut loaded = LoadedDataset { train, others, rows, classes, files, shared };
    if spec.duplicates == Duplicates::Remove {
        loaded.remove_duplicates(R::EXAMPLE)?;
    }
    Ok(loaded)
}

/// A note for each role whose examples are drawn from the training split, although the dataset has a split
/// of that name that no role reads.
fn unread_splits(layout: &Layout, spec: &FilesSpec) -> Vec<String> {
    let roles = [(Role::Validation, spec.validation), (Role::Test, spec.test)];
    let named = roles.iter().filter_map(|(_, split)| match split {
        Some(SplitSpec::Named(name)) => Some(name.as_str()),
        _ => None,
    });
    let found = |name: &str| layout.split(name).ok().map(|split| split.name.as_str());
    let read: BTreeSet<&str> = iter::once(spec.train).chain(named).filter_map(found).collect();
    let unread = roles.iter().filter_map(|(role, split)| {
        split.and_then(part)?;
        let name = found(role.name()).filter(|name| !read.contains(name))?;
        Some(format!(
            "{}: the {} examples are drawn from `{}`; the dataset's split `{name}` is not read",
            layout.name(),
            role.name(),
            spec.train
        ))
    });
    unread.collect()
}

fn part(split: &SplitSpec) -> Option<&PartSpec> {
    match split {
        SplitSpec::Part(part) => Some(part),
        SplitSpec::Named(_) => None,
    }
}

/// State shared by the splits of one dataset while they are loaded.
struct Loader<'a> {
    repository: &'a Repository,
    layout: &'a Layout,
    label_column: &'a str,
    /// The classes known so far.
    classes: Classes,
    files: Vec<(String, String, String)>,
}

impl Loader<'_> {
    fn split<R: ReadSplit>(
        &mut self,
        role: Role,
        name: &str,
        reader: &mut R,
    ) -> Result<LoadedSplit<R::Examples>> {
        self.layout.files_for(role.name(), name)?;
        let files = SplitFiles::open(self.repository, self.layout, name)?;
        add_files(&mut self.files, name, &files)?;
        let (known, layout, label_column) = (&self.classes, self.layout, self.label_column);
        let mut split = OpenSplit { role, files, known, layout, label_column };
        let read = reader.read(&mut split)?;
        if read.digests.is_empty() {
            return Err(Fault::new(format!("the split `{name}` has no examples"))
                .source(self.repository.name())
                .into());
        }
        let origins = origins(&split.files, &read.tables);
        self.classes = read.classes;
        let digests = SplitDigests { name: name.to_string(), digests: read.digests };
        Ok(LoadedSplit { role, examples: read.examples, origins, digests })
    }
}

/// Appends a split's files to `all`. Errors if one of them is already there.
fn add_files(
    all: &mut Vec<(String, String, String)>,
    split: &str,
    files: &SplitFiles,
) -> Result<()> {
    for (file, sha256) in &files.hashes {
        // IDX and metadata files that hold only labels may be equal for different images.
        let labels = match files.images.is_empty() {
            true => {
                Format::of(file) == Some(Format::Idx)
                    && names::idx(file).is_some_and(|(_, labels)| labels)
            }
            false => is_metadata(file),
        };
        let same = |(_, path, hash): &&(String, String, String)| {
            path == file || (hash == sha256 && !labels)
        };
        if let Some((other, path, _)) = all.iter().find(same) {
            return Err(Fault::new("the same file is used twice")
                .source(file)
                .found(format!("its content is also in {path}, of the split `{other}`"))
                .expected("no example twice")
                .into());
        }
        all.push((split.to_string(), file.clone(), sha256.clone()));
    }
    Ok(())
}

/// The origins of a split's examples, for errors. A pair of IDX files is one table.
fn origins(files: &SplitFiles, tables: &[usize]) -> Origins {
    let names = |list: &[(String, String)]| list.iter().map(|(name, _)| name.clone()).collect();
    match files.images.is_empty() {
        false => Origins::Single(names(&files.images)),
        true => {
            let names: Vec<String> = names(&files.hashes);
            Origins::Tables(names.into_iter().zip(tables.iter().copied()).collect())
        }
    }
}

/// A hash of all files that were read, independent of their location and of the splits' names.
/// `class_names` are those that gave labels their numbers, if the files do not contain the numbers.
/// `words` are anything else that changes the data without changing the files.
pub fn sha256(
    files: &[(String, String, String)],
    class_names: Option<&[String]>,
    words: &[&str],
) -> String {
    let mut hash = Sha256::new();
    // The number, not the name, of each split is hashed: boundaries count, names do not.
    let mut role = 0u8;
    let mut before = None;
    for (split, _, sha256) in files {
        role += u8::from(before.is_some_and(|b| b != split));
        before = Some(split);
        hash.update([role]);
        hash.update(sha256);
    }
    if let Some(names) = class_names {
        hash.update("classes");
        for name in names {
            hash.update([0]);
            hash.update(name);
        }
    }
    words.iter().for_each(|word| hash.update(word));
    hex(&hash.finalize())
}

/// All paths that a run of `spec` reads. The card comes first.
pub fn needed(repository: &Repository, spec: &FilesSpec) -> Result<Vec<String>> {
    let layout = Layout::of_spec(repository, spec)?;
    let card = repository.files().iter().filter(|path| *path == CARD);
    let mut paths: Vec<String> = card.cloned().collect();
    let train = SplitSpec::Named(spec.train.to_string());
    let roles =
        [(Role::Train, Some(&train)), (Role::Validation, spec.validation), (Role::Test, spec.test)];
    let mut seen = BTreeSet::new();
    for (role, split) in roles {
        let Some(SplitSpec::Named(name)) = split else { continue };
        for path in layout.files_for(role.name(), name)? {
            if seen.insert(path) {
                paths.push(path.to_string());
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::spec::ImageDataSpec;

    #[test]
    fn the_card_and_the_files_of_named_splits_are_needed() {
        let dir = tempfile::tempdir().unwrap();
        for file in [CARD, "train.csv", "test.csv", "validation.csv", "LICENSE"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let source = Source::Folder(dir.path().to_path_buf());
        let repository = Hub::default().open(&source, Kind::Dataset).unwrap();
        let paths = |validation: &str| {
            let json = format!(r#"{{"path": "x", "validation": {validation}}}"#);
            let data: ImageDataSpec = serde_json::from_str(&json).unwrap();
            needed(&repository, &data.files()).unwrap()
        };
        assert_eq!(paths(r#""validation""#), [CARD, "train.csv", "validation.csv", "test.csv"]);
        assert_eq!(paths(r#"{"fraction": 0.1}"#), [CARD, "train.csv", "test.csv"]);
    }

    #[test]
    fn a_split_that_a_drawn_part_replaces_is_noted_unless_another_role_reads_it() {
        let notes = |files: &[&str], spec: &str| {
            let dir = tempfile::tempdir().unwrap();
            files.iter().for_each(|file| fs::write(dir.path().join(file), "").unwrap());
            let source = Source::Folder(dir.path().to_path_buf());
            let repository = Hub::default().open(&source, Kind::Dataset).unwrap();
            let data: ImageDataSpec = serde_json::from_str(spec).unwrap();
            let layout = Layout::of_spec(&repository, &data.files()).unwrap();
            unread_splits(&layout, &data.files())
        };
        let all = ["train.csv", "test.csv", "dev.csv"];
        let drawn = r#"{"path": "x", "validation": {"fraction": 0.1}}"#;
        let [note] = &notes(&all, drawn)[..] else { panic!() };
        let expected = "the validation examples are drawn from `train`; the dataset's split `validation` is not read";
        assert!(note.ends_with(expected), "{note}");
        assert!(notes(&all[..2], drawn).is_empty());
        assert!(notes(&all, r#"{"path": "x", "validation": "validation"}"#).is_empty());
        // As in GLUE, whose test split has no labels.
        let tested = r#"{"path": "x", "validation": {"fraction": 0.1}, "test": "validation"}"#;
        assert!(notes(&all, tested).is_empty());
        let both = r#"{"path": "x", "validation": {"fraction": 0.1}, "test": {"fraction": 0.1}}"#;
        assert_eq!(notes(&all, both).len(), 2);
    }
}

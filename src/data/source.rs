//! A split's files, read and hashed, and the tables in them.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use super::layout::{Layout, class_of};
use super::names::Format;
use super::select::Select;
use super::table::{Column, Table, Values};
use super::{csv, idx, image_folder, json_lines, parquet};
use crate::error::{Error, Result};
use crate::hub::{File, Repository};
use crate::spec::hex;

/// Files stay in memory between hashing and reading up to this many bytes of them; those beyond are
/// read twice.
const KEPT: usize = 512 << 20;

/// The files of one split.
pub struct SplitFiles<'a> {
    repository: &'a Repository,
    layout: &'a Layout,
    format: Format,
    /// Not yet read into a table.
    waiting: VecDeque<(String, Option<File>)>,
    /// Name and SHA-256 of what the split consists of, in order; images in folders are one.
    pub hashes: Vec<(String, String)>,
}

impl<'a> SplitFiles<'a> {
    /// Reads and hashes every file.
    pub fn open(
        repository: &'a Repository,
        layout: &'a Layout,
        split: &str,
    ) -> Result<SplitFiles<'a>> {
        let paths = layout.files(split)?;
        let format = paths.first().and_then(|path| Format::of(path)).ok_or_else(|| {
            Error::Input(format!("{}: the split `{split}` has no files", repository.name()))
        })?;
        let mut hashes = Vec::new();
        let mut waiting = VecDeque::new();
        let mut kept = 0;
        let mut images = Sha256::new();
        for path in paths {
            let file = repository.read(path)?;
            match format {
                Format::ImageFolder => {
                    // Where an image lies is its class.
                    images.update(class_of(path).unwrap_or_default());
                    images.update([0]);
                    images.update(&file.sha256);
                }
                _ => hashes.push((file.name.clone(), file.sha256.clone())),
            }
            kept += file.bytes.len();
            waiting.push_back((path.clone(), (kept <= KEPT).then_some(file)));
        }
        if format == Format::ImageFolder {
            let name = format!("{}: {} images of {split}", repository.name(), paths.len());
            hashes.push((name, hex(&images.finalize())));
        }
        Ok(SplitFiles { repository, layout, format, waiting, hashes })
    }

    /// Whether folders' names are the labels.
    pub fn in_class_folders(&self) -> bool {
        self.format == Format::ImageFolder
    }

    /// The table of the next file (of the pair of IDX files, of all images in folders); None behind
    /// the last. A file's bytes are let go when they are read.
    pub fn next_table(&mut self, select: Select) -> Result<Option<Table>> {
        let Some(first) = self.take()? else { return Ok(None) };
        let mut table = match self.format {
            Format::Parquet => parquet::read(first, select)?,
            Format::Csv => csv::read(&first, b',', select)?,
            Format::Tsv => csv::read(&first, b'\t', select)?,
            Format::JsonLines => json_lines::read(&first, select)?,
            Format::Idx => idx::read(&self.with_rest(first)?, select)?,
            Format::ImageFolder => {
                let classes = self.layout.folder_classes();
                image_folder::read(self.with_rest(first)?, &classes, select)?
            }
        };
        let columns = std::mem::take(&mut table.columns);
        let named = columns.into_iter().map(|column| self.with_names(column, &table));
        table.columns = named.collect::<Result<_>>()?;
        Ok(Some(table))
    }

    fn take(&mut self) -> Result<Option<File>> {
        match self.waiting.pop_front() {
            None => Ok(None),
            Some((_, Some(file))) => Ok(Some(file)),
            Some((path, None)) => self.repository.read(&path).map(Some),
        }
    }

    fn with_rest(&mut self, first: File) -> Result<Vec<File>> {
        let mut files = vec![first];
        while let Some(file) = self.take()? {
            files.push(file);
        }
        Ok(files)
    }

    /// The column with the class names of the dataset card, where the file has none; labels that
    /// are written as those names become their numbers.
    fn with_names(&self, mut column: Column, table: &Table) -> Result<Column> {
        let names = self.layout.card.class_names(self.layout.config.as_deref(), &column.name);
        if names.is_empty() || !column.class_names.is_empty() {
            return Ok(column);
        }
        match column.values {
            Values::Integers(_) => column.class_names = names,
            Values::Text(texts) => {
                column.values = Values::Integers(numbers(&texts, &names, table)?);
                column.class_names = names;
            }
            _ => {}
        }
        Ok(column)
    }
}

/// The numbers of labels that are written as names.
pub fn numbers(
    texts: &[Option<String>],
    names: &[String],
    table: &Table,
) -> Result<Vec<Option<i64>>> {
    let number = |(row, text): (usize, &Option<String>)| match text {
        None => Ok(None),
        Some(text) => match names.iter().position(|name| name == text) {
            Some(label) => Ok(Some(label as i64)),
            None => Err(Error::Input(format!(
                "{}: unknown class\n  found:    `{text}`\n  expected: {}",
                table.place(row),
                crate::spec::shorten(&names.join(", "))
            ))),
        },
    };
    texts.iter().enumerate().map(number).collect()
}

/// All rows of a split; `columns` are read, or all that can be.
pub fn read_split(
    repository: &Repository,
    layout: &Layout,
    split: &str,
    columns: Option<&[String]>,
) -> Result<Table> {
    let select = columns.map_or(Select::All, Select::Named);
    let mut files = SplitFiles::open(repository, layout, split)?;
    let mut all: Option<Table> = None;
    while let Some(table) = files.next_table(select)? {
        match &mut all {
            None => all = Some(table),
            Some(all) => all.append(table)?,
        }
    }
    Ok(all.unwrap_or_default())
}

/// What a split is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitInfo {
    pub split: String,
    pub files: Vec<String>,
    pub rows: usize,
    /// Name and type of every column.
    pub columns: Vec<(String, String)>,
    /// Column and its classes' names, of the columns that have such.
    pub class_names: Vec<(String, Vec<String>)>,
}

/// Reads a split to tell what is in it.
pub fn describe(repository: &Repository, layout: &Layout, split: &str) -> Result<SplitInfo> {
    let table = read_split(repository, layout, split, None)?;
    let fields = table.fields().into_iter().map(|(name, kind)| (name, kind.to_string()));
    let named = table.columns.iter().filter(|column| !column.class_names.is_empty());
    Ok(SplitInfo {
        split: split.to_string(),
        files: layout.files(split)?.to_vec(),
        rows: table.rows,
        columns: fields.collect(),
        class_names: named.map(|c| (c.name.clone(), c.class_names.clone())).collect(),
    })
}

//! Reads and hashes a split's files, and makes tables of them.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use super::class_names::to_labels;
use super::formats::Format;
use super::layout::{Layout, class_of};
use super::metadata::Metadata;
use super::select::Select;
use super::table::{Column, Table, Values};
use super::{aligned_lines, csv, idx, image_folder, json_lines, parquet, plain_text};
use crate::error::{Error, Fault, Result};
use crate::hub::{File, Repository};
use crate::spec::hex;

/// Bytes of files that stay in memory between hashing and reading. Further files are read twice,
/// and must not change meanwhile.
const KEPT: usize = 512 << 20;

/// The files of one split.
pub struct SplitFiles<'a> {
    repository: &'a Repository,
    layout: &'a Layout,
    format: Format,
    /// Files that are not yet read into a table.
    waiting: VecDeque<Waiting>,
    /// The metadata of images, if there are metadata files.
    metadata: Option<Metadata>,
    /// Name and SHA-256 of each of the split's files, in order. Images in folders count as one
    /// file.
    pub hashes: Vec<(String, String)>,
    /// Name and SHA-256 of every image in folders; empty for other formats.
    pub images: Vec<(String, String)>,
}

/// A file that is hashed and not yet read into a table.
enum Waiting {
    Kept(File),
    /// A file that must be read again: its path and its SHA-256.
    Reread(String, String),
}

impl<'a> SplitFiles<'a> {
    /// Reads and hashes every file.
    pub fn open(
        repository: &'a Repository,
        layout: &'a Layout,
        split: &str,
    ) -> Result<SplitFiles<'a>> {
        SplitFiles::open_keeping(repository, layout, split, KEPT)
    }

    /// [`SplitFiles::open`] with another limit of bytes that stay in memory.
    fn open_keeping(
        repository: &'a Repository,
        layout: &'a Layout,
        split: &str,
        most: usize,
    ) -> Result<SplitFiles<'a>> {
        let found = layout.split(split)?;
        let aligned = layout.aligned.as_ref().map(|_| Format::AlignedLines);
        let of_name = || found.files.first().and_then(|path| Format::of(path));
        let format = aligned.or_else(of_name).ok_or_else(|| {
            Error::from(
                Fault::new(format!("the split `{split}` has no files")).source(repository.name()),
            )
        })?;
        if !layout.columns.is_empty() && !matches!(format, Format::Csv | Format::Tsv) {
            return Err(Fault::new("the files name their columns themselves")
                .source(repository.name())
                .within("data.columns")
                .found(format!("{}, as the split `{split}` has them", format.name()))
                .expected("CSV or TSV whose first row is an example")
                .help(
                    "leave `data.columns` out; where other splits need it, store all in one format",
                )
                .into());
        }
        let mut hashes = Vec::new();
        let mut waiting = VecDeque::new();
        let mut kept = 0;
        let mut images = Vec::new();
        let mut all_images = Sha256::new();
        let metadata = match found.metadata.is_empty() {
            true => None,
            false => {
                let read = |path: &String| repository.read(path);
                let files = found.metadata.iter().map(read).collect::<Result<_>>()?;
                Some(Metadata::read(files, &found.files)?)
            }
        };
        let paths: Vec<&String> = match &metadata {
            None => found.files.iter().collect(),
            Some(metadata) => metadata.order.iter().map(|place| &found.files[*place]).collect(),
        };
        for path in paths {
            let file = repository.read(path)?;
            match format {
                Format::ImageFolder => {
                    // The folder is the image's class. With metadata, rows name images by path.
                    let class = || class_of(path).unwrap_or_default();
                    all_images.update(metadata.as_ref().map_or_else(class, |_| path));
                    all_images.update([0]);
                    all_images.update(&file.sha256);
                    images.push((file.name.clone(), file.sha256.clone()));
                }
                _ => hashes.push((file.name.clone(), file.sha256.clone())),
            }
            kept += file.bytes.len();
            waiting.push_back(match kept <= most {
                true => Waiting::Kept(file),
                false => Waiting::Reread(path.clone(), file.sha256),
            });
        }
        if format == Format::ImageFolder {
            let name = format!("{}: {} images of {split}", repository.name(), found.files.len());
            hashes.push((name, hex(&all_images.finalize())));
        }
        hashes.extend(metadata.iter().flat_map(|metadata| metadata.hashes.clone()));
        Ok(SplitFiles { repository, layout, format, waiting, metadata, hashes, images })
    }

    /// Whether the names of folders are the labels.
    pub fn in_class_folders(&self) -> bool {
        self.format == Format::ImageFolder && self.metadata.is_none()
    }

    /// The table of the next file; None after the last. A pair of IDX files is one table, and so
    /// are all images in folders. A file's bytes are freed after reading.
    pub fn next_table(&mut self, select: Select) -> Result<Option<Table>> {
        loop {
            let table = self.table(select)?;
            // A JSON lines file without lines has no columns, so it is skipped.
            let nothing = |table: &Table| self.format == Format::JsonLines && table.rows == 0;
            if !table.as_ref().is_some_and(nothing) {
                return Ok(table);
            }
        }
    }

    fn table(&mut self, select: Select) -> Result<Option<Table>> {
        let Some(first) = self.take()? else { return Ok(None) };
        let mut table = match self.format {
            Format::Parquet => parquet::read(first, select)?,
            Format::Csv => csv::read(&first, b',', &self.layout.columns, select)?,
            Format::Tsv => csv::read(&first, b'\t', &self.layout.columns, select)?,
            Format::JsonLines => json_lines::read(&first, select)?,
            Format::PlainText => plain_text::read(&first, select)?,
            Format::AlignedLines => {
                let languages = self.layout.aligned.clone().unwrap_or_default();
                aligned_lines::read(&self.with_rest(first)?, &languages, select)?
            }
            Format::Idx => idx::read(&self.with_rest(first)?, select)?,
            Format::ImageFolder => {
                let files = self.with_rest(first)?;
                match &self.metadata {
                    Some(metadata) => metadata.table(files, select)?,
                    None => image_folder::read(files, &self.layout.folder_classes(), select)?,
                }
            }
        };
        if let (Some(label), true) = (select.labels(), self.is_csv()) {
            table.column(label).map_or(Ok(()), |column| csv::check_labels(&table, column))?;
        }
        let columns = std::mem::take(&mut table.columns);
        let named = columns.into_iter().map(|column| self.with_names(column, &table));
        table.columns = named.collect::<Result<_>>()?;
        Ok(Some(table))
    }

    /// Whether labels come from CSV or TSV, where a text may be ambiguous.
    fn is_csv(&self) -> bool {
        matches!(self.format, Format::Csv | Format::Tsv)
            || self.metadata.as_ref().is_some_and(|metadata| metadata.csv)
    }

    fn take(&mut self) -> Result<Option<File>> {
        match self.waiting.pop_front() {
            None => Ok(None),
            Some(Waiting::Kept(file)) => Ok(Some(file)),
            Some(Waiting::Reread(path, sha256)) => {
                let file = self.repository.read(&path)?;
                // The hash identifies the data of a run, so it must be that of the data in use.
                match file.sha256 == sha256 {
                    true => Ok(Some(file)),
                    false => Err(Fault::new("the file changed while it was read")
                        .source(&file.name)
                        .found(format!("SHA-256 {}", file.sha256))
                        .expected(format!("{sha256}, as when it was read first"))
                        .into()),
                }
            }
        }
    }

    fn with_rest(&mut self, first: File) -> Result<Vec<File>> {
        let mut files = vec![first];
        while let Some(file) = self.take()? {
            files.push(file);
        }
        Ok(files)
    }

    /// Adds the class names of the dataset card if the file has none. Labels that are names become
    /// numbers.
    fn with_names(&self, mut column: Column, table: &Table) -> Result<Column> {
        let names = self.layout.card.class_names(self.layout.config.as_deref(), &column.name);
        if names.is_empty() || !column.class_names.is_empty() {
            return Ok(column);
        }
        match column.values {
            Values::Integers(_) => column.class_names = names,
            Values::Text(texts) => {
                let place = |row| table.place(row);
                column.values = Values::Integers(to_labels(&texts, &names, &place)?);
                column.class_names = names;
                column.named = true;
            }
            _ => {}
        }
        Ok(column)
    }
}

/// Reads all rows of a split. None reads all supported columns.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Hub, Kind, Source};

    #[test]
    fn a_file_that_is_read_twice_must_stay_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        put("train-00000-of-00002.csv", "a\n1\n");
        put("train-00001-of-00002.csv", "a\n2\n");
        let source = Source::Folder(dir.path().to_path_buf());
        let repository = Hub::default().open(&source, Kind::Dataset).unwrap();
        let layout = Layout::of(&repository, None).unwrap();
        // Only the first file stays in memory.
        let open = || SplitFiles::open_keeping(&repository, &layout, "train", 4).unwrap();
        let mut files = open();
        assert_eq!(files.next_table(Select::All).unwrap().unwrap().rows, 1);
        assert_eq!(files.next_table(Select::All).unwrap().unwrap().rows, 1);
        assert!(files.next_table(Select::All).unwrap().is_none());

        let mut files = open();
        put("train-00000-of-00002.csv", "a\n3\n");
        put("train-00001-of-00002.csv", "a\n4\n");
        assert!(files.next_table(Select::All).is_ok());
        let error = files.next_table(Select::All).unwrap_err().to_string();
        assert!(
            error.contains("00001-of-00002.csv: the file changed while it was read"),
            "{error}"
        );
    }
}

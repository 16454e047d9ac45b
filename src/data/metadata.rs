//! Metadata files of images: `metadata.csv`, `metadata.jsonl` or `metadata.parquet` with one row
//! for each image, as in `datasets`. The column `file_name` becomes the column `image`, and
//! `x_file_name` becomes `x`. Paths are relative to the metadata file. Names of folders are then
//! not labels.
//!
//! `datasets` drops images that are in no row; here they are an error.

use std::collections::HashMap;

use super::faults::listed;
use super::select::Select;
use super::table::{Blobs, Column, Kind, Table, Values};
use super::{csv, json_lines, parquet};
use crate::error::{Error, Fault, Result};
use crate::hub::File;

/// The name of a column of paths, or the end of its name.
const FILE_NAME: &str = "file_name";
const IMAGE: &str = "image";

/// The content of a split's metadata files.
#[derive(Debug)]
pub struct Metadata {
    /// Name and SHA-256 of each file.
    pub hashes: Vec<(String, String)>,
    /// Indices of the split's images in the order of the rows. Each image occurs once.
    pub order: Vec<usize>,
    /// The column of the images.
    image: String,
    /// The other columns.
    table: Table,
    /// Whether a file was CSV.
    pub csv: bool,
}

impl Metadata {
    /// Reads `files` and finds the images at `paths` that their rows name. Errors if a row names no
    /// image, if two rows name the same one, or if an image is in no row.
    pub fn read(files: Vec<File>, paths: &[String]) -> Result<Metadata> {
        let ending = |file: &File| file.path.rsplit('.').next().unwrap_or_default().to_string();
        if let [first, rest @ ..] = &files[..]
            && let Some(other) = rest.iter().find(|file| ending(file) != ending(first))
        {
            return Err(Fault::new("metadata files have several formats")
                .source(&other.name)
                .found(format!(".{} here, .{} in {}", ending(other), ending(first), first.name))
                .expected("one format in all splits")
                .into());
        }
        let first = files.first().map(|file| file.name.clone()).unwrap_or_default();
        let csv = files.iter().any(|file| ending(file) == "csv");
        let hashes = files.iter().map(|file| (file.name.clone(), file.sha256.clone())).collect();
        let mut images = Images::new(paths);
        let mut all: Option<(String, Table)> = None;
        for file in files {
            let table = match &ending(&file)[..] {
                "csv" => csv::read(&file, b',', &[], Select::All)?,
                "jsonl" => json_lines::read(&file, Select::All)?,
                _ => parquet::read(file.clone(), Select::All)?,
            };
            let (image, table) = images.add_table(table, &file)?;
            match &mut all {
                None => all = Some((image, table)),
                Some((name, _)) if *name != image => {
                    return Err(Fault::new(
                        "the image column has another name than in the files before",
                    )
                    .source(&file.name)
                    .found(format!("images as `{image}`"))
                    .expected(format!("images as `{name}`, as in {first}"))
                    .into());
                }
                Some((_, all)) => all.append(table)?,
            }
        }
        images.check_all_named(&first)?;
        let (image, table) = all.unwrap_or_default();
        Ok(Metadata { hashes, order: images.order, image, table, csv })
    }

    /// The selected columns with the images. `images` are in the order of the rows.
    pub fn table(&self, images: Vec<File>, select: Select) -> Result<Table> {
        let (names, bytes): (Vec<_>, Vec<_>) =
            images.into_iter().map(|file| (file.name, Some(file.bytes))).unzip();
        let image = Column::new(&self.image, Values::Images(Blobs::new(bytes)));
        let mut columns = vec![image];
        columns.extend(self.table.columns.iter().cloned());
        let fields: Vec<(String, Kind)> =
            columns.iter().map(|c| (c.name.clone(), c.kind())).collect();
        select.check(self.table.file(), &fields)?;
        columns.retain(|column| select.wants(&column.name, Some(&column.kind())));
        Ok(Table::of_files(names, columns))
    }
}

/// A split's images by their paths.
struct Images<'a> {
    paths: &'a [String],
    places: HashMap<&'a str, usize>,
    /// Indices of the images that rows have named so far.
    order: Vec<usize>,
    named: Vec<bool>,
}

impl<'a> Images<'a> {
    fn new(paths: &'a [String]) -> Images<'a> {
        let places = paths.iter().enumerate().map(|(i, path)| (&path[..], i)).collect();
        Images { paths, places, order: Vec::new(), named: vec![false; paths.len()] }
    }

    /// Adds the images that a table names. Returns the name of the image column, and the table
    /// without its column of paths.
    fn add_table(&mut self, mut table: Table, file: &File) -> Result<(String, Table)> {
        let fail = |fault: Fault| Error::from(fault.source(&file.name));
        let lists = |name: &str| name == "file_names" || name.ends_with("_file_names");
        if let Some(column) = table.columns.iter().find(|column| lists(&column.name)) {
            let problem =
                format!("column `{}` holds several images a row, which is not read", column.name);
            let expected = format!("{FILE_NAME}, one image a row");
            return Err(fail(Fault::new(problem).expected(expected)));
        }
        let listed: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
        let of_paths: Vec<usize> =
            (0..listed.len()).filter(|i| image_column(&listed[*i]).is_some()).collect();
        let &[at] = &of_paths[..] else {
            let problem = match of_paths.is_empty() {
                true => format!("there is no column `{FILE_NAME}`"),
                false => "several columns hold paths of images".to_string(),
            };
            let expected = format!("one column {FILE_NAME} or …_{FILE_NAME}, paths of images");
            return Err(fail(Fault::new(problem).found(listed.join(", ")).expected(expected)));
        };
        let column = table.columns.remove(at);
        let name = image_column(&column.name).unwrap_or(IMAGE).to_string();
        if listed.contains(&name) {
            let fault = Fault::new(format!("two columns would have the name `{name}`"));
            return Err(fail(fault.found(listed.join(", ")).expected(format!(
                "another name: images at the paths of `{}` are the column `{name}`",
                column.name
            ))));
        }
        let Values::Text(paths) = &column.values else {
            let fault = Fault::new(format!("column `{}` has the wrong type", column.name));
            return Err(fail(fault.found(column.kind()).expected("text, paths of images")));
        };
        for (row, path) in paths.iter().enumerate() {
            let add = self.add(path.as_deref(), file);
            add.map_err(|e| e.map_fault(|fault| fault.source(table.place(row))))?;
        }
        Ok((name, table))
    }

    /// Adds the image that a row of the metadata file names.
    fn add(&mut self, path: Option<&str>, file: &File) -> Result<()> {
        let expected = "the path of an image of the split, relative to the metadata file";
        let Some(path) = path else {
            return Err(Fault::new("the row names no image")
                .found("an empty value")
                .expected(expected)
                .into());
        };
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let place = within(folder, path).and_then(|full| self.places.get(&full[..])).copied();
        let Some(place) = place else {
            return Err(Fault::new("the row names an image that is not there")
                .found(path)
                .expected(expected)
                .into());
        };
        if std::mem::replace(&mut self.named[place], true) {
            return Err(Fault::new("the row names an image that another row names")
                .found(path)
                .expected("no example twice")
                .into());
        }
        self.order.push(place);
        Ok(())
    }

    /// Errors if an image is in no row.
    fn check_all_named(&self, file: &str) -> Result<()> {
        let named = self.paths.iter().zip(&self.named);
        let unused: Vec<&String> = named.filter(|(_, named)| !**named).map(|(p, _)| p).collect();
        match unused.is_empty() {
            true => Ok(()),
            false => Err(Fault::new("images are in no row")
                .source(file)
                .found(listed(&unused))
                .expected("a row for each image of the split")
                .help("leave them out by data.ignore, if they are not to be read")
                .into()),
        }
    }
}

/// The name of the image column for a column of paths; None if the name is not that of paths.
fn image_column(name: &str) -> Option<&str> {
    match name.strip_suffix(FILE_NAME)? {
        "" => Some(IMAGE),
        front => front.strip_suffix('_').map(|name| if name.is_empty() { IMAGE } else { name }),
    }
}

/// Resolves `path` relative to `folder`; None if it leads out of the folder.
fn within(folder: &str, path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains("://") {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    Some(if folder.is_empty() { path } else { format!("{folder}/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_metadata_s_folder() {
        assert_eq!(within("", "a.png").as_deref(), Some("a.png"));
        assert_eq!(within("x", "./y//../a.png").as_deref(), Some("x/a.png"));
        assert_eq!(within("x", "y\\a.png").as_deref(), Some("x/y/a.png"));
        for out in ["/a.png", "../a.png", "a/../../b.png", "file://a.png"] {
            assert_eq!(within("x", out), None, "{out}");
        }
    }

    #[test]
    fn columns_of_paths_become_columns_of_images() {
        assert_eq!(image_column("file_name"), Some("image"));
        assert_eq!(image_column("photo_file_name"), Some("photo"));
        assert_eq!(image_column("file_names"), None);
        assert_eq!(image_column("profile_name"), None);
        assert_eq!(image_column("myfile_name"), None);
    }
}

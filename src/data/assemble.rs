//! Tables of encoded images to pixels and labels.

use rayon::prelude::*;

use super::convert::{Change, Samples, convert};
use super::decode::{Image, Size, decode};
use super::decoded::{About, Decoded, Fact};
use super::pixels::Pixels;
use super::select::Select;
use super::source::{SplitFiles, numbers};
use super::table::{Column, Table, Values};
use crate::error::{Error, Result};
use crate::spec::{DataSpec, shorten};

/// What is known of the classes before a split is read.
#[derive(Clone, Debug)]
pub struct Classes {
    /// Empty where nothing has named them yet.
    pub names: Vec<String>,
    /// Labels are names.
    pub named_labels: bool,
}

/// Reads and decodes a split's files, one table after the other: of the encoded images no more than
/// one file's are in memory beside the pixels.
pub fn assemble(
    files: &mut SplitFiles,
    data: &DataSpec,
    size: Size,
    classes: usize,
    known: Classes,
) -> Result<Decoded> {
    let select = Select::Images { image: &data.image_column, label: &data.label_column };
    let mut images = Images { size, pixels: Vec::new(), facts: Vec::new() };
    let mut labels = Labels { classes, known, numbers: Vec::new(), texts: Vec::new() };
    let mut tables = Vec::new();
    while let Some(table) = files.next_table(select)? {
        // Every reader has refused a file without them.
        let missing = |name: &str| Error::Input(format!("there is no column `{name}`"));
        let column = |name: &str| table.column(name).ok_or_else(|| missing(name));
        labels.add(&table, column(&data.label_column)?)?;
        images.add(&table, column(&data.image_column)?)?;
        tables.push(table.rows);
    }
    let (labels, Classes { names: class_names, named_labels }) = labels.finish()?;
    let Images { pixels, facts, .. } = images;
    let about = About { class_names, named_labels, tables };
    Ok(Decoded { pixels: Pixels::Owned(pixels), labels, facts, about })
}

fn wrong_type(table: &Table, column: &Column, expected: &str) -> Error {
    Error::Input(format!(
        "{}: column `{}` has the wrong type\n  found:    {}\n  expected: {expected}",
        table.file(),
        column.name,
        column.kind()
    ))
}

/// Images of one split in the making.
struct Images {
    size: Size,
    pixels: Vec<u8>,
    facts: Vec<Fact>,
}

impl Images {
    /// Appends a table's images.
    fn add(&mut self, table: &Table, column: &Column) -> Result<()> {
        let size = self.size;
        let fits = |width, height| size.check(width, height);
        match &column.values {
            Values::Images(images) => {
                self.add_rows(table, images.len(), |row| match images.get(row) {
                    Some(bytes) => decode(bytes, size.channels, &fits),
                    None => Err(NO_IMAGE.into()),
                })
            }
            Values::Pixels { height, width, bytes } => {
                let (height, width) = (*height, *width);
                self.add_rows(table, table.rows, |row| {
                    fits(width as u32, height as u32)?;
                    let grey = bytes[row * height * width..][..height * width].to_vec();
                    let (pixels, change) = convert(grey, Samples::Grey, size.channels);
                    Ok(Image { width, height, pixels, change })
                })
            }
            _ => Err(wrong_type(table, column, "images: struct{bytes: binary, path: string}")),
        }
    }

    fn add_rows(
        &mut self,
        table: &Table,
        rows: usize,
        image: impl Fn(usize) -> std::result::Result<Image, String> + Sync,
    ) -> Result<()> {
        let told = |row, problem: String| Error::Input(format!("{}: {problem}", table.place(row)));
        let n = self.size.bytes();
        // The first image is tried alone: if it is of another size, memory for all of this size
        // would be for nothing.
        if rows > 0 {
            image(0).map_err(|e| told(0, e))?;
        }
        let (before, known) = (self.pixels.len(), self.facts.len());
        let after = n.checked_mul(rows).and_then(|more| before.checked_add(more));
        let too_large = || {
            let megabytes = n as f64 * rows as f64 / 1e6;
            Error::Failed(format!("there is no memory for {megabytes:.0} MB of decoded images"))
        };
        let after = after.ok_or_else(too_large)?;
        self.pixels.try_reserve_exact(after - before).map_err(|_| too_large())?;
        self.pixels.resize(after, 0);
        let none = Fact { width: 0, height: 0, digest: 0, change: Change::default() };
        self.facts.resize(known + rows, none);
        let places = self.pixels[before..].par_chunks_exact_mut(n).zip(&mut self.facts[known..]);
        let one = |row, out: &mut [u8], fact: &mut Fact| {
            let image = image(row)?;
            let (width, height) = (image.width as u32, image.height as u32);
            *fact = Fact { width, height, digest: image.digest(), change: image.change };
            out.copy_from_slice(&image.pixels);
            Ok(())
        };
        let failed = places
            .enumerate()
            .find_map_first(|(row, (out, fact))| one(row, out, fact).err().map(|e| (row, e)));
        match failed {
            None => Ok(()),
            Some((row, problem)) => Err(told(row, problem)),
        }
    }
}

const NO_IMAGE: &str = "there is no image\n  found:    no bytes\n  expected: an encoded image";

/// Labels of one split in the making.
struct Labels {
    classes: usize,
    known: Classes,
    numbers: Vec<u32>,
    /// Names that nothing has given numbers.
    texts: Vec<String>,
}

impl Labels {
    fn add(&mut self, table: &Table, column: &Column) -> Result<()> {
        self.name_classes(table, &column.class_names)?;
        self.add_values(table, column)?;
        // Behind the labels: one that is out of range has a row to name.
        match &column.class_names[..] {
            [] => Ok(()),
            names => {
                let listed = format!("class names, {}", shorten(&names.join(", ")));
                self.count(table.file(), names.len(), &listed)
            }
        }
    }

    fn add_values(&mut self, table: &Table, column: &Column) -> Result<()> {
        let mixed = || wrong_type(table, column, "the type of the files before");
        match &column.values {
            // Nothing says which of the names before a bare number would be.
            Values::Integers(_) if self.known.named_labels && column.class_names.is_empty() => {
                Err(wrong_type(table, column, "names, as the labels of the files before are"))
            }
            Values::Integers(values) if self.texts.is_empty() => {
                self.known.named_labels |= column.named;
                self.add_numbers(table, values)
            }
            Values::Text(texts) if self.known.names.is_empty() && self.numbers.is_empty() => {
                self.add_texts(table, texts)
            }
            Values::Text(texts) if !self.known.names.is_empty() => {
                self.known.named_labels = true;
                let values = numbers(texts, &self.known.names, table)?;
                self.add_numbers(table, &values)
            }
            Values::Integers(_) | Values::Text(_) => Err(mixed()),
            _ => Err(wrong_type(
                table,
                column,
                "class labels: whole numbers of 32 or 64 bits, or names",
            )),
        }
    }

    /// The same label must mean the same class in every file.
    fn name_classes(&mut self, table: &Table, names: &[String]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        if self.known.names.is_empty() {
            self.known.names = names.to_vec();
        }
        if self.known.names != names {
            return Err(Error::Input(format!(
                "{}: the classes are named otherwise than in the files before\n  found:    {}\n  \
                 expected: {}",
                table.file(),
                names.join(", "),
                self.known.names.join(", ")
            )));
        }
        Ok(())
    }

    fn count(&self, file: &str, found: usize, what: &str) -> Result<()> {
        match found == self.classes {
            true => Ok(()),
            false => Err(Error::Input(format!(
                "{file}: the dataset has another number of classes\n  found:    {found} {what}\n  \
                 expected: model.classes, {}",
                self.classes
            ))),
        }
    }

    fn add_numbers(&mut self, table: &Table, values: &[Option<i64>]) -> Result<()> {
        for (row, label) in values.iter().enumerate() {
            match label {
                Some(label) if (0..self.classes as i64).contains(label) => {
                    self.numbers.push(*label as u32);
                }
                Some(label) => {
                    return Err(Error::Input(format!(
                        "{}: label out of range\n  found:    {label}\n  expected: 0 to {} \
                         (model.classes is {})",
                        table.place(row),
                        self.classes - 1,
                        self.classes
                    )));
                }
                None => return Err(no_label(table, row)),
            }
        }
        Ok(())
    }

    fn add_texts(&mut self, table: &Table, texts: &[Option<String>]) -> Result<()> {
        for (row, text) in texts.iter().enumerate() {
            self.texts.push(text.clone().ok_or_else(|| no_label(table, row))?);
        }
        Ok(())
    }

    /// Names get their numbers in sorted order.
    fn finish(mut self) -> Result<(Vec<u32>, Classes)> {
        if !self.texts.is_empty() {
            let mut names = self.texts.clone();
            names.sort_unstable();
            names.dedup();
            self.count("data", names.len(), "different labels in the training split")?;
            let place = |text: &String| names.binary_search(text).map_or(0, |place| place as u32);
            self.numbers = self.texts.iter().map(place).collect();
            self.known = Classes { names, named_labels: true };
        }
        Ok((self.numbers, self.known))
    }
}

fn no_label(table: &Table, row: usize) -> Error {
    Error::Input(format!(
        "{}: there is no label\n  found:    an empty value\n  expected: a class label",
        table.place(row)
    ))
}

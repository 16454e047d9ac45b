//! Decodes tables of encoded images and labels to pixels and numbers.

use rayon::prelude::*;

use super::cache::{Decoded, ImageFacts, SplitFacts};
use super::convert::{Change, Samples, convert};
use super::decode::{Image, decode};
use super::pixels::Pixels;
use super::resize::{Fit, decodable};
use crate::data::labels::{Classes, Labels, wrong_type};
use crate::data::load::Role;
use crate::data::select::{PATHS_HELP, Select, Wanted};
use crate::data::source::SplitFiles;
use crate::data::table::{Column, Table, Values};
use crate::error::{Error, Fault, Result};
use crate::spec::ImageDataSpec;

/// How decoded images are stored.
#[derive(Clone, Copy, Debug)]
pub enum Store {
    /// As squares of one size.
    Squares(Fit),
    /// In their own sizes, with this number of channels.
    Whole(usize),
}

impl Store {
    fn channels(&self) -> usize {
        match self {
            Store::Squares(fit) => fit.size.channels,
            Store::Whole(channels) => *channels,
        }
    }

    /// Errors if an image of this size cannot be stored. It is called before decoding.
    fn check(&self, width: u32, height: u32) -> Result<()> {
        match self {
            Store::Squares(fit) => fit.check(width, height),
            Store::Whole(_) => decodable(width, height),
        }
    }

    /// A text for the cache key: it names everything that decides the stored pixels.
    pub fn cache_key(&self) -> String {
        match self {
            Store::Squares(fit) => {
                format!("{} {} {}", fit.size.side, fit.size.channels, fit.cache_key())
            }
            Store::Whole(channels) => format!("whole {channels}"),
        }
    }
}

/// Reads and decodes a split's files, one table after the other. At most one file of encoded images
/// is in memory beside the pixels.
pub fn assemble(
    files: &mut SplitFiles,
    data: &ImageDataSpec,
    store: Store,
    classes: usize,
    role: Role,
    known: Classes,
) -> Result<Decoded> {
    let wanted = [Wanted::images(&data.image_column), Wanted::labels(&data.label_column)];
    let select = Select::Wanted(&wanted);
    let mut images = Images { store, pixels: Vec::new(), facts: Vec::new() };
    let mut labels = Labels::new(classes, role == Role::Train, known);
    let mut tables = Vec::new();
    while let Some(table) = files.next_table(select)? {
        // Every reader checks that its file has these columns, so this error is never seen.
        let missing = |name: &str| Error::from(Fault::new(format!("there is no column `{name}`")));
        let column = |name: &str| table.column(name).ok_or_else(|| missing(name));
        labels.add(&table, column(&data.label_column)?)?;
        images.add(&table, column(&data.image_column)?)?;
        tables.push(table.rows);
    }
    let (labels, classes) = labels.finish()?;
    let Images { pixels, facts, .. } = images;
    let about = SplitFacts { classes, tables };
    Ok(Decoded { pixels: Pixels::Owned(pixels), labels, facts, about })
}

/// Builds the images of one split.
struct Images {
    store: Store,
    pixels: Vec<u8>,
    facts: Vec<ImageFacts>,
}

/// Decodes the image of a row.
type Make<'a> = dyn Fn(usize) -> Result<Image> + Sync + 'a;

impl Images {
    /// Appends a table's images.
    fn add(&mut self, table: &Table, column: &Column) -> Result<()> {
        let store = self.store;
        let channels = store.channels();
        let fits = |width, height| store.check(width, height);
        match &column.values {
            Values::Images(images) => self.add_rows(table, &|row| match images.get(row) {
                Some(bytes) => decode(bytes, channels, &fits),
                None => Err(no_image()),
            }),
            Values::Pixels { height, width, bytes } => {
                let (height, width) = (*height, *width);
                self.add_rows(table, &|row| {
                    fits(width as u32, height as u32)?;
                    let grey = bytes[row * height * width..][..height * width].to_vec();
                    let (pixels, change) = convert(grey, Samples::Grey, channels);
                    Ok(Image { width, height, pixels, change })
                })
            }
            Values::Text(_) => {
                let expected = "images: struct{bytes: binary, path: string}";
                let error = wrong_type(table, column, expected);
                Err(error.map_fault(|fault| fault.help(PATHS_HELP)))
            }
            _ => Err(wrong_type(table, column, "images: struct{bytes: binary, path: string}")),
        }
    }

    fn add_rows(&mut self, table: &Table, image: &Make) -> Result<()> {
        // If the first image fails, no memory is reserved for all of them.
        if table.rows > 0 {
            image(0).map_err(|e| at_row(table, 0, e))?;
        }
        match self.store {
            Store::Squares(fit) => self.add_squares(table, fit, image),
            Store::Whole(_) => self.add_whole(table, image),
        }
    }

    fn add_squares(&mut self, table: &Table, fit: Fit, image: &Make) -> Result<()> {
        let n = fit.size.bytes();
        let (before, known) = (self.pixels.len(), self.facts.len());
        self.pixels
            .try_reserve_exact(n.saturating_mul(table.rows))
            .map_err(|_| too_large(n as f64 * table.rows as f64))?;
        self.pixels.resize(before + n * table.rows, 0);
        let side = fit.size.side as u32;
        let none = ImageFacts { width: side, height: side, digest: 0, change: Change::default() };
        self.facts.resize(known + table.rows, none);
        let places = self.pixels[before..].par_chunks_exact_mut(n).zip(&mut self.facts[known..]);
        let one = |row, out: &mut [u8], fact: &mut ImageFacts| -> Result<()> {
            let image = image(row)?;
            *fact = ImageFacts { digest: image.digest(), change: image.change, ..none };
            match fit.takes_as_is(&image) {
                true => out.copy_from_slice(&image.pixels),
                false => out.copy_from_slice(&fit.square(&image)?),
            }
            Ok(())
        };
        let failed = places
            .enumerate()
            .find_map_first(|(row, (out, fact))| one(row, out, fact).err().map(|e| (row, e)));
        match failed {
            None => Ok(()),
            Some((row, error)) => Err(at_row(table, row, error)),
        }
    }

    /// Decodes a batch of rows at a time, so that only a batch of images is in memory twice.
    fn add_whole(&mut self, table: &Table, image: &Make) -> Result<()> {
        const BATCH: usize = 256;
        for first in (0..table.rows).step_by(BATCH) {
            let rows = first..table.rows.min(first + BATCH);
            let images: Vec<_> = rows.into_par_iter().map(image).collect();
            for (row, image) in (first..).zip(images) {
                let image = image.map_err(|e| at_row(table, row, e))?;
                let bytes = image.pixels.len();
                self.pixels
                    .try_reserve(bytes)
                    .map_err(|_| too_large((self.pixels.len() + bytes) as f64))?;
                let (width, height) = (image.width as u32, image.height as u32);
                let (digest, change) = (image.digest(), image.change);
                self.facts.push(ImageFacts { width, height, digest, change });
                self.pixels.extend(image.pixels);
            }
        }
        Ok(())
    }
}

/// Names the row of an error.
fn at_row(table: &Table, row: usize, error: Error) -> Error {
    error.map_fault(|fault| fault.source(table.place(row)))
}

fn too_large(bytes: f64) -> Error {
    Error::from(Fault::failed(format!(
        "there is no memory for {:.0} MB of decoded images",
        bytes / 1e6
    )))
}

fn no_image() -> Error {
    Fault::new("there is no image").found("no bytes").expected("an encoded image").into()
}

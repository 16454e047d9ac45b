//! The decoded images of one split.

use std::sync::Arc;

use rayon::prelude::*;

use super::cache::ImageFacts;
use super::convert::Change;
use super::decode::{Image, Size};
use super::pixels::Pixels;
use super::resize::Fit;
use crate::error::Result;

/// Images of one split as bytes, with their labels.
#[derive(Clone, Debug)]
pub struct ImageSplit {
    /// \[image, row, column, channel\]; shared by the parts of one split.
    pixels: Arc<Pixels>,
    /// Position and size of each image; None if all are squares of `size`.
    places: Option<Arc<Vec<Place>>>,
    /// Indices of this split's images among the pixels; None means all.
    rows: Option<Vec<u32>>,
    pub labels: Vec<u32>,
    pub(super) size: Size,
}

/// Position and size of an image among the pixels.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Offset of its first byte.
    start: usize,
    width: u32,
    height: u32,
}

impl ImageSplit {
    /// A split of squares of one size, with the label of each.
    pub(super) fn new(pixels: Arc<Pixels>, labels: Vec<u32>, size: Size) -> ImageSplit {
        ImageSplit { pixels, places: None, rows: None, labels, size }
    }

    /// The same pixels as images of different sizes, which are in `facts`. `size` is then the size
    /// that they become for the model.
    pub(super) fn of_sizes(self, facts: &[ImageFacts]) -> ImageSplit {
        let mut start = 0;
        let place = |fact: &ImageFacts| {
            let place = Place { start, width: fact.width, height: fact.height };
            start += fact.width as usize * fact.height as usize * self.size.channels;
            place
        };
        let places = facts.iter().map(place).collect();
        ImageSplit { places: Some(Arc::new(places)), ..self }
    }

    /// A selection of the images. An index may occur several times.
    pub(super) fn rows(&self, rows: Vec<u32>) -> ImageSplit {
        let labels = rows.iter().map(|row| self.labels[*row as usize]).collect();
        let within = |row: u32| self.rows.as_ref().map_or(row, |rows| rows[row as usize]);
        let rows = rows.into_iter().map(within).collect();
        let (pixels, places) = (self.pixels.clone(), self.places.clone());
        ImageSplit { pixels, places, rows: Some(rows), labels, size: self.size }
    }

    /// The same images as squares of one size. Errors if one does not fit; `place` describes an
    /// image in the error.
    pub(super) fn squares(
        &self,
        fit: &Fit,
        place: &(dyn Fn(usize) -> String + Sync),
    ) -> Result<ImageSplit> {
        if self.places.is_none() {
            return Ok(self.clone());
        }
        let square = |i: usize| {
            let (pixels, width, height) = self.sized(i);
            fit.check(width as u32, height as u32)?;
            let (pixels, change) = (pixels.to_vec(), Change::default());
            fit.square(&Image { width, height, pixels, change })
        };
        let named =
            |i: usize| square(i).map_err(|e| e.map_fault(|fault| fault.source(place(self.row(i)))));
        let squares = (0..self.len()).into_par_iter().map(named).collect::<Result<Vec<_>>>()?;
        let pixels = Arc::new(Pixels::Owned(squares.concat()));
        Ok(ImageSplit::new(pixels, self.labels.clone(), self.size))
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The first `count` examples, or all if there are fewer.
    pub fn first(&self, count: usize) -> ImageSplit {
        self.rows((0..count.min(self.len()) as u32).collect())
    }

    /// Whether all images are squares of one size.
    pub fn is_square(&self) -> bool {
        self.places.is_none()
    }

    /// Index of the split's image `i` among the pixels.
    fn row(&self, i: usize) -> usize {
        self.rows.as_ref().map_or(i, |rows| rows[i] as usize)
    }

    /// Image `i`: \[row, column, channel\].
    pub fn image(&self, i: usize) -> &[u8] {
        self.sized(i).0
    }

    /// Image `i` with its width and height.
    pub fn sized(&self, i: usize) -> (&[u8], usize, usize) {
        let row = self.row(i);
        let Size { side, channels } = self.size;
        let (start, width, height) = match &self.places {
            None => (row * self.size.bytes(), side, side),
            Some(places) => {
                let Place { start, width, height } = places[row];
                (start, width as usize, height as usize)
            }
        };
        (&self.pixels[start..start + width * height * channels], width, height)
    }

    /// Numbers of images, rows, columns and channels, as squares.
    pub fn dims(&self) -> (usize, usize, usize, usize) {
        let Size { side, channels } = self.size;
        (self.len(), side, side, channels)
    }

    /// The bytes of all images, one after another.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len() * self.size.bytes());
        (0..self.len()).for_each(|i| all.extend_from_slice(self.image(i)));
        all
    }

    /// Whether the pixels are mapped from the cache of decoded splits.
    pub fn is_cached(&self) -> bool {
        matches!(*self.pixels, Pixels::Mapped(_))
    }
}

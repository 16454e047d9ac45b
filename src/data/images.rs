//! Decoded image datasets.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::augment::Augmenter;
use super::convert::{Change, Changes};
use super::decode::{Image, Size};
use super::decoded::{Fact, cache_folder};
use super::load::Loader;
use super::pixels::Pixels;
use super::resize::{self, Fit, resize};
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::spec::{ImageDataSpec, Normalize, VitSpec, hex};

/// Images of one split as bytes, with their labels.
#[derive(Clone, Debug)]
pub struct ImageSplit {
    /// \[image, row, column, channel\]; shared by the parts of one split.
    pixels: Arc<Pixels>,
    /// Where each image lies, where they are not all squares of `size`.
    places: Option<Arc<Vec<Place>>>,
    /// Which of the images are this split's; None is all.
    rows: Option<Vec<u32>>,
    pub labels: Vec<u32>,
    size: Size,
}

/// An image among those of a split.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its first byte.
    start: usize,
    width: u32,
    height: u32,
}

impl ImageSplit {
    /// Squares of one size, with the label of each.
    pub(super) fn new(pixels: Arc<Pixels>, labels: Vec<u32>, size: Size) -> ImageSplit {
        ImageSplit { pixels, places: None, rows: None, labels, size }
    }

    /// The same pixels, each image as large as is known of it; `size` is what they become.
    pub(super) fn of_sizes(self, facts: &[Fact]) -> ImageSplit {
        let mut start = 0;
        let place = |fact: &Fact| {
            let place = Place { start, width: fact.width, height: fact.height };
            start += fact.width as usize * fact.height as usize * self.size.channels;
            place
        };
        let places = facts.iter().map(place).collect();
        ImageSplit { places: Some(Arc::new(places)), ..self }
    }

    /// Some of its images, each as often as it is named.
    pub(super) fn rows(&self, rows: Vec<u32>) -> ImageSplit {
        let labels = rows.iter().map(|row| self.labels[*row as usize]).collect();
        let within = |row: u32| self.rows.as_ref().map_or(row, |own| own[row as usize]);
        let rows = rows.into_iter().map(within).collect();
        let (pixels, places) = (self.pixels.clone(), self.places.clone());
        ImageSplit { pixels, places, rows: Some(rows), labels, size: self.size }
    }

    /// The same images as squares of one size. Errors, with the image's place among all of its
    /// file, where one does not fit.
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
        let failed = |i: usize, problem| Error::Input(format!("{}: {problem}", place(self.row(i))));
        let squares = (0..self.len())
            .into_par_iter()
            .map(|i| square(i).map_err(|problem| failed(i, problem)))
            .collect::<Result<Vec<_>>>()?;
        let pixels = Arc::new(Pixels::Owned(squares.concat()));
        Ok(ImageSplit::new(pixels, self.labels.clone(), self.size))
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Its first `count` examples, or all where there are fewer.
    pub fn first(&self, count: usize) -> ImageSplit {
        self.rows((0..count.min(self.len()) as u32).collect())
    }

    /// Whether all images are squares of one size.
    pub fn is_square(&self) -> bool {
        self.places.is_none()
    }

    /// Which of all images the `i`-th of this split is.
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

    /// Images, rows, columns, channels, once they are squares.
    pub fn dims(&self) -> (usize, usize, usize, usize) {
        let Size { side, channels } = self.size;
        (self.len(), side, side, channels)
    }

    /// All images one after another.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len() * self.size.bytes());
        (0..self.len()).for_each(|i| all.extend_from_slice(self.image(i)));
        all
    }

    /// Whether the pixels are a file's of the cache of decoded splits.
    pub fn is_cached(&self) -> bool {
        matches!(*self.pixels, Pixels::Mapped(_))
    }
}

/// What normalisation subtracts and divides by, a channel each, for pixels in \[0, 1\].
#[derive(Clone, Debug, PartialEq)]
pub struct ImageStatistics {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

impl ImageStatistics {
    /// What each byte becomes, a table a channel.
    fn tables(&self) -> Vec<[f32; 256]> {
        let table = |(mean, std): (&f64, &f64)| {
            let scale = (1.0 / (255.0 * std)) as f32;
            let shift = (-mean / std) as f32;
            std::array::from_fn(|pixel| pixel as f32 * scale + shift)
        };
        self.mean.iter().zip(&self.std).map(table).collect()
    }
}

/// The three splits of an image classification dataset, ready for batches.
#[derive(Clone, Debug)]
pub struct ImageData {
    pub train: ImageSplit,
    /// Without examples where a run trains without validation.
    pub validation: ImageSplit,
    pub test: ImageSplit,
    /// Empty where the files do not name them.
    pub class_names: Vec<String>,
    /// Labels are names, whose numbers are their places in `class_names`.
    named_labels: bool,
    pub statistics: ImageStatistics,
    /// Split, name and SHA-256 of every file read, in reading order; images in folders are one of
    /// each split.
    pub files: Vec<(String, String, String)>,
    pub treated: Treated,
}

/// How many of the images that were read were changed, and how many are in two splits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treated {
    pub changes: Changes,
    /// Images of a split with files of its own that an earlier split's files hold, too; the order is
    /// training, validation, test.
    pub in_two_splits: u64,
    /// Images of a part drawn from the training split that an earlier part holds, too, in the same
    /// order.
    pub in_two_parts: u64,
}

impl Treated {
    /// A sentence for each thing that happened.
    pub fn notes(&self) -> Vec<String> {
        let Changes { turned, grey_to_rgb, color_to_grey, alpha_dropped, depth_halved } =
            self.changes;
        let all = [
            (turned, "turned upright by the orientation that the file states"),
            (grey_to_rgb, "grey in the file and repeated in three channels"),
            (color_to_grey, "in colour in the file and turned grey (ITU-R 601 luma)"),
            (alpha_dropped, "transparent in places; transparency is dropped, colours stay"),
            (depth_halved, "of 16 bits a sample, of which the upper 8 are used"),
            (
                self.in_two_splits,
                "in the files of a split although those of an earlier one hold them, too \
                 (`duplicates: keep`)",
            ),
            (
                self.in_two_parts,
                "drawn for one part of the training split while another part has an equal one",
            ),
        ];
        let some = all.into_iter().filter(|(count, _)| *count > 0);
        some.map(|(count, what)| match count {
            1 => format!("Images: 1 is {what}."),
            _ => format!("Images: {count} are {what}."),
        })
        .collect()
    }
}

impl ImageData {
    /// Reads, checks and decodes the three splits, or takes what is decoded from the user's cache.
    pub fn load(data: &ImageDataSpec, model: &VitSpec, hub: &Hub) -> Result<ImageData> {
        ImageData::load_with_cache(data, model, hub, cache_folder().as_deref())
    }

    /// [`ImageData::load`] with another folder for what is decoded, or none.
    pub fn load_with_cache(
        data: &ImageDataSpec,
        model: &VitSpec,
        hub: &Hub,
        cache: Option<&Path>,
    ) -> Result<ImageData> {
        let loaded = Loader::new(data, model, hub, cache)?.load()?;
        let [train, validation, test] = loaded.splits;
        let statistics = match &data.normalize {
            Some(Normalize { mean, std }) => {
                ImageStatistics { mean: mean.clone(), std: std.clone() }
            }
            None => measure(&train),
        };
        Ok(ImageData {
            train,
            validation,
            test,
            class_names: loaded.class_names,
            named_labels: loaded.named_labels,
            statistics,
            files: loaded.files,
            treated: loaded.treated,
        })
    }

    /// The same images, normalised with other figures.
    pub fn normalised(&self, Normalize { mean, std }: &Normalize) -> ImageData {
        let statistics = ImageStatistics { mean: mean.clone(), std: std.clone() };
        ImageData { statistics, ..self.clone() }
    }

    /// Splits of no files.
    pub(super) fn of_splits(
        [train, validation, test]: [ImageSplit; 3],
        statistics: ImageStatistics,
    ) -> ImageData {
        ImageData {
            train,
            validation,
            test,
            class_names: Vec::new(),
            named_labels: false,
            statistics,
            files: Vec::new(),
            treated: Treated::default(),
        }
    }

    /// A hash over all files read, independent of where they lay.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        // The role, not the name, of each split: boundaries count, names do not.
        let mut role = 0u8;
        let mut before = None;
        for (split, _, sha256) in &self.files {
            role += u8::from(before.is_some_and(|b| b != split));
            before = Some(split);
            hash.update([role]);
            hash.update(sha256);
        }
        // The files leave open which number a name is.
        if self.named_labels {
            hash.update("classes");
            for name in &self.class_names {
                hash.update([0]);
                hash.update(name);
            }
        }
        // Earlier versions did not turn images by their orientation: turned ones are other data.
        if self.treated.changes.turned > 0 {
            hash.update("upright");
        }
        hex(&hash.finalize())
    }

    /// Normalised images \[batch, channel, row, column\] and labels \[batch\]. An augmenter
    /// changes each image by its own stream. Images that are no squares need one.
    pub fn batch(
        &self,
        split: &ImageSplit,
        examples: &[usize],
        augmenter: Option<&Augmenter>,
        device: &Device,
    ) -> candle_core::Result<(Tensor, Tensor)> {
        let Size { side, channels } = split.size;
        let size = split.size.bytes();
        let tables = self.statistics.tables();
        let mut values = vec![0f32; examples.len() * size];
        let one = |out: &mut [f32], example: usize| -> candle_core::Result<()> {
            match augmenter.filter(|augmenter| augmenter.resizes()) {
                None => {
                    let change = augmenter.map_or((0, 0, false), |a| a.draw(example));
                    normalise(split.image(example), side, &tables, change, out);
                }
                Some(augmenter) => {
                    let (bytes, width, height) = split.sized(example);
                    let (part, mirrored) = augmenter.draw_part(example, width, height);
                    let whole = resize::Pixels { bytes, width, height };
                    let [x, y, width, height] = part;
                    let cropped = whole.crop(x, y, width, height, channels);
                    let part = resize::Pixels { bytes: &cropped, width, height };
                    let square = resize(part, channels, side, side, augmenter.interpolation())
                        .map_err(candle_core::Error::msg)?;
                    normalise(&square, side, &tables, (0, 0, mirrored), out);
                }
            }
            Ok(())
        };
        match augmenter.is_some_and(Augmenter::resizes) && !device.is_cpu() {
            // The model is on another device, and the processor's other threads are free.
            true => values
                .par_chunks_exact_mut(size)
                .zip(examples)
                .try_for_each(|(out, example)| one(out, *example))?,
            // On the one thread that makes batches: the others are the model's.
            false => values
                .chunks_exact_mut(size)
                .zip(examples)
                .try_for_each(|(out, example)| one(out, *example))?,
        }
        let images = Tensor::from_vec(values, (examples.len(), channels, side, side), device)?;
        let labels: Vec<u32> = examples.iter().map(|&e| split.labels[e]).collect();
        Ok((images, Tensor::from_vec(labels, examples.len(), device)?))
    }
}

/// Writes an image \[row, column, channel\] as values \[channel, row, column\], seen through a
/// window that is moved by (dx, dy) and then mirrored. Outside the image stands black, as in
/// torchvision's RandomCrop.
fn normalise(
    image: &[u8],
    side: usize,
    tables: &[[f32; 256]],
    (dx, dy, mirrored): (isize, isize, bool),
    out: &mut [f32],
) {
    let channels = image.len() / (side * side);
    let inside = |v: isize| v.clamp(0, side as isize) as usize;
    let (start, end) = (inside(-dx), inside(side as isize - dx));
    for (c, (plane, table)) in out.chunks_exact_mut(side * side).zip(tables).enumerate() {
        for (y, row) in plane.chunks_exact_mut(side).enumerate() {
            let from_y = y as isize + dy;
            if !(0..side as isize).contains(&from_y) {
                row.fill(table[0]);
                continue;
            }
            row[..start].fill(table[0]);
            row[end..].fill(table[0]);
            let from = &image[from_y as usize * side * channels..][..side * channels];
            let pixels = from.iter().skip(inside(dx) * channels + c).step_by(channels);
            for (value, pixel) in row[start..end].iter_mut().zip(pixels) {
                *value = table[usize::from(*pixel)];
            }
            if mirrored {
                row.reverse();
            }
        }
    }
}

/// How often each value is a channel's: exact, and independent of how the work is divided.
fn counts<const CHANNELS: usize>(split: &ImageSplit) -> Vec<[u64; 256]> {
    type Counts<const C: usize> = [[u64; 256]; C];
    // Two sets in turn: neighbours are often equal, and one counter's next increment has to wait
    // for the one before.
    let none = || Box::new([[[0; 256]; CHANNELS]; 2]);
    let count = |mut sets: Box<[Counts<CHANNELS>; 2]>, image: usize| {
        let (pixels, _) = split.image(image).as_chunks::<CHANNELS>();
        for (i, pixel) in pixels.iter().enumerate() {
            for (channel, value) in pixel.iter().enumerate() {
                sets[i & 1][channel][usize::from(*value)] += 1;
            }
        }
        sets
    };
    let sum = |mut a: Box<[Counts<CHANNELS>; 2]>, b: Box<[Counts<CHANNELS>; 2]>| {
        let (a_all, b_all) = (a.as_flattened_mut().as_flattened_mut(), b.as_flattened());
        a_all.iter_mut().zip(b_all.as_flattened()).for_each(|(a, b)| *a += b);
        a
    };
    let [mut even, odd] = *(0..split.len()).into_par_iter().fold(none, count).reduce(none, sum);
    even.as_flattened_mut().iter_mut().zip(odd.as_flattened()).for_each(|(a, b)| *a += b);
    even.to_vec()
}

/// Mean and deviation of each channel over all pixels.
fn measure(split: &ImageSplit) -> ImageStatistics {
    let counts = match split.size.channels {
        1 => counts::<1>(split),
        _ => counts::<3>(split),
    };
    let moments = |counts: &[u64; 256]| {
        let n: u64 = counts.iter().sum();
        let mean = |f: &dyn Fn(f64) -> f64| {
            let total: f64 =
                counts.iter().enumerate().map(|(v, c)| *c as f64 * f(v as f64 / 255.0)).sum();
            total / n as f64
        };
        let average = mean(&|v| v);
        (average, mean(&|v| (v - average).powi(2)).sqrt())
    };
    let (mean, std): (Vec<f64>, Vec<f64>) = counts.iter().map(moments).unzip();
    // A channel without contrast is left as it is.
    let std = std.into_iter().map(|s| if s > 0.0 { s } else { 1.0 }).collect();
    ImageStatistics { mean, std }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{self, RunSpec};

    fn quickstart() -> RunSpec {
        let text = b"task: image-classification\ndata: {embedded: fashion-mnist-mini}\n\
            model: {architecture: vit, image_size: 28, patch_size: 7, channels: 1, classes: 10, \
            dim: 8, depth: 1, heads: 1}\narms: {baseline: }\nseeds: [0]\n";
        spec::parse(text, "t.yaml", "t", &[], &|_| 0).unwrap().variants[0].spec.clone()
    }

    fn load() -> ImageData {
        let spec = quickstart();
        ImageData::load(spec.images(), spec.vit(), &Hub::default()).unwrap()
    }

    #[test]
    fn the_embedded_dataset_is_balanced_and_disjoint() {
        let data = load();
        let mut seen = std::collections::HashSet::new();
        for (split, a_class) in [(&data.train, 600), (&data.validation, 100), (&data.test, 100)] {
            assert_eq!(split.len(), 10 * a_class);
            for class in 0..10 {
                assert_eq!(split.labels.iter().filter(|l| **l == class).count(), a_class);
            }
            for i in 0..split.len() {
                assert!(seen.insert(split.image(i).to_vec()), "an image stands in two places");
            }
        }
        assert_eq!(data.class_names[9], "Ankle boot");
        assert_eq!(data.files.len(), 3);
    }

    /// Every window and its mirror image, pixel by pixel.
    #[test]
    fn windows_are_those_of_the_formula() {
        let (side, channels) = (3, 3);
        let image: Vec<u8> = (1..=(side * side * channels) as u8).map(|v| 9 * v).collect();
        let (mean, std) = (vec![0.1, 0.5, 0.9], vec![0.2, 0.3, 0.4]);
        let tables = ImageStatistics { mean: mean.clone(), std: std.clone() }.tables();
        let all = -4..=4isize;
        for (dx, dy) in all.clone().flat_map(|dx| all.clone().map(move |dy| (dx, dy))) {
            for mirrored in [false, true] {
                let mut out = vec![f32::NAN; image.len()];
                normalise(&image, side, &tables, (dx, dy, mirrored), &mut out);
                for (i, got) in out.iter().enumerate() {
                    let (c, y, x) = (i / (side * side), i / side % side, i % side);
                    let x = if mirrored { side - 1 - x } else { x };
                    let (x, y) = (x as isize + dx, y as isize + dy);
                    let inside = (0..side as isize).contains(&x) && (0..side as isize).contains(&y);
                    let at = (y * side as isize + x) * channels as isize + c as isize;
                    let pixel = if inside { image[at as usize] } else { 0 };
                    let want = (f64::from(pixel) / 255.0 - mean[c]) / std[c];
                    assert!((f64::from(*got) - want).abs() < 1e-6, "{dx} {dy} {mirrored} {i}");
                }
            }
        }
    }

    #[test]
    fn batches_are_normalised_by_the_training_split() {
        let data = load();
        let all: Vec<usize> = (0..data.train.len()).collect();
        let (images, labels) = data.batch(&data.train, &all, None, &Device::Cpu).unwrap();
        assert_eq!(images.dims(), [6000, 1, 28, 28]);
        assert_eq!(labels.dims(), [6000]);
        let mean = images.mean_all().unwrap().to_scalar::<f32>().unwrap();
        let square = images.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-3, "{mean}, {square}");
        // Fashion-MNIST's training split has mean 0.2860 and deviation 0.3530.
        assert!((data.statistics.mean[0] - 0.286).abs() < 0.01);
        assert!((data.statistics.std[0] - 0.353).abs() < 0.01);
    }
}

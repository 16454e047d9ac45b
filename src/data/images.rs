//! Decoded image datasets.

use candle_core::{Device, Tensor};
use image::{DynamicImage, ImageReader, Limits};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::augment::Augmenter;
use super::{layout, parquet};
use crate::error::{Error, Result};
use crate::hub::{File, Hub, Kind, Source};
use crate::spec::{DataSpec, ModelSpec, Normalize, SplitSpec, hex};

/// Images of one split as bytes, with their labels.
#[derive(Clone, Debug)]
pub struct ImageSplit {
    /// \[image, row, column, channel\].
    pixels: Vec<u8>,
    pub labels: Vec<u32>,
    side: usize,
    channels: usize,
}

impl ImageSplit {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Image `i`: \[row, column, channel\].
    pub fn image(&self, i: usize) -> &[u8] {
        let size = self.side * self.side * self.channels;
        &self.pixels[i * size..(i + 1) * size]
    }
}

/// What normalisation subtracts and divides by, a channel each, for pixels in \[0, 1\].
#[derive(Clone, Debug, PartialEq)]
pub struct ImageStatistics {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

/// The three splits of an image classification dataset, ready for batches.
#[derive(Debug)]
pub struct ImageData {
    pub train: ImageSplit,
    pub validation: ImageSplit,
    pub test: ImageSplit,
    /// Empty where the files do not name them.
    pub class_names: Vec<String>,
    pub statistics: ImageStatistics,
    /// Split, name and SHA-256 of every file read, in reading order.
    pub files: Vec<(String, String, String)>,
}

impl ImageData {
    /// Reads, checks and decodes the three splits.
    pub fn load(data: &DataSpec, model: &ModelSpec, hub: &Hub) -> Result<ImageData> {
        let repository = hub.open(&Source::of(data)?, Kind::Dataset)?;
        let mut files = Vec::new();
        let mut class_names = Vec::new();
        let mut split = |name: &str| -> Result<ImageSplit> {
            let found = layout::split_files(&repository, name)?;
            for file in &found {
                let same = files.iter().find(|(_, _, sha256)| *sha256 == file.sha256);
                if let Some((other, path, _)) = same {
                    return Err(Error::Input(format!(
                        "{}: the same file serves two splits or twice\n  found:    its content \
                         stands in {path}, of the split `{other}`\n  expected: no example twice",
                        file.name
                    )));
                }
                files.push((name.to_string(), file.name.clone(), file.sha256.clone()));
            }
            let split = read_split(&found, data, model, &mut class_names)?;
            match split.is_empty() {
                true => Err(Error::Input(format!("the split `{name}` has no examples"))),
                false => Ok(split),
            }
        };
        let train = split(&data.train)?;
        let mut named = |part: &SplitSpec| match part {
            SplitSpec::Named(name) => split(name),
            SplitSpec::Part(_) => Err(Error::Input("parts of a split are not drawn yet".into())),
        };
        let validation = named(&data.validation)?;
        let test = named(&data.test)?;
        let statistics = match &data.normalize {
            Some(Normalize { mean, std }) => {
                ImageStatistics { mean: mean.clone(), std: std.clone() }
            }
            None => measure(&train),
        };
        Ok(ImageData { train, validation, test, class_names, statistics, files })
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
        hex(&hash.finalize())
    }

    /// Normalised images \[batch, channel, row, column\] and labels \[batch\]. An augmenter
    /// changes each image by its own stream.
    pub fn batch(
        &self,
        split: &ImageSplit,
        examples: &[usize],
        augmenter: Option<&Augmenter>,
        device: &Device,
    ) -> candle_core::Result<(Tensor, Tensor)> {
        let (side, channels) = (split.side, split.channels);
        let size = side * side * channels;
        let mut values = vec![0f32; examples.len() * size];
        values.par_chunks_mut(size).zip(examples).for_each(|(out, &example)| {
            let (dx, dy, mirrored) = match augmenter {
                Some(augmenter) => augmenter.draw(example),
                None => (0, 0, false),
            };
            let image = split.image(example);
            for c in 0..channels {
                let (mean, std) = (self.statistics.mean[c], self.statistics.std[c]);
                let scale = (1.0 / (255.0 * std)) as f32;
                let shift = (-mean / std) as f32;
                for y in 0..side {
                    for x in 0..side {
                        let from_x = if mirrored { side - 1 - x } else { x } as isize + dx;
                        let from_y = y as isize + dy;
                        let inside = |v: isize| (0..side as isize).contains(&v);
                        // Outside the image stands black, as in torchvision's RandomCrop.
                        let pixel = match inside(from_x) && inside(from_y) {
                            true => {
                                image[(from_y as usize * side + from_x as usize) * channels + c]
                            }
                            false => 0,
                        };
                        out[(c * side + y) * side + x] = f32::from(pixel) * scale + shift;
                    }
                }
            }
        });
        let images = Tensor::from_vec(values, (examples.len(), channels, side, side), device)?;
        let labels: Vec<u32> = examples.iter().map(|&e| split.labels[e]).collect();
        Ok((images, Tensor::from_vec(labels, examples.len(), device)?))
    }
}

fn read_split(
    files: &[File],
    data: &DataSpec,
    model: &ModelSpec,
    class_names: &mut Vec<String>,
) -> Result<ImageSplit> {
    let (side, channels) = (model.image_size, model.channels);
    let mut split = ImageSplit { pixels: Vec::new(), labels: Vec::new(), side, channels };
    for file in files {
        let rows = parquet::read(file, &data.image_column, &data.label_column, model.classes)?;
        let decoded: Vec<Vec<u8>> = rows
            .images
            .par_iter()
            .enumerate()
            .map(|(row, bytes)| {
                decode(bytes, side, channels)
                    .map_err(|e| Error::Input(format!("{}: row {row}: {e}", file.name)))
            })
            .collect::<Result<_>>()?;
        split.pixels.extend(decoded.into_iter().flatten());
        split.labels.extend(rows.labels);
        let names = rows.class_names;
        if !names.is_empty() && names.len() != model.classes {
            return Err(Error::Input(format!(
                "{}: the dataset has another number of classes\n  found:    {} class names\n  \
                 expected: model.classes, {}",
                file.name,
                names.len(),
                model.classes
            )));
        }
        // The same label must mean the same class in every file.
        if !names.is_empty() && !class_names.is_empty() && names != *class_names {
            return Err(Error::Input(format!(
                "{}: the classes are named otherwise than in the files before\n  found:    {}\n  \
                 expected: {}",
                file.name,
                names.join(", "),
                class_names.join(", ")
            )));
        }
        if class_names.is_empty() {
            *class_names = names;
        }
    }
    Ok(split)
}

/// Decodes one image and checks that it is what the model takes.
fn decode(bytes: &[u8], side: usize, channels: usize) -> std::result::Result<Vec<u8>, String> {
    let open = || ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format();
    let another_size = |width: u32, height: u32| {
        format!(
            "the image has another size\n  found:    {width} × {height}\n  expected: {side} × {side}, \
             model.image_size"
        )
    };
    let size = open().ok().and_then(|reader| reader.into_dimensions().ok());
    if let Some((width, height)) = size.filter(|s| *s != (side as u32, side as u32)) {
        return Err(another_size(width, height));
    }
    let mut reader = open().map_err(|e| e.to_string())?;
    // Refuses a decompression bomb before it unfolds.
    let mut limits = Limits::default();
    limits.max_image_width = Some(side as u32);
    limits.max_image_height = Some(side as u32);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| {
        format!("the image cannot be decoded\n  found:    {e}\n  expected: a PNG of {side} × {side} pixels")
    })?;
    if (image.width(), image.height()) != (side as u32, side as u32) {
        return Err(another_size(image.width(), image.height()));
    }
    match (image, channels) {
        (DynamicImage::ImageLuma8(image), 1) => Ok(image.into_raw()),
        (DynamicImage::ImageRgb8(image), 3) => Ok(image.into_raw()),
        (other, _) => Err(format!(
            "the image has other channels\n  found:    {:?}\n  expected: {}, as model.channels is {channels}",
            other.color(),
            if channels == 1 { "8-bit grey" } else { "8-bit RGB" }
        )),
    }
}

/// Mean and deviation of each channel over all pixels.
fn measure(split: &ImageSplit) -> ImageStatistics {
    // 256 counters a channel: exact, and independent of how the work is divided.
    let mut counts = vec![[0u64; 256]; split.channels];
    for pixel in split.pixels.chunks_exact(split.channels) {
        for (c, value) in pixel.iter().enumerate() {
            counts[c][usize::from(*value)] += 1;
        }
    }
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
        ImageData::load(&spec.data, &spec.model, &Hub::default()).unwrap()
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

    #[test]
    fn images_that_do_not_fit_are_refused() {
        let png = |image: DynamicImage| {
            let mut out = std::io::Cursor::new(Vec::new());
            image.write_to(&mut out, image::ImageFormat::Png).unwrap();
            out.into_inner()
        };
        let refused = |bytes: &[u8]| decode(bytes, 28, 1).unwrap_err();
        assert!(decode(&png(DynamicImage::new_luma8(28, 28)), 28, 1).is_ok());
        assert!(refused(&png(DynamicImage::new_luma8(1, 1))).contains("1 × 1"));
        assert!(refused(&png(DynamicImage::new_luma8(4000, 4000))).contains("4000 × 4000"));
        assert!(refused(&png(DynamicImage::new_rgb8(28, 28))).contains("Rgb8"));
        let whole = png(DynamicImage::new_luma8(28, 28));
        assert!(refused(&whole[..whole.len() / 2]).contains("cannot be decoded"));
        assert!(refused(b"").contains("cannot be decoded"));
    }
}

//! Makes normalised batches of images.

use std::borrow::Cow;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::augment::{Augmenter, Rectangle};
use super::dataset::ImageData;
use super::decode::Size;
use super::operations::Picture;
use super::resize::{self, resize};
use super::split::ImageSplit;

impl ImageData {
    /// Normalised images \[batch, channel, row, column\] and labels \[batch\]. An augmenter changes
    /// each image by the image's own random stream. Images that are not square require an
    /// augmenter.
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
            let Some(augmenter) = augmenter else {
                normalise(split.image(example), side, &tables, (0, 0, false), out);
                return Ok(());
            };
            let (image, change) = match augmenter.resizes() {
                false => (Cow::Borrowed(split.image(example)), augmenter.draw(example)),
                true => {
                    let (bytes, width, height) = split.sized(example);
                    let (part, mirrored) = augmenter.draw_part(example, width, height);
                    let whole = resize::Pixels { bytes, width, height };
                    let [x, y, width, height] = part;
                    let cropped = whole.crop(x, y, width, height, channels);
                    let part = resize::Pixels { bytes: &cropped, width, height };
                    let square = resize(part, channels, side, side, augmenter.interpolation())
                        .map_err(candle_core::Error::msg)?;
                    (Cow::Owned(square), (0, 0, mirrored))
                }
            };
            let operated = |bytes: Vec<u8>| {
                let mut picture = Picture { bytes, width: side, height: side, channels };
                augmenter.apply_policy(&mut picture, example);
                picture.bytes
            };
            match augmenter.policy_first() {
                None => normalise(&image, side, &tables, change, out),
                Some(true) => {
                    normalise(&operated(image.into_owned()), side, &tables, change, out);
                }
                Some(false) => {
                    let cropped = operated(crop_and_mirror(&image, side, change));
                    normalise(&cropped, side, &tables, (0, 0, false), out);
                }
            }
            if let Some(rectangle) = augmenter.draw_erasing(example, side) {
                erase(out, side, rectangle);
            }
            Ok(())
        };
        match augmenter.is_some_and(Augmenter::needs_cpu) && !device.is_cpu() {
            // The model is on another device, so the CPU's threads are free.
            true => values
                .par_chunks_exact_mut(size)
                .zip(examples)
                .try_for_each(|(out, example)| one(out, *example))?,
            // The model uses the other CPU threads, so this stays on one.
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

/// Writes an image \[row, column, channel\] as normalised values \[channel, row, column\]. The crop
/// window is moved by (dx, dy), then the result may be mirrored. Pixels outside the image are
/// black, as in torchvision's RandomCrop.
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

/// Sets a rectangle of an image \[channel, row, column\] to 0, which is the mean where it is normalised.
fn erase(image: &mut [f32], side: usize, [left, top, width, height]: Rectangle) {
    for plane in image.chunks_exact_mut(side * side) {
        for row in plane.chunks_exact_mut(side).skip(top).take(height) {
            row[left..left + width].fill(0.0);
        }
    }
}

/// The same crop and flip as [`normalise`]'s, of bytes \[row, column, channel\].
fn crop_and_mirror(image: &[u8], side: usize, (dx, dy, mirrored): (isize, isize, bool)) -> Vec<u8> {
    let channels = image.len() / (side * side);
    let mut out = vec![0; image.len()];
    for (i, pixel) in out.chunks_exact_mut(channels).enumerate() {
        let (y, x) = (i / side, i % side);
        let x = if mirrored { side - 1 - x } else { x };
        let (from_x, from_y) = (x as isize + dx, y as isize + dy);
        let inside = 0..side as isize;
        if inside.contains(&from_x) && inside.contains(&from_y) {
            let from = (from_y as usize * side + from_x as usize) * channels;
            pixel.copy_from_slice(&image[from..from + channels]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::dataset::tests::embedded;
    use crate::data::images::statistics::ImageStatistics;

    /// Checks every window and its mirror image, pixel by pixel.
    #[test]
    fn crop_windows_agree_with_the_formula() {
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
                // The same, in two steps.
                let cropped = crop_and_mirror(&image, side, (dx, dy, mirrored));
                let mut again = vec![f32::NAN; image.len()];
                normalise(&cropped, side, &tables, (0, 0, false), &mut again);
                assert_eq!(out, again, "{dx} {dy} {mirrored}");
            }
        }
    }

    #[test]
    fn batches_are_normalised_by_the_training_split() {
        let data = embedded();
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

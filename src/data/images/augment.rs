//! Random crops (of the padded image or of a random part) and horizontal flips. Each (epoch,
//! example) has its own random stream.

use crate::random::{Purpose, Stream};
use crate::spec::{ImageDataSpec, Interpolation, RandomResizedCrop};

/// Draws the augmentations of one epoch. They depend only on (seed, epoch, example), not on the
/// example's place in a batch.
#[derive(Clone, Debug)]
pub struct Augmenter {
    seed: u64,
    epoch: usize,
    padding: usize,
    flip: bool,
    part: Option<RandomResizedCrop>,
    interpolation: Interpolation,
}

impl Augmenter {
    pub fn new(data: &ImageDataSpec, seed: u64, epoch: usize) -> Augmenter {
        let augment = &data.augment;
        Augmenter {
            seed,
            epoch,
            padding: augment.crop_padding,
            flip: augment.horizontal_flip,
            part: augment.random_resized_crop,
            interpolation: data.interpolation,
        }
    }

    /// Whether images are cropped by [`Augmenter::draw_part`] instead of [`Augmenter::draw`].
    pub fn resizes(&self) -> bool {
        self.part.is_some()
    }

    /// The interpolation for resizing parts.
    pub fn interpolation(&self) -> Interpolation {
        self.interpolation
    }

    /// The part of an image that is resized to the whole square, as left, top, width and height in
    /// pixels, and whether to mirror it. `width` and `height` are the image's.
    pub fn draw_part(&self, example: usize, width: usize, height: usize) -> ([usize; 4], bool) {
        let mut stream = Stream::new(self.seed, Purpose::Augment, &self.name(example));
        let part = match &self.part {
            Some(crop) => part(crop, width, height, &mut stream),
            None => [0, 0, width, height],
        };
        (part, self.flip && stream.below(2) == 1)
    }

    fn name(&self, example: usize) -> String {
        format!("{}/{example}", self.epoch)
    }

    /// How far the crop window moves right and down, in pixels from −padding to padding, and
    /// whether to mirror the image.
    pub fn draw(&self, example: usize) -> (isize, isize, bool) {
        if self.padding == 0 && !self.flip {
            return (0, 0, false);
        }
        let mut stream = Stream::new(self.seed, Purpose::Augment, &self.name(example));
        let mut shift = || {
            let places = 2 * self.padding as u32 + 1;
            stream.below(places) as isize - self.padding as isize
        };
        let (dx, dy) = (shift(), shift());
        (dx, dy, self.flip && stream.below(2) == 1)
    }
}

/// Draws a part like torchvision's RandomResizedCrop. It tries ten times to draw a uniform share of
/// the area and a log-uniform aspect ratio. If none fits, it takes the centre with the nearest
/// ratio.
fn part(crop: &RandomResizedCrop, width: usize, height: usize, stream: &mut Stream) -> [usize; 4] {
    let ([least, most], [narrow, wide]) = (crop.scale, crop.ratio);
    let mut between = |low: f64, high: f64| low + (high - low) * stream.uniform();
    let (w, h) = (width as f64, height as f64);
    for _ in 0..10 {
        let area = w * h * between(least, most);
        let ratio = between(narrow.ln(), wide.ln()).exp();
        // Rounded as in Python.
        let part_width = (area * ratio).sqrt().round_ties_even();
        let part_height = (area / ratio).sqrt().round_ties_even();
        if (1.0..=w).contains(&part_width) && (1.0..=h).contains(&part_height) {
            let (part_width, part_height) = (part_width as usize, part_height as usize);
            let top = stream.below((height - part_height) as u32 + 1) as usize;
            let left = stream.below((width - part_width) as u32 + 1) as usize;
            return [left, top, part_width, part_height];
        }
    }
    let ratio = w / h;
    let (part_width, part_height) = if ratio < narrow {
        (width, (w / narrow).round_ties_even() as usize)
    } else if ratio > wide {
        ((h * wide).round_ties_even() as usize, height)
    } else {
        (width, height)
    };
    // In an image of few pixels, the nearest ratio may give a side of 0.
    let (part_width, part_height) = (part_width.clamp(1, width), part_height.clamp(1, height));
    [(width - part_width) / 2, (height - part_height) / 2, part_width, part_height]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn augmenter(data: &str, seed: u64, epoch: usize) -> Augmenter {
        Augmenter::new(&serde_json::from_str(data).unwrap(), seed, epoch)
    }

    #[test]
    fn draws_cover_their_range_and_are_repeatable() {
        let data = r#"{"augment": {"crop_padding": 2, "horizontal_flip": true}}"#;
        let a = augmenter(data, 1, 0);
        let draws: Vec<_> = (0..2000).map(|e| a.draw(e)).collect();
        for shift in -2..=2 {
            assert!(draws.iter().any(|d| d.0 == shift) && draws.iter().any(|d| d.1 == shift));
        }
        assert!(draws.iter().all(|d| d.0.abs() <= 2 && d.1.abs() <= 2));
        let flips = draws.iter().filter(|d| d.2).count();
        assert!((900..1100).contains(&flips), "{flips}");
        assert_eq!(draws[7], augmenter(data, 1, 0).draw(7));
        let other = |seed, epoch| {
            let a = augmenter(data, seed, epoch);
            (0..20).map(|e| a.draw(e)).collect::<Vec<_>>()
        };
        assert_ne!(other(1, 0), other(2, 0));
        assert_ne!(other(1, 0), other(1, 1));
    }

    /// Compares means, deviations and extremes of many parts to torchvision's, from
    /// `scripts/reference/make_image_fixtures.py`.
    #[test]
    fn parts_are_distributed_as_in_torchvision() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/boxes.json");
        let cases: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in cases.as_array().unwrap() {
            let number = |field: &str| case[field].as_u64().unwrap() as usize;
            let list = |field: &str| -> Vec<f64> {
                case[field].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
            };
            let (width, height, draws) = (number("width"), number("height"), number("draws"));
            let crop = serde_json::json!({"scale": case["scale"], "ratio": case["ratio"]});
            let data = serde_json::json!({"augment": {"random_resized_crop": crop}});
            let augmenter = augmenter(&data.to_string(), 3, 0);
            let parts: Vec<[usize; 4]> =
                (0..draws).map(|e| augmenter.draw_part(e, width, height).0).collect();
            assert_eq!(parts[5], augmenter.draw_part(5, width, height).0);
            let n = draws as f64;
            for i in 0..4 {
                let values = || parts.iter().map(|part| part[i] as f64);
                let mean = values().sum::<f64>() / n;
                let spread = (values().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
                let (want, want_spread) = (list("mean")[i], list("std")[i]);
                // Five standard errors of a difference of means. The standard error of the
                // deviation is at most about twice that of a normal distribution for these shapes.
                let error = 5.0 * want_spread * (2.0 / n).sqrt();
                assert!((mean - want).abs() <= error, "{case}, {i}: {mean} and {want}");
                assert!((spread - want_spread).abs() <= 2.0 * error, "{case}, {i}: {spread}");
                let low = values().fold(f64::INFINITY, f64::min);
                let high = values().fold(0.0, f64::max);
                let near = |a: f64, b: f64| (a - b).abs() <= 1.0 + 0.3 * want_spread;
                assert!(near(low, list("least")[i]) && near(high, list("most")[i]), "{case}, {i}");
            }
            assert!(parts.iter().all(|[x, y, w, h]| x + w <= width && y + h <= height));
        }
    }

    #[test]
    fn parts_of_the_smallest_images_are_inside_and_not_empty() {
        let a = augmenter(r#"{"augment": {"random_resized_crop": {}}}"#, 0, 0);
        for (width, height) in [(1, 1), (1, 500), (500, 1), (2, 3), (1, 2)] {
            for example in 0..200 {
                let ([x, y, w, h], _) = a.draw_part(example, width, height);
                assert!(w >= 1 && h >= 1 && x + w <= width && y + h <= height);
            }
        }
    }
}

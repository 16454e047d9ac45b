//! Random crops (of the padded image or of a random part), horizontal flips, policies of operations, and
//! erasing. Each (epoch, example) has its own random streams.

use super::operations::Picture;
use super::policy::Policy;
use crate::random::{Purpose, Stream};
use crate::spec::{Erasing, ImageDataSpec, Interpolation, RandomResizedCrop};

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
    policy: Option<Policy>,
    policy_first: bool,
    fill: u8,
    erasing: Option<Erasing>,
}

/// A rectangle of an image: left, top, width and height in pixels.
pub type Rectangle = [usize; 4];

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
            policy: (augment.auto_augment.map(Policy::Auto))
                .or(augment.rand_augment.map(Policy::Random)),
            policy_first: augment.policy_first,
            fill: augment.fill as u8,
            erasing: augment.erasing,
        }
    }

    /// Whether a processor must change the images, since a GPU only crops and mirrors them.
    pub fn needs_cpu(&self) -> bool {
        self.resizes() || self.policy.is_some() || self.erasing.is_some()
    }

    /// Whether an image's operations come before its crop and flip; None if there are no operations.
    pub fn policy_first(&self) -> Option<bool> {
        self.policy.map(|_| self.policy_first)
    }

    /// Applies the operations of `auto_augment` or `rand_augment`.
    pub fn apply_policy(&self, image: &mut Picture, example: usize) {
        if let Some(policy) = self.policy {
            let mut stream = Stream::new(self.seed, Purpose::Policy, &self.name(example));
            policy.apply(image, self.fill, &mut stream);
        }
    }

    /// The rectangle of an image of `side` × `side` pixels that is erased, if one is, drawn like
    /// torchvision's RandomErasing.
    pub fn draw_erasing(&self, example: usize, side: usize) -> Option<Rectangle> {
        let Erasing { probability, scale, ratio } = self.erasing?;
        let mut stream = Stream::new(self.seed, Purpose::Erasing, &self.name(example));
        if stream.uniform() >= probability {
            return None;
        }
        let area = (side * side) as f64;
        for _ in 0..10 {
            let mut between = |[low, high]: [f64; 2]| low + (high - low) * stream.uniform();
            let erased = area * between(scale);
            let aspect = between(ratio.map(f64::ln)).exp();
            // Rounded as in Python.
            let rounded = |v: f64| v.sqrt().round_ties_even() as usize;
            let (height, width) = (rounded(erased * aspect), rounded(erased / aspect));
            if height < side && width < side {
                let mut place = |length| stream.below((side - length) as u32 + 1) as usize;
                let (top, left) = (place(height), place(width));
                return Some([left, top, width, height]);
            }
        }
        None
    }

    /// Whether images are cropped by [`Augmenter::draw_part`] instead of [`Augmenter::draw`].
    pub fn resizes(&self) -> bool {
        self.part.is_some()
    }

    /// The interpolation for resizing parts.
    pub fn interpolation(&self) -> Interpolation {
        self.interpolation
    }

    /// The part of an image that is resized to the whole square, and whether to mirror it. `width` and
    /// `height` are the image's, in pixels.
    pub fn draw_part(&self, example: usize, width: usize, height: usize) -> (Rectangle, bool) {
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

    /// Compares the share of erased images, and means and deviations of rectangles, to torchvision's
    /// RandomErasing, from `scripts/reference/make_recipe_fixtures.py`.
    #[test]
    fn erased_rectangles_are_distributed_as_in_torchvision() {
        let cases = crate::data::images::oracle::fact("erasing");
        for case in cases.as_array().unwrap() {
            let data = serde_json::json!({"augment": {"erasing":
                {"probability": 1, "scale": case["scale"], "ratio": case["ratio"]}}});
            let augmenter = augmenter(&data.to_string(), 3, 0);
            let draws = case["draws"].as_u64().unwrap() as usize;
            let drawn: Vec<Rectangle> =
                (0..draws).filter_map(|e| augmenter.draw_erasing(e, 32)).collect();
            let n = drawn.len() as f64;
            let share = case["share"].as_f64().unwrap();
            let error = 5.0 * (2.0 * share * (1.0 - share) / draws as f64).sqrt();
            assert!((n / draws as f64 - share).abs() <= error + 1e-9, "{case}: {n}");
            for i in 0..4 {
                let values = || drawn.iter().map(|part| part[i] as f64);
                let mean = values().sum::<f64>() / n;
                let spread = (values().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
                let want = |what: &str| case["moments"][i][what].as_f64().unwrap();
                let error = 5.0 * want("std") * (2.0 / n).sqrt();
                assert!((mean - want("mean")).abs() <= error, "{case}, {i}: {mean}");
                assert!((spread - want("std")).abs() <= 2.0 * error, "{case}, {i}: {spread}");
            }
            assert!(drawn.iter().all(|[x, y, w, h]| x + w <= 32 && y + h <= 32));
        }
        let half = r#"{"augment": {"erasing": {}}}"#;
        let erased = (0..2000).filter(|e| augmenter(half, 1, 0).draw_erasing(*e, 32).is_some());
        assert!((900..1100).contains(&erased.count()));
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

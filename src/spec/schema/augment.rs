//! `data.augment` of images: random changes of training images.

use serde::{Deserialize, Serialize};

/// Random changes of training images, in this order: `random_resized_crop` or `crop_padding`,
/// `horizontal_flip`, `auto_augment` or `rand_augment`, `erasing`; then `mix` of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Zero padding in pixels on each side before a random crop of the original size; 0 is off.
    #[serde(default)]
    pub crop_padding: usize,
    /// Mirror left to right with probability one half.
    #[serde(default)]
    pub horizontal_flip: bool,
    /// Instead of `resize` and `crop`: a random part of the image as stored, resized to the square.
    #[serde(default)]
    pub random_resized_crop: Option<RandomResizedCrop>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_augment: Option<AutoAugment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// Whether `auto_augment` or `rand_augment` comes before crop and flip.
    #[serde(default)]
    pub policy_first: bool,
    /// The value, in each channel, of pixels that `auto_augment` and `rand_augment` take from outside an
    /// image.
    #[serde(default)]
    pub fill: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasing: Option<Erasing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<Mix>,
}

/// torchvision's `RandomResizedCrop`, a part for each epoch and image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// The part's share of the image's area, least and most; uniform.
    #[serde(default = "crop_scale")]
    pub scale: [f64; 2],
    /// The part's width over its height, least and most; its logarithm is uniform.
    #[serde(default = "crop_ratio")]
    pub ratio: [f64; 2],
}

/// A policy of torchvision's `AutoAugment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AutoAugment {
    /// The one found on CIFAR-10.
    Cifar10,
}

/// torchvision's `RandAugment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandAugment {
    /// Operations an image: `num_ops`.
    pub operations: usize,
    /// Which of the magnitudes they have, from 0.
    pub magnitude: usize,
    /// Number of magnitudes: `num_magnitude_bins`.
    pub bins: usize,
}

impl Default for RandAugment {
    fn default() -> RandAugment {
        RandAugment { operations: 2, magnitude: 9, bins: 31 }
    }
}

/// torchvision's `RandomErasing` (arXiv 1708.04896) of normalised images, with value 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Erasing {
    /// Share of the images that lose a rectangle.
    pub probability: f64,
    /// The erased share of the area, least and most; uniform.
    pub scale: [f64; 2],
    /// The rectangle's height over its width, least and most; its logarithm is uniform.
    pub ratio: [f64; 2],
}

impl Default for Erasing {
    fn default() -> Erasing {
        Erasing { probability: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3] }
    }
}

/// timm's `Mixup` of whole batches, mixup (arXiv 1710.09412) or cutmix (arXiv 1905.04899): each image is
/// mixed with the one at the same place from the batch's end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// α of the beta distribution of the share in mixup; 0 is no mixup.
    pub mixup: f64,
    /// α of that in cutmix; 0 is no cutmix.
    pub cutmix: f64,
    /// Share of the batches that are mixed: `prob`.
    pub probability: f64,
    /// Share of the mixed batches that get cutmix, where there are both: `switch_prob`.
    pub switch_probability: f64,
}

impl Default for Mix {
    fn default() -> Mix {
        Mix { mixup: 0.0, cutmix: 0.0, probability: 1.0, switch_probability: 0.5 }
    }
}

fn crop_scale() -> [f64; 2] {
    [0.08, 1.0]
}
fn crop_ratio() -> [f64; 2] {
    [0.75, 4.0 / 3.0]
}

//! `data`: where examples come from, which splits they form, and what is done to them.

use serde::{Deserialize, Serialize};

use super::augment::Augment;

/// Where a run's examples are: the fields that the `data` section of every task has.
#[derive(Clone, Copy, Debug)]
pub struct FilesSpec<'a> {
    pub hub: Option<&'a str>,
    pub path: Option<&'a str>,
    pub embedded: Option<&'a str>,
    pub config: Option<&'a str>,
    pub ignore: &'a [String],
    /// Names of the columns of CSV and TSV files whose first row is an example; empty where the first
    /// row names them.
    pub columns: &'a [String],
    pub train: &'a str,
    pub validation: Option<&'a SplitSpec>,
    /// None only where the examples of the test are taken elsewhere.
    pub test: Option<&'a SplitSpec>,
    pub duplicates: Duplicates,
    /// The endings (`de`, `en`) of files of aligned lines, where examples are pairs of texts.
    pub languages: Option<[&'a str; 2]>,
}

impl ImageDataSpec {
    /// Whether any image is resized, so that `interpolation` has an effect.
    pub fn resizes(&self) -> bool {
        self.resize.is_some() || self.augment.random_resized_crop.is_some()
    }

    /// Where the examples are.
    pub fn files(&self) -> FilesSpec<'_> {
        FilesSpec {
            hub: self.hub.as_deref(),
            path: self.path.as_deref(),
            embedded: self.embedded.as_deref(),
            config: self.config.as_deref(),
            ignore: &self.ignore,
            columns: &[],
            train: &self.train,
            validation: self.validation.as_ref(),
            test: Some(&self.test),
            duplicates: self.duplicates,
            languages: None,
        }
    }
}

/// Where images come from and what is done to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageDataSpec {
    /// A dataset of the Hugging Face Hub, `owner/name` or `owner/name@revision`. Exactly one of
    /// `hub`, `path` and `embedded` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// A folder with files in the layout of a Hub dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A dataset inside the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<String>,
    /// The configuration (subset) of a dataset that has several; None is its default or only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Patterns of the files of the dataset that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    #[serde(default = "image_column")]
    pub image_column: String,
    #[serde(default = "label_column")]
    pub label_column: String,
    /// Name of the training split.
    #[serde(default = "train_split")]
    pub train: String,
    /// None trains without validation.
    #[serde(default = "validation_split")]
    pub validation: Option<SplitSpec>,
    #[serde(default = "test_split")]
    pub test: SplitSpec,
    #[serde(default)]
    pub duplicates: Duplicates,
    /// What is done to images that are not squares of `model.image_size`; null: they are refused.
    #[serde(default)]
    pub resize: Option<Resize>,
    #[serde(default)]
    pub crop: Crop,
    /// Of `resize` and of `augment.random_resized_crop`.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Means and standard deviations of the channels of pixels in [0, 1]; null measures them on the
    /// training split.
    #[serde(default)]
    pub normalize: Option<Normalize>,
    #[serde(default)]
    pub augment: Augment,
}

/// What happens if two splits have the same example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// The dataset is refused.
    #[default]
    Refuse,
    /// They are counted.
    Keep,
    /// Each stays in the last split that has it, in the order training, validation, test, and is counted.
    Remove,
}

/// To which size images are resized. In YAML `exact` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Both sides become `model.image_size`, whatever the aspect ratio was.
    Exact,
    /// The shorter side gets this many pixels; the aspect ratio is kept, as in torchvision's
    /// `Resize(n)`.
    ShorterSide(usize),
}

/// What is kept of an image, after resizing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crop {
    /// All of it.
    #[default]
    None,
    /// The square of `model.image_size` in its middle: torchvision's `CenterCrop`.
    Center,
}

/// How resizing weighs pixels: as Pillow's filter of the name, antialiased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    #[default]
    Bilinear,
    Bicubic,
}

/// Subtracts the mean and divides by the standard deviation of each channel, of pixels in [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

fn image_column() -> String {
    "image".into()
}
pub(super) fn label_column() -> String {
    "label".into()
}
/// Batches of texts are grouped by length by default.
pub(super) fn grouped() -> bool {
    true
}
pub(super) fn train_split() -> String {
    "train".into()
}
pub(super) fn validation_split() -> Option<SplitSpec> {
    Some(SplitSpec::Named("validation".into()))
}
pub(super) fn test_split() -> SplitSpec {
    SplitSpec::Named("test".into())
}

/// Where a split's examples are.
#[derive(Clone, Debug, PartialEq)]
pub enum SplitSpec {
    /// In files of its own.
    Named(String),
    /// In the training split, from which they are taken out.
    Part(PartSpec),
}

/// A part of the training split, drawn at random. Every run of an experiment has the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartSpec {
    /// Fraction of all examples in the files of the training split, rounded down.
    pub fraction: f64,
    /// Seed of the random choice; independent of a run's seed.
    #[serde(default)]
    pub seed: u64,
}

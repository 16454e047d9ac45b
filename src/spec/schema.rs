//! The fields of a run: what a spec can say, with every default.
//!
//! `experiments/reference.yaml` is the same list with a comment a field; a test
//! holds the two together. Units stand in the field's comment.

use serde::{Deserialize, Serialize};

/// Everything that decides a run's result besides its seed and the bytes of its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    pub task: Task,
    pub data: DataSpec,
    pub model: ModelSpec,
    #[serde(default)]
    pub method: Method,
    /// Kept only where `method` is `vlora`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlora: Option<VloraSpec>,
    #[serde(default)]
    pub training: TrainingSpec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One image, one of `model.classes` labels; cross-entropy, accuracy.
    ImageClassification,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Every layer has its own weights.
    #[default]
    Dense,
    /// Compounds: one dense layer, then layers that add low-rank increments.
    Vlora,
}

/// Where images come from and what is done to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// A dataset inside the program. Exactly one of `embedded` and `path` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<String>,
    /// A folder of Parquet files in the layout of a Hugging Face image dataset,
    /// `<split>.parquet` or `<split>-*.parquet`, there or in `data/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default = "image_column")]
    pub image_column: String,
    #[serde(default = "label_column")]
    pub label_column: String,
    /// Names of the three splits.
    #[serde(default = "train_split")]
    pub train: String,
    #[serde(default = "validation_split")]
    pub validation: String,
    #[serde(default = "test_split")]
    pub test: String,
    /// Channel means and deviations of pixels in [0, 1]; null measures them on the training
    /// split.
    #[serde(default)]
    pub normalize: Option<Normalize>,
    #[serde(default)]
    pub augment: Augment,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

/// Applied to training images only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Zero padding in pixels on each side before a random crop of the original size; 0 is off.
    #[serde(default)]
    pub crop_padding: usize,
    /// Mirror left to right with probability one half.
    #[serde(default)]
    pub horizontal_flip: bool,
}

fn image_column() -> String {
    "image".into()
}
fn label_column() -> String {
    "label".into()
}
fn train_split() -> String {
    "train".into()
}
fn validation_split() -> String {
    "validation".into()
}
fn test_split() -> String {
    "test".into()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    pub architecture: Architecture,
    /// Side of the square input image, pixels.
    pub image_size: usize,
    /// Side of a square patch, pixels.
    pub patch_size: usize,
    #[serde(default = "three")]
    pub channels: usize,
    pub classes: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Number of Transformer layers.
    pub depth: usize,
    pub heads: usize,
    /// MLP hidden width over `dim`.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    #[serde(default)]
    pub pool: Pool,
}

fn three() -> usize {
    3
}
fn four() -> f64 {
    4.0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Vision Transformer (arXiv 2010.11929), pre-norm, as timm builds it.
    Vit,
}

/// What the classifier reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// A learned token in front of the patches, normalised by `norm`.
    #[default]
    ClassToken,
    /// The mean over patches, then `fc_norm`; no class token.
    Mean,
}

/// How the layers of a compound get their weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VloraSpec {
    /// Layers a compound, the dense one included; divides `model.depth`.
    pub compound_size: usize,
    pub rank: usize,
    /// An increment is scaled by `alpha / rank`.
    #[serde(default = "one")]
    pub alpha: f64,
    #[serde(default)]
    pub reference: Reference,
    /// Stop the gradient at the reference weight.
    #[serde(default = "yes")]
    pub detach: bool,
    #[serde(default)]
    pub init: IncrementInit,
    /// Weight matrices that increments replace.
    #[serde(default = "all_targets")]
    pub targets: Vec<Target>,
}

fn one() -> f64 {
    1.0
}
fn yes() -> bool {
    true
}
fn all_targets() -> Vec<Target> {
    Target::ALL.to_vec()
}

/// What an increment adds to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// The compound's first layer (the authors' code).
    #[default]
    Base,
    /// The layer before (the paper's text).
    Previous,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncrementInit {
    /// A and B both Kaiming-uniform with a = √5 (the authors' code): the increment is
    /// not zero at the start.
    #[default]
    Authors,
    /// A Kaiming-uniform, B zero (LoRA, arXiv 2106.09685): the increment starts at zero.
    Lora,
}

/// A weight matrix of a Transformer block, by timm's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    #[serde(rename = "attn.qkv")]
    AttnQkv,
    #[serde(rename = "attn.proj")]
    AttnProj,
    #[serde(rename = "mlp.fc1")]
    MlpFc1,
    #[serde(rename = "mlp.fc2")]
    MlpFc2,
}

impl Target {
    pub const ALL: [Target; 4] =
        [Target::AttnQkv, Target::AttnProj, Target::MlpFc1, Target::MlpFc2];

    pub fn name(self) -> &'static str {
        match self {
            Target::AttnQkv => "attn.qkv",
            Target::AttnProj => "attn.proj",
            Target::MlpFc1 => "mlp.fc1",
            Target::MlpFc2 => "mlp.fc2",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingSpec {
    pub epochs: usize,
    /// Examples a forward pass.
    pub batch_size: usize,
    /// Forward passes an optimiser step; the effective batch is `batch_size × accumulation`.
    pub accumulation: usize,
    /// Peak learning rate, reached after warm-up.
    pub learning_rate: f64,
    /// The cosine ends at this share of the peak.
    pub min_learning_rate_ratio: f64,
    /// Share of all optimiser steps over which the rate rises linearly.
    pub warmup_ratio: f64,
    /// Decoupled; not applied to biases, norms, positions and the class token.
    pub weight_decay: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Global gradient norm above which gradients are scaled down; null is off.
    pub clip_norm: Option<f64>,
    pub label_smoothing: f64,
    pub select: Select,
}

impl Default for TrainingSpec {
    fn default() -> Self {
        TrainingSpec {
            epochs: 10,
            batch_size: 64,
            accumulation: 1,
            learning_rate: 1e-3,
            min_learning_rate_ratio: 0.0,
            warmup_ratio: 0.05,
            weight_decay: 0.05,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: Some(1.0),
            label_smoothing: 0.0,
            select: Select::Last,
        }
    }
}

/// Whose weights are tested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// Those after the last epoch.
    #[default]
    Last,
    /// Those of the epoch with the best validation metric, the earliest of equals.
    Best,
}

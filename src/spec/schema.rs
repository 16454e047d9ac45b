//! The fields of a run: what a spec can say, with every default.
//!
//! `experiments/reference.yaml` is the same list with a comment a field; a test
//! holds the two together. Units stand in the field's comment.

use serde::{Deserialize, Serialize};

use super::precision::Precision;

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
    /// Weights to start from; None starts from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartSpec>,
    /// LoRA on top of the weights of `start`, which are frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSpec>,
    #[serde(default)]
    pub training: TrainingSpec,
    /// Records of before there was a choice do not hold it: they are float32.
    #[serde(default)]
    pub precision: Precision,
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
    /// Channel means and deviations of pixels in [0, 1]; null measures them on the training
    /// split.
    #[serde(default)]
    pub normalize: Option<Normalize>,
    #[serde(default)]
    pub augment: Augment,
}

/// What happens to an image that the files of two splits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// The dataset is refused.
    #[default]
    Refuse,
    /// They are counted.
    Keep,
}

/// To which size images are resized. In YAML `exact` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Both sides become `model.image_size`, whatever the aspect ratio was.
    Exact,
    /// The shorter side becomes so many pixels, the other one keeps the aspect ratio: torchvision's
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
    /// Instead of `resize` and `crop`: a random part of the image as stored, resized to the square.
    #[serde(default)]
    pub random_resized_crop: Option<RandomResizedCrop>,
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

fn crop_scale() -> [f64; 2] {
    [0.08, 1.0]
}
fn crop_ratio() -> [f64; 2] {
    [0.75, 4.0 / 3.0]
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
fn validation_split() -> Option<SplitSpec> {
    Some(SplitSpec::Named("validation".into()))
}
fn test_split() -> SplitSpec {
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
    /// Of the training split's examples as its files hold them, rounded down.
    pub fraction: f64,
    /// Of the draw; not a run's seed.
    #[serde(default)]
    pub seed: u64,
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
    /// ε of the layer norms: 1e-6 in timm, `layer_norm_eps` in Hugging Face's configs.
    #[serde(default = "norm_eps")]
    pub norm_eps: f64,
}

fn three() -> usize {
    3
}
fn four() -> f64 {
    4.0
}
fn norm_eps() -> f64 {
    1e-6
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
    /// Of every target that names none of its own.
    pub rank: Rank,
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
    /// Weights that increments replace.
    #[serde(default = "all_targets")]
    pub targets: Vec<TargetSpec>,
}

fn one() -> f64 {
    1.0
}
fn yes() -> bool {
    true
}
fn all_targets() -> Vec<TargetSpec> {
    Target::MATRICES.map(TargetSpec::plain).to_vec()
}

/// A target's increment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Increment {
    /// `scale · Bᵀ A`.
    LowRank { rank: usize, scale: f64 },
    /// A matrix of its own, unfactored, zero at the start.
    Full,
    /// A vector, zero at the start: what a 1-D target gets.
    Vector,
    /// None: the layer uses its reference weight as it is.
    Shared,
}

impl VloraSpec {
    /// The increment of `target` in layer `layer`; None where the layer's own weight is dense.
    pub fn increment(&self, layer: usize, target: Target) -> Option<Increment> {
        let own = self.targets.iter().find(|t| t.target == target)?;
        if layer.is_multiple_of(self.compound_size) {
            return None;
        }
        let alpha = own.alpha.unwrap_or(self.alpha);
        Some(match own.rank.unwrap_or(self.rank) {
            Rank::Of(0) => Increment::Shared,
            _ if target.is_vector() => Increment::Vector,
            Rank::Of(rank) => Increment::LowRank { rank, scale: alpha / rank as f64 },
            Rank::Full => Increment::Full,
        })
    }

    /// The layer whose weight the increments of layer `layer` add to.
    pub fn reference_layer(&self, layer: usize) -> usize {
        self.reference.layer(layer, self.compound_size)
    }
}

impl Reference {
    /// The layer that `layer`, not the first of a compound of `compound_size`, adds to.
    pub fn layer(self, layer: usize, compound_size: usize) -> usize {
        match self {
            Reference::Base => layer - layer % compound_size,
            Reference::Previous => layer - 1,
        }
    }
}

/// Rank of an increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// 0 is no increment: the layers of a compound share their weights.
    Of(usize),
    /// A matrix of its own instead of two factors.
    Full,
}

/// A target, with its own rank and alpha where they differ from the others'. In YAML the name
/// alone, or `{target: NAME, rank: …, alpha: …}`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetSpec {
    pub target: Target,
    pub rank: Option<Rank>,
    pub alpha: Option<f64>,
}

impl TargetSpec {
    pub fn plain(target: Target) -> TargetSpec {
        TargetSpec { target, rank: None, alpha: None }
    }
}

/// Weights to start from. Exactly one of `arm`, `checkpoint` and `hub` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartSpec {
    /// The tested weights of this arm's run with the same seed, at the same sweep point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    /// A checkpoint: a safetensors file of this program, the authors' package or timm, or a
    /// Hugging Face folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// A model of the Hugging Face Hub, `owner/name` or `owner/name@revision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Alpha of the increments in a file of the authors' package, which does not hold it; None is
    /// 1, the package's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    #[serde(default)]
    pub head: StartHead,
    /// What becomes of position embeddings of another image size. Left out at its default, so that
    /// ids of runs without a choice stay.
    #[serde(default, skip_serializing_if = "PositionEmbedding::is_auto")]
    pub position_embedding: PositionEmbedding,
}

impl StartSpec {
    /// As errors and records name the checkpoint: its path, or `hub:` and the model's name. None
    /// where the weights are an arm's.
    pub fn checkpoint_name(&self) -> Option<String> {
        let hub = self.hub.as_ref().map(|name| format!("hub:{name}"));
        self.checkpoint.clone().or(hub)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartHead {
    /// The classifier of the checkpoint.
    #[default]
    Keep,
    /// A new one, started from the seed: for another set of labels.
    New,
}

/// How position embeddings of a square of patches become those of a larger or smaller one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PositionEmbedding {
    /// As the program does whose checkpoint it is: `HuggingFace` for Hugging Face's ViT, else `Timm`.
    #[default]
    Auto,
    /// Another image size than the checkpoint's is an error.
    Refuse,
    /// timm's `resample_abs_pos_embed`: bicubic (a = −0.5) with antialiasing.
    Timm,
    /// transformers' `interpolate_pos_encoding`: bicubic (a = −0.75) without antialiasing.
    HuggingFace,
}

impl PositionEmbedding {
    pub fn is_auto(&self) -> bool {
        *self == PositionEmbedding::Auto
    }
}

/// LoRA (arXiv 2106.09685): `W + (alpha / rank) · Bᵀ A` on a frozen W; B starts at zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSpec {
    pub rank: usize,
    /// The product is scaled by `alpha / rank`.
    #[serde(default = "eight")]
    pub alpha: f64,
    /// Share of the input's values that A does not see in a training pass.
    #[serde(default)]
    pub dropout: f64,
    /// Weight matrices of every layer that get a pair.
    #[serde(default = "all_matrices")]
    pub targets: Vec<Target>,
    /// What is trained besides the pairs.
    #[serde(default)]
    pub also_train: Vec<ParameterGroup>,
}

impl LoraSpec {
    /// Whether norms or biases, and so perhaps increments on them, are trained.
    pub fn trains_vectors(&self) -> bool {
        let vectors = [ParameterGroup::Norms, ParameterGroup::Biases];
        self.also_train.iter().any(|group| vectors.contains(group))
    }
}

fn eight() -> f64 {
    8.0
}
fn all_matrices() -> Vec<Target> {
    Target::MATRICES.to_vec()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterGroup {
    /// The classifier.
    Head,
    /// Scales and shifts of the layer norms.
    Norms,
    /// Biases of linear layers, the head's aside.
    Biases,
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

/// A weight of a Transformer block, by timm's name; a matrix without its `.weight`.
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
    #[serde(rename = "attn.qkv.bias")]
    AttnQkvBias,
    #[serde(rename = "attn.proj.bias")]
    AttnProjBias,
    #[serde(rename = "mlp.fc1.bias")]
    MlpFc1Bias,
    #[serde(rename = "mlp.fc2.bias")]
    MlpFc2Bias,
    #[serde(rename = "norm1.weight")]
    Norm1Weight,
    #[serde(rename = "norm1.bias")]
    Norm1Bias,
    #[serde(rename = "norm2.weight")]
    Norm2Weight,
    #[serde(rename = "norm2.bias")]
    Norm2Bias,
}

impl Target {
    pub const MATRICES: [Target; 4] =
        [Target::AttnQkv, Target::AttnProj, Target::MlpFc1, Target::MlpFc2];

    pub const VECTORS: [Target; 8] = [
        Target::AttnQkvBias,
        Target::AttnProjBias,
        Target::MlpFc1Bias,
        Target::MlpFc2Bias,
        Target::Norm1Weight,
        Target::Norm1Bias,
        Target::Norm2Weight,
        Target::Norm2Bias,
    ];

    pub fn all() -> impl Iterator<Item = Target> {
        Target::MATRICES.into_iter().chain(Target::VECTORS)
    }

    /// As specs write it.
    pub fn name(self) -> &'static str {
        match self {
            Target::AttnQkv => "attn.qkv",
            Target::AttnProj => "attn.proj",
            Target::MlpFc1 => "mlp.fc1",
            Target::MlpFc2 => "mlp.fc2",
            Target::AttnQkvBias => "attn.qkv.bias",
            Target::AttnProjBias => "attn.proj.bias",
            Target::MlpFc1Bias => "mlp.fc1.bias",
            Target::MlpFc2Bias => "mlp.fc2.bias",
            Target::Norm1Weight => "norm1.weight",
            Target::Norm1Bias => "norm1.bias",
            Target::Norm2Weight => "norm2.weight",
            Target::Norm2Bias => "norm2.bias",
        }
    }

    /// The parameter's name within its block: `attn.qkv.weight`, `norm1.bias`.
    pub fn parameter(self) -> String {
        match self.is_vector() {
            true => self.name().to_string(),
            false => format!("{}.weight", self.name()),
        }
    }

    pub fn is_vector(self) -> bool {
        !Target::MATRICES.contains(&self)
    }

    /// The bias beside a matrix.
    pub fn bias(self) -> Option<Target> {
        let at = Target::MATRICES.iter().position(|t| *t == self)?;
        Some(Target::VECTORS[at])
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

//! `start`: weights that training starts from.

use serde::{Deserialize, Serialize};

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
    /// How position embeddings of another image size are resampled.
    #[serde(default)]
    pub position_embedding: PositionEmbedding,
    /// Where a dense model is converted to VLoRA: how a shared weight is made of those of the layers that
    /// use it.
    #[serde(default)]
    pub base_init: BaseInit,
    /// Where a dense model is converted to VLoRA: how increments start.
    #[serde(default)]
    pub increments: StartIncrements,
}

/// Which dense weight a shared one starts as (Relaxed Recursive Transformers, arXiv 2410.20672).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseInit {
    /// That of the first layer that uses it.
    #[default]
    First,
    /// The mean over all layers that use it.
    Average,
    /// The i-th shared weight becomes that of the i-th of evenly spaced layers, the first and the last
    /// among them.
    Stepwise,
    /// The i-th shared weight becomes that of layer i.
    Lower,
}

/// How increments start where a dense model is converted to VLoRA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartIncrements {
    /// The truncated singular value decomposition of what the shared weight lacks.
    #[default]
    Svd,
    /// A Kaiming-uniform from the seed, B zero.
    Lora,
    /// A and B Kaiming-uniform from the seed.
    Authors,
}

impl BaseInit {
    pub fn is_first(&self) -> bool {
        *self == BaseInit::First
    }

    /// As specs write it.
    pub fn name(self) -> &'static str {
        match self {
            BaseInit::First => "first",
            BaseInit::Average => "average",
            BaseInit::Stepwise => "stepwise",
            BaseInit::Lower => "lower",
        }
    }
}

impl StartIncrements {
    pub fn is_svd(&self) -> bool {
        *self == StartIncrements::Svd
    }
}

impl StartSpec {
    /// As errors and records name the checkpoint: its path, or `hub:` and the model's name. None
    /// where the weights are an arm's.
    pub fn checkpoint_name(&self) -> Option<String> {
        let hub = self.hub.as_ref().map(|name| format!("hub:{name}"));
        self.checkpoint.clone().or(hub)
    }
}

/// Which classifier the run starts with.
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

//! `model`: the architecture and its sizes.

use serde::{Deserialize, Serialize};

use super::Target;

/// A model: one variant an architecture.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ModelSpec {
    Vit(VitSpec),
}

impl From<VitSpec> for ModelSpec {
    fn from(model: VitSpec) -> ModelSpec {
        ModelSpec::Vit(model)
    }
}

impl ModelSpec {
    /// Number of Transformer layers.
    pub fn depth(&self) -> usize {
        match self {
            ModelSpec::Vit(model) => model.depth,
        }
    }

    pub fn heads(&self) -> usize {
        match self {
            ModelSpec::Vit(model) => model.heads,
        }
    }

    pub fn set_depth(&mut self, depth: usize) {
        match self {
            ModelSpec::Vit(model) => model.depth = depth,
        }
    }

    /// Sets the width; the MLP's ratio to it stays.
    pub fn set_dim(&mut self, dim: usize) {
        match self {
            ModelSpec::Vit(model) => model.dim = dim,
        }
    }

    /// Whether the MLP's hidden width is a whole number.
    pub fn hidden_is_whole(&self) -> bool {
        match self {
            ModelSpec::Vit(model) => model.hidden_is_whole(),
        }
    }

    /// Brings values that mean the same to the same: one ratio for one hidden width, however it was
    /// rounded.
    pub fn normalise(&mut self) {
        match self {
            ModelSpec::Vit(model) => model.mlp_ratio = model.hidden() as f64 / model.dim as f64,
        }
    }

    /// [out, in] of a target's weight matrix; [size, 1] of a vector.
    pub fn target_shape(&self, target: Target) -> (usize, usize) {
        match self {
            ModelSpec::Vit(model) => model.target_shape(target),
        }
    }
}

/// Vision Transformer (arXiv 2010.11929) for square images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitSpec {
    /// Always [`Architecture::Vit`]; reading a run sees to it.
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

impl Architecture {
    pub const ALL: [Architecture; 1] = [Architecture::Vit];

    /// As specs write it.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Vit => "vit",
        }
    }
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

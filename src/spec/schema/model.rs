//! `model`: the architecture and its sizes.

use serde::{Deserialize, Serialize};

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

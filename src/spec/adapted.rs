//! How start weights were changed, as records store it. The values are made where weights are
//! adapted. They are saved with a run and reported in the notes under its table.

use serde::{Deserialize, Serialize};

use super::schema::{PositionEmbedding, Rank, Target};

/// How the rows of a checkpoint's classifier correspond to the classes of the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassMatch {
    /// Both have the same class names in the same order.
    Same,
    /// Matched by name: entry i is the checkpoint's row for row i of the run's classifier.
    Permuted(Vec<usize>),
    /// Matched by number, since at least one side has no class names.
    ByNumber(Unnamed),
}

/// Which side has no class names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unnamed {
    Checkpoint,
    Data,
    Both,
}

/// Position embeddings resampled from one square of patches to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resampled {
    pub method: PositionEmbedding,
    /// Patches per side.
    pub from: usize,
    pub to: usize,
}

/// How weights were converted to fit a run's method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conversion {
    /// Unchanged, since the method is the same.
    #[default]
    None,
    /// Increments and LoRA were merged into dense layers.
    #[serde(alias = "multiplied-out")]
    Merged,
    /// Layers became increments; layers that were not dense were merged before.
    Decomposed,
}

/// How well a low-rank increment approximates the difference of two layers' weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// `encoder` or `decoder`, of a model that has both; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stack: String,
    pub layer: usize,
    pub target: Target,
    /// Full if the increment is exact, as for vectors.
    pub rank: Rank,
    /// ‖D_r‖² / ‖D‖², where D is the difference to the reference weight and D_r its best rank-r
    /// approximation. 1 if D is zero.
    pub energy_kept: f64,
    /// ‖W − Ŵ‖ / ‖W‖ for the layer's weight W and its approximation Ŵ.
    pub relative_error: f64,
}

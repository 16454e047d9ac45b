//! What is done to weights for a run to start from them, as records hold it. Made where weights are
//! adapted. It is written with a run, and the notes under its table say it.

use serde::{Deserialize, Serialize};

use super::schema::{PositionEmbedding, Rank, Target};

/// How the rows of a checkpoint's classifier are those of the data's classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassMatch {
    /// Both name the classes alike and in the same order.
    Same,
    /// By name: row i of the run's classifier is this row of the checkpoint's.
    Permuted(Vec<usize>),
    /// By number, since one side does not name its classes, or neither does.
    ByNumber(Unnamed),
}

/// Who does not name the classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unnamed {
    Checkpoint,
    Data,
    Both,
}

/// Position embeddings of a square of patches made those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resampled {
    pub method: PositionEmbedding,
    /// Patches a side.
    pub from: usize,
    pub to: usize,
}

/// What was done to weights so that they fit a run's method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conversion {
    /// Nothing: the method is the same.
    #[default]
    None,
    /// Increments and LoRA were added up to dense layers.
    MultipliedOut,
    /// Layers, multiplied out where they were not dense, became increments.
    Decomposed,
}

/// How well a low-rank increment stands for the difference of two layers' weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub layer: usize,
    pub target: Target,
    /// Full where the increment is exact, as a vector's is.
    pub rank: Rank,
    /// ‖D_r‖² / ‖D‖² for the difference D to the reference weight and its best rank-r part; 1
    /// where D is zero.
    pub energy_kept: f64,
    /// ‖W − Ŵ‖ / ‖W‖ for the layer's weight W and what stands for it.
    pub relative_error: f64,
}

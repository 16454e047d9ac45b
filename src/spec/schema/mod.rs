//! The fields of a run: what a spec can say, with every default.
//!
//! `experiments/reference.yaml` is the same list with a comment a field; a test
//! holds the two together. Units stand in the field's comment.

mod data;
mod lora;
mod model;
mod start;
mod target;
mod training;
mod vlora;

pub use data::*;
pub use lora::*;
pub use model::*;
pub use start::*;
pub use target::*;
pub use training::*;
pub use vlora::*;

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

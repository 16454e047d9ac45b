//! `layers.json` and `layers-test.json`: what a run's model would answer after each of its layers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::folder::RunFolder;
use super::record::RunResult;
use crate::error::Result;

/// The scores of the final norm and head after each layer, on one split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogitLens {
    pub schema: u32,
    /// SHA-256 of the weights that were read.
    pub model_sha256: String,
    pub program: String,
    /// `validation` or `test`.
    pub split: String,
    /// Examples, or windows of a text.
    pub examples: usize,
    /// After the embedding, then after each layer.
    pub layers: Vec<LayerScores>,
}

/// Scores after one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerScores {
    /// Mean negative log-likelihood of the truth, in nats.
    pub loss: f64,
    /// The task's metrics by name.
    pub metrics: BTreeMap<String, f64>,
}

impl RunFolder {
    /// What the run's layers read of the validation split, or of the test split; None if nobody has
    /// looked, or if its weights are others by now.
    pub fn logit_lens(&self, result: &RunResult, of_test: bool) -> Result<Option<LogitLens>> {
        let name = if of_test { Self::TEST_LOGIT_LENS } else { Self::LOGIT_LENS };
        if !self.file(name).exists() {
            return Ok(None);
        }
        let found: LogitLens = self.read_json(name)?;
        Ok((found.model_sha256 == result.model_sha256).then_some(found))
    }
}

//! What a model needs to continue a text, or to translate lines.

use std::collections::BTreeMap;
use std::time::Duration;

use candle_core::{Device, Tensor};

use super::sampling::Sampling;
use crate::spec::RunSpec;

/// A text that a model has continued.
pub struct Continuation {
    /// The prompt and what follows.
    pub text: String,
    /// How long the model took, without what came before its first pass.
    pub time: Duration,
}

/// The translations of lines.
pub struct Translated {
    /// In the order of the lines, without line ends.
    pub texts: Vec<String>,
    /// Number of lines that were too long and were truncated.
    pub truncated: usize,
}

/// Lines that a trained model translates.
#[derive(Clone, Copy)]
pub struct Lines<'a> {
    /// The run whose model it is.
    pub spec: &'a RunSpec,
    /// The weights, by name.
    pub tensors: &'a BTreeMap<String, Tensor>,
    /// The content of the `tokenizer.json` beside them.
    pub tokenizer: Option<&'a str>,
    pub device: &'a Device,
    pub texts: &'a [String],
    /// How many hypotheses are kept at each step; None as the run's spec says.
    pub beam: Option<usize>,
}

/// A text that a trained model continues.
#[derive(Clone, Copy)]
pub struct Generation<'a> {
    /// The run whose model it is.
    pub spec: &'a RunSpec,
    /// The weights, by name.
    pub tensors: &'a BTreeMap<String, Tensor>,
    /// The content of the `tokenizer.json` beside them.
    pub tokenizer: Option<&'a str>,
    pub device: &'a Device,
    pub prompt: &'a str,
    /// How many tokens are appended.
    pub tokens: usize,
    pub sampling: Sampling,
}

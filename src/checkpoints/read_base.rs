//! Reads a model's config: the `config.json` in its folder.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::base::BaseModel;
use super::fields::Fields;
use super::file_names::CONFIG;
use super::{architectures, tokenizer};
use crate::error::{Fault, Result};

/// Reads the config in a model's folder. If a text model has a tokenizer there, it is checked
/// against the config.
pub fn read_base(folder: &Path) -> Result<BaseModel> {
    let base = read_config(&folder.join(CONFIG))?;
    if let Some(vocab_size) = base.vocab_size() {
        tokenizer::check(folder, vocab_size)?;
    }
    Ok(base)
}

/// Reads a `config.json`.
pub fn read_config(path: &Path) -> Result<BaseModel> {
    let bytes = fs::read(path).map_err(|e| {
        Fault::of_file(path, "the model's config cannot be read")
            .found(e)
            .expected(format!("the {CONFIG} that Hugging Face keeps beside the weights"))
    })?;
    BaseModel::parse(path, &bytes)
}

/// The config beside a weights file, with its path. None unless there is one with a
/// `model_type` or timm's `architecture`.
pub fn beside(weights: &Path) -> Option<(PathBuf, Result<BaseModel>)> {
    let path = weights.with_file_name(CONFIG);
    let bytes = fs::read(&path).ok()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    value.get("model_type").or(value.get("architecture"))?;
    let base = BaseModel::parse(&path, &bytes);
    Some((path, base))
}

impl BaseModel {
    /// Parses a `config.json`; `path` names it in errors.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<BaseModel> {
        let fields = Fields::parse(path, bytes, "the model's config")?;
        architectures::read(&fields)
    }
}

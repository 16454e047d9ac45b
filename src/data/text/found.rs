//! The tokenizer that a spec names: one in a file, or one to train.

use std::fs;
use std::path::{Path, PathBuf};

use super::tokenizer::Tokenizer;
use crate::error::{Error, Fault, Result};
use crate::hub::{Hub, Kind, Source};
use crate::spec::{HUB_PREFIX, TokenizerSpec, TrainedTokenizer};

/// The tokenizer's file in a model's folder or repository.
pub const TOKENIZER: &str = "tokenizer.json";

/// A tokenizer that was read, or the description of one to train.
pub enum FoundTokenizer {
    /// The tokenizer and its name.
    Read(Box<Tokenizer>, String),
    ToTrain(TrainedTokenizer),
}

impl FoundTokenizer {
    /// The tokenizer that `spec` names. If it names none, the one beside the weights `beside`.
    pub fn of(
        spec: Option<&TokenizerSpec>,
        beside: Option<&str>,
        hub: &Hub,
    ) -> Result<FoundTokenizer> {
        // A path in the spec is that of a tokenizer. Otherwise it is the path of the weights.
        let is_named = spec.is_some();
        let name = match spec {
            None => beside.map(str::to_string).ok_or_else(|| {
                Error::from(
                    Fault::new("there is no tokenizer")
                        .within("data.tokenizer")
                        .found(
                            "none, and no checkpoint or model of the Hub that the run starts \
                 from",
                        )
                        .expected("`tokenizer: {hub: …}`, `{path: …}`, or `{train: word-piece}`"),
                )
            })?,
            Some(spec) => match (spec.trained(), &spec.hub, &spec.path) {
                (Some(trained), _, _) => return Ok(FoundTokenizer::ToTrain(trained)),
                (None, Some(hub), _) => format!("{HUB_PREFIX}{hub}"),
                (None, None, Some(path)) => path.clone(),
                // Validation refuses a section that names none.
                (None, None, None) => String::new(),
            },
        };
        let (name, bytes) = match Source::of_hub(&name, Kind::Model)? {
            Some(source) => {
                let file = hub.open(&source, Kind::Model)?.read(TOKENIZER)?;
                (file.name, file.bytes.into_owned())
            }
            None if is_named => read(&of_path(Path::new(&name)))?,
            None => read(&beside_weights(Path::new(&name)))?,
        };
        Ok(FoundTokenizer::Read(Box::new(Tokenizer::read(&name, &bytes)?), name))
    }
}

/// The tokenizer's file at a path: the path itself, or the file in a folder.
fn of_path(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(TOKENIZER) } else { path.to_path_buf() }
}

/// The tokenizer's file beside weights. The path is that of a folder or of the weights file.
fn beside_weights(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(TOKENIZER) } else { path.with_file_name(TOKENIZER) }
}

/// Reads a tokenizer's file; returns its name and content.
fn read(at: &Path) -> Result<(String, Vec<u8>)> {
    match fs::read(at) {
        Ok(bytes) => Ok((at.display().to_string(), bytes)),
        Err(e) => Err(Fault::new(format!("the tokenizer cannot be read: {e}"))
            .source(at.display())
            .expected(format!("a `{TOKENIZER}`, or a folder with one"))
            .help("`data.tokenizer` says where the tokenizer is")
            .into()),
    }
}

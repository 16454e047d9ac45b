//! Checks start weights that were trained on other sentences: their tokens must be those of the data.

use std::path::Path;

use super::data::{Data, section};
use crate::checkpoints::CheckpointFormat;
use crate::data::text::TOKENIZER;
use crate::data::translation::{MARIAN_FILES, PairTokenizers};
use crate::error::{Fault, Result};
use crate::results::TaskFields;
use crate::spec::RunSpec;
use crate::tasks::start::{Base, Settled, compared_tokenizer};

/// Settles a run on sentence pairs. Errors if the start weights were trained with other tokenizers.
pub fn settle(data: &Data, spec: &RunSpec, base: Option<Base<Data>>) -> Result<Settled> {
    let run = spec;
    let spec = spec.clone();
    let (Some(base), Some(_)) = (base, &spec.start) else {
        return Ok(Settled::from_seed(spec, TaskFields::default()));
    };
    let own = data.0.tokenizers.as_ref().map(PairTokenizers::json);
    let (theirs, name) = match &base {
        Base::Checkpoint(loaded) => {
            let folder = loaded.path.parent().unwrap_or(Path::new("")).display();
            let beside = match loaded.format {
                CheckpointFormat::Marian => {
                    format!("those of {} in {folder}", MARIAN_FILES.join(", "))
                }
                _ => loaded.path.with_file_name(TOKENIZER).display().to_string(),
            };
            (loaded.tokenizer.as_deref().map(String::from_utf8_lossy), beside)
        }
        Base::Arm { data: other, .. } => {
            let json = other.0.tokenizers.as_ref().map(|tokenizers| tokenizers.json().into());
            (json, "the tokenizers of the arm that it starts from".to_string())
        }
    };
    if let (Some(own), Some(theirs)) = (own, &theirs)
        && own != theirs
    {
        return Err(Fault::new("the weights to start from were trained with other tokenizers")
            .within("data.tokenizer")
            .found(match &section(run).tokenizer {
                tokenizer if tokenizer.train.is_some() => {
                    "those of this run's training split".to_string()
                }
                tokenizer => format!("those of {}", tokenizer.name()),
            })
            .expected(name)
            .help(
                "give all runs the same `data`, so that their tokens are the same; those of a base model are \
                 named by `data.tokenizer: {hub: …}` or `{path: …}`",
            )
            .into());
    }
    let note =
        "Its tokenizers are not compared with those of the weights, since none lie beside them.";
    let (fields, note) = compared_tokenizer(theirs.is_some(), note);
    let started = Some(base.started(&spec, TaskFields::default()));
    let identity = String::new();
    Ok(Settled { spec, fields, started, note, identity })
}

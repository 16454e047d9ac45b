//! Checks start weights that were trained on other texts: their tokenizer and their classes.

use super::data::Data;
use crate::checkpoints::match_classes;
use crate::data::text::{TOKENIZER, Tokenizer};
use crate::error::Result;
use crate::results::TaskFields;
use crate::spec::{ClassMatch, RunSpec, StartHead};
use crate::tasks::start::{
    Base, NO_TOKENIZER_BESIDE, Settled, compared_tokenizer, other_tokenizer,
};

/// The changes to the start weights for these data, as stored in `start.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Adjusted {
    /// How the rows of a kept classifier were matched to the data's classes. None for a new
    /// classifier.
    pub classes: Option<ClassMatch>,
}

impl Adjusted {
    pub fn fields(&self) -> TaskFields {
        TaskFields::default().with_some("classes", self.classes.as_ref())
    }

    pub fn of(fields: &TaskFields) -> Adjusted {
        Adjusted { classes: fields.get("classes") }
    }
}

/// Settles a run on texts. Errors if the classes of a kept head are not the data's, or if the start
/// weights were trained with another tokenizer.
pub fn settle(data: &Data, spec: &RunSpec, base: Option<Base<Data>>) -> Result<Settled> {
    let spec = spec.clone();
    let (Some(base), Some(start)) = (base, spec.start.clone()) else {
        return Ok(Settled::from_seed(spec, TaskFields::default()));
    };
    let named = (data.0.tokenizer_name.as_str(), data.0.tokenizer.as_ref());
    let mut is_compared = true;
    let theirs = match &base {
        Base::Checkpoint(loaded) => {
            is_compared = loaded.tokenizer.is_some();
            if let Some(bytes) = &loaded.tokenizer {
                let beside = loaded.path.with_file_name(TOKENIZER).display().to_string();
                let tokenizer = Tokenizer::read(&beside, bytes)?;
                if data.0.tokenizer.as_ref().is_some_and(|own| !own.is_same_as(&tokenizer)) {
                    return Err(other_tokenizer(named, &beside, Some(&tokenizer))
                        .help("without `data.tokenizer` the one beside the weights is taken")
                        .into());
                }
            }
            &loaded.checkpoint.metadata.class_names
        }
        Base::Arm { data: other, .. } => {
            let tokenizers = data.0.tokenizer.as_ref().zip(other.0.tokenizer.as_ref());
            if tokenizers.is_some_and(|(own, theirs)| !own.is_same_as(theirs)) {
                return Err(other_tokenizer(
                    named,
                    &other.0.tokenizer_name,
                    other.0.tokenizer.as_ref(),
                )
                .help("give all arms the same `data`, so that their tokens are the same")
                .into());
            }
            &other.0.class_names
        }
    };
    let classes = match start.head {
        StartHead::New => None,
        StartHead::Keep => Some(match_classes(theirs, &data.0.class_names)?),
    };
    let identity = match &classes {
        Some(ClassMatch::Permuted(rows)) => format!(" classes={rows:?}"),
        _ => String::new(),
    };
    let started = base.started(&spec, Adjusted { classes }.fields());
    let (fields, note) = compared_tokenizer(is_compared, NO_TOKENIZER_BESIDE);
    Ok(Settled { spec, fields, started: Some(started), note, identity })
}

//! Checks start weights that were trained on another text: their tokens must be those of the data.

use super::data::{Data, Windowing};
use crate::data::text::{TOKENIZER, Tokenizer};
use crate::error::{Fault, Result};
use crate::results::TaskFields;
use crate::spec::RunSpec;
use crate::tasks::data_set::Split;
use crate::tasks::start::{
    Base, NO_TOKENIZER_BESIDE, Settled, compared_tokenizer, other_tokenizer,
};

/// Settles a run of language modelling. Errors if the start weights were trained with another tokenizer.
pub fn settle(data: &Data, spec: &RunSpec, base: Option<Base<Data>>) -> Result<Settled> {
    let spec = spec.clone();
    let (Some(base), Some(_)) = (base, &spec.start) else {
        return Ok(Settled::from_seed(spec, TaskFields::default()));
    };
    let own = data.text.tokenizer();
    let named = (data.text.tokenizer_name.as_str(), own);
    let mut is_compared = true;
    match &base {
        Base::Checkpoint(loaded) => {
            is_compared = loaded.tokenizer.is_some();
            if let Some(bytes) = &loaded.tokenizer {
                let beside = loaded.path.with_file_name(TOKENIZER).display().to_string();
                let theirs = Tokenizer::read(&beside, bytes)?;
                if own.is_some_and(|own| !own.is_same_as(&theirs)) {
                    return Err(other_tokenizer(named, &beside, Some(&theirs))
                        .help("without `data.tokenizer` the one beside the weights is taken")
                        .into());
                }
            }
        }
        Base::Arm { data: other, .. } => {
            let theirs = other.text.tokenizer();
            if own.zip(theirs).is_some_and(|(own, theirs)| !own.is_same_as(theirs)) {
                return Err(other_tokenizer(named, &other.text.tokenizer_name, theirs)
                    .help("give all arms the same `data`, so that their tokens are the same")
                    .into());
            }
        }
    }
    let started = Some(base.started(&spec, TaskFields::default()));
    let (fields, note) = compared_tokenizer(is_compared, NO_TOKENIZER_BESIDE);
    Ok(Settled { spec, fields, started, note, identity: String::new() })
}

impl Data {
    /// Errors if the training text is not longer than a window, or if a split that is evaluated on random
    /// windows is not.
    pub fn check_windows(&self) -> Result<()> {
        let Windowing { window, random, .. } = self.windowing;
        for split in [Split::Train, Split::Validation, Split::Test] {
            let tokens = self.tokens(split).len();
            let is_cut = split == Split::Train || (random.is_some() && tokens > 0);
            if is_cut && tokens <= window {
                return Err(Fault::new("the text is not longer than a window")
                    .within("data.window")
                    .found(format!("{tokens} tokens of the split `{}`", split.name()))
                    .expected(format!("more than {window}, the tokens of a window"))
                    .help("a smaller `data.window`")
                    .into());
            }
        }
        Ok(())
    }
}

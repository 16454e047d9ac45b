//! The part of a run's start weights that depends on its task.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::checkpoints::{CheckpointFormat, LoadedCheckpoint, conversion};
use crate::data::text::Tokenizer;
use crate::error::Fault;
use crate::results::{Conversion, Kept, Provenance, Started, TaskFields};
use crate::spec::{RunSpec, VloraSpec};

/// The weights that a run will start from. `D` is the type of the run's data.
pub enum Base<'a, D> {
    Checkpoint(&'a LoadedCheckpoint),
    /// The final weights of a run with this spec and these data.
    Arm {
        spec: &'a RunSpec,
        data: &'a D,
    },
}

impl<D> Base<'_, D> {
    fn vlora(&self) -> Option<&VloraSpec> {
        match self {
            Base::Checkpoint(loaded) => loaded.checkpoint.vlora.as_ref(),
            Base::Arm { spec, .. } => spec.vlora.as_ref(),
        }
    }

    fn has_lora(&self) -> bool {
        match self {
            Base::Checkpoint(loaded) => loaded.checkpoint.lora.is_some(),
            Base::Arm { spec, .. } => spec.lora.is_some(),
        }
    }

    /// The changes to the weights before a run of `spec` starts from them. `task` are those that
    /// the task makes.
    pub fn started(&self, spec: &RunSpec, task: TaskFields) -> Started {
        let alpha = match self {
            Base::Checkpoint(loaded) => assumed_alpha(loaded),
            Base::Arm { .. } => None,
        };
        let conversion = conversion(self.vlora(), self.has_lora(), spec);
        Started { alpha, conversion, task }
    }
}

/// The alpha that was assumed for a checkpoint's increments; None if its format contains alpha.
pub fn assumed_alpha(loaded: &LoadedCheckpoint) -> Option<f64> {
    let vlora = loaded.checkpoint.vlora.as_ref();
    vlora.filter(|_| loaded.format == CheckpointFormat::Authors).map(|vlora| vlora.alpha)
}

/// The provenance field that is true if no tokenizer lies beside the start weights.
const NOT_COMPARED: &str = "start_tokenizer_not_compared";

/// The fields and the note for a run whose tokenizer was compared with that of its start weights, or was not
/// because none lies beside them. `note` says the latter.
pub fn compared_tokenizer(is_compared: bool, note: &str) -> (TaskFields, Option<String>) {
    match is_compared {
        true => (TaskFields::default(), None),
        false => (TaskFields::default().with(NOT_COMPARED, &true), Some(note.to_string())),
    }
}

/// The fault of weights that were trained with another tokenizer than the run's. Both are given by name
/// and, where it is known, content.
pub fn other_tokenizer(
    (name, own): (&str, Option<&Tokenizer>),
    their_name: &str,
    theirs: Option<&Tokenizer>,
) -> Fault {
    let named = |name: &str, tokenizer: Option<&Tokenizer>| match tokenizer {
        Some(t) => format!("{name}: {} tokens, SHA-256 {}", t.rows(), &t.sha256()[..12]),
        None => name.to_string(),
    };
    Fault::new("the weights to start from were trained with another tokenizer")
        .within("data.tokenizer")
        .found(named(name, own))
        .expected(named(their_name, theirs))
}

/// The note of [`compared_tokenizer`] for a run with one tokenizer.
pub const NO_TOKENIZER_BESIDE: &str =
    "Its tokenizer is not compared with that of the weights, since none lies beside them.";

/// Whether a run's tokenizer was not compared with that of its start weights.
pub fn is_tokenizer_uncompared(provenance: Option<&Provenance>) -> bool {
    provenance.and_then(|p| p.task.get::<bool>(NOT_COMPARED)) == Some(true)
}

/// A run's spec after filling in what depends on its start weights.
pub struct Settled {
    pub spec: RunSpec,
    /// Fields of the run's provenance, after those of its data.
    pub fields: TaskFields,
    /// None if the run starts from its seed.
    pub started: Option<Started>,
    /// A sentence for the plan if the data are treated like those that the weights were trained on.
    pub note: Option<String>,
    /// Text that the run's id must include besides the spec and the weights' hash.
    pub identity: String,
}

impl Settled {
    /// The result for a run that starts from its seed.
    pub fn from_seed(spec: RunSpec, fields: TaskFields) -> Settled {
        Settled { spec, fields, started: None, note: None, identity: String::new() }
    }
}

/// Weights by this project's names, without the head if the run trains a new one.
pub struct Fitted {
    pub values: BTreeMap<String, Tensor>,
    pub conversion: Conversion,
    /// How much of each weight a decomposition kept; empty without one.
    pub kept: Vec<Kept>,
    /// The task's changes to the weights.
    pub task: TaskFields,
    /// Whether the parameter of this name may be missing. It then starts from the seed.
    pub from_seed: Box<dyn Fn(&str) -> bool>,
}

//! The weights that a run starts from, as far as its task has a say in them.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::checkpoints::{Form, Loaded, conversion};
use crate::results::{Conversion, Kept, Started, TaskFields};
use crate::spec::{RunSpec, VloraSpec};

/// What a run starts from, before it starts. `D` is the type of its data.
pub enum Base<'a, D> {
    Checkpoint(&'a Loaded),
    /// The weights that a run of this spec on these data will leave.
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

    /// What will be done to the weights for a run of `spec` to start from them; `task` is what its
    /// task does.
    pub fn started(&self, spec: &RunSpec, task: TaskFields) -> Started {
        let alpha = match self {
            Base::Checkpoint(loaded) => assumed_alpha(loaded),
            Base::Arm { .. } => None,
        };
        let conversion = conversion(self.vlora(), self.has_lora(), spec);
        Started { alpha, conversion, task }
    }
}

/// The alpha that increments of a checkpoint were read with, where its form does not hold one.
pub fn assumed_alpha(loaded: &Loaded) -> Option<f64> {
    let vlora = loaded.checkpoint.vlora.as_ref();
    vlora.filter(|_| loaded.form == Form::Authors).map(|vlora| vlora.alpha)
}

/// A run's spec once the weights that it starts from are known.
pub struct Settled {
    pub spec: RunSpec,
    /// Fields of the run's provenance behind those of its data.
    pub fields: TaskFields,
    /// None where the run starts from its seed.
    pub started: Option<Started>,
    /// What a plan says of data that are treated as those were that trained the weights, a sentence.
    pub note: Option<String>,
    /// What the run's id has to hold of its start besides the weights.
    pub identity: String,
}

impl Settled {
    /// Of a run that starts from its seed.
    pub fn from_seed(spec: RunSpec, fields: TaskFields) -> Settled {
        Settled { spec, fields, started: None, note: None, identity: String::new() }
    }
}

/// Weights by this project's names, without a head where the run wants a new one.
pub struct Fitted {
    pub values: BTreeMap<String, Tensor>,
    pub conversion: Conversion,
    /// What a decomposition kept; empty without one.
    pub kept: Vec<Kept>,
    /// What the task did to the weights.
    pub task: TaskFields,
    /// Says by name which parameters may be missing and start from the seed then.
    pub from_seed: Box<dyn Fn(&str) -> bool>,
}

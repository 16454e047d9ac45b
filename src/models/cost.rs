//! How many parameters a run's model has, and how many FLOPs it needs.

use super::description::{Description, ParameterInfo, parameters_of};
use crate::nn::{Kind, Part, Role};
use crate::spec::RunSpec;

/// Size and cost of a whole model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub parameters: u64,
    /// Parameters that get gradients.
    pub trained: u64,
    /// Parameters of the layers' matrices, dense or increments.
    pub weights: u64,
    /// Parameters of the embedding: patches or tokens, class token, positions.
    pub embedding: u64,
    /// Parameters of the layers' biases and norms.
    pub biases_norms: u64,
    /// Parameters after the layers: a final norm or a pooler, and the classifier.
    pub head: u64,
    /// Parameters of LoRA's factors.
    pub lora: u64,
    /// FLOPs of the forward pass's matrix products, per example of a full batch.
    pub forward_flops: f64,
    /// The same for forward and backward pass.
    pub training_flops: f64,
}

/// Counts parameters and FLOPs of matrix products (two FLOPs per multiply–add). The gradient of every
/// layer's input is counted, although LoRA does not need that of the first layer. A text counts with
/// the most tokens that the data allow.
pub fn cost(run: &RunSpec) -> Cost {
    sum_up(&Description::of(run))
}

fn sum_up(description: &Description) -> Cost {
    let sum = |of: &dyn Fn(&ParameterInfo) -> bool| -> u64 {
        description.parameters.iter().filter(|p| of(p)).map(ParameterInfo::values).sum()
    };
    let (mut forward, mut backward) = (0u128, 0u128);
    for operation in description.layers.iter().flatten() {
        let work = operation.work();
        forward += work.forward;
        backward += work.backward;
    }
    let per_example = |work: u128| 2.0 * work as f64 / description.examples.max(1) as f64;
    Cost {
        parameters: sum(&|_| true),
        trained: sum(&|p| p.trained),
        weights: sum(&|p| [Kind::Matrix, Kind::Increment].map(Role::layer).contains(&p.role)),
        embedding: sum(&|p| p.role.part == Part::Embedding),
        biases_norms: sum(&|p| {
            p.role.part == Part::Layer && matches!(p.role.kind, Kind::Bias | Kind::Norm)
        }),
        head: sum(&|p| matches!(p.role.part, Part::Pooling | Part::Head)),
        lora: sum(&|p| p.role.kind == Kind::Lora),
        forward_flops: per_example(forward),
        training_flops: per_example(forward + backward),
    }
}

/// Number of parameters of a run's model.
pub fn parameters(run: &RunSpec) -> u64 {
    let all = parameters_of(&run.model, run.vlora.as_ref(), run.lora.as_ref());
    all.iter().flatten().map(ParameterInfo::values).sum()
}

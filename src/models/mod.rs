//! Models, written once for baseline and VLoRA: both are the same layers holding different
//! weights.

pub mod encoder_decoder;
pub mod memory;
pub mod vit;

pub use vit::Cost;

use crate::spec::RunSpec;

/// Parameters of a run's model, in closed form.
pub fn parameters(run: &RunSpec) -> u64 {
    vit::cost(run).parameters
}

//! A variant as it was measured.

use super::quartiles::Quartiles;
use crate::models::Cost;
use crate::nn::{Counters, KernelTime};

/// What a variant costs. Times are seconds an optimiser step.
#[derive(Clone, Debug)]
pub struct Measured {
    pub cost: Cost,
    /// Of a step, over all its batches.
    pub examples: usize,
    /// Units of work of a step, the mean over those that were timed.
    pub units: f64,
    /// The whole step, from the end of the one before. What is in none of the parts below is the
    /// loop's own time.
    pub step: Quartiles,
    pub wait: Quartiles,
    pub forward: Quartiles,
    pub backward: Quartiles,
    pub optimizer: Quartiles,
    /// The wait for a GPU to finish the step. The parts before only put work into its queue.
    pub device: Quartiles,
    /// Kernels and matrix products of a step that a GPU got into its queue; none on the CPU.
    pub queued: Counters,
    /// Examples a second.
    pub evaluation: Quartiles,
    /// The most bytes allocated at once during the timed steps; None where they are not counted.
    pub peak_bytes: Option<u64>,
    /// The most bytes resident at once since before the model was built; None where the system
    /// does not say. What variants that were measured before in the same process left resident
    /// counts, so this compares with other programs only for the first.
    pub resident_peak_bytes: Option<u64>,
    /// What [`memory`](crate::models::training_memory::memory) says of the same steps, without the data.
    pub expected_peak_bytes: u64,
    /// The least bytes that a step moves, by formula.
    pub step_bytes: u64,
    /// What kernels and products of one step took, if it was asked for.
    pub kernels: Option<Vec<KernelTime>>,
}

impl Measured {
    /// Floating-point operations of a step's matrix products.
    pub fn step_flops(&self) -> f64 {
        self.cost.training_flops * self.units
    }
}

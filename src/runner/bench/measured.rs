//! The measurements of a variant.

use super::quartiles::Quartiles;
use crate::models::Cost;
use crate::nn::{Counters, KernelTime};

/// The costs of a variant. Times are in seconds per optimiser step.
#[derive(Clone, Debug)]
pub struct Measured {
    pub cost: Cost,
    /// Examples per step, over all accumulated batches, the mean over the timed steps.
    pub examples: f64,
    /// Units of work per step, the mean over the timed steps.
    pub units: f64,
    /// Units of work per second.
    pub units_per_second: Quartiles,
    /// The whole step, measured from the end of the step before. It exceeds the sum of the parts
    /// below by the overhead of the loop.
    pub step: Quartiles,
    /// The median step of each round, in seconds.
    pub rounds: Vec<f64>,
    pub wait: Quartiles,
    pub forward: Quartiles,
    pub backward: Quartiles,
    pub optimizer: Quartiles,
    /// The wait for the GPU to finish the step. The parts above only enqueue work.
    pub device: Quartiles,
    /// Kernels and matrix products that a step enqueued on the GPU; zero on the CPU.
    pub queued: Counters,
    /// Examples per second.
    pub evaluation: Quartiles,
    /// Peak of allocated bytes during the timed steps; None where they are not counted.
    pub peak_bytes: Option<u64>,
    /// Peak of resident bytes since before the model was built; None where the system does not
    /// report it. Pages left over from variants measured earlier in the same process count, so only
    /// the first variant can be compared with other programs.
    pub resident_peak_bytes: Option<u64>,
    /// The estimate of [`memory`](crate::models::training_memory::memory) for these steps, without
    /// data.
    pub expected_peak_bytes: u64,
    /// The least number of bytes that a step moves, by formula.
    pub step_bytes: u64,
    /// Times of each kernel and product of one step, if requested.
    pub kernels: Option<Vec<KernelTime>>,
}

impl Measured {
    /// Floating-point operations of the matrix products of a step.
    pub fn step_flops(&self) -> f64 {
        self.cost.training_flops * self.units
    }

    /// The step time over another variant's: the ratio of each round's medians. Rounds that only one
    /// of them has count for nothing.
    pub fn over(&self, other: &Measured) -> Option<Quartiles> {
        let rounds = self.rounds.iter().zip(&other.rounds);
        Quartiles::of(rounds.map(|(median, other)| median / other).collect())
    }
}

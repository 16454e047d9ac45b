//! What a forward pass is for.

/// Whether a forward pass trains, and which step of training it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is dropped.
    Evaluation,
    Training(StepKey),
}

/// Names one forward pass of training. With a layer's name it addresses that layer's random
/// numbers. So no generator state is kept, and a resumed run draws the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepKey {
    pub seed: u64,
    /// Optimiser step, from 1; 0 is the gradient audit.
    pub step: u64,
    /// Which micro-batch of the step, from 0.
    pub part: usize,
}

//! The mode of a forward pass: training or evaluation.

/// Whether a forward pass is for training, and which step it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout is off.
    Evaluation,
    Training(StepKey),
}

/// Identifies one forward pass of training. Together with a layer's name it selects that layer's
/// random numbers. So no generator state is kept, and a resumed run draws the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepKey {
    pub seed: u64,
    /// The optimiser step, from 1. 0 is the gradient audit.
    pub step: u64,
    /// The micro-batch of the step, from 0.
    pub part: usize,
}

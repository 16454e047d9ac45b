//! What a forward pass is for.

/// Whether a pass trains, and where in training it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Nothing is dropped.
    Evaluation,
    Training(Place),
}

/// A forward pass of training. With a layer's name it addresses that layer's random numbers, so
/// no generator state is kept and a resumed run draws the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub seed: u64,
    /// Optimiser step, from 1; 0 is the gradient audit.
    pub step: u64,
    /// Which micro-batch of the step, from 0.
    pub part: usize,
}

//! Dropout masks, and what stochastic depth leaves out.

use crate::nn::mode::{Mode, StepKey};
use crate::random::{Purpose, Stream};

/// One dropout mask (arXiv 1207.0580): each value is dropped with a probability, and the others are
/// scaled so that the mean does not change.
///
/// The mask depends only on the step key, the layer's name and a value's position. So the backward pass
/// draws it again instead of keeping it, and every backend draws the same mask.
#[derive(Clone, Debug)]
pub struct Dropout {
    stream: Stream,
    /// A value is dropped if its random number is below this.
    pub below: u32,
    /// The factor of values that are kept: 1 / (1 − rate).
    pub kept: f32,
}

impl Dropout {
    /// `rate` must be in \[0, 1).
    pub fn new(rate: f64, key: StepKey, layer: &str) -> Dropout {
        let name = format!("{layer} {} {}", key.step, key.part);
        Dropout {
            stream: Stream::new(key.seed, Purpose::Dropout, &name),
            below: (rate * (u64::from(u32::MAX) + 1) as f64) as u32,
            kept: 1.0 / (1.0 - rate) as f32,
        }
    }

    /// [`Stream::address`], for a generator on a GPU.
    pub fn address(&self) -> [u32; 4] {
        self.stream.address()
    }

    /// The stream with one random number per value.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }
}

impl Mode {
    /// Stochastic depth (arXiv 1603.09382): for each example of a batch 0, if the layer's values are left
    /// out for it, or 1 / (1 − rate). None if nothing is left out. As with dropout, they depend only on the
    /// step key, the layer's name and the example's place.
    pub fn drop_path(self, rate: f64, batch: usize, layer: &str) -> Option<Vec<f32>> {
        let Mode::Training(key) = self else { return None };
        // The gradient audit, step 0, needs a gradient of every branch.
        (rate > 0.0 && key.step > 0).then(|| {
            let name = format!("{layer} {} {}", key.step, key.part);
            let mut stream = Stream::new(key.seed, Purpose::StochasticDepth, &name);
            let kept = (1.0 / (1.0 - rate)) as f32;
            (0..batch).map(|_| if stream.uniform() < rate { 0.0 } else { kept }).collect()
        })
    }

    /// The dropout of a layer in this forward pass; None if nothing is dropped.
    pub fn dropout(self, rate: f64, layer: &str) -> Option<Dropout> {
        match self {
            Mode::Training(key) if rate > 0.0 => Some(Dropout::new(rate, key, layer)),
            Mode::Training(_) | Mode::Evaluation => None,
        }
    }
}

//! The exponential moving average of the weights, as timm's `ModelEmaV3` without warm-up.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};

use super::error::TrainError;
use crate::nn::ParameterStore;
use crate::tasks::Blueprint;

/// Weights that follow those in training: `average ← decay · average + (1 − decay) · weights` after each
/// step.
pub struct MovingAverage {
    decay: f64,
    store: ParameterStore,
}

impl MovingAverage {
    /// An average that begins at the current weights. Errors if the device has no memory for it.
    pub fn new<M>(
        decay: f64,
        blueprint: &Blueprint<M>,
        device: &Device,
        weights: &ParameterStore,
    ) -> Result<MovingAverage> {
        let (store, _) = blueprint.train(weights.seed(), device)?;
        store.load(&weights.snapshot()?)?;
        Ok(MovingAverage { decay, store })
    }

    /// The averages, as parameters.
    pub fn store(&self) -> &ParameterStore {
        &self.store
    }

    /// Follows the weights after a step. Frozen parameters are equal already.
    pub fn update(&self, weights: &ParameterStore) -> Result<()> {
        for (average, weights) in self.store.trained().zip(weights.trained()) {
            let kept = (average.var.as_tensor() * self.decay)?;
            average.set(&(kept + (weights.var.as_tensor() * (1.0 - self.decay))?)?)?;
        }
        Ok(())
    }

    /// Sets the averages to those of a checkpoint. Errors if one is missing or has another shape.
    pub fn resume(
        &self,
        averages: &BTreeMap<String, Tensor>,
    ) -> std::result::Result<(), TrainError> {
        self.store.load(averages).map_err(TrainError::Checkpoint)
    }
}

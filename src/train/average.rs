//! The mean of the weights after several epochs, parameter by parameter.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use crate::nn::ParameterStore;

/// Weights that are summed for their mean. Checkpoints contain them.
#[derive(Clone, Debug, Default)]
pub struct Average {
    /// The sum of each parameter, on the processor.
    pub sum: BTreeMap<String, Tensor>,
    /// How many were added.
    pub count: usize,
}

impl Average {
    /// Adds the current weights.
    pub fn add(&mut self, store: &ParameterStore) -> Result<()> {
        let mut sum = store.snapshot()?;
        for (name, weights) in &mut sum {
            if let Some(before) = self.sum.get(name) {
                *weights = (before + &*weights)?;
            }
        }
        self.sum = sum;
        self.count += 1;
        Ok(())
    }

    /// The mean. Frozen parameters stay as they are to the bit.
    pub fn mean(&self, store: &ParameterStore) -> Result<BTreeMap<String, Tensor>> {
        let mut mean = store.snapshot()?;
        for p in store.trained() {
            if let Some(sum) = self.sum.get(&p.name) {
                mean.insert(p.name.clone(), (sum / self.count as f64)?);
            }
        }
        Ok(mean)
    }
}

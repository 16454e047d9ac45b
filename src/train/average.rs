//! The mean of the weights after several epochs, parameter by parameter.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use crate::nn::ParameterStore;

/// The sum of each parameter, on the processor. Checkpoints contain it, and how many were added.
pub type Sum = BTreeMap<String, Tensor>;

/// Adds the current weights.
pub fn add(sum: &mut Sum, store: &ParameterStore) -> Result<()> {
    let mut total = store.snapshot()?;
    for (name, weights) in &mut total {
        if let Some(before) = sum.get(name) {
            *weights = (before + &*weights)?;
        }
    }
    *sum = total;
    Ok(())
}

/// The mean of `count` weights. Frozen parameters stay as they are to the bit.
pub fn mean(sum: &Sum, count: usize, store: &ParameterStore) -> Result<BTreeMap<String, Tensor>> {
    let mut mean = store.snapshot()?;
    for p in store.trained() {
        if let Some(sum) = sum.get(&p.name) {
            mean.insert(p.name.clone(), (sum / count as f64)?);
        }
    }
    Ok(mean)
}

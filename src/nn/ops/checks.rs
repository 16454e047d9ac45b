//! Checks of operations' inputs.

use candle_core::{Result, Tensor, bail};

use crate::nn::graph::Variable;

/// An error with the inputs' shapes, unless `holds`.
pub fn expect(operation: &str, holds: bool, inputs: &[&Variable]) -> Result<()> {
    if holds {
        return Ok(());
    }
    let shapes: Vec<_> = inputs.iter().map(|v| v.dims()).collect();
    bail!("{operation}: the shapes {shapes:?} do not match")
}

/// The ids in a u32 tensor. An error if one is not below `end`.
pub fn checked_ids(t: &Tensor, end: usize, what: &str) -> Result<Vec<u32>> {
    let ids = t.flatten_all()?.to_vec1::<u32>()?;
    match ids.iter().find(|id| **id as usize >= end) {
        Some(id) => bail!("{what} {id} is out of range, expected below {end}"),
        None => Ok(ids),
    }
}

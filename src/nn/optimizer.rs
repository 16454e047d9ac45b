//! What an optimiser does to tensors: on the CPU in one pass over memory each, on a GPU in a few
//! launches over all parameters.

use candle_core::{Result, Tensor};

use super::cpu;
pub use super::cuda::optimizer::{AdamWSlot, MultiTensorAdamW};
use super::descriptors::Update;

/// AdamW's update of a parameter and its moments, all changed in place. The four share no storage,
/// and no backward pass that reads the parameter is still to come. Float32 on the CPU.
pub fn adamw_update(update: Update, p: &Tensor, m: &Tensor, v: &Tensor, g: &Tensor) -> Result<()> {
    if [m, v, g].iter().any(|t| t.shape() != p.shape()) {
        candle_core::bail!("adamw: parameter, moments and gradient differ in shape");
    }
    cpu::with_values([g], |[g]| {
        cpu::with_values_mut(p, |p| {
            cpu::with_values_mut(m, |m| {
                cpu::with_values_mut(v, |v| {
                    cpu::adamw::apply(update, p, m, v, g);
                    Ok(())
                })
            })
        })
    })
}

/// The sum of the squares of a tensor's values, in float64. Float32 on the CPU.
pub fn square_sum(t: &Tensor) -> Result<f64> {
    cpu::with_values([t], |[values]| Ok(cpu::adamw::square_sum(values)))
}

//! The tensor operations of an optimiser. On the CPU each parameter takes one pass over memory, on a
//! GPU all parameters take a few launches.

use candle_core::{Result, Tensor};

use super::cpu;
pub use super::cuda::optimizer::{AdamWSlot, MultiTensorAdamW};
use super::descriptors::AdamWUpdate;

/// AdamW's update of a parameter and its moments, in place. The four tensors must be float32 on the
/// CPU and share no storage. No backward pass that reads the parameter may follow.
pub fn adamw_update(
    update: AdamWUpdate,
    p: &Tensor,
    m: &Tensor,
    v: &Tensor,
    g: &Tensor,
) -> Result<()> {
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

/// The sum of squares of a float32 tensor on the CPU, in float64.
pub fn sum_of_squares(t: &Tensor) -> Result<f64> {
    cpu::with_values([t], |[values]| Ok(cpu::adamw::sum_of_squares(values)))
}

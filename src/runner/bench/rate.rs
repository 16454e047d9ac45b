//! The speed of a device at matrix products and copies, which bounds the speed of a step.

use candle_core::Device;

use super::measured::Measured;
use crate::error::Result;
use crate::nn::{DeviceRates, configure, device_rates, product_rate};
use crate::spec::{LayerWeight, Precision, RunSpec, Stack};
use crate::tasks::{BatchSize, activations, definition};

/// The speed of a device at the operations that bound the speed of a step.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Floating-point operations per second of an arm's largest matrix product, in its precision.
    pub product: f64,
    /// Bytes per second that a copy reads and writes; None on the CPU, where it is not measured.
    pub copy: Option<f64>,
}

impl Rate {
    /// Measures the rate for a variant on a device.
    pub fn of(spec: &RunSpec, device: &Device) -> Result<Rate> {
        let of_device = || {
            configure(device, spec.precision == Precision::Tf32)?;
            device_rates(device, largest_product(spec), activations(spec.precision))
        };
        Ok(match of_device()? {
            Some(DeviceRates { product, copy }) => Rate { product, copy: Some(copy) },
            None => Rate { product: 1e9 * product_rate(largest_product(spec)), copy: None },
        })
    }

    /// Lower bound of a step's time in seconds, by its operations or by the bytes it moves.
    pub fn floor(self, m: &Measured) -> f64 {
        let moved = self.copy.map_or(0.0, |copy| m.step_bytes as f64 / copy);
        (m.step_flops() / self.product).max(moved)
    }
}

/// The largest matrix product in the forward pass of a layer, as (m, n, k) of `[m, k] · [k, n]`:
/// the tokens of a batch times the largest weight.
pub fn largest_product(spec: &RunSpec) -> (usize, usize, usize) {
    let stacks = spec.model.stacks();
    let shapes = stacks.iter().flat_map(Stack::matrices).map(LayerWeight::sides);
    let largest = shapes.max_by_key(|(output, input)| output * input);
    let (output, input) = largest.unwrap_or((1, 1));
    let definition = definition(spec.task);
    let tokens = match definition.batch_size(spec) {
        BatchSize::Examples(examples) => examples * definition.tokens(spec),
        BatchSize::Tokens(tokens) => tokens,
    };
    (tokens, output, input)
}

//! Which devices compute in which precision.

use candle_core::Device;

use crate::error::{Fault, Result};
use crate::spec::{DeviceKind, Variant};

/// What a spec has to know of a device.
pub fn device_kind(device: &Device) -> DeviceKind {
    match device.is_cuda() {
        true => DeviceKind::Cuda,
        false => DeviceKind::Cpu,
    }
}

/// Refuses to compute in another precision than the one that a run's id stands for. Specs that were
/// resolved for the device have been through this with their lines.
pub fn check_precision<'a>(
    mut variants: impl Iterator<Item = &'a Variant>,
    device: &Device,
) -> Result<()> {
    match variants.find(|v| !v.spec.precision.runs_on(device_kind(device))) {
        None => Ok(()),
        Some(v) => Err(Fault::new("this precision needs a CUDA device")
            .source(format!("arm {}", v.arm))
            .found(format!("`{}` on the CPU", v.spec.precision))
            .expected("float32")
            .into()),
    }
}

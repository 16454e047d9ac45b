//! Which devices support which precision.

use candle_core::Device;

use crate::error::{Fault, Result};
use crate::spec::{DeviceKind, Variant};

/// The kind of a device, as specs distinguish them.
pub fn device_kind(device: &Device) -> DeviceKind {
    match device.is_cuda() {
        true => DeviceKind::Cuda,
        false => DeviceKind::Cpu,
    }
}

/// Refuses a precision that the device does not support, since the precision is part of a run's id.
/// Specs that were resolved for the device have already passed this check, with line numbers.
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

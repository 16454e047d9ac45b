//! Which devices support which precision.

use candle_core::Device;

use crate::error::{Fault, Result};
use crate::spec::{DeviceKind, Precision, Variant};

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
    variants.try_for_each(|v| {
        let named = |fault: Fault| fault.source(format!("arm {}", v.arm));
        supports(v.spec.precision, device).map_err(|error| error.map_fault(named))
    })
}

/// Errors if the device does not support the precision.
pub fn supports(precision: Precision, device: &Device) -> Result<()> {
    match precision.runs_on(device_kind(device)) {
        true => Ok(()),
        false => Err(Fault::new("this precision needs a CUDA device")
            .found(format!("`{precision}` on the CPU"))
            .expected("float32")
            .into()),
    }
}

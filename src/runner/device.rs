//! The device a run computes on.

use candle_core::Device;

use crate::error::{Error, Result};

/// `auto` or `cpu`. Other devices are refused with what this program can do.
pub fn select_device(name: &str) -> Result<Device> {
    match name {
        "auto" | "cpu" => Ok(Device::Cpu),
        other => Err(Error::Input(format!(
            "--device: unknown device\n  found:    `{other}`\n  expected: `auto` or `cpu`; this \
             build computes on the CPU"
        ))),
    }
}

/// As provenance names it.
pub fn device_name(device: &Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Metal(_) => "metal",
    }
}

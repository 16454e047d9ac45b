//! Peak memory of a run: the peak of allocated bytes on its device.

use std::fs;

use candle_core::Device;

use super::allocator::{peak_bytes, reset_peak};
use crate::nn::{device_free_bytes, device_peak_bytes, reset_device_peak};

/// Resets the peak of a device's memory: the GPU's, or this process's ([`reset_peak`]) on the CPU.
pub fn reset_peak_of(device: &Device) {
    match device.is_cpu() {
        true => reset_peak(),
        false => reset_device_peak(device),
    }
}

/// The peak of a device's memory: the GPU's, or this process's ([`peak_bytes`]) on the CPU.
pub fn peak_bytes_of(device: &Device) -> Option<u64> {
    match device.is_cpu() {
        true => peak_bytes(),
        false => device_peak_bytes(device),
    }
}

/// Free bytes of a GPU's memory; None if unknown, and on the CPU, whose memory is the system's.
pub fn free_bytes(device: &Device) -> Option<u64> {
    device_free_bytes(device)
}

/// Resets the peak of resident bytes to the current value, which includes pages kept by the
/// allocator. False where the system does not support it (Linux does).
pub fn reset_resident_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Peak of resident bytes since [`reset_resident_peak`].
pub fn resident_peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

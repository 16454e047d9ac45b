//! Peak memory of a run: the most bytes that were allocated at once where it computes.

use std::fs;

use candle_core::Device;

use super::allocator::{peak_bytes, reset_peak};
use crate::nn::{device_free_bytes, device_peak_bytes, reset_device_peak};

/// [`reset_peak`] of what a device computes in: the GPU's memory, or the program's.
pub fn reset_peak_of(device: &Device) {
    match device.is_cpu() {
        true => reset_peak(),
        false => reset_device_peak(device),
    }
}

/// [`peak_bytes`] of what a device computes in.
pub fn peak_bytes_of(device: &Device) -> Option<u64> {
    match device.is_cpu() {
        true => peak_bytes(),
        false => device_peak_bytes(device),
    }
}

/// Bytes of a device's own memory that nothing has yet; None where they are not known, and on the
/// CPU, whose memory is the system's.
pub fn free_bytes(device: &Device) -> Option<u64> {
    device_free_bytes(device)
}

/// Starts a new measurement of the most pages resident at once from what is resident now, among
/// it pages that the allocator keeps. False where the system has no such measurement (Linux has).
pub fn reset_resident_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The most bytes resident at once since [`reset_resident_peak`].
pub fn resident_peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

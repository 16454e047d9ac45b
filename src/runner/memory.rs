//! Peak resident memory of this process.

/// Starts a new measurement: the peak falls back to what is resident now. Does nothing where
/// the system has no such control.
pub fn reset_peak() {
    // "5" clears the peak resident set size (proc(5), clear_refs).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Peak resident bytes since [`reset_peak`]; None where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_sees_an_allocation() {
        let before = peak_bytes().unwrap();
        let block = vec![1u8; 256 << 20];
        let after = peak_bytes().unwrap();
        assert!(block.iter().step_by(4096).all(|b| *b == 1));
        assert!(after >= before.max(256 << 20));
    }
}

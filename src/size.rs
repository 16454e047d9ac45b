//! Sizes of memory and of files, for people.

/// `412 MiB`, `1.3 GiB`.
pub fn bytes(n: u64) -> String {
    let mib = n as f64 / (1 << 20) as f64;
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

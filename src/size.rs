//! Formats sizes, shares and times.

/// `412 MiB`, `1.3 GiB`.
pub fn bytes(n: u64) -> String {
    let mib = n as f64 / (1 << 20) as f64;
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// A share as per cent: `72.6 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// `1:05`, `2:03:04`, `3 d 2:00:00`.
pub fn clock(seconds: f64) -> String {
    let s = seconds.round().max(0.0) as u64;
    let (days, hours, minutes, s) = (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{s:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{s:02}"),
        _ => format!("{days} d {hours}:{minutes:02}:{s:02}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn shares_are_shown_as_per_cent() {
        assert_eq!(super::percent(0.7256), "72.6 %");
    }

    #[test]
    fn times_are_shown_as_a_clock() {
        let got = [0.4, 65.0, 7384.0, 2.0 * 86_400.0 + 61.0].map(super::clock);
        assert_eq!(got, ["0:00", "1:05", "2:03:04", "2 d 0:01:01"]);
    }
}

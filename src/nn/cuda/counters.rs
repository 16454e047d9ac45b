//! How much work a GPU got, and how long it took.

/// Numbers of launches on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Kernels of this program.
    pub launches: u64,
    /// Matrix products.
    pub products: u64,
    /// Products among these that cuBLASLt refused and a slow kernel computed.
    pub refused: u64,
}

/// The time of all kernels with the same name, or of all products of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    pub name: String,
    pub count: u64,
    /// The total time.
    pub seconds: f64,
}

/// Adds up single measurements (name, seconds) by name, the longest total first.
#[cfg(any(test, feature = "cuda"))]
pub fn by_name(measured: Vec<(String, f64)>) -> Vec<KernelTime> {
    let mut all: std::collections::BTreeMap<String, (u64, f64)> = Default::default();
    for (name, seconds) in measured {
        let (count, sum) = all.entry(name).or_default();
        *count += 1;
        *sum += seconds;
    }
    let of = |(name, (count, seconds))| KernelTime { name, count, seconds };
    let mut times: Vec<KernelTime> = all.into_iter().map(of).collect();
    times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    times
}

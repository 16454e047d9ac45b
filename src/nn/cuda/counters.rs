//! How much work a GPU got, and how long it took.

/// How much work a GPU got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Kernels of this program.
    pub launches: u64,
    /// Matrix products.
    pub products: u64,
    /// Of these, those that cuBLASLt refused, which a slow kernel did.
    pub refused: u64,
}

/// What the kernels of one name took, or the products of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    pub name: String,
    pub count: u64,
    /// All of them together.
    pub seconds: f64,
}

/// Adds up what was timed one by one (a name, and seconds), the longest first.
#[cfg(any(test, feature = "cuda"))]
pub fn by_name(asked: Vec<(String, f64)>) -> Vec<KernelTime> {
    let mut all: std::collections::BTreeMap<String, (u64, f64)> = Default::default();
    for (name, seconds) in asked {
        let (count, sum) = all.entry(name).or_default();
        *count += 1;
        *sum += seconds;
    }
    let of = |(name, (count, seconds))| KernelTime { name, count, seconds };
    let mut times: Vec<KernelTime> = all.into_iter().map(of).collect();
    times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    times
}

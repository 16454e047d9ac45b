//! Counter-based random streams, addressed by name.
//!
//! A stream is Philox4x32-10 (Salmon et al., SC 2011): the n-th block of a stream is a
//! function of (key, n) alone, so no generator state is ever stored. Key and upper counter
//! come from a SHA-256 of (seed, purpose, name): arms that share a parameter share its
//! initial value, arms share the data order, and adding a layer changes no other layer.

use sha2::{Digest, Sha256};

/// What a stream's numbers are for; streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial values; named by parameter.
    Init,
    /// Order of training examples; named by epoch.
    Order,
    /// Crops and flips; named by epoch and example.
    Augment,
    /// The gradient audit's perturbation; named by parameter.
    Audit,
    /// Values dropped in training; named by layer, step and micro-batch.
    Dropout,
    /// Random matrices that a model's are compared with; named by shape.
    Yardstick,
    /// Which training examples serve for validation or test; named by which.
    Part,
    /// Examples of a measurement that reads no data; named by what of them.
    Noise,
}

impl Purpose {
    fn tag(self) -> &'static str {
        match self {
            Purpose::Init => "init",
            Purpose::Order => "order",
            Purpose::Augment => "augment",
            Purpose::Audit => "audit",
            Purpose::Dropout => "dropout",
            Purpose::Yardstick => "yardstick",
            Purpose::Part => "part",
            Purpose::Noise => "noise",
        }
    }
}

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Stream {
    pub fn new(seed: u64, purpose: Purpose, name: &str) -> Stream {
        let hash = Sha256::new()
            .chain_update(seed.to_le_bytes())
            .chain_update(purpose.tag())
            .chain_update([0])
            .chain_update(name)
            .finalize();
        let word = |i: usize| {
            u32::from_le_bytes([hash[4 * i], hash[4 * i + 1], hash[4 * i + 2], hash[4 * i + 3]])
        };
        Stream {
            key: [word(0), word(1)],
            counter: [0, 0, word(2), word(3)],
            block: [0; 4],
            used: 4,
        }
    }

    /// The stream from its number `n` on, for `n` a multiple of 4 below 2³⁴.
    pub fn from_number(mut self, n: u64) -> Stream {
        debug_assert!(n.is_multiple_of(4) && n >> 34 == 0);
        self.counter[0] = (n / 4) as u32;
        self.used = 4;
        self
    }

    /// What the stream's numbers follow from beside their place: the key, and the counter's upper
    /// words. For generators elsewhere that draw the same numbers.
    pub fn address(&self) -> [u32; 4] {
        let ([key0, key1], [.., name0, name1]) = (self.key, self.counter);
        [key0, key1, name0, name1]
    }

    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.used = 0;
            let (low, carry) = self.counter[0].overflowing_add(1);
            self.counter[0] = low;
            self.counter[1] = self.counter[1].wrapping_add(u32::from(carry));
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        let high = u64::from(self.next_u32()) << 32 | u64::from(self.next_u32());
        (high >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Standard normal, by the Box–Muller transform (cosine branch).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Uniform in 0..n without bias (Lemire, arXiv 1805.10941). `n` is at least 1.
    pub fn below(&mut self, n: u32) -> u32 {
        let threshold = n.wrapping_neg() % n.max(1);
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// A uniformly random permutation of 0..n (Fisher–Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u32 + 1) as usize);
        }
        order
    }
}

/// Ten rounds of Philox4x32.
fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let (p0, p1) = (u64::from(c[0]) * 0xD251_1F53, u64::from(c[2]) * 0xCD9E_8D57);
        c = [
            (p1 >> 32) as u32 ^ c[1] ^ k[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ c[3] ^ k[1],
            p0 as u32,
        ];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (`kat_vectors`, philox4x32 10 rounds).
    #[test]
    fn philox_known_answers() {
        let ones = u32::MAX;
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([ones; 4], [ones; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_differ_by_seed_purpose_and_name() {
        let first = |seed, purpose, name| Stream::new(seed, purpose, name).next_u32();
        let a = first(0, Purpose::Init, "x");
        assert_eq!(a, first(0, Purpose::Init, "x"));
        assert_ne!(a, first(1, Purpose::Init, "x"));
        assert_ne!(a, first(0, Purpose::Order, "x"));
        assert_ne!(a, first(0, Purpose::Init, "y"));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut s = Stream::new(7, Purpose::Init, "moments");
        let n = 200_000;
        let (mut sum, mut square, mut fourth) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = s.normal();
            sum += x;
            square += x * x;
            fourth += x * x * x * x;
        }
        let n = f64::from(n);
        // Five standard errors: 1/√n, √(2/n), √(96/n).
        assert!((sum / n).abs() < 5.0 / n.sqrt());
        assert!((square / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!((fourth / n - 3.0).abs() < 5.0 * (96.0 / n).sqrt());
        let mean = (0..10_000).map(|_| s.uniform()).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 5.0 * (1.0f64 / 12e4).sqrt());
    }

    #[test]
    fn permutations_are_uniform() {
        let mut counts = [0u32; 6];
        for i in 0..6000 {
            let p = Stream::new(i, Purpose::Order, "0").permutation(3);
            let mut sorted = p.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
            counts[p[0] * 2 + usize::from(p[1] > p[2])] += 1;
        }
        // χ² with 5 degrees of freedom stays under 25.7 with probability 0.9999.
        let chi: f64 = counts.iter().map(|c| (f64::from(*c) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi < 25.7, "{counts:?}");
    }
}

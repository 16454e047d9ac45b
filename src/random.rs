//! Counter-based random streams, addressed by name.
//!
//! A stream is Philox4x32-10 (Salmon et al., SC 2011). Its n-th block depends on (key, n) alone, so
//! no generator state is ever stored. The key and the upper half of the counter come from a SHA-256
//! of (seed, purpose, name). So arms that share a parameter share its initial value, all arms share
//! the data order, and adding a layer changes no other layer.

use sha2::{Digest, Sha256};

/// What a stream is used for. Streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial values. The stream's name is the parameter's.
    Init,
    /// Order of training examples. The name is the epoch.
    Order,
    /// Crops and flips. The name is the epoch and the example.
    Augment,
    /// Operations of AutoAugment and RandAugment. The name is the epoch and the example.
    Policy,
    /// Erased rectangles. The name is the epoch and the example.
    Erasing,
    /// Mixup and cutmix. The name is the epoch and the batch's first example.
    Mix,
    /// Branches that stochastic depth drops. The name is the branch's, the step and the micro-batch.
    StochasticDepth,
    /// The gradient audit's perturbation. The name is the parameter's.
    Audit,
    /// Dropout masks. The name is the layer, the step and the micro-batch.
    Dropout,
    /// Random matrices that a model's matrices are compared with. The name is the shape.
    RandomMatrix,
    /// Training examples set apart for validation or test. The name is the split's.
    Split,
    /// Random windows of a text that is evaluated. The name is the split's.
    Evaluation,
    /// Random examples for measurements that read no data. The name is what they contain.
    Noise,
    /// Signs of the sign-flip test, where not all choices of them are enumerated. There is one name.
    SignFlips,
    /// Resamples of test examples. There is one name.
    Bootstrap,
}

impl Purpose {
    fn tag(self) -> &'static str {
        match self {
            Purpose::Init => "init",
            Purpose::Order => "order",
            Purpose::Augment => "augment",
            Purpose::Policy => "policy",
            Purpose::Erasing => "erasing",
            Purpose::Mix => "mix",
            Purpose::StochasticDepth => "stochastic depth",
            Purpose::Audit => "audit",
            Purpose::Dropout => "dropout",
            Purpose::RandomMatrix => "yardstick",
            Purpose::Split => "part",
            Purpose::Evaluation => "evaluation",
            Purpose::Noise => "noise",
            Purpose::SignFlips => "sign flips",
            Purpose::Bootstrap => "bootstrap",
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

    /// The stream from its `n`-th number on. `n` must be a multiple of 4 below 2³⁴.
    pub fn from_number(mut self, n: u64) -> Stream {
        debug_assert!(n.is_multiple_of(4) && n >> 34 == 0);
        self.counter[0] = (n / 4) as u32;
        self.used = 4;
        self
    }

    /// One of 2³² independent streams of 2³⁴ numbers each. Lane 0 is this stream itself.
    pub fn lane(mut self, lane: u32) -> Stream {
        self.counter = [0, lane, self.counter[2], self.counter[3]];
        self.used = 4;
        self
    }

    /// The next 4·N numbers at once: number 4·i + j is at \[j\]\[i\]. The count of numbers taken so far
    /// must be a multiple of four. Vectorises when inlined.
    #[inline(always)]
    pub fn next_blocks<const N: usize>(&mut self) -> [[u32; N]; 4] {
        debug_assert!(self.used == 4);
        let [low, high, name0, name1] = self.counter;
        let (mut lows, mut highs) = ([0; N], [high; N]);
        for (i, (low_word, high_word)) in lows.iter_mut().zip(&mut highs).enumerate() {
            let (sum, carry) = low.overflowing_add(i as u32);
            (*low_word, *high_word) = (sum, high.wrapping_add(u32::from(carry)));
        }
        let (next, carry) = low.overflowing_add(N as u32);
        self.counter = [next, high.wrapping_add(u32::from(carry)), name0, name1];
        philox([lows, highs, [name0; N], [name1; N]], self.key)
    }

    /// The key and the counter's upper words. A GPU kernel draws the same numbers from them.
    pub fn address(&self) -> [u32; 4] {
        let ([key0, key1], [.., name0, name1]) = (self.key, self.counter);
        [key0, key1, name0, name1]
    }

    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = self.next_blocks::<1>().map(|[number]| number);
            self.used = 0;
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

/// Ten rounds of Philox4x32 on N counters. The loop over counters is the outer one: this vectorises better
/// than a loop over counters in each round.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "plain loops vectorise")]
fn philox<const N: usize>(mut c: [[u32; N]; 4], key: [u32; 2]) -> [[u32; N]; 4] {
    for i in 0..N {
        let [mut c0, mut c1, mut c2, mut c3] = [c[0][i], c[1][i], c[2][i], c[3][i]];
        let [mut k0, mut k1] = key;
        for _ in 0..10 {
            let (p0, p1) = (u64::from(c0) * 0xD251_1F53, u64::from(c2) * 0xCD9E_8D57);
            (c0, c1) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32);
            (c2, c3) = ((p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
            (k0, k1) = (k0.wrapping_add(0x9E37_79B9), k1.wrapping_add(0xBB67_AE85));
        }
        (c[0][i], c[1][i], c[2][i], c[3][i]) = (c0, c1, c2, c3);
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (`kat_vectors`, philox4x32 10 rounds).
    #[test]
    fn philox_known_answers() {
        let answer = |c: [u32; 4], k| philox(c.map(|word| [word]), k).map(|[word]| word);
        let ones = u32::MAX;
        assert_eq!(answer([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            answer([ones; 4], [ones; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            answer(
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
    fn blocks_and_lanes_continue_the_stream() {
        let stream = Stream::new(3, Purpose::Dropout, "x");
        let (mut one, mut many) = (stream.clone(), stream.clone().lane(0));
        let singly: Vec<u32> = (0..28).map(|_| one.next_u32()).collect();
        let four = many.next_blocks::<4>();
        let three = many.next_blocks::<3>();
        let at = |number: usize| match number / 4 {
            block if block < 4 => four[number % 4][block],
            block => three[number % 4][block - 4],
        };
        assert_eq!(singly, (0..28).map(at).collect::<Vec<u32>>());
        assert_eq!(stream.clone().from_number(4).next_u32(), singly[4]);
        // A lane is another stream. It starts at its beginning wherever the first stream was.
        let lane = one.lane(1).next_u32();
        assert_eq!(lane, stream.clone().lane(1).next_u32());
        assert_eq!(lane, stream.clone().lane(1).from_number(0).next_u32());
        assert!(!singly.contains(&lane));
        // The last block before the counter's lower word overflows, and the first one after.
        let last = Stream { counter: [u32::MAX, 0, 7, 8], ..stream };
        let [[a, b], ..] = last.clone().next_blocks::<2>();
        let next = Stream { counter: [0, 1, 7, 8], ..last.clone() }.next_u32();
        assert_eq!((a, b), (last.clone().next_u32(), next));
    }

    #[test]
    fn moments_match_the_distributions() {
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

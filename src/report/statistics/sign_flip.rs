//! The sign-flip test of paired differences: if two arms had the same distribution, each difference
//! could as well have had the other sign.

use crate::random::{Purpose, Stream};

/// Most differences whose choices of signs are all enumerated.
const MAX_ENUMERATED: usize = 30;

/// How many choices of signs are drawn where there are more differences.
const DRAWS: u32 = 100_000;

/// The two-sided p-value: the share of all 2ⁿ choices of signs whose sum is at least as far from zero
/// as the observed one. For more than 30 differences it is estimated from 100,000 random choices, the
/// observed one counted among them. None for no differences, and for differences that are not finite.
pub fn sign_flip(differences: &[f64]) -> Option<f64> {
    let n = differences.len();
    if n == 0 || differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    // Sums of the same numbers in another order differ in their last bits.
    let slack = 1e-12 * differences.iter().map(|d| d.abs()).sum::<f64>();
    let observed = differences.iter().sum::<f64>().abs() - slack;
    if observed <= 0.0 {
        return Some(1.0);
    }
    match n <= MAX_ENUMERATED {
        true => Some(enumerated(differences, observed)),
        false => Some(drawn(differences, observed)),
    }
}

/// All sums are those of one half of the differences plus those of the other.
fn enumerated(differences: &[f64], observed: f64) -> f64 {
    let n = differences.len();
    let (first, second) = differences.split_at(n / 2);
    let mut sorted = signed_sums(second);
    sorted.sort_by(f64::total_cmp);
    let mut extreme = 0u64;
    for sum in signed_sums(first) {
        let below = sorted.partition_point(|other| sum + other <= -observed);
        let above = sorted.len() - sorted.partition_point(|other| sum + other < observed);
        extreme += (below + above) as u64;
    }
    extreme as f64 / (1u64 << n) as f64
}

/// The sums over all choices of signs.
fn signed_sums(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in values {
        sums = sums.iter().flat_map(|sum| [sum + value, sum - value]).collect();
    }
    sums
}

/// The same choices each time, so that a report is the same each time.
fn drawn(differences: &[f64], observed: f64) -> f64 {
    let mut stream = Stream::new(0, Purpose::SignFlips, "");
    let mut extreme = 1;
    for _ in 0..DRAWS {
        let (mut sum, mut bits) = (0.0, 0u32);
        for (i, difference) in differences.iter().enumerate() {
            if i % 32 == 0 {
                bits = stream.next_u32();
            }
            sum += if bits & 1 == 0 { *difference } else { -difference };
            bits >>= 1;
        }
        extreme += u32::from(sum.abs() >= observed);
    }
    f64::from(extreme) / f64::from(DRAWS + 1)
}

/// The smallest p-value that [`sign_flip`] can give for `n` differences: 2/2ⁿ, where all agree in sign.
pub fn smallest_p(n: usize) -> f64 {
    match n {
        0 => 1.0,
        n if n <= MAX_ENUMERATED => 2.0 * 0.5f64.powi(n as i32),
        _ => 1.0 / f64::from(DRAWS + 1),
    }
}

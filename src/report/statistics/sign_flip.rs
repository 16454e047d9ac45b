//! The exact sign-flip test of paired differences: if two arms were equal, each difference could as
//! well have had the other sign.

/// Most differences that are enumerated: 2²⁰ sums a half.
const MOST: usize = 40;

/// The share of all 2ⁿ choices of signs whose sum is at least as far from zero as the observed one:
/// the two-sided p-value. None for no differences or more than 40.
pub fn sign_flip(differences: &[f64]) -> Option<f64> {
    let n = differences.len();
    if n == 0 || n > MOST || differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    // Sums of the same numbers in another order differ in their last bits.
    let slack = 1e-12 * differences.iter().map(|d| d.abs()).sum::<f64>();
    let observed = differences.iter().sum::<f64>().abs() - slack;
    if observed <= 0.0 {
        return Some(1.0);
    }
    // All sums are those of one half plus those of the other.
    let (first, second) = differences.split_at(n / 2);
    let mut sorted = signed_sums(second);
    sorted.sort_by(f64::total_cmp);
    let mut extreme = 0u64;
    for sum in signed_sums(first) {
        let below = sorted.partition_point(|other| sum + other <= -observed);
        let above = sorted.len() - sorted.partition_point(|other| sum + other < observed);
        extreme += (below + above) as u64;
    }
    Some(extreme as f64 / (1u64 << n) as f64)
}

/// The sums over all choices of signs.
fn signed_sums(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in values {
        sums = sums.iter().flat_map(|sum| [sum + value, sum - value]).collect();
    }
    sums
}

/// The least p-value that [`sign_flip`] can give for `n` differences: 2/2ⁿ, where all agree in sign.
pub fn least_p(n: usize) -> f64 {
    let choices = i32::try_from(n).unwrap_or(i32::MAX);
    (2.0 * 0.5f64.powi(choices)).min(1.0)
}

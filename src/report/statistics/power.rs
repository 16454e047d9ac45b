//! What a number of seeds can show, planned before training.

use super::distributions::{Student, ln_gamma_of, normal_cdf};
use super::{CONFIDENCE, POWER, SIGNIFICANCE};

/// The least true difference whose paired t interval leaves out zero with probability [`POWER`], for
/// `seeds` seeds whose differences have the standard deviation `sd`. None for fewer than two seeds.
pub fn detectable(seeds: usize, sd: f64) -> Option<f64> {
    let critical = Student::new(seeds.checked_sub(1)?)?.quantile(0.5 + CONFIDENCE / 2.0);
    let found = |effect: f64| {
        let shift = effect * (seeds as f64).sqrt();
        noncentral_above(critical, seeds - 1, shift) + noncentral_above(critical, seeds - 1, -shift)
    };
    // Twice the effect until it is found, then by halves.
    let mut high = 1.0;
    while found(high) < POWER {
        high *= 2.0;
    }
    let mut low = 0.0;
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if found(middle) < POWER { low = middle } else { high = middle }
    }
    Some(sd * high)
}

/// Most seeds that anyone would train.
const MAX_SEEDS: usize = 10_000;

/// The least number of seeds with which a true difference of zero is found to be above −`margin` with
/// probability [`POWER`], at the level [`SIGNIFICANCE`]. None if it were more than 10,000.
pub fn seeds_for_margin(margin: f64, sd: f64) -> Option<usize> {
    let enough = |seeds: usize| {
        Student::new(seeds - 1).is_some_and(|student| {
            let shift = margin / sd * (seeds as f64).sqrt();
            noncentral_above(student.quantile(1.0 - SIGNIFICANCE), seeds - 1, shift) >= POWER
        })
    };
    // More seeds find more.
    let (mut few, mut many) = (1, 2);
    while !enough(many) {
        if many >= MAX_SEEDS {
            return None;
        }
        (few, many) = (many, (2 * many).min(MAX_SEEDS));
    }
    while many - few > 1 {
        let middle = (few + many) / 2;
        if enough(middle) { many = middle } else { few = middle }
    }
    Some(many)
}

/// Probability that a noncentral t value is above `t`. It is (Z + `shift`) / U with Z standard normal
/// and U² a chi-squared value over its degrees of freedom, so the probability is the mean of
/// Φ(`shift` − t·U) over U.
fn noncentral_above(t: f64, degrees_of_freedom: usize, shift: f64) -> f64 {
    const STEPS: usize = 2000;
    let n = degrees_of_freedom as f64;
    let log_scale = 0.5 * n * (0.5 * n).ln() - ln_gamma_of(0.5 * n) + 2f64.ln();
    let density = |u: f64| {
        if u <= 0.0 {
            // A single degree of freedom has a finite density there, others none.
            return if degrees_of_freedom == 1 { log_scale.exp() } else { 0.0 };
        }
        (log_scale + (n - 1.0) * u.ln() - 0.5 * n * u * u).exp()
    };
    // U has a standard deviation of at most 1/√(2n) around 1; beyond eleven there is nothing.
    let reach = 11.0 / (2.0 * n).sqrt();
    let (low, high) = ((1.0 - reach).max(0.0), 1.0 + reach);
    let width = (high - low) / STEPS as f64;
    // Simpson's rule.
    let sum: f64 = (0..=STEPS)
        .map(|i| {
            let u = low + width * i as f64;
            let weight = match i {
                0 | STEPS => 1.0,
                i if i % 2 == 1 => 4.0,
                _ => 2.0,
            };
            weight * density(u) * normal_cdf(shift - t * u)
        })
        .sum();
    sum * width / 3.0
}

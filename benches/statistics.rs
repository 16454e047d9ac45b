//! How the report's statistics behave where the truth is known: simulated differences of two arms, paired by
//! seed. The table of docs/statistics.md comes from it.
//! Run: `cargo bench --profile release --bench statistics [-- EXPERIMENTS]`.
//!
//! Each row draws so many experiments of `seeds` differences with standard deviation 1.
//! - `coverage`: how often the 95 % interval holds the true mean.
//! - `sign-flip`: how often the exact test finds a difference at 0.05 where there is none.
//! - `non-inferiority`: how often the test says "preserved" at 0.05 where the true loss is the margin, of
//!   one standard deviation.
//!
//! The standard error of each share is at most √(0.25 / EXPERIMENTS), 0.16 % for 100,000.

#![allow(clippy::expect_used)]

use vlora::random::{Purpose, Stream};
use vlora::report::statistics::{non_inferiority, paired_interval, sign_flip};

/// Draws of one distribution with mean 0 and standard deviation 1.
type Draw = fn(&mut Stream) -> f64;

const DISTRIBUTIONS: [(&str, Draw); 5] = [
    ("normal", |stream| stream.normal()),
    ("skewed to the right (exponential)", exponential),
    ("skewed to the left (exponential)", |stream| -exponential(stream)),
    ("heavy tails (t, 3 degrees)", heavy),
    ("one seed in ten fails", failing),
];

fn exponential(stream: &mut Stream) -> f64 {
    -(1.0 - stream.uniform()).ln() - 1.0
}

/// Student's t with three degrees of freedom has the variance 3.
fn heavy(stream: &mut Stream) -> f64 {
    let chi: f64 = (0..3).map(|_| stream.normal().powi(2)).sum();
    stream.normal() / (chi / 3.0).sqrt() / 3f64.sqrt()
}

/// Nine of ten differences are normal, the tenth is ten of their deviations lower.
fn failing(stream: &mut Stream) -> f64 {
    let lower = if stream.uniform() < 0.1 { 10.0 } else { 0.0 };
    // Mean −1 and variance 1 + 0.1 · 0.9 · 100.
    (stream.normal() - lower + 1.0) / 10f64.sqrt()
}

fn main() {
    // Cargo passes `--bench`.
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let experiments: usize = given.map_or(100_000, |n| n.parse().expect("a number of experiments"));
    println!("{experiments} experiments a row; nominal: 95 %, at most 5 %, 5 %\n");
    println!("| differences | seeds | coverage | sign-flip | non-inferiority |");
    println!("| :--- | ---: | ---: | ---: | ---: |");
    for (name, draw) in DISTRIBUTIONS {
        for seeds in [3, 6, 10] {
            let [covered, found, preserved] = simulate(name, draw, seeds, experiments);
            println!("| {name} | {seeds} | {covered:.1} % | {found:.1} % | {preserved:.1} % |");
        }
    }
}

/// The shares of experiments, in per cent.
fn simulate(name: &str, draw: Draw, seeds: usize, experiments: usize) -> [f64; 3] {
    let mut stream = Stream::new(0, Purpose::Init, &format!("{name} {seeds}"));
    let (mut covered, mut found, mut preserved) = (0, 0, 0);
    for _ in 0..experiments {
        let differences: Vec<f64> = (0..seeds).map(|_| draw(&mut stream)).collect();
        let interval = paired_interval(&differences).expect("differences that differ");
        covered += usize::from(interval.contains(0.0));
        found += usize::from(sign_flip(&differences).is_some_and(|p| p <= 0.05));
        let margin = 1.0;
        let lower: Vec<f64> = differences.iter().map(|d| d - margin).collect();
        preserved += usize::from(non_inferiority(&lower, margin).is_some_and(|t| t.holds()));
    }
    [covered, found, preserved].map(|n| 100.0 * n as f64 / experiments as f64)
}

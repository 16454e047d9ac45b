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
//!
//! The second table is about dense-equivalent sizes. Six dense models, each twice as large as the one before,
//! follow a power law of the size; so does an arm that is worth 180,000 parameters, and its shared layers,
//! worth 60,000. Every run is off by normal noise, half of whose variance all arms share with a seed. `size` and
//! `rate`: how often the intervals hold the true size and the true exchange rate. `none`: how often there is
//! no interval, since leaving out a seed leads beyond the ladder.

#![allow(clippy::expect_used)]

use vlora::random::{Purpose, Stream};
use vlora::report::statistics::{Ladder, Place, non_inferiority, paired_interval, sign_flip};

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
    let placed = experiments / 5;
    println!("\n{placed} experiments a row; nominal: 95 %\n");
    println!("| noise, of a step of the ladder | seeds | size | rate | none |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for noise in [0.03, 0.1, 0.3] {
        for seeds in [3, 6, 10] {
            let [size, rate, none] = simulate_ladder(noise, seeds, placed);
            let noise = 100.0 * noise;
            println!("| {noise:.0} % | {seeds} | {size:.1} % | {rate:.1} % | {none:.1} % |");
        }
    }
}

/// The value of a model of a size; it halves its distance to the best about every third doubling.
fn power_law(parameters: f64) -> f64 {
    -3.0 * (parameters / 20_000.0).powf(-0.25)
}

/// The shares of experiments, in per cent. `noise`: its standard deviation over the mean step between two
/// dense models.
fn simulate_ladder(noise: f64, seeds: usize, experiments: usize) -> [f64; 3] {
    const INCREMENTS: f64 = 20_000.0;
    let sizes: Vec<f64> = (0..6).map(|i| 20_000.0 * f64::from(1 << i)).collect();
    let (worth, shared) = (180_000.0, 60_000.0);
    let true_rate = (worth - shared) / INCREMENTS;
    let deviation = noise * (power_law(sizes[5]) - power_law(sizes[0])) / 5.0;
    let mut stream = Stream::new(0, Purpose::Init, &format!("ladder {noise} {seeds}"));
    let (mut in_size, mut in_rate, mut none) = (0, 0, 0);
    for _ in 0..experiments {
        let common: Vec<f64> = (0..seeds).map(|_| stream.normal()).collect();
        let mut runs = |size: f64| -> Vec<f64> {
            let mut off = |common: &f64| deviation * (common + stream.normal()) / 2f64.sqrt();
            common.iter().map(|common| power_law(size) + off(common)).collect()
        };
        let rungs = sizes.iter().map(|size| (*size as u64, runs(*size))).collect();
        let (values, without) = (runs(worth), runs(shared));
        let ladder = Ladder::new(rungs).expect("a ladder");
        let rate = ladder.exchange_rate(&values, &without, INCREMENTS);
        let (Some(rate), (Place::At(_), Some(size))) =
            (rate.and_then(|rate| rate.interval), ladder.equivalent(&values))
        else {
            none += 1;
            continue;
        };
        in_size += usize::from(size.contains(worth));
        in_rate += usize::from(rate.contains(true_rate));
    }
    let share = |n: usize, of: usize| 100.0 * n as f64 / of.max(1) as f64;
    let with = experiments - none;
    [share(in_size, with), share(in_rate, with), share(none, experiments)]
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

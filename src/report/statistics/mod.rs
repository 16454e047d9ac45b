//! Statistics of seeds and of test examples. docs/statistics.md explains each in words.

mod bootstrap;
mod distributions;
mod holm;
mod interval;
mod ladder;
mod mcnemar;
mod paired;
mod power;
mod sign_flip;
mod spread;

pub use bootstrap::{RESAMPLES, paired_bootstrap};
pub use holm::holm;
pub use interval::Interval;
pub use ladder::{Estimate, FEWEST_RUNGS, Ladder, Place};
pub use mcnemar::mcnemar;
pub use paired::{NonInferiority, non_inferiority, paired_interval};
pub use power::{detectable, seeds_for_margin};
pub use sign_flip::{sign_flip, smallest_p};
pub use spread::Spread;

/// Confidence level of all intervals.
pub const CONFIDENCE: f64 = 0.95;

/// Significance level of all tests.
pub const SIGNIFICANCE: f64 = 0.05;

/// The chance, of a difference as large as planned for, to be found.
pub const POWER: f64 = 0.8;

#[cfg(test)]
mod tests;

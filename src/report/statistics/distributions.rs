//! Distribution functions. No other file uses statrs.

use statrs::distribution::{Binomial, Normal, StudentsT};
use statrs::distribution::{ContinuousCDF, DiscreteCDF};
use statrs::function::gamma::ln_gamma;

/// Student's t distribution.
pub struct Student(StudentsT);

impl Student {
    /// None without degrees of freedom.
    pub fn new(degrees_of_freedom: usize) -> Option<Student> {
        StudentsT::new(0.0, 1.0, degrees_of_freedom as f64).ok().map(Student)
    }

    /// Probability of a value of at least `t`.
    pub fn above(&self, t: f64) -> f64 {
        self.0.sf(t)
    }

    /// The value below which a draw falls with probability `p`, 0 < p < 1.
    pub fn quantile(&self, p: f64) -> f64 {
        self.0.inverse_cdf(p)
    }
}

/// Probability that a standard normal value is at most `z`.
pub fn normal_cdf(z: f64) -> f64 {
    Normal::standard().cdf(z)
}

/// Probability of at most `successes` in `trials` tosses of a fair coin.
pub fn fair_binomial_cdf(successes: u64, trials: u64) -> f64 {
    Binomial::new(0.5, trials).map_or(1.0, |tosses| tosses.cdf(successes))
}

/// Natural logarithm of the gamma function.
pub fn ln_gamma_of(x: f64) -> f64 {
    ln_gamma(x)
}

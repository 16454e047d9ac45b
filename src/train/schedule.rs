//! Learning-rate schedule: linear warm-up, then a cosine (arXiv 1608.03983).

use crate::spec::TrainingSpec;

/// The learning rate of every optimiser step.
#[derive(Clone, Debug)]
pub struct Schedule {
    peak: f64,
    floor: f64,
    warmup: usize,
    total: usize,
}

impl Schedule {
    /// The schedule for `total` optimiser steps.
    pub fn new(spec: &TrainingSpec, total: usize) -> Schedule {
        Schedule {
            peak: spec.learning_rate,
            floor: spec.learning_rate * spec.min_learning_rate_ratio,
            warmup: (spec.warmup_ratio * total as f64).round() as usize,
            total,
        }
    }

    /// The rate of step `step`, from 0. It is `peak · (step + 1) / warmup` during warm-up. Then it
    /// follows half a cosine, from the peak at the first step after warm-up down to the floor.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let after = (step - self.warmup) as f64 / (self.total - self.warmup).max(1) as f64;
        let cosine = (std::f64::consts::PI * after.min(1.0)).cos();
        self.floor + (self.peak - self.floor) * 0.5 * (1.0 + cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_peak_and_falls_to_the_floor() {
        let spec = TrainingSpec {
            learning_rate: 2.0,
            min_learning_rate_ratio: 0.1,
            warmup_ratio: 0.1,
            ..TrainingSpec::default()
        };
        let s = Schedule::new(&spec, 100);
        assert!((s.rate(0) - 0.2).abs() < 1e-12);
        assert_eq!(s.rate(9), 2.0);
        assert_eq!(s.rate(10), 2.0);
        assert!((s.rate(55) - 1.1).abs() < 1e-12);
        assert!((s.rate(100) - 0.2).abs() < 1e-12);
        assert!((10..99).all(|i| s.rate(i + 1) < s.rate(i)));
    }

    #[test]
    fn one_step_without_warmup_has_the_peak_rate() {
        let spec = TrainingSpec { warmup_ratio: 0.0, ..TrainingSpec::default() };
        assert_eq!(Schedule::new(&spec, 1).rate(0), spec.learning_rate);
    }
}

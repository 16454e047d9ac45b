//! The learning rate of every optimiser step: a linear warm-up, then one of several ways down.

use crate::spec::{ScheduleKind, TrainingSpec};

/// The learning rate of every optimiser step.
#[derive(Clone, Debug)]
pub struct Schedule {
    kind: ScheduleKind,
    peak: f64,
    floor: f64,
    warmup: usize,
    total: usize,
}

impl Schedule {
    /// The schedule for `total` optimiser steps.
    pub fn new(spec: &TrainingSpec, total: usize) -> Schedule {
        let share = (spec.warmup_ratio * total as f64).round() as usize;
        Schedule {
            kind: spec.schedule,
            peak: spec.learning_rate,
            floor: spec.learning_rate * spec.min_learning_rate_ratio,
            warmup: spec.warmup_steps.unwrap_or(share),
            total,
        }
    }

    /// Number of warm-up steps.
    pub fn warmup(&self) -> usize {
        self.warmup
    }

    /// The rate of step `step`, from 0. It is `peak · (step + 1) / warmup` during warm-up, and the peak at
    /// the first step after it, but for the inverse square root: there warm-up's last step has the peak.
    /// `plateau` is the factor that [`Plateau`](super::plateau::Plateau) has come to; other schedules do not
    /// use it.
    pub fn rate(&self, step: usize, plateau: f64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let rest = self.total.saturating_sub(self.warmup).max(1);
        let done = ((step - self.warmup) as f64 / rest as f64).min(1.0);
        let between = |share: f64| self.floor + (self.peak - self.floor) * share;
        match self.kind {
            // Half a cosine (arXiv 1608.03983).
            ScheduleKind::Cosine => between(0.5 * (1.0 + (std::f64::consts::PI * done).cos())),
            ScheduleKind::Linear => between(1.0 - done),
            ScheduleKind::Constant => self.peak,
            // Proportional to 1/√step (arXiv 1706.03762, section 5.3).
            ScheduleKind::InverseSqrt => {
                let share = (self.warmup.max(1) as f64 / (step + 1) as f64).sqrt();
                (self.peak * share).max(self.floor)
            }
            ScheduleKind::Plateau => (self.peak * plateau).max(self.floor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: ScheduleKind) -> Schedule {
        let spec = TrainingSpec {
            learning_rate: 2.0,
            schedule: kind,
            min_learning_rate_ratio: 0.1,
            warmup_ratio: 0.1,
            ..TrainingSpec::default()
        };
        Schedule::new(&spec, 100)
    }

    #[test]
    fn rises_to_the_peak_and_falls_to_the_floor() {
        let s = schedule(ScheduleKind::Cosine);
        assert!((s.rate(0, 1.0) - 0.2).abs() < 1e-12);
        assert_eq!(s.rate(9, 1.0), 2.0);
        assert_eq!(s.rate(10, 1.0), 2.0);
        assert!((s.rate(55, 1.0) - 1.1).abs() < 1e-12);
        assert!((s.rate(100, 1.0) - 0.2).abs() < 1e-12);
        assert!((10..99).all(|i| s.rate(i + 1, 1.0) < s.rate(i, 1.0)));
    }

    #[test]
    fn one_step_without_warmup_has_the_peak_rate() {
        let spec = TrainingSpec { warmup_ratio: 0.0, ..TrainingSpec::default() };
        assert_eq!(Schedule::new(&spec, 1).rate(0, 1.0), spec.learning_rate);
    }

    /// The other schedules at the end of warm-up, in the middle, at the end and behind it.
    #[test]
    fn each_schedule_has_its_closed_form() {
        let at = |kind, steps: [usize; 4]| steps.map(|step| schedule(kind).rate(step, 0.25));
        let close = |got: [f64; 4], want: [f64; 4]| {
            let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-12);
            assert!(near, "{got:?} {want:?}");
        };
        close(at(ScheduleKind::Linear, [10, 55, 99, 200]), [2.0, 1.1, 0.2 + 1.8 / 90.0, 0.2]);
        close(at(ScheduleKind::Constant, [9, 10, 99, 200]), [2.0; 4]);
        // 10 warm-up steps: the 40th step has half the peak, and the 4,000th would be below the floor.
        close(at(ScheduleKind::InverseSqrt, [9, 39, 89, 3999]), [2.0, 1.0, 2.0 / 3.0, 0.2]);
        // Warm-up does not know the plateau.
        close(at(ScheduleKind::Plateau, [4, 10, 99, 200]), [1.0, 0.5, 0.5, 0.5]);
        assert_eq!(schedule(ScheduleKind::Plateau).rate(50, 1e-6), 0.2);
    }

    /// Those of transformers' schedules (`scripts/reference/make_schedule_fixtures.py`), after warm-up.
    #[test]
    fn rates_equal_those_of_transformers() {
        #[derive(serde::Deserialize)]
        struct Fixture {
            by_step: Vec<(ScheduleKind, usize, usize, Vec<f64>)>,
        }
        let text = include_str!("../../tests/fixtures/schedules.json");
        let fixture: Fixture = serde_json::from_str(text).unwrap();
        assert_eq!(fixture.by_step.len(), 8);
        for (kind, warmup, total, rates) in fixture.by_step {
            let spec = TrainingSpec {
                learning_rate: 1.0,
                schedule: kind,
                warmup_steps: Some(warmup),
                ..TrainingSpec::default()
            };
            let schedule = Schedule::new(&spec, total);
            for (step, want) in rates.iter().enumerate().skip(warmup) {
                let got = schedule.rate(step, 1.0);
                assert!((got - want).abs() < 1e-12, "{kind:?} {warmup} {step}: {got} {want}");
            }
        }
    }

    #[test]
    fn warmup_is_counted_in_steps_where_they_are_given() {
        let spec = TrainingSpec {
            learning_rate: 1.0,
            schedule: ScheduleKind::InverseSqrt,
            warmup_ratio: 0.0,
            warmup_steps: Some(4),
            ..TrainingSpec::default()
        };
        let rates: Vec<f64> =
            (0..16).map(|step| Schedule::new(&spec, 10).rate(step, 1.0)).collect();
        assert_eq!((rates[0], rates[3], rates[15]), (0.25, 1.0, 0.5));
    }
}

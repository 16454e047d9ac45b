//! Lowers the learning rate when validation has become no better for some epochs, as PyTorch's
//! `ReduceLROnPlateau` does with its default threshold and with `eps=0`.

use serde::{Deserialize, Serialize};

use crate::results::Better;
use crate::spec::TrainingSpec;

/// A value must be better than the best one by this share of it.
const THRESHOLD: f64 = 1e-4;

/// What has been seen of validation. Checkpoints contain it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plateau {
    /// The factor of the peak learning rate.
    pub factor: f64,
    /// The best value. None before the first.
    best: Option<f64>,
    /// Values since it, or since the rate fell.
    no_better: usize,
}

impl Default for Plateau {
    fn default() -> Plateau {
        Plateau { factor: 1.0, best: None, no_better: 0 }
    }
}

impl Plateau {
    /// Takes the value of a validation.
    pub fn update(&mut self, value: f64, better: Better, spec: &TrainingSpec) {
        let is_better = self.best.is_none_or(|best| match better {
            Better::Lower => value < best * (1.0 - THRESHOLD),
            Better::Higher => value > best * (1.0 + THRESHOLD),
        });
        match is_better {
            true => (self.best, self.no_better) = (Some(value), 0),
            false => self.no_better += 1,
        }
        if self.no_better > spec.plateau_patience() {
            self.factor *= spec.plateau_factor();
            self.no_better = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        better: String,
        factor: f64,
        patience: usize,
        values: Vec<f64>,
        factors: Vec<f64>,
    }

    /// Those of PyTorch's `ReduceLROnPlateau` (`scripts/reference/make_schedule_fixtures.py`).
    #[test]
    fn factors_equal_those_of_pytorch() {
        #[derive(serde::Deserialize)]
        struct Fixture {
            plateaus: Vec<Case>,
        }
        let text = include_str!("../../tests/fixtures/schedules.json");
        let fixture: Fixture = serde_json::from_str(text).unwrap();
        let mut falls = 0;
        for case in &fixture.plateaus {
            let spec = TrainingSpec {
                plateau_factor: Some(case.factor),
                plateau_patience: Some(case.patience),
                ..TrainingSpec::default()
            };
            let better = if case.better == "lower" { Better::Lower } else { Better::Higher };
            let mut plateau = Plateau::default();
            for (value, want) in case.values.iter().zip(&case.factors) {
                let before = plateau.factor;
                plateau.update(*value, better, &spec);
                falls += usize::from(plateau.factor < before);
                assert!((plateau.factor / want - 1.0).abs() < 1e-12, "{} {want}", plateau.factor);
            }
        }
        assert!(falls > 10, "the fixture shows too little: {falls}");
    }
}

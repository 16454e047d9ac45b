//! How long a training is, in optimiser steps and epochs.

use crate::spec::TrainingSpec;

/// The optimiser steps of a training, if it does not end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingLength {
    /// Of a whole epoch. Its last step may have fewer batches than the others.
    pub steps_per_epoch: usize,
    /// Epochs; the last one may be cut.
    pub epochs: usize,
    pub steps: usize,
}

impl TrainingLength {
    /// Of a training split that has `batches` batches.
    pub fn new(spec: &TrainingSpec, batches: usize) -> TrainingLength {
        let steps_per_epoch = batches.div_ceil(spec.accumulation);
        let whole = spec.epochs * steps_per_epoch;
        let steps = spec.steps.map_or(whole, |steps| whole.min(steps));
        let epochs = if steps == whole { spec.epochs } else { steps.div_ceil(steps_per_epoch) };
        TrainingLength { steps_per_epoch, epochs, steps }
    }

    /// The same in epochs, of which the last may be a part.
    pub fn in_epochs(&self) -> f64 {
        match self.steps_per_epoch {
            0 => self.epochs as f64,
            all => self.steps as f64 / all as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cut_the_last_epoch_and_never_add_one() {
        let length = |steps, batches| {
            let spec =
                TrainingSpec { epochs: 3, accumulation: 2, steps, ..TrainingSpec::default() };
            let TrainingLength { steps_per_epoch, epochs, steps } =
                TrainingLength::new(&spec, batches);
            (steps_per_epoch, epochs, steps)
        };
        assert_eq!(length(None, 9), (5, 3, 15));
        assert_eq!(length(Some(15), 9), (5, 3, 15));
        assert_eq!(length(Some(100), 9), (5, 3, 15));
        assert_eq!(length(Some(11), 9), (5, 3, 11));
        assert_eq!(length(Some(10), 9), (5, 2, 10));
        assert_eq!(length(Some(1), 9), (5, 1, 1));
        // No training example: the run is refused when it begins.
        assert_eq!(length(None, 0), (0, 3, 0));
    }
}

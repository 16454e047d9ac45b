//! Timing of optimiser steps, evaluation passes and single kernels.

use std::time::Instant;

use candle_core::Device;

use crate::nn::{Counters, KernelTime, counters, kernel_times, time_kernels};
use crate::runner::peak_memory;
use crate::tasks::{Split, Task};
use crate::train::{Flow, StepTimes, TrainError, Trainer};

/// Most evaluation passes that are timed. There are never more passes than steps.
const MAX_PASSES: usize = 5;

/// How many steps and passes are timed.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Timed optimiser steps, at least 1.
    pub steps: usize,
    /// Untimed steps before them.
    pub warmup: usize,
    /// Whether one more step follows, whose GPU kernels and products are timed one by one, in the
    /// first round.
    pub kernels: bool,
    /// Whether evaluation passes are timed, too: in the first round.
    pub evaluation: bool,
}

impl Amount {
    /// All steps and passes of a measurement, including warm-up.
    pub fn total(self) -> usize {
        let passes = match self.passes() {
            0 => 0,
            passes => self.warmup.min(1) + passes,
        };
        self.warmup + self.steps + passes + usize::from(self.kernels)
    }

    /// What is timed in a round; the first is number 0.
    pub fn of_round(self, round: usize) -> Amount {
        let is_first = round == 0;
        let (kernels, evaluation) = (self.kernels && is_first, self.evaluation && is_first);
        Amount { kernels, evaluation, ..self }
    }

    pub fn passes(self) -> usize {
        if self.evaluation { self.steps.min(MAX_PASSES) } else { 0 }
    }
}

/// The median over steps. Single steps vary, since the prefetcher makes batches of other steps
/// meanwhile.
pub fn median_queued(samples: &[Sample]) -> Counters {
    let median = |of: fn(&Sample) -> u64| {
        let mut all: Vec<u64> = samples.iter().map(of).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    Counters {
        launches: median(|s| s.queued.launches),
        products: median(|s| s.queued.products),
        refused: median(|s| s.queued.refused),
    }
}

/// One timed optimiser step.
pub struct Sample {
    pub seconds: f64,
    pub examples: usize,
    pub units: u64,
    pub times: StepTimes,
    pub queued: Counters,
}

/// Trains until `amount.steps` steps of `whole` examples have been timed, or of any number if it is None.
pub fn time_steps<T: Task>(
    trainer: &mut Trainer<T>,
    whole: Option<usize>,
    amount: Amount,
    device: &Device,
    tick: &mut dyn FnMut(),
) -> Result<Vec<Sample>, TrainError> {
    let mut samples = Vec::with_capacity(amount.steps.min(1 << 16));
    let mut warmed = 0;
    peak_memory::reset_peak_of(device);
    while samples.len() < amount.steps {
        let mut clock = Instant::now();
        let mut before = counters(device)?;
        let epoch = trainer.train_epoch(|step| {
            let seconds = clock.elapsed().as_secs_f64();
            // The device has just finished a step, so reading its counters does not fail.
            let so_far = counters(device).unwrap_or_default();
            let queued = Counters {
                launches: so_far.launches - before.launches,
                products: so_far.products - before.products,
                refused: so_far.refused - before.refused,
            };
            before = so_far;
            // The last step of an epoch may be smaller; it is not timed. Where all steps differ, it is one
            // of them.
            if whole.is_none_or(|whole| step.examples == whole) {
                if warmed == amount.warmup {
                    let (examples, units, times) = (step.examples, step.units, step.times);
                    samples.push(Sample { seconds, examples, units, times, queued });
                } else {
                    warmed += 1;
                    peak_memory::reset_peak_of(device);
                }
                tick();
            }
            clock = Instant::now();
            if samples.len() < amount.steps { Flow::Continue } else { Flow::Pause }
        });
        if epoch?.is_some() {
            trainer.end_epoch();
        }
    }
    Ok(samples)
}

/// Times of the kernels and products of one step of `whole` examples, or of any step if it is None, and
/// of the batches made meanwhile.
pub fn time_each_kernel<T: Task>(
    trainer: &mut Trainer<T>,
    whole: Option<usize>,
    device: &Device,
    tick: &mut dyn FnMut(),
) -> Result<Vec<KernelTime>, TrainError> {
    loop {
        time_kernels(device, true)?;
        let mut examples = 0;
        let epoch = trainer.train_epoch(|step| {
            examples = step.examples;
            Flow::Pause
        });
        let times = kernel_times(device);
        time_kernels(device, false)?;
        if epoch?.is_some() {
            trainer.end_epoch();
        }
        let times = times?;
        // The last step of an epoch may be smaller.
        if whole.is_none_or(|whole| examples == whole) {
            tick();
            return Ok(times);
        }
    }
}

/// Examples per second of each pass over the validation split.
pub fn time_passes<T: Task>(
    trainer: &mut Trainer<T>,
    examples: usize,
    amount: Amount,
    tick: &mut dyn FnMut(),
) -> Result<Vec<f64>, TrainError> {
    let mut pass = || {
        let started = Instant::now();
        trainer.evaluate(Split::Validation, &|| false)?;
        let seconds = started.elapsed().as_secs_f64();
        tick();
        Ok::<f64, TrainError>(examples as f64 / seconds.max(1e-9))
    };
    if amount.warmup > 0 && amount.passes() > 0 {
        pass()?;
    }
    (0..amount.passes()).map(|_| pass()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use candle_core::Result;

    use super::*;
    use crate::nn::{Init, Kind, Role, StepKey, Variable};
    use crate::results::{Metric, Scores};
    use crate::spec::TrainingSpec;
    use crate::tasks::{BatchPlan, Blueprint, DataSet, Opened, Run, TaskVisitor, batches_of};

    /// Five examples in batches of two. The last batch has one example and takes long to make.
    struct SlowEnd;

    const SLOW: Duration = Duration::from_millis(200);

    impl DataSet for SlowEnd {
        type Batch = ();

        fn len(&self, split: Split) -> usize {
            if split == Split::Train { 5 } else { 0 }
        }

        fn epoch(&self, _: usize) -> Vec<BatchPlan> {
            batches_of(&[0, 1, 2, 3, 4], 2)
        }

        fn batches_per_epoch(&self) -> usize {
            3
        }

        fn evaluation(&self, _: Split) -> Vec<BatchPlan> {
            Vec::new()
        }

        fn train_batch(&self, _: usize, plan: &BatchPlan) -> Result<()> {
            if plan.examples.len() < 2 {
                std::thread::sleep(SLOW);
            }
            Ok(())
        }

        fn evaluation_batch(&self, _: Split, _: &BatchPlan) -> Result<()> {
            Ok(())
        }
    }

    impl Task for SlowEnd {
        type Data = SlowEnd;
        type Model = Variable;
        type Predictions = ();
        type Outcome = ();

        fn data(&self) -> &SlowEnd {
            self
        }

        fn metrics(&self) -> &'static [Metric] {
            &[]
        }

        fn loss(&self, model: &Variable, _: StepKey, (): &()) -> Result<Variable> {
            Variable::composed(&[model], |t| t[0].sqr()?.mean_all())
        }

        fn predict(&self, _: &Variable, (): &()) -> Result<()> {
            Ok(())
        }

        fn predict_logit_lens(&self, _: &Variable, (): &()) -> Result<Vec<()>> {
            Ok(vec![()])
        }

        fn outcomes(&self, _: Split, _: &[BatchPlan], predictions: Vec<()>) -> Result<Vec<()>> {
            Ok(predictions)
        }

        fn scores(&self, _: &[()]) -> Scores {
            Scores { loss: 0.0, metrics: Vec::new() }
        }
    }

    #[test]
    fn only_whole_steps_are_timed() {
        let spec = TrainingSpec { batch_size: 2, epochs: 1, ..TrainingSpec::default() };
        let blueprint = Blueprint::new(|parameters| {
            parameters.tensor("w", &[1], Init::Ones, Role::layer(Kind::Matrix))
        });
        let mut trainer = Trainer::new(&SlowEnd, &blueprint, &spec, 0, &Device::Cpu, None).unwrap();
        let (amount, mut ticks) =
            (Amount { steps: 5, warmup: 2, kernels: false, evaluation: true }, 0);
        let samples =
            time_steps(&mut trainer, Some(2), amount, &Device::Cpu, &mut || ticks += 1).unwrap();
        assert_eq!((samples.len(), ticks), (5, 7));
        // An epoch has two whole steps and a small one, so the seventh whole step is in the fourth
        // epoch.
        assert_eq!((trainer.state().epoch, trainer.state().step), (3, 10));
        let slow = SLOW.as_secs_f64() / 2.0;
        assert!(samples.iter().all(|s| s.seconds < slow && s.times.wait < slow));
        assert!(samples.iter().all(|s| s.units == 2));
    }

    /// On the emulated GPU, as many kernels and products are timed as a step enqueues.
    #[test]
    fn each_kernel_of_a_step_is_timed() {
        let text = "task: image-classification\ndata: {embedded: fashion-mnist-mini}\nmodel: \
            {architecture: vit, image_size: 8, patch_size: 4, channels: 3, classes: 5, dim: 32, \
            depth: 2, heads: 2}\ntraining: {batch_size: 2}\narms: {baseline: {}}\nseeds: [0]\n";
        let spec = crate::spec::parse(text.as_bytes(), "t.yaml", "t", &[], &|_| 0).unwrap();
        let spec = &spec.variants[0].spec;
        crate::nn::emulated(|| {
            let run = Run { spec, seed: 0, device: &Device::Cpu };
            Opened::synthetic(spec, 8, 2)
                .unwrap()
                .visit(run, EachKernel { training: &spec.training });
        });
    }

    struct EachKernel<'a> {
        training: &'a TrainingSpec,
    }

    impl TaskVisitor for EachKernel<'_> {
        type Output = ();

        fn visit<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) {
            let device = &Device::Cpu;
            let mut trainer =
                Trainer::new(task, blueprint, self.training, 0, device, None).unwrap();
            trainer.step_by_step();
            let before = counters(device).unwrap();
            let times =
                time_each_kernel(&mut trainer, Some(self.training.batch_size), device, &mut || ())
                    .unwrap();
            let after = counters(device).unwrap();
            let count = |product: bool| {
                let of_kind = times.iter().filter(|t| t.name.starts_with("product [") == product);
                of_kind.map(|t| t.count).sum::<u64>()
            };
            assert_eq!(count(false), after.launches - before.launches);
            assert_eq!(count(true), after.products - before.products);
            assert!(times.is_sorted_by(|a, b| a.seconds >= b.seconds));
            let adamw = times.iter().find(|t| t.name == "adamw").unwrap();
            assert!(adamw.count == 1 && adamw.seconds > 0.0);
            let qkv = "product [10, 32] [32, 96]ᵀ + bias, float32 to float32";
            assert_eq!(times.iter().find(|t| t.name == qkv).map(|t| t.count), Some(2), "{times:?}");
            // Timing is off again.
            trainer.train_epoch(|_| Flow::Pause).unwrap();
            assert_eq!(kernel_times(device).unwrap(), []);
        }
    }
}

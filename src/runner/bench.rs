//! What training and evaluation cost: the time of optimiser steps by what it goes into, of passes of
//! evaluation, and memory. Steps are those of the real [`Trainer`]; nothing is kept of them.

use std::time::Instant;

use candle_core::Device;

use super::datasets::Datasets;
use super::memory;
use super::out_of_memory::reason;
use super::precision::{check_precision, device_kind};
use crate::data::ImageData;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::models::memory::{memory as expected, traffic};
use crate::models::vit::{Cost, cost, tokens};
use crate::nn::{
    Counters, DeviceRates, KernelTime, configure, counters, device_rates, kernel_times,
    product_rate, time_kernels,
};
use crate::spec::{Precision, RunSpec, Target, Variant};
use crate::tasks::{ImageClassification, Split, Task, activations, held_bytes};
use crate::train::{StepTimes, TrainError, Trainer};

/// Batches a pass of evaluation.
const EVALUATION_BATCHES: usize = 4;
/// Passes of evaluation that are timed, if as many steps are.
const MOST_PASSES: usize = 5;

/// How much is timed.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Optimiser steps that are timed, at least 1.
    pub steps: usize,
    /// Steps before them.
    pub warmup: usize,
    /// One more step, whose kernels and products on a GPU are timed one by one.
    pub kernels: bool,
}

impl Amount {
    /// Steps and passes of a measurement.
    pub fn total(self) -> usize {
        let passes = self.warmup.min(1) + self.passes();
        self.warmup + self.steps + passes + usize::from(self.kernels)
    }

    fn passes(self) -> usize {
        self.steps.min(MOST_PASSES)
    }
}

/// Three of the five numbers that say how values lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    pub first: f64,
    pub median: f64,
    pub third: f64,
}

impl Quartiles {
    /// By linear interpolation between neighbours, as numpy's default. None of no values.
    fn of(mut values: Vec<f64>) -> Option<Quartiles> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| {
            let place = share * last as f64;
            let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Quartiles { first: at(0.25), median: at(0.5), third: at(0.75) })
    }

    /// Of `amount` over each value.
    pub fn under(self, amount: f64) -> Quartiles {
        let Quartiles { first, median, third } = self;
        Quartiles { first: amount / third, median: amount / median, third: amount / first }
    }
}

/// A variant as it was measured. Times in seconds an optimiser step.
#[derive(Clone, Debug)]
pub struct Measured {
    pub cost: Cost,
    /// Of a step, over all its micro-batches.
    pub examples: usize,
    /// From the end of the step before: what of it is in no part below is the loop's.
    pub step: Quartiles,
    pub wait: Quartiles,
    pub forward: Quartiles,
    pub backward: Quartiles,
    pub optimizer: Quartiles,
    /// The wait for a GPU to finish the step; the parts before only ask it.
    pub device: Quartiles,
    /// Kernels and matrix products that a GPU is asked for in a step; none on the CPU.
    pub asked: Counters,
    /// Examples a second.
    pub evaluation: Quartiles,
    /// The most bytes allocated at once during the timed steps; None where they are not counted.
    pub peak_bytes: Option<u64>,
    /// The most bytes resident at once since before the model was built; None where the system
    /// does not tell. What variants measured before in the same process left resident counts, so
    /// this compares with other programs only for the first.
    pub resident_peak_bytes: Option<u64>,
    /// What [`memory`](crate::models::memory) says of the same steps, without decoded data.
    pub expected_peak_bytes: u64,
    /// The least bytes that a step moves, by formula.
    pub step_bytes: u64,
    /// What kernels and products of one step took, if it was asked for.
    pub kernels: Option<Vec<KernelTime>>,
}

/// How fast a device does what no step is faster than.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Floating-point operations a second of an arm's largest matrix product, in its precision.
    pub product: f64,
    /// Bytes a second that a copy reads and writes; None on the CPU, where it is not measured.
    pub copy: Option<f64>,
}

impl Rate {
    /// Of a variant on a device.
    pub fn of(spec: &RunSpec, device: &Device) -> Result<Rate> {
        let of_device = || {
            configure(device, spec.precision == Precision::Tf32)?;
            device_rates(device, largest_product(spec), activations(spec.precision))
        };
        Ok(match of_device()? {
            Some(DeviceRates { product, copy }) => Rate { product, copy: Some(copy) },
            None => Rate { product: 1e9 * product_rate(largest_product(spec)), copy: None },
        })
    }

    /// Seconds that a step takes at least: for its operations, or for its bytes.
    pub fn floor(self, m: &Measured) -> f64 {
        let moved = self.copy.map_or(0.0, |copy| m.step_bytes as f64 / copy);
        (m.step_flops() / self.product).max(moved)
    }
}

impl Measured {
    /// Floating-point operations of a step's matrix products.
    pub fn step_flops(&self) -> f64 {
        self.cost.training_flops * self.examples as f64
    }
}

/// Where examples come from.
pub enum Examples {
    /// Noise, as many as are needed.
    Synthetic,
    /// The specs' data.
    Real(Datasets),
}

/// Bytes of synthetic images that a GPU holds at most.
const MOST_HELD: usize = 256 << 20;

/// Synthetic examples of a step at most; the labels of so many take 64 MiB.
const MOST_SYNTHETIC: usize = 1 << 24;

impl Examples {
    /// Refuses variants whose steps take more examples than can be made.
    pub fn synthetic(variants: &[&Variant]) -> Result<Examples> {
        let step = |v: &&Variant| step_examples(&v.spec);
        match variants.iter().map(step).max() {
            Some(step) if step > MOST_SYNTHETIC => Err(Error::Input(format!(
                "--synthetic: a step takes too many examples\n  found:    {step}, \
                 training.batch_size × training.accumulation\n  expected: at most {MOST_SYNTHETIC}"
            ))),
            _ => Ok(Examples::Synthetic),
        }
    }

    /// Reads the data of these variants, so that what is missing is reported before anything is timed.
    pub fn read(variants: &[&Variant], hub: &Hub) -> Result<Examples> {
        let mut datasets = Datasets::default();
        for Variant { label, spec, .. } in variants {
            let help = "help:     --synthetic measures on noise, without data";
            let data = datasets.load(spec, hub).map_err(|error| match error {
                Error::Input(text) => Error::Input(format!("{text}\n  {help}")),
                Error::Failed(text) => Error::Failed(format!("{text}\n  {help}")),
                other => other,
            })?;
            let (found, needed) = (data.train.len(), step_examples(spec));
            if found < needed {
                return Err(Error::Input(format!(
                    "arm {label}: there are fewer training examples than a step takes\n  \
                     found:    {found}\n  expected: at least {needed}, training.batch_size × \
                     training.accumulation\n  help:     --set training.batch_size=… for smaller \
                     steps, or --synthetic for as many examples as they take"
                )));
            }
        }
        Ok(Examples::Real(datasets))
    }

    fn of(&self, spec: &RunSpec, amount: Amount, device: &Device) -> ImageData {
        let step = step_examples(spec);
        let evaluated = EVALUATION_BATCHES * spec.training.batch_size;
        match self {
            Examples::Synthetic => {
                let image = spec.vit().channels * spec.vit().image_size.pow(2);
                // A GPU holds each of them, and more epochs serve as well.
                let most = if device.is_cpu() { MOST_SYNTHETIC } else { MOST_HELD / image };
                let steps = (amount.warmup + amount.steps).min(most / step).max(1);
                ImageData::noise(spec.vit(), step * steps, evaluated)
            }
            Examples::Real(datasets) => {
                // `read` was given every variant that is measured.
                let mut data = datasets[spec].clone();
                // Any examples take as long where there are none for validation.
                let timed = if data.validation.is_empty() { &data.train } else { &data.validation };
                data.validation = timed.first(evaluated);
                data
            }
        }
    }
}

/// Examples of a whole optimiser step.
fn step_examples(spec: &RunSpec) -> usize {
    spec.training.batch_size * spec.training.accumulation
}

/// The largest matrix product of a layer's forward pass, as (m, n, k) of `[m, k] · [k, n]`: a
/// batch's tokens by the largest weight.
pub fn largest_product(spec: &RunSpec) -> (usize, usize, usize) {
    let shapes = Target::MATRICES.map(|target| spec.model.target_shape(target));
    let largest = shapes.into_iter().max_by_key(|(output, input)| output * input);
    let (output, input) = largest.unwrap_or((spec.vit().dim, spec.vit().dim));
    (spec.training.batch_size * tokens(spec.vit()), output, input)
}

/// Times a variant, started from `seed`: weights that it would start from change no time. `tick`
/// is called after each step and each pass, [`Amount::total`] times in all.
pub fn measure(
    variant: &Variant,
    seed: u64,
    examples: &Examples,
    amount: Amount,
    device: &Device,
    tick: &mut dyn FnMut(),
) -> Result<Measured> {
    check_precision([variant].into_iter(), device)?;
    let spec = &variant.spec;
    let data = examples.of(spec, amount, device);
    let free = memory::free_bytes(device).map(|free| free.saturating_sub(held_bytes(&data)));
    let failed = |error: TrainError| Error::Failed(reason(&error, spec, free, 1));
    configure(device, spec.precision == Precision::Tf32).map_err(|e| failed(e.into()))?;
    let resident = memory::reset_resident_peak();
    let task = ImageClassification::new(&data, spec, seed, device.clone());
    let mut trainer = Trainer::new(&task, &spec.training, seed, device, None).map_err(failed)?;
    trainer.step_by_step();
    let steps = time_steps(&mut trainer, step_examples(spec), amount, device, tick);
    let samples = steps.map_err(failed)?;
    let (peak_bytes, resident_peak_bytes) =
        (memory::peak_bytes_of(device), resident.then(memory::resident_peak_bytes).flatten());
    // On a GPU images are held beside, of any number of steps.
    let peak_bytes = peak_bytes.map(|peak| peak.saturating_sub(task.held_bytes()));
    let passes = time_passes(&mut trainer, data.validation.len(), amount, tick);
    let passes = passes.map_err(failed)?;
    let kernels = match amount.kernels {
        true => Some(one_by_one(&mut trainer, device, tick).map_err(failed)?),
        false => None,
    };
    // At least one step was asked for, and one pass.
    let none = || Error::Failed("nothing was timed".into());
    let evaluation = Quartiles::of(passes).ok_or_else(none)?;
    let expected = expected(spec, device_kind(device));
    let (micro, update) = traffic(spec, device_kind(device));
    let quartiles = |part: fn(&Sample) -> f64| {
        Quartiles::of(samples.iter().map(part).collect()).ok_or_else(none)
    };
    Ok(Measured {
        cost: cost(spec),
        examples: step_examples(spec),
        step: quartiles(|s| s.seconds)?,
        wait: quartiles(|s| s.times.wait)?,
        forward: quartiles(|s| s.times.forward)?,
        backward: quartiles(|s| s.times.backward)?,
        optimizer: quartiles(|s| s.times.optimizer)?,
        device: quartiles(|s| s.times.device)?,
        asked: median_asked(&samples),
        evaluation,
        peak_bytes,
        resident_peak_bytes,
        expected_peak_bytes: expected.peak,
        step_bytes: spec.training.accumulation as u64 * micro + update,
        kernels,
    })
}

/// A step's: batches are made beside others than their own.
fn median_asked(samples: &[Sample]) -> Counters {
    let median = |of: fn(&Sample) -> u64| {
        let mut all: Vec<u64> = samples.iter().map(of).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    Counters {
        launches: median(|s| s.asked.launches),
        products: median(|s| s.asked.products),
        refused: median(|s| s.asked.refused),
    }
}

struct Sample {
    seconds: f64,
    times: StepTimes,
    asked: Counters,
}

/// Trains over epochs until so many steps of `whole` examples are timed.
fn time_steps<T: Task>(
    trainer: &mut Trainer<T>,
    whole: usize,
    amount: Amount,
    device: &Device,
    tick: &mut dyn FnMut(),
) -> std::result::Result<Vec<Sample>, TrainError> {
    let mut samples = Vec::with_capacity(amount.steps.min(1 << 16));
    let mut warmed = 0;
    memory::reset_peak_of(device);
    while samples.len() < amount.steps {
        let mut clock = Instant::now();
        let mut before = counters(device)?;
        let epoch = trainer.train_epoch(|step| {
            let seconds = clock.elapsed().as_secs_f64();
            // They only count, so reading them fails no more than the step did.
            let so_far = counters(device).unwrap_or_default();
            let asked = Counters {
                launches: so_far.launches - before.launches,
                products: so_far.products - before.products,
                refused: so_far.refused - before.refused,
            };
            before = so_far;
            // The last step of an epoch may be smaller, and is none to time.
            if step.examples == whole {
                if warmed == amount.warmup {
                    samples.push(Sample { seconds, times: step.times, asked });
                } else {
                    warmed += 1;
                    memory::reset_peak_of(device);
                }
                tick();
            }
            clock = Instant::now();
            samples.len() < amount.steps
        });
        match epoch {
            Ok(_) | Err(TrainError::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(samples)
}

/// Kernels and products of one step, and of the batches that are made beside it.
fn one_by_one<T: Task>(
    trainer: &mut Trainer<T>,
    device: &Device,
    tick: &mut dyn FnMut(),
) -> std::result::Result<Vec<KernelTime>, TrainError> {
    time_kernels(device, true)?;
    let step = trainer.train_epoch(|_| false);
    let times = kernel_times(device);
    time_kernels(device, false)?;
    tick();
    match step {
        Ok(_) | Err(TrainError::Interrupted) => Ok(times?),
        Err(error) => Err(error),
    }
}

/// Examples a second of passes over the validation split.
fn time_passes<T: Task>(
    trainer: &mut Trainer<T>,
    examples: usize,
    amount: Amount,
    tick: &mut dyn FnMut(),
) -> std::result::Result<Vec<f64>, TrainError> {
    let mut pass = || {
        let started = Instant::now();
        trainer.evaluate(Split::Validation)?;
        let seconds = started.elapsed().as_secs_f64();
        tick();
        Ok::<f64, TrainError>(examples as f64 / seconds.max(1e-9))
    };
    if amount.warmup > 0 {
        pass()?;
    }
    (0..amount.passes()).map(|_| pass()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::nn::{Init, ParameterBuilder, StepKey, Variable};
    use crate::spec::TrainingSpec;
    use crate::tasks::Evaluation;

    /// Five examples, and batches of two of which the last, of one, takes long to make.
    struct SlowEnd;

    const SLOW: Duration = Duration::from_millis(200);

    impl Task for SlowEnd {
        type Model = Variable;
        type Batch = ();

        fn model(&self, source: &mut dyn ParameterBuilder) -> candle_core::Result<Variable> {
            source.tensor("w", &[1], Init::Ones, true)
        }

        fn train_len(&self) -> usize {
            5
        }

        fn train_batch(&self, _: usize, examples: &[usize]) -> candle_core::Result<()> {
            if examples.len() < 2 {
                std::thread::sleep(SLOW);
            }
            Ok(())
        }

        fn loss(&self, model: &Variable, _: StepKey, (): &()) -> candle_core::Result<Variable> {
            Variable::composed(&[model], |t| t[0].sqr()?.mean_all())
        }

        fn evaluate(&self, _: &Variable, _: Split) -> candle_core::Result<Evaluation> {
            Ok(Evaluation { loss: 0.0, metric: 0.0, outcomes: Vec::new() })
        }
    }

    #[test]
    fn whole_steps_are_timed_over_epochs_and_smaller_ones_are_not() {
        let spec = TrainingSpec { batch_size: 2, epochs: 1, ..TrainingSpec::default() };
        let mut trainer = Trainer::new(&SlowEnd, &spec, 0, &Device::Cpu, None).unwrap();
        let (amount, mut ticks) = (Amount { steps: 5, warmup: 2, kernels: false }, 0);
        let samples =
            time_steps(&mut trainer, 2, amount, &Device::Cpu, &mut || ticks += 1).unwrap();
        assert_eq!((samples.len(), ticks), (5, 7));
        // Two whole steps an epoch, and the small one behind them: seven end in the fourth.
        assert_eq!((trainer.state().epoch, trainer.state().step), (3, 10));
        let slow = SLOW.as_secs_f64() / 2.0;
        assert!(samples.iter().all(|s| s.seconds < slow && s.times.wait < slow));
    }

    /// Emulated: a step asks for as many kernels and products as are timed.
    #[test]
    fn each_kernel_of_a_step_is_timed() {
        let text = "task: image-classification\ndata: {embedded: fashion-mnist-mini}\nmodel: \
            {architecture: vit, image_size: 8, patch_size: 4, channels: 3, classes: 5, dim: 32, \
            depth: 2, heads: 2}\ntraining: {batch_size: 2}\narms: {baseline: {}}\nseeds: [0]\n";
        let spec = crate::spec::parse(text.as_bytes(), "t.yaml", "t", &[], &|_| 0).unwrap();
        let spec = &spec.variants[0].spec;
        crate::nn::emulated(|| {
            let data = ImageData::noise(spec.vit(), 8, 2);
            let task = ImageClassification::new(&data, spec, 0, Device::Cpu);
            let mut trainer = Trainer::new(&task, &spec.training, 0, &Device::Cpu, None).unwrap();
            trainer.step_by_step();
            let before = counters(&Device::Cpu).unwrap();
            let times = one_by_one(&mut trainer, &Device::Cpu, &mut || ()).unwrap();
            let after = counters(&Device::Cpu).unwrap();
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
            // Nothing is timed any more.
            trainer.train_epoch(|_| false).unwrap_err();
            assert_eq!(kernel_times(&Device::Cpu).unwrap(), []);
        });
    }

    /// numpy.percentile([7, 1, 4, 2], [25, 50, 75]).
    #[test]
    fn quartiles_are_numpys() {
        let got = Quartiles::of(vec![7.0, 1.0, 4.0, 2.0]).unwrap();
        assert_eq!(got, Quartiles { first: 1.75, median: 3.0, third: 4.75 });
        let one = Quartiles::of(vec![5.0]).unwrap();
        assert_eq!(one, Quartiles { first: 5.0, median: 5.0, third: 5.0 });
        assert_eq!(Quartiles::of(Vec::new()), None);
        let rate = Quartiles { first: 1.0, median: 2.0, third: 4.0 }.under(8.0);
        assert_eq!(rate, Quartiles { first: 2.0, median: 4.0, third: 8.0 });
    }
}

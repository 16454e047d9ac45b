//! Measures a variant, in one or more rounds.

use candle_core::Device;

use super::examples::{Examples, step_examples};
use super::measured::Measured;
use super::quartiles::Quartiles;
use super::timing::{Amount, Sample, median_queued, time_each_kernel, time_passes, time_steps};
use crate::error::{Error, Result};
use crate::models::training_memory::{memory, traffic};
use crate::nn::{KernelTime, configure};
use crate::runner::out_of_memory::reason;
use crate::runner::peak_memory;
use crate::runner::precision::{check_precision, device_kind};
use crate::spec::{Precision, RunSpec, Variant};
use crate::tasks::{Blueprint, DataSet, Run, Split, Task, TaskVisitor, definition};
use crate::train::{TrainError, Trainer};

/// What was timed of a variant, over the rounds so far.
#[derive(Default)]
pub struct Timings {
    samples: Vec<Sample>,
    /// The median step of each round, in seconds.
    rounds: Vec<f64>,
    /// Examples per second, one value per pass.
    passes: Vec<f64>,
    /// The largest of the rounds.
    peak_bytes: Option<u64>,
    /// That of the first round: what later rounds find resident includes the other variants' pages.
    resident_peak_bytes: Option<u64>,
    kernels: Option<Vec<KernelTime>>,
}

impl Timings {
    /// Times one round of a variant with weights initialised from `seed`; start weights would not
    /// change the times. `tick` is called after each step and each pass, [`Amount::total`] times in
    /// all.
    pub fn add_round(
        &mut self,
        variant: &Variant,
        seed: u64,
        examples: &Examples,
        amount: Amount,
        device: &Device,
        tick: &mut dyn FnMut(),
    ) -> Result<()> {
        check_precision([variant].into_iter(), device)?;
        let spec = &variant.spec;
        let data = examples.of(spec, amount, device)?;
        let held = data.held_bytes();
        let free = peak_memory::free_bytes(device).map(|free| free.saturating_sub(held));
        let failed = |error: TrainError| Error::from(reason(&error, spec, free, 1));
        configure(device, spec.precision == Precision::Tf32).map_err(|e| failed(e.into()))?;
        let run = Run { spec, seed, device };
        let round = data.visit(run, TimeTraining { run, amount, tick }).map_err(failed)?;
        let steps = round.samples.iter().map(|s| s.seconds).collect();
        self.rounds.extend(Quartiles::of(steps).map(|q| q.median));
        self.samples.extend(round.samples);
        self.passes.extend(round.passes);
        self.peak_bytes = self.peak_bytes.max(round.peak_bytes);
        self.resident_peak_bytes = self.resident_peak_bytes.or(round.resident_peak_bytes);
        self.kernels = self.kernels.take().or(round.kernels);
        Ok(())
    }

    /// The summary over all rounds. None before the first.
    pub fn measured(&self, spec: &RunSpec, device: &Device) -> Option<Measured> {
        let quartiles =
            |part: fn(&Sample) -> f64| Quartiles::of(self.samples.iter().map(part).collect());
        let step = quartiles(|s| s.seconds)?;
        let (micro, update) = traffic(spec, device_kind(device));
        let units: u64 = self.samples.iter().map(|s| s.units).sum();
        let examples: usize = self.samples.iter().map(|s| s.examples).sum();
        // A step's units over its own time, since steps may differ in size.
        let speed = self.samples.iter().map(|s| s.units as f64 / s.seconds.max(1e-9));
        Some(Measured {
            cost: definition(spec.task).cost(spec),
            examples: examples as f64 / self.samples.len() as f64,
            units_per_second: Quartiles::of(speed.collect())?,
            units: units as f64 / self.samples.len() as f64,
            step,
            rounds: self.rounds.clone(),
            wait: quartiles(|s| s.times.wait)?,
            forward: quartiles(|s| s.times.forward)?,
            backward: quartiles(|s| s.times.backward)?,
            optimizer: quartiles(|s| s.times.optimizer)?,
            device: quartiles(|s| s.times.device)?,
            queued: median_queued(&self.samples),
            evaluation: Quartiles::of(self.passes.clone())?,
            peak_bytes: self.peak_bytes,
            resident_peak_bytes: self.resident_peak_bytes,
            expected_peak_bytes: memory(spec, device_kind(device)).peak,
            step_bytes: spec.training.accumulation as u64 * micro + update,
            kernels: self.kernels.clone(),
        })
    }
}

/// Times a round, generic over the task.
struct TimeTraining<'a, 'b> {
    run: Run<'a>,
    amount: Amount,
    tick: &'b mut dyn FnMut(),
}

/// What [`TimeTraining`] has timed.
struct Round {
    samples: Vec<Sample>,
    /// Examples per second, one value per pass.
    passes: Vec<f64>,
    peak_bytes: Option<u64>,
    resident_peak_bytes: Option<u64>,
    kernels: Option<Vec<KernelTime>>,
}

impl TaskVisitor for TimeTraining<'_, '_> {
    type Output = std::result::Result<Round, TrainError>;

    fn visit<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) -> Self::Output {
        let TimeTraining { run: Run { spec, seed, device }, amount, tick } = self;
        let resident = peak_memory::reset_resident_peak();
        let mut trainer = Trainer::new(task, blueprint, &spec.training, seed, device, None)?;
        trainer.step_by_step();
        let samples = time_steps(&mut trainer, step_examples(spec), amount, device, tick)?;
        let peak_bytes = peak_memory::peak_bytes_of(device);
        let resident_peak_bytes = resident.then(peak_memory::resident_peak_bytes).flatten();
        // Data that a GPU keeps for all steps are not part of the training's memory.
        let held = task.data().held_bytes();
        let peak_bytes = peak_bytes.map(|peak| peak.saturating_sub(held));
        let validation = task.data().len(Split::Validation);
        let passes = time_passes(&mut trainer, validation, amount, tick)?;
        let kernels = match amount.kernels {
            true => Some(time_each_kernel(&mut trainer, step_examples(spec), device, tick)?),
            false => None,
        };
        Ok(Round { samples, passes, peak_bytes, resident_peak_bytes, kernels })
    }
}

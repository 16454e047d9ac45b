//! Estimates how long the runs of a plan take, from the times of finished runs. Without any, from
//! how fast the processor multiplies matrices.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::bench::Rate;
use super::plan::{Plan, PlannedVariant};
use super::provenance::processor;
use crate::error::Result;
use crate::results::{CheckLevel, ExperimentFolder, IntactRun, Provenance, RunFolder};
use crate::spec::{DeviceKind, Precision, RunSpec};
use crate::tasks::definition;

/// The basis of an estimate, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// Finished runs of the same model with the same batches.
    SameModel,
    /// Operations per second of finished runs of other models.
    OtherModels,
    /// Operations per second of matrix products, measured now, of which a step can take two thirds. This is
    /// a lower bound of the time.
    Products,
}

/// The least time of a step over that of its matrix products, as `vlora bench` finds it on the CPU.
const STEP_OVER_PRODUCTS: f64 = 1.5;

/// The estimated time of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub seconds: f64,
    pub basis: Basis,
}

/// The speed of a finished run.
struct Past {
    /// What its speed depends on, see [`model`].
    model: String,
    precision: Precision,
    /// Seconds of training and evaluation per unit of training work.
    seconds: f64,
    /// Floating-point operations of training per second of training and evaluation.
    flops: f64,
}

/// Finished runs whose speed can be expected on this device.
pub struct History(Vec<Past>);

impl History {
    /// The most runs of one model that are read.
    const ENOUGH: usize = 5;

    /// Reads the runs of an experiment and its siblings on this kind of device. On the CPU, only
    /// runs on the same processor count.
    pub fn of(folder: &ExperimentFolder, device: DeviceKind) -> History {
        let experiments = [folder.clone()].into_iter().chain(folder.siblings());
        let runs: Vec<RunFolder> =
            experiments.flat_map(|e| e.run_ids().into_iter().map(move |id| e.run(&id))).collect();
        // Every record is read, on all threads: there may be thousands.
        let model_of =
            |run: &RunFolder| Some(model(&run.verify(CheckLevel::Quick).ok()?.spec.spec));
        let models: Vec<Option<String>> = runs.par_iter().map(model_of).collect();
        let (mut past, mut counts) = (Vec::new(), BTreeMap::new());
        for (run, model) in runs.iter().zip(models) {
            let Some(model) = model else { continue };
            let count: &mut usize = counts.entry(model.clone()).or_default();
            if *count < History::ENOUGH
                && let Some(one) = Past::read(run, model, device)
            {
                *count += 1;
                past.push(one);
            }
        }
        History(past)
    }

    fn median(&self, of: impl Fn(&Past) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.0.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    /// Estimates a run whose training takes `units` of work and `flops` operations.
    fn estimate(&self, spec: &RunSpec, units: f64, flops: f64) -> Option<Estimate> {
        let wanted = model(spec);
        let same = self.median(|past| (past.model == wanted).then_some(past.seconds));
        if let Some(seconds) = same {
            return Some(Estimate { seconds: seconds * units, basis: Basis::SameModel });
        }
        let rate = self.median(|past| (past.precision == spec.precision).then_some(past.flops))?;
        Some(Estimate { seconds: flops / rate, basis: Basis::OtherModels })
    }
}

impl Past {
    /// None if the run was trained on another device, by another number of threads, beside other runs, or on a
    /// busy machine, or has changed
    /// since.
    fn read(run: &RunFolder, model: String, device: DeviceKind) -> Option<Past> {
        let IntactRun { spec, result, .. } = run.verify(CheckLevel::Quick).ok()?;
        let spec = &spec.spec;
        let provenance: Provenance = run.read_json(RunFolder::PROVENANCE).ok()?;
        let here = provenance.sessions.iter().all(|session| match device {
            DeviceKind::Cpu => {
                session.device == "cpu"
                    && session.processor == processor()
                    && session.threads == rayon::current_num_threads()
            }
            DeviceKind::Cuda => session.device.starts_with("cuda"),
        });
        let alone = provenance.sessions.iter().all(|session| session.jobs == 1)
            && !result.shared_the_machine();
        let units = result.throughput * result.training_seconds;
        let seconds = (result.training_seconds + result.evaluation_seconds) / units;
        let sound = here && alone && seconds.is_finite() && seconds > 0.0;
        let flops = definition(spec.task).cost(spec).training_flops / seconds;
        sound.then_some(Past { model, precision: spec.precision, seconds, flops })
    }
}

/// What the spec says of the time of a unit of work, as text: model and batches.
fn model(spec: &RunSpec) -> String {
    let t = &spec.training;
    let batches = definition(spec.task).batch_text(spec);
    let parts = (&spec.model, &spec.vlora, &spec.lora, batches, t.accumulation, spec.precision);
    serde_json::to_string(&parts).unwrap_or_default()
}

impl Plan {
    /// An estimate for one run of each variant. None if there is no basis: nothing is measured for
    /// a GPU, which may not be present.
    pub fn estimates(
        &self,
        history: &History,
        device: DeviceKind,
    ) -> Result<Vec<Option<Estimate>>> {
        let of_history = |v: &PlannedVariant| {
            let spec = &v.variant.spec;
            history.estimate(spec, v.units, v.flops)
        };
        let mut estimates: Vec<_> = self.variants.iter().map(of_history).collect();
        let unknown = |(v, e): (&PlannedVariant, &Option<Estimate>)| e.is_none().then_some(v.flops);
        let most = self.variants.iter().zip(&estimates).filter_map(unknown).reduce(f64::max);
        let (Some(most), DeviceKind::Cpu) = (most, device) else { return Ok(estimates) };
        // The largest model's product is measured for all; more precision is not needed.
        let Some(largest) = self.variants.iter().find(|v| v.flops == most) else {
            return Ok(estimates);
        };
        let rate = Rate::of(&largest.variant.spec, &candle_core::Device::Cpu)?.product;
        for (estimate, variant) in estimates.iter_mut().zip(&self.variants) {
            let seconds = STEP_OVER_PRODUCTS * variant.flops / rate;
            estimate.get_or_insert(Estimate { seconds, basis: Basis::Products });
        }
        Ok(estimates)
    }
}

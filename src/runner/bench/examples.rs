//! The examples that variants are measured on.

use candle_core::Device;

use super::timing::Amount;
use crate::error::{Fault, Result};
use crate::hub::Hub;
use crate::runner::datasets::Datasets;
use crate::spec::{RunSpec, Variant};
use crate::tasks::{BatchSize, Opened, Split, definition};

/// Batches per evaluation pass.
const EVALUATION_BATCHES: usize = 4;

/// The source of the examples.
pub enum Examples {
    /// Generated examples, as many as needed.
    Synthetic,
    /// The data that the specs name.
    Real(Datasets),
}

/// Most bytes of synthetic examples that are kept on a GPU.
const MAX_HELD: usize = 256 << 20;

/// Most synthetic examples per step; their labels take 64 MiB.
const MAX_SYNTHETIC: usize = 1 << 24;

impl Examples {
    /// Refuses variants whose steps need more examples than [`MAX_SYNTHETIC`].
    pub fn synthetic(variants: &[&Variant]) -> Result<Examples> {
        let step = |v: &&Variant| most_step_examples(&v.spec);
        match variants.iter().map(step).max() {
            Some(step) if step > MAX_SYNTHETIC => Err(Fault::new("a step takes too many examples")
                .within("--synthetic")
                .found(format!("{step}, training.batch_size × training.accumulation"))
                .expected(format!("at most {MAX_SYNTHETIC}"))
                .into()),
            _ => Ok(Examples::Synthetic),
        }
    }

    /// Reads the data of these variants, so that missing data is reported before anything is timed.
    pub fn read(variants: &[&Variant], hub: &Hub) -> Result<Examples> {
        let mut datasets = Datasets::default();
        for Variant { label, spec, .. } in variants {
            let help = "--synthetic measures on noise, without data";
            let data = datasets.load(spec, hub);
            let data = data.map_err(|error| error.map_fault(|fault| fault.help(help)))?;
            let (found, needed) = (data.len(Split::Train), step_examples(spec).unwrap_or(1));
            if found < needed {
                return Err(Fault::new("there are fewer training examples than a step takes")
                    .source(format!("arm {label}"))
                    .found(found)
                    .expected(format!(
                        "at least {needed}, training.batch_size × training.accumulation"
                    ))
                    .help(
                        "--set training.batch_size=… for smaller steps, or --synthetic for \
                 as many examples as they take",
                    )
                    .into());
            }
        }
        Ok(Examples::Real(datasets))
    }

    /// The data for measuring a variant.
    pub fn of(&self, spec: &RunSpec, amount: Amount, device: &Device) -> Result<Opened> {
        let step = most_step_examples(spec);
        let evaluated = EVALUATION_BATCHES * spec.training.batch_size;
        match self {
            Examples::Synthetic => {
                // A GPU keeps all of them in memory. If fewer fit, they are repeated over more
                // epochs.
                let most = match device.is_cpu() {
                    true => MAX_SYNTHETIC,
                    false => most_held(definition(spec.task).example_bytes(spec)),
                };
                let steps = (amount.warmup + amount.steps).min(most / step).max(1);
                Opened::synthetic(spec, step * steps, evaluated)
            }
            // `read` has loaded the data of every variant that is measured.
            Examples::Real(datasets) => Ok(datasets[spec].for_timing(evaluated)),
        }
    }
}

/// How many examples of `bytes` each a GPU keeps. 0 bytes: the GPU keeps no examples.
fn most_held(bytes: usize) -> usize {
    MAX_HELD.checked_div(bytes).unwrap_or(MAX_SYNTHETIC)
}

/// Examples per optimiser step, over all accumulated batches. None if steps differ.
pub fn step_examples(spec: &RunSpec) -> Option<usize> {
    match definition(spec.task).batch_size(spec) {
        BatchSize::Examples(examples) => Some(examples * spec.training.accumulation),
        BatchSize::Tokens(_) => None,
    }
}

/// The same; for steps that differ, about as many as the largest one has of synthetic examples.
fn most_step_examples(spec: &RunSpec) -> usize {
    /// Synthetic examples of few tokens have so many.
    const FEW: usize = 4;
    match definition(spec.task).batch_size(spec) {
        BatchSize::Examples(examples) => examples * spec.training.accumulation,
        BatchSize::Tokens(tokens) => tokens.div_ceil(FEW) * spec.training.accumulation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_not_kept_on_a_gpu_have_the_limit_of_the_cpu() {
        assert_eq!(most_held(0), MAX_SYNTHETIC);
        assert_eq!(most_held(MAX_HELD / 10), 10);
    }
}

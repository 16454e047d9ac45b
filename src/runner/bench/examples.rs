//! The examples that variants are measured on.

use candle_core::Device;

use super::timing::Amount;
use crate::error::{Fault, Result};
use crate::hub::Hub;
use crate::runner::datasets::Datasets;
use crate::spec::{RunSpec, Variant};
use crate::tasks::{Opened, Split, definition};

/// Batches a pass of evaluation.
const EVALUATION_BATCHES: usize = 4;

/// Where examples come from.
pub enum Examples {
    /// Made-up ones, as many as are needed.
    Synthetic,
    /// The specs' data.
    Real(Datasets),
}

/// Bytes of synthetic examples that a GPU holds at most.
const MOST_HELD: usize = 256 << 20;

/// Synthetic examples of a step at most; the labels of so many take 64 MiB.
const MOST_SYNTHETIC: usize = 1 << 24;

impl Examples {
    /// Refuses variants whose steps take more examples than can be made.
    pub fn synthetic(variants: &[&Variant]) -> Result<Examples> {
        let step = |v: &&Variant| step_examples(&v.spec);
        match variants.iter().map(step).max() {
            Some(step) if step > MOST_SYNTHETIC => {
                Err(Fault::new("a step takes too many examples")
                    .within("--synthetic")
                    .found(format!("{step}, training.batch_size × training.accumulation"))
                    .expected(format!("at most {MOST_SYNTHETIC}"))
                    .into())
            }
            _ => Ok(Examples::Synthetic),
        }
    }

    /// Reads the data of these variants, so that what is missing is reported before anything is timed.
    pub fn read(variants: &[&Variant], hub: &Hub) -> Result<Examples> {
        let mut datasets = Datasets::default();
        for Variant { label, spec, .. } in variants {
            let help = "--synthetic measures on noise, without data";
            let data = datasets.load(spec, hub);
            let data = data.map_err(|error| error.map_fault(|fault| fault.help(help)))?;
            let (found, needed) = (data.len(Split::Train), step_examples(spec));
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

    /// The data that a variant is measured on.
    pub fn of(&self, spec: &RunSpec, amount: Amount, device: &Device) -> Result<Opened> {
        let step = step_examples(spec);
        let evaluated = EVALUATION_BATCHES * spec.training.batch_size;
        match self {
            Examples::Synthetic => {
                // A GPU holds each of them, and more epochs serve as well.
                let most = match device.is_cpu() {
                    true => MOST_SYNTHETIC,
                    false => most_held(definition(spec.task).example_bytes(spec)),
                };
                let steps = (amount.warmup + amount.steps).min(most / step).max(1);
                Opened::synthetic(spec, step * steps, evaluated)
            }
            // `read` was given every variant that is measured.
            Examples::Real(datasets) => Ok(datasets[spec].for_timing(evaluated)),
        }
    }
}

/// How many examples of so many bytes a GPU is given; 0 bytes where it holds none of them.
fn most_held(bytes: usize) -> usize {
    MOST_HELD.checked_div(bytes).unwrap_or(MOST_SYNTHETIC)
}

/// Examples of a whole optimiser step.
pub fn step_examples(spec: &RunSpec) -> usize {
    spec.training.batch_size * spec.training.accumulation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_that_no_gpu_holds_are_as_many_as_on_a_processor() {
        assert_eq!(most_held(0), MOST_SYNTHETIC);
        assert_eq!(most_held(MOST_HELD / 10), 10);
    }
}

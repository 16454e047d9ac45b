//! Whether the settings of training fit the data: the length of an epoch is known only when they are read.

use crate::error::{Fault, Result};
use crate::spec::{ScheduleKind, Select, Variant};
use crate::tasks::{Opened, Split, definition};
use crate::train::{Schedule, TrainingLength};

/// Errors if training would not do what its settings say. An epoch has so many `batches`.
pub fn check_training(variant: &Variant, length: &TrainingLength, batches: usize) -> Result<()> {
    check_length(variant, length, batches)?;
    match variant.spec.training.trains() {
        true => check_schedule(variant, length),
        false => Ok(()),
    }
}

/// Errors if `training.steps` exceeds the steps of all epochs, or if `training.accumulation` exceeds `batches`,
/// the batches of an epoch. Training would do less than the spec says.
fn check_length(variant: &Variant, length: &TrainingLength, batches: usize) -> Result<()> {
    let training = &variant.spec.training;
    if training.trains() && batches > 0 && training.accumulation > batches {
        return Err(Fault::new("an epoch has fewer batches than a step")
            .within("training.accumulation")
            .within(format!("arm {}", variant.arm))
            .found(format!("{}, and {batches} batches an epoch", training.accumulation))
            .expected(format!("at most {batches}: a step ends with its epoch"))
            .into());
    }
    match training.steps.filter(|steps| *steps > length.steps) {
        None => Ok(()),
        Some(steps) => Err(Fault::new("the epochs have fewer steps")
            .within("training.steps")
            .within(format!("arm {}", variant.arm))
            .found(format!(
                "{steps}, and {} epochs of {} steps",
                training.epochs, length.steps_per_epoch
            ))
            .expected(format!("at most {}", length.steps))
            .help(format!(
                "`training.epochs: {}` has as many",
                steps.div_ceil(length.steps_per_epoch.max(1))
            ))
            .into()),
    }
}

/// Errors if the schedule or the mean of epochs does not fit the training's length.
fn check_schedule(variant: &Variant, length: &TrainingLength) -> Result<()> {
    let training = &variant.spec.training;
    let fault = |what: &str, field: &str| {
        Fault::new(what).within(format!("training.{field}")).within(format!("arm {}", variant.arm))
    };
    if let Some(last) = training.average_last.filter(|last| *last > length.epochs) {
        return Err(fault("training has fewer epochs than are averaged", "average_last")
            .found(format!("{last}, and {} epochs within training.steps", length.epochs))
            .expected(format!("at most {}", length.epochs))
            .into());
    }
    let warmup = Schedule::new(training, length.steps).warmup();
    if let Some(steps) = training.warmup_steps.filter(|_| warmup > 0 && warmup >= length.steps) {
        return Err(fault("warm-up does not end before training", "warmup_steps")
            .found(format!("{steps}, and {} steps", length.steps))
            .expected("fewer steps than training has: else the peak learning rate is never reached")
            .into());
    }
    match training.schedule == ScheduleKind::InverseSqrt && warmup == 0 {
        true => Err(fault("the warm-up has no step", "warmup_ratio")
            .found(format!("{} of {} steps", training.warmup_ratio, length.steps))
            .expected("at least one step: `inverse-sqrt` counts from its end")
            .into()),
        false => Ok(()),
    }
}

/// Errors if trials cannot be compared on validation, or not by the weights that are tested.
pub fn check_tuning(variant: &Variant, data: &Opened) -> Result<()> {
    if data.is_empty(Split::Validation) {
        return Err(Fault::new("tuning chooses on validation, and there is none")
            .within("data.validation")
            .within(format!("arm {}", variant.arm))
            .found("no examples")
            .expected("a validation split, or a part of the training split")
            .into());
    }
    let spec = &variant.spec;
    let fault = |found: &str, expected: &str| {
        Err(Fault::new("tuning compares the metric on validation of the tested weights")
            .within("tune")
            .within(format!("arm {}", variant.arm))
            .found(found)
            .expected(expected)
            .into())
    };
    if spec.training.average_last.is_some() {
        return fault(
            "`training.average_last`: validation is of each epoch's own weights",
            "none, or no tuning",
        );
    }
    let is_by_loss = spec.training.select == Select::BestLoss;
    if is_by_loss && !definition(spec.task).validates_metric_always(spec) {
        return fault(
            "`training.select: best-loss`, and a metric that is not measured after every epoch",
            "`training.select: best` or `last`, or the metric after every epoch",
        );
    }
    Ok(())
}

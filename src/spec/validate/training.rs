//! `training`.

use super::check::Check;
use crate::spec::error::SpecError;
use crate::spec::schema::{RunSpec, ScheduleKind, Select, StartHead, TrainingSpec};

/// The recipe, and whose weights are tested.
pub fn training(run: &RunSpec, check: &Check) -> Result<(), SpecError> {
    let t = &run.training;
    if !t.trains() {
        untrained(run, check)?;
        return check.between("training.batch_size", t.batch_size, 1, 1 << 20);
    }
    check.between("training.epochs", t.epochs, 1, 1_000_000)?;
    if let Some(steps) = t.steps {
        check.between("training.steps", steps, 1, 1_000_000_000)?;
    }
    if let Some(patience) = t.patience {
        check.between("training.patience", patience, 1, 1_000_000)?;
        if !t.select.is_by_validation() {
            return Err(SpecError::new("patience needs weights that validation selects")
                .found(format!("`training.patience: {patience}` with `training.select: last`"))
                .expected("`training.select: best` or `best-loss`: with `last`, weights worse than the best known ones would be tested")
                .at(check.origin("training.patience")));
        }
    }
    check.between("training.batch_size", t.batch_size, 1, 1 << 20)?;
    check.between("training.accumulation", t.accumulation, 1, 1 << 20)?;
    let positive = |x: f64| x.is_finite() && x > 0.0;
    let fraction = |x: f64| (0.0..1.0).contains(&x);
    check.that("training.learning_rate", positive(t.learning_rate), "a number above 0")?;
    check.that(
        "training.min_learning_rate_ratio",
        (0.0..=1.0).contains(&t.min_learning_rate_ratio),
        "a number from 0 to 1",
    )?;
    check.that("training.warmup_ratio", fraction(t.warmup_ratio), "a number from 0 to below 1")?;
    schedule(run, check)?;
    average(t, check)?;
    for (field, decay) in [
        ("weight_decay", Some(t.weight_decay)),
        ("increment_weight_decay", t.increment_weight_decay),
    ] {
        check.that(
            &format!("training.{field}"),
            decay.is_none_or(|decay| decay.is_finite() && decay >= 0.0),
            "a number, 0 or more",
        )?;
    }
    check.that(
        "training.increment_learning_rate",
        t.increment_learning_rate.is_none_or(positive),
        "a number above 0",
    )?;
    check.that("training.beta1", fraction(t.beta1), "a number from 0 to below 1")?;
    check.that("training.beta2", fraction(t.beta2), "a number from 0 to below 1")?;
    check.that("training.epsilon", positive(t.epsilon), "a number above 0")?;
    check.that(
        "training.clip_norm",
        t.clip_norm.is_none_or(positive),
        "a number above 0, or null for no clipping",
    )?;
    check.that(
        "training.label_smoothing",
        fraction(t.label_smoothing),
        "a number from 0 to below 1",
    )?;
    let name = if t.select == Select::Best { "best" } else { "best-loss" };
    if t.select.is_by_validation() && run.data.files().validation.is_none() {
        return Err(SpecError::new("there is no validation to select the best epoch by")
            .found(format!("`training.select: {name}` with `data.validation: null`"))
            .expected(
                "a split, as in `data.validation: {fraction: 0.1}`, or `training.select: last`",
            )
            .at(check.origin("training.select")));
    }
    Ok(())
}

/// A run that only tests weights must have some.
fn untrained(run: &RunSpec, check: &Check) -> Result<(), SpecError> {
    let fault = |summary: &str, found: &str, expected: &str, at: &str| {
        let at = if check.says(at) { at } else { "training" };
        Err(SpecError::new(summary).found(found).expected(expected).at(check.origin(at)))
    };
    let none = "`training: none`, or no epochs";
    match (&run.start, &run.lora) {
        (None, _) => fault(
            "there are no weights to test",
            &format!("{none}, without `start`"),
            "`start` with the weights to test, or at least 1 epoch",
            "training.epochs",
        ),
        (Some(start), _) if start.head == StartHead::New => fault(
            "a new head must be trained",
            &format!("{none}, with `start.head: new`"),
            "`start.head: keep`, or at least 1 epoch",
            "start.head",
        ),
        (Some(start), _) if !start.increments.is_svd() => fault(
            "new increments must be trained",
            &format!("{none}, with increments that start from the seed"),
            "`start.increments: svd`, or at least 1 epoch",
            "start.increments",
        ),
        (_, Some(_)) => fault(
            "LoRA must be trained",
            &format!("{none}, with `lora`"),
            "no `lora`, or at least 1 epoch",
            "lora",
        ),
        (Some(_), None) => Ok(()),
    }
}

/// How the rate goes on after warm-up.
fn schedule(run: &RunSpec, check: &Check) -> Result<(), SpecError> {
    let t = &run.training;
    if let Some(steps) = t.warmup_steps {
        check.between("training.warmup_steps", steps, 0, 1_000_000_000)?;
        let ratio = check.says("training.warmup_ratio") && t.warmup_ratio != 0.0;
        check.that(
            "training.warmup_steps",
            !ratio,
            "none beside `training.warmup_ratio`, or 0 there",
        )?;
    }
    let is_plateau = t.schedule == ScheduleKind::Plateau;
    let none = "none: it belongs to `training.schedule: plateau`";
    check.that("training.plateau_factor", is_plateau || t.plateau_factor.is_none(), none)?;
    check.that("training.plateau_patience", is_plateau || t.plateau_patience.is_none(), none)?;
    let factor = t.plateau_factor();
    let below_one = "a number above 0 and below 1";
    check.that("training.plateau_factor", factor > 0.0 && factor < 1.0, below_one)?;
    check.between("training.plateau_patience", t.plateau_patience(), 0, 1_000_000)?;
    match t.schedule {
        ScheduleKind::Cosine | ScheduleKind::Linear => Ok(()),
        ScheduleKind::Constant => {
            let given = check.says("training.min_learning_rate_ratio");
            let is_one = t.min_learning_rate_ratio == 1.0;
            let none = "none, or 1: the rate stays at its peak by `training.schedule: constant`";
            check.that("training.min_learning_rate_ratio", !given || is_one, none)
        }
        ScheduleKind::InverseSqrt => {
            let warms_up = t.warmup_steps.map_or(t.warmup_ratio > 0.0, |steps| steps > 0);
            let expected = "a warm-up, as in `training.warmup_steps: 4000`: `inverse-sqrt` counts from its end";
            check.that("training.schedule", warms_up, expected)
        }
        ScheduleKind::Plateau if run.data.files().validation.is_none() => {
            Err(SpecError::new("there is no validation to become better")
                .found("`training.schedule: plateau` with `data.validation: null`")
                .expected("a split, as in `data.validation: {fraction: 0.1}`, or another schedule")
                .at(check.origin("training.schedule")))
        }
        ScheduleKind::Plateau => Ok(()),
    }
}

/// The mean of the last epochs' weights, or the moving average of all.
fn average(t: &TrainingSpec, check: &Check) -> Result<(), SpecError> {
    if let Some(decay) = t.ema_decay {
        // With 0 the average is the weights themselves.
        let good = decay > 0.0 && decay < 1.0 && t.average_last.is_none();
        let expected = "a number above 0 and below 1, without `average_last`";
        check.that("training.ema_decay", good, expected)?;
    }
    let Some(last) = t.average_last else { return Ok(()) };
    let expected = match t.epochs {
        1 => "none: there is one epoch".to_string(),
        epochs => format!("a whole number from 2 to {epochs}, or null: the last epoch alone"),
    };
    check.that("training.average_last", (2..=t.epochs).contains(&last), &expected)?;
    let expected = "none: only `training.select: last` averages epochs";
    check.that("training.average_last", t.select == Select::Last, expected)
}

//! What a spec must satisfy beyond its types: ranges, and fields that must agree.

mod check;
mod data;
mod images;
mod increments;
mod language;
mod model;
mod start;
mod text;
mod translation;

use check::Check;
pub use data::EMBEDDED_DATASETS;
pub use increments::target_names;

use super::error::SpecError;
use super::node::Node;
use super::origin::Origin;
use super::schema::{DataSpec, LoraSpec, Method, ModelSpec, RunSpec, Select, VloraSpec};

/// Checks a typed run; `node` is the tree it was read from, for the lines of its fields.
pub fn validate(run: &RunSpec, node: &Node) -> Result<(), SpecError> {
    let check = Check { node };
    model::sizes(&run.model, &check)?;
    data_section(run, &check)?;
    if run.method == Method::Vlora {
        match &run.vlora {
            Some(vlora) => increments::vlora(vlora, &run.model, &check)?,
            None => {
                return Err(SpecError::new("the section `vlora` is missing")
                    .expected("`vlora` with at least compound_size and rank, since method is vlora")
                    .missing("vlora")
                    .at(check.origin("method")));
            }
        }
    }
    start::start(run, &check)?;
    if let Some(lora) = &run.lora {
        start::lora_on_top(lora, run, &check)?;
    }
    training(run, &check)
}

/// Checks a model that no spec describes, with its increments and LoRA, by the same rules. The error
/// names the field.
pub fn validate_model(
    model: &ModelSpec,
    vlora: Option<&VloraSpec>,
    lora: Option<&LoraSpec>,
) -> Result<(), SpecError> {
    let mut node = Node::empty_map(Origin::File(Vec::new()));
    node.put("model", model)?;
    node.put("vlora", &vlora)?;
    node.put("lora", &lora)?;
    let check = Check { node: &node };
    model::sizes(model, &check)?;
    if let Some(vlora) = vlora {
        increments::vlora(vlora, model, &check)?;
    }
    lora.map_or(Ok(()), |lora| increments::lora(lora, model, &check))
}

fn data_section(run: &RunSpec, check: &Check) -> Result<(), SpecError> {
    data::files(&run.data.files(), check)?;
    match (&run.data, &run.model) {
        (DataSpec::Images(data), ModelSpec::Vit(model)) => images::images(data, model, check),
        (DataSpec::Text(data), ModelSpec::Encoder(model)) => {
            text::texts(data, model, run.start.as_ref(), check)
        }
        (DataSpec::Language(data), ModelSpec::Decoder(model)) => {
            language::language(data, model, run.start.as_ref(), check)
        }
        (DataSpec::Translation(data), ModelSpec::EncoderDecoder(model)) => {
            translation::translation(data, model, run.start.as_ref(), check)
        }
        // Reading a run refuses a model of another kind of data.
        _ => Ok(()),
    }
}

fn training(run: &RunSpec, check: &Check) -> Result<(), SpecError> {
    let t = &run.training;
    check.between("training.epochs", t.epochs, 1, 1_000_000)?;
    if let Some(steps) = t.steps {
        check.between("training.steps", steps, 1, 1_000_000_000)?;
    }
    if let Some(patience) = t.patience {
        check.between("training.patience", patience, 1, 1_000_000)?;
        if !t.select.is_by_validation() {
            return Err(SpecError::new("patience needs the best epoch")
                .found(format!("`training.patience: {patience}` with `training.select: last`"))
                .expected("`training.select: best`: else worse weights than known ones are tested")
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

//! What a spec must satisfy beyond its types: ranges, and fields that must agree.

mod check;
mod data;
mod images;
mod increments;
mod language;
mod model;
mod start;
mod text;
mod training;
mod translation;

use check::Check;
pub use data::EMBEDDED_DATASETS;
pub use increments::target_names;

use super::error::SpecError;
use super::node::Node;
use super::origin::Origin;
use super::schema::{DataSpec, LoraSpec, Method, ModelSpec, RunSpec, VloraSpec};

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
    training::training(run, &check)
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
        (DataSpec::Images(data), ModelSpec::Vit(model)) => {
            images::images(data, model, run.training.batch_size, check)
        }
        (DataSpec::Text(data), ModelSpec::Encoder(model)) => {
            text::texts(data, model, run.start.as_ref(), check)
        }
        (DataSpec::Language(data), ModelSpec::Decoder(model)) => {
            language::language(data, model, run.start.as_ref(), check)
        }
        (DataSpec::Translation(data), ModelSpec::EncoderDecoder(model)) => {
            translation::translation(data, model, run, check)
        }
        // Reading a run refuses a model of another kind of data.
        _ => Ok(()),
    }
}

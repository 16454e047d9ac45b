//! Models, each written once for baseline and VLoRA: both are the same layers with different
//! weights. Building a model, counting its parameters, operations and memory, and checking a
//! checkpoint's shapes all walk the same description.

#[cfg(test)]
mod closed_form;
mod cost;
pub mod decoder;
mod description;
pub mod encoder;
pub mod encoder_decoder;
pub mod operations;
pub mod training_memory;
pub mod transformer;
pub mod vit;

pub use cost::{Cost, cost, parameters};
pub use description::{
    Description, ParameterInfo, build, head_parameters, names_from_seed, parameters_of,
};

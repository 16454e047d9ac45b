//! The activation function of an MLP, as configs of models name it.

use super::fields::Fields;
use crate::error::Result;
use crate::spec::MlpActivation;

/// The names. The usual one of each comes first.
const ACTIVATIONS: [(&str, MlpActivation); 7] = [
    ("gelu", MlpActivation::Gelu),
    ("gelu_new", MlpActivation::GeluTanh),
    ("gelu_pytorch_tanh", MlpActivation::GeluTanh),
    ("gelu_fast", MlpActivation::GeluTanh),
    ("relu", MlpActivation::Relu),
    ("silu", MlpActivation::Silu),
    ("swish", MlpActivation::Silu),
];

/// Reads a field, GELU if it is not there.
pub fn activation(fields: &Fields, name: &str) -> Result<MlpActivation> {
    activation_or(fields, name, "gelu")
}

/// Reads a field, `default` if it is not there.
pub fn activation_or(fields: &Fields, name: &str, default: &str) -> Result<MlpActivation> {
    let text = fields.text_or(name, default)?;
    let known = ACTIVATIONS.iter().find(|(known, _)| *known == text);
    known.map(|(_, activation)| *activation).ok_or_else(|| {
        let names = ACTIVATIONS.map(|(name, _)| name).join(", ");
        let fault = fields.fault(name, "the activation is not known");
        fault.found(format!("`{text}`")).expected(format!("one of {names}")).into()
    })
}

/// The usual name of an activation.
pub fn activation_name(activation: MlpActivation) -> &'static str {
    let named = ACTIVATIONS.iter().find(|(_, known)| *known == activation);
    named.map_or("", |(name, _)| name)
}

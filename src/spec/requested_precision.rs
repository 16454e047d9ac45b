//! Resolves the `precision` of a spec for a device.

use serde::Deserialize;

use super::de::from_node;
use super::error::SpecError;
use super::node::{Node, Value};
use super::origin::Origin;
use super::precision::{DeviceKind, Precision};

/// The field `precision` of a spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RequestedPrecision {
    /// The fastest precision on the device that trains equally well.
    #[default]
    Auto,
    Float32,
    Tf32,
    Bf16,
}

/// Names in other programs for which the similarity of names would suggest a wrong precision.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("bfloat16", "bf16"),
    ("fp32", "float32"),
    ("f32", "float32"),
    ("full", "float32"),
    ("tensorfloat32", "tf32"),
];

fn read(node: &Node) -> Result<RequestedPrecision, SpecError> {
    from_node(node).map_err(|error| {
        let other = |(name, _): &&(&str, &str)| node.value == Value::Text(name.to_string());
        match OTHER_NAMES.iter().find(other) {
            Some((_, ours)) => error.help(format!("did you mean `{ours}`?")),
            None => error,
        }
    })
}

/// Resolves `precision` for a device. Without a device nothing is refused, and `auto` is float32.
pub fn resolve(node: Option<&Node>, device: Option<DeviceKind>) -> Result<Precision, SpecError> {
    // null stands for the default.
    let node = node.filter(|node| node.value != Value::Null);
    let requested = node.map(read).transpose()?.unwrap_or_default();
    let precision = match requested {
        RequestedPrecision::Auto => device.map_or(Precision::Float32, DeviceKind::precision),
        RequestedPrecision::Float32 => Precision::Float32,
        RequestedPrecision::Tf32 => Precision::Tf32,
        RequestedPrecision::Bf16 => Precision::Bf16,
    };
    match device {
        Some(device) if !precision.runs_on(device) => {
            let origin = node.map_or(Origin::File(Vec::new()), |node| node.origin.clone());
            Err(SpecError::new("this precision needs a CUDA device")
                .found(format!("`{precision}` on the CPU"))
                .expected("`float32` or `auto`, which is float32 on the CPU and bf16 on CUDA")
                .help("--device cuda computes on an NVIDIA GPU, in a build with the feature `cuda`")
                .at(origin))
        }
        _ => Ok(precision),
    }
}

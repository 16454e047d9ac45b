//! What a spec says of the precision, and what that comes to on a device.

use serde::Deserialize;

use super::de::from_node;
use super::error::SpecError;
use super::node::{Node, Value};
use super::origin::Origin;
use super::precision::{DeviceKind, Precision};

/// `precision` as a spec says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Wish {
    /// What is fast on the device and trains as well.
    #[default]
    Auto,
    Float32,
    Tf32,
    Bf16,
}

/// What other programs call them, where the likeness of names would suggest something else.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("bfloat16", "bf16"),
    ("fp32", "float32"),
    ("f32", "float32"),
    ("full", "float32"),
    ("tensorfloat32", "tf32"),
];

fn read(node: &Node) -> Result<Wish, SpecError> {
    from_node(node).map_err(|error| {
        let other = |(name, _): &&(&str, &str)| node.value == Value::Text(name.to_string());
        match OTHER_NAMES.iter().find(other) {
            Some((_, ours)) => error.help(format!("did you mean `{ours}`?")),
            None => error,
        }
    })
}

/// Reads `precision`, for a device where one is known. Without one nothing is refused, and `auto`
/// is float32.
pub fn resolve(node: Option<&Node>, device: Option<DeviceKind>) -> Result<Precision, SpecError> {
    // null is the default, as everywhere.
    let node = node.filter(|node| node.value != Value::Null);
    let wish = node.map(read).transpose()?.unwrap_or_default();
    let precision = match wish {
        Wish::Auto => device.map_or(Precision::Float32, DeviceKind::precision),
        Wish::Float32 => Precision::Float32,
        Wish::Tf32 => Precision::Tf32,
        Wish::Bf16 => Precision::Bf16,
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

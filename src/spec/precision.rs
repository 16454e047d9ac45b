//! The precision that a run computes in, and what a spec may say of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::de::from_node;
use super::error::SpecError;
use super::node::{Node, Origin, Value};

/// What a run computes in. Parameters are float32 in each, and so are AdamW's moments, norms,
/// losses and sums over examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Everything is float32.
    #[default]
    Float32,
    /// Matrix products round their factors to 10 bits behind the point and sum in float32.
    Tf32,
    /// Activations and the factors of matrix products are bfloat16: 7 bits behind the point.
    Bf16,
}

impl Precision {
    /// As specs write it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Float32 => "float32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Whether devices of this kind compute in it.
    pub fn runs_on(self, device: DeviceKind) -> bool {
        self == Precision::Float32 || device == DeviceKind::Cuda
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a spec is resolved for, as far as a run's settings depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    Cpu,
    Cuda,
}

impl DeviceKind {
    /// What `precision: auto` means there.
    fn precision(self) -> Precision {
        match self {
            DeviceKind::Cpu => Precision::Float32,
            DeviceKind::Cuda => Precision::Bf16,
        }
    }
}

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

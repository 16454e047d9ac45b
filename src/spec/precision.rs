//! The precision of a run's computations.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The precision of a run. Parameters, AdamW's moments, norms, losses and sums over examples are
/// always float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Everything is float32.
    #[default]
    Float32,
    /// Matrix products round their factors to 10 mantissa bits and accumulate in float32.
    Tf32,
    /// Activations and the factors of matrix products are bfloat16, with 7 mantissa bits.
    Bf16,
}

impl Precision {
    /// The name in specs.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Float32 => "float32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Whether devices of this kind support it.
    pub fn runs_on(self, device: DeviceKind) -> bool {
        self == Precision::Float32 || device == DeviceKind::Cuda
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of device that a spec is resolved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    Cpu,
    Cuda,
}

impl DeviceKind {
    /// The meaning of `precision: auto` on it.
    pub fn precision(self) -> Precision {
        match self {
            DeviceKind::Cpu => Precision::Float32,
            DeviceKind::Cuda => Precision::Bf16,
        }
    }
}

//! The precision that a run computes in.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    pub fn precision(self) -> Precision {
        match self {
            DeviceKind::Cpu => Precision::Float32,
            DeviceKind::Cuda => Precision::Bf16,
        }
    }
}

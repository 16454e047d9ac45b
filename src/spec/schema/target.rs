//! The weights of a Transformer block that increments and LoRA may stand on.

use serde::{Deserialize, Serialize};

/// A weight of a Transformer block, by timm's name; a matrix without its `.weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    #[serde(rename = "attn.qkv")]
    AttnQkv,
    #[serde(rename = "attn.proj")]
    AttnProj,
    #[serde(rename = "mlp.fc1")]
    MlpFc1,
    #[serde(rename = "mlp.fc2")]
    MlpFc2,
    #[serde(rename = "attn.qkv.bias")]
    AttnQkvBias,
    #[serde(rename = "attn.proj.bias")]
    AttnProjBias,
    #[serde(rename = "mlp.fc1.bias")]
    MlpFc1Bias,
    #[serde(rename = "mlp.fc2.bias")]
    MlpFc2Bias,
    #[serde(rename = "norm1.weight")]
    Norm1Weight,
    #[serde(rename = "norm1.bias")]
    Norm1Bias,
    #[serde(rename = "norm2.weight")]
    Norm2Weight,
    #[serde(rename = "norm2.bias")]
    Norm2Bias,
}

impl Target {
    pub const MATRICES: [Target; 4] =
        [Target::AttnQkv, Target::AttnProj, Target::MlpFc1, Target::MlpFc2];

    pub const VECTORS: [Target; 8] = [
        Target::AttnQkvBias,
        Target::AttnProjBias,
        Target::MlpFc1Bias,
        Target::MlpFc2Bias,
        Target::Norm1Weight,
        Target::Norm1Bias,
        Target::Norm2Weight,
        Target::Norm2Bias,
    ];

    pub fn all() -> impl Iterator<Item = Target> {
        Target::MATRICES.into_iter().chain(Target::VECTORS)
    }

    /// As specs write it.
    pub fn name(self) -> &'static str {
        match self {
            Target::AttnQkv => "attn.qkv",
            Target::AttnProj => "attn.proj",
            Target::MlpFc1 => "mlp.fc1",
            Target::MlpFc2 => "mlp.fc2",
            Target::AttnQkvBias => "attn.qkv.bias",
            Target::AttnProjBias => "attn.proj.bias",
            Target::MlpFc1Bias => "mlp.fc1.bias",
            Target::MlpFc2Bias => "mlp.fc2.bias",
            Target::Norm1Weight => "norm1.weight",
            Target::Norm1Bias => "norm1.bias",
            Target::Norm2Weight => "norm2.weight",
            Target::Norm2Bias => "norm2.bias",
        }
    }

    /// The parameter's name within its block: `attn.qkv.weight`, `norm1.bias`.
    pub fn parameter(self) -> String {
        match self.is_vector() {
            true => self.name().to_string(),
            false => format!("{}.weight", self.name()),
        }
    }

    pub fn is_vector(self) -> bool {
        !Target::MATRICES.contains(&self)
    }

    /// The bias beside a matrix.
    pub fn bias(self) -> Option<Target> {
        let at = Target::MATRICES.iter().position(|t| *t == self)?;
        Some(Target::VECTORS[at])
    }
}

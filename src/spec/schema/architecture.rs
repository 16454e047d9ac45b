//! `model.architecture`: which model a run trains.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Vision Transformer (arXiv 2010.11929), pre-norm, as timm builds it.
    Vit,
    /// Transformer encoder for texts, post-norm, as BERT (arXiv 1810.04805).
    Encoder,
    /// Transformer decoder for language models, pre-norm, as GPT-2.
    Decoder,
    /// Transformer with an encoder and a decoder (arXiv 1706.03762), as PyTorch's.
    EncoderDecoder,
}

impl Architecture {
    pub const ALL: [Architecture; 4] = [
        Architecture::Vit,
        Architecture::Encoder,
        Architecture::Decoder,
        Architecture::EncoderDecoder,
    ];

    /// As specs write it.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Vit => "vit",
            Architecture::Encoder => "encoder",
            Architecture::Decoder => "decoder",
            Architecture::EncoderDecoder => "encoder-decoder",
        }
    }
}

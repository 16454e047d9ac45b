//! Notes on sentences and translations, for tables and evaluations.

use super::data::{model, section};
use super::outcome::Schemes;
use crate::results::{Provenance, Setting};
use crate::spec::{
    EncoderDecoderSpec, FinalNorm, MlpActivation, NormPlacement, Normalisation, PositionKind,
    RunSpec, TranslationTokenizerKind,
};
use crate::tasks::start::is_tokenizer_uncompared;

/// Describes the model, its sentences, and how translations are found and scored.
pub fn setting(spec: &RunSpec, provenance: Option<&Provenance>) -> Setting {
    let data = section(spec);
    let tokenizer = &data.tokenizer;
    let languages =
        if tokenizer.joint { "one tokenizer for both languages" } else { "a tokenizer each" };
    let trained = |what: &str| format!("{what} of the training split");
    let tokens = match tokenizer.train {
        Some(TranslationTokenizerKind::Words) => {
            trained(&format!("whole words that occur at least {} times", tokenizer.minimum_count()))
        }
        Some(TranslationTokenizerKind::ByteLevelBpe) => trained("byte-level BPE"),
        Some(TranslationTokenizerKind::Unigram) => trained("unigram pieces"),
        None => format!("pieces of {}", tokenizer.name()),
    };
    let tokens = match tokenizer.normalisation {
        Normalisation::None => tokens,
        Normalisation::Nfkc => format!("{tokens}, in NFKC"),
    };
    let compared = match is_tokenizer_uncompared(provenance) {
        true => ", not compared with those of the weights it starts from",
        false => "",
    };
    let case = if data.lowercase { ", lower-cased" } else { "" };
    let signatures = Schemes::of(spec).signatures().map(|(name, text)| format!("{name} {text}"));
    Setting {
        model: architecture(model(spec)),
        inputs: format!(
            "sentences of up to {} tokens{case}: {tokens} ({languages}{compared}); {}; signatures: {}",
            data.max_tokens,
            decoding(spec),
            signatures.join(", ")
        ),
        augmentation: None,
    }
}

/// How translations of the test are found.
pub fn decoding(spec: &RunSpec) -> String {
    let decoding = &section(spec).decoding;
    let most = format!(
        "at most {} tokens for each of the source and {} more",
        decoding.length_ratio, decoding.extra_tokens
    );
    match decoding.beam {
        1 => format!("translated greedily, {most}"),
        beam => format!(
            "translated by a beam of {beam}, length penalty {}, {most}; validation greedily",
            decoding.length_penalty
        ),
    }
}

fn architecture(m: &EncoderDecoderSpec) -> String {
    let activation = match m.activation {
        MlpActivation::Gelu => "GELU",
        MlpActivation::GeluTanh => "GELU approximated by tanh",
        MlpActivation::Relu => "ReLU",
        MlpActivation::Silu => "SiLU",
    };
    let norm = match m.norm {
        NormPlacement::Post => "post-norm",
        NormPlacement::Pre => "pre-norm",
    };
    let last = match m.final_norm {
        FinalNorm::Both => "a final norm in both stacks",
        FinalNorm::Decoder => "a final norm in the decoder",
        FinalNorm::None => "no final norm",
    };
    let positions = match m.position_embedding {
        PositionKind::Learned => "learned",
        PositionKind::Sinusoidal => "sinusoidal",
        PositionKind::SinusoidalHalves => "sinusoidal (sines, then cosines)",
    };
    let shared = if m.shared_embedding { "one embedding" } else { "an embedding each" };
    let tied = if m.tied { "tied to" } else { "beside" };
    format!(
        "encoder-decoder of width {}, depth {} + {}, {} heads, MLP ratio {}, {activation}, {norm}, {last}, \
         {} {positions} positions, {} and {} tokens ({shared}), an output layer {tied} the target's embedding, \
         dropout {} (attention {}, MLP {})",
        m.dim,
        m.depth,
        m.decoder_depth(),
        m.heads,
        m.mlp_ratio,
        m.positions,
        m.source_vocabulary,
        m.target_vocabulary,
        m.dropout,
        m.attention_dropout,
        m.activation_dropout
    )
}

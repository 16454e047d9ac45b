//! Notes on texts and windows, for tables and evaluations.

use super::data::{Windowing, model, section};
use crate::results::{Provenance, Setting};
use crate::spec::{DecoderSpec, LanguageTokenizer, MlpActivation, RunSpec, Windows};
use crate::tasks::start::is_tokenizer_uncompared;

/// Describes the model, the windows it is trained on and those it is evaluated on.
pub fn setting(spec: &RunSpec, provenance: Option<&Provenance>) -> Setting {
    let data = section(spec);
    let tokens = match &data.tokenizer {
        None => "tokens by the tokenizer beside the weights it starts from".to_string(),
        Some(LanguageTokenizer::Characters) => "characters".to_string(),
        Some(LanguageTokenizer::Bytes) => "bytes".to_string(),
        Some(LanguageTokenizer::Pieces(tokenizer)) => {
            match tokenizer.hub.as_ref().or(tokenizer.path.as_ref()) {
                Some(name) => format!("tokens by the tokenizer of {name}"),
                None => "tokens by byte-level BPE of the training split".to_string(),
            }
        }
    };
    let known = provenance.and_then(|p| p.task.get::<usize>("tokenizer_tokens"));
    let known = known.map_or_else(String::new, |tokens| format!(" ({tokens} known)"));
    let compared = match is_tokenizer_uncompared(provenance) {
        true => ", whose tokenizer was not compared with that of the weights it starts from",
        false => "",
    };
    let Windowing { window, windows, .. } = Windowing::of(spec);
    let order = match windows {
        Windows::Random => "that begin at random",
        Windows::Contiguous => "without overlap, in random order",
    };
    Setting {
        model: architecture(model(spec)),
        inputs: format!(
            "windows of {window} {tokens}{known}{compared} {order}; {}",
            evaluation(spec)
        ),
        augmentation: None,
    }
}

/// How a split is evaluated.
pub fn evaluation(spec: &RunSpec) -> String {
    let Windowing { window, stride, .. } = Windowing::of(spec);
    if let Some(random) = section(spec).evaluation {
        return format!(
            "evaluated on {} batches of random windows (for comparison with published numbers; the \
             whole split is not read)",
            random.random_batches
        );
    }
    match stride == window {
        true => "evaluated on the whole split, without overlap".to_string(),
        false => format!(
            "evaluated on the whole split, each token with at least {} before it",
            window - stride
        ),
    }
}

fn architecture(m: &DecoderSpec) -> String {
    let activation = match m.activation {
        MlpActivation::Gelu => "",
        MlpActivation::GeluTanh => ", GELU approximated by tanh",
        MlpActivation::Relu => ", ReLU",
        MlpActivation::Silu => ", SiLU",
    };
    let bias = if m.bias { "" } else { ", no biases" };
    let tied = if m.tied { "tied to" } else { "beside" };
    format!(
        "GPT-like decoder of width {}, depth {}, {} heads, MLP ratio {}{activation}{bias}, an output \
         layer {tied} {} word embeddings, {} positions, dropout {} (attention {})",
        m.dim,
        m.depth,
        m.heads,
        m.mlp_ratio,
        m.vocabulary,
        m.positions,
        m.dropout,
        m.attention_dropout
    )
}

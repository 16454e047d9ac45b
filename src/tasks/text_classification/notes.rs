//! Notes on texts, for tables and evaluations.

use super::data::{model, section};
use super::start::Adjusted;
use crate::results::{Provenance, Setting, TaskFields};
use crate::spec::{EncoderSpec, RunSpec, TextPool, TokenizerKind};
use crate::tasks::classification::classes_note;
use crate::tasks::start::is_tokenizer_uncompared;

/// Describes the model and its input.
pub fn setting(spec: &RunSpec, provenance: Option<&Provenance>) -> Setting {
    let data = section(spec);
    let tokenizer = match &data.tokenizer {
        None => "the tokenizer beside the weights it starts from".to_string(),
        Some(tokenizer) => {
            match (tokenizer.train, tokenizer.hub.as_ref().or(tokenizer.path.as_ref())) {
                (Some(TokenizerKind::WordPiece), _) => {
                    "word pieces of the training split".to_string()
                }
                (Some(TokenizerKind::ByteLevelBpe), _) => {
                    "byte-level BPE of the training split".to_string()
                }
                (None, Some(name)) => format!("the tokenizer of {name}"),
                (None, None) => "a tokenizer".to_string(),
            }
        }
    };
    let known = provenance.and_then(|p| p.task.get::<usize>("tokenizer_tokens"));
    let known = known.map_or_else(String::new, |tokens| format!(" ({tokens} tokens)"));
    let compared = match is_tokenizer_uncompared(provenance) {
        true => ", which was not compared with that of the weights it starts from",
        false => "",
    };
    let what = match &data.pair_column {
        None => "texts",
        Some(_) => "pairs of texts",
    };
    Setting {
        model: architecture(model(spec)),
        inputs: format!(
            "{what} of up to {} tokens by {tokenizer}{known}{compared}",
            data.max_tokens
        ),
        augmentation: None,
    }
}

fn architecture(m: &EncoderSpec) -> String {
    let pool = match m.pool {
        TextPool::Pooler => "first token through a pooler",
        TextPool::ClassToken => "first token",
        TextPool::Mean => "mean over tokens",
    };
    format!(
        "BERT-like encoder of width {}, depth {}, {} heads, MLP ratio {}, {} word embeddings, \
         dropout {} (attention {}), {pool}",
        m.dim, m.depth, m.heads, m.mlp_ratio, m.vocabulary, m.dropout, m.attention_dropout
    )
}

/// Notes on the changes to the weights that a run starts from.
pub fn start_notes(fields: &TaskFields, is_arm: bool) -> Vec<String> {
    let classes = Adjusted::of(fields).classes;
    let classes = classes.and_then(|classes| classes_note(&classes, is_arm));
    classes.map(String::from).into_iter().collect()
}

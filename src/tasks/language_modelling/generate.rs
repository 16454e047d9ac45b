//! Continues a text with a trained language model.

use std::time::Instant;

use candle_core::{Device, Result as TensorResult, Tensor};

use super::data::model;
use super::task::LanguageModelling;
use crate::data::language::Vocabulary;
use crate::data::text::Tokenizer;
use crate::error::{Error, Fault, Result};
use crate::models::decoder::{Cache, Decoder};
use crate::tasks::generation::{Continuation, Generation};
use crate::tasks::sampling::Sampler;

/// The prompt and its continuation. Errors if the prompt is empty or has a character that the model does
/// not know.
pub fn generate(generation: &Generation) -> Result<Continuation> {
    let Generation { spec, tensors, tokenizer, device, prompt, tokens, .. } = *generation;
    let tokenizer = tokenizer.ok_or_else(|| {
        Error::from(
            Fault::new("there is no tokenizer beside the weights")
                .expected("the tokenizer.json that a run saves with its weights"),
        )
    })?;
    let vocabulary =
        Vocabulary::of(Tokenizer::read("the run's tokenizer.json", tokenizer.as_bytes())?);
    let mut ids = vocabulary.encode_text(prompt)?;
    if ids.is_empty() {
        return Err(Fault::new("there is nothing to continue")
            .within("--prompt")
            .found("an empty text")
            .expected("at least one token")
            .into());
    }
    let blueprint = LanguageModelling::blueprint(spec);
    let (store, decoder) = blueprint.evaluate(device)?;
    store.load(tensors)?;
    drop(decoder);
    let decoder = blueprint.frozen(&store)?;
    let mut sampler = Sampler::new(&generation.sampling);
    let known = vocabulary.rows();
    let start = Instant::now();
    continued(&decoder, &mut ids, tokens, model(spec).positions, device, |logits| {
        // Rows of the embedding that no token uses are no answers.
        sampler.next(&logits.narrow(0, 0, known.min(logits.dim(0)?))?)
    })?;
    let time = start.elapsed();
    Ok(Continuation { text: vocabulary.text(&ids)?, time })
}

/// Appends `tokens` tokens to `ids`. The model sees the last `positions` of them.
fn continued(
    decoder: &Decoder,
    ids: &mut Vec<u32>,
    tokens: usize,
    positions: usize,
    device: &Device,
    mut choose: impl FnMut(&Tensor) -> TensorResult<u32>,
) -> TensorResult<()> {
    let mut cache = Cache::default();
    for _ in 0..tokens {
        let seen = cache.tokens();
        // Positions are learned, so a context that slides is computed anew.
        let new = match seen > 0 && seen < positions {
            true => &ids[ids.len() - 1..],
            false => {
                cache = Cache::default();
                &ids[ids.len().saturating_sub(positions)..]
            }
        };
        let new = Tensor::from_slice(new, (1, new.len()), device)?;
        let logits = decoder.next(&new, &mut cache)?.squeeze(0)?;
        ids.push(choose(&logits)?);
    }
    Ok(())
}

//! Translates lines with a trained model.

use candle_core::Device;

use super::batches::padded;
use super::data::section;
use super::decoding::{Decoding, translate as decode};
use super::task::Translation;
use crate::data::translation::PairTokenizers;
use crate::error::{Error, Fault, Result};
use crate::models::encoder_decoder::EncoderDecoder;
use crate::tasks::generation::Lines;

/// The translations of lines, in their order. An empty line stays empty. Lines that are too long are cut.
pub fn translate_lines(lines: &Lines) -> Result<Vec<String>> {
    let Lines { spec, tensors, tokenizer, device, texts, beam } = *lines;
    let tokenizer = tokenizer.ok_or_else(|| {
        Error::from(
            Fault::new("there is no tokenizer beside the weights")
                .expected("the tokenizer.json that a run saves with its weights"),
        )
    })?;
    let data = section(spec);
    let tokenizers = PairTokenizers::read(&data.tokenizer, "the run's tokenizer.json", tokenizer)?;
    let blueprint = Translation::blueprint(spec);
    let (store, own) = blueprint.evaluate(device)?;
    store.load(tensors)?;
    drop(own);
    let model = blueprint.frozen(&store)?;
    let mut decoding = Decoding::of(&data.decoding, tokenizers.target.rows());
    decoding.beam = beam.unwrap_or(decoding.beam);

    let prepared = texts.iter().map(|text| match data.lowercase {
        true => text.trim().to_lowercase(),
        false => text.trim().to_string(),
    });
    let prepared: Vec<String> = prepared.collect();
    let encoded = tokenizers.source.encode(&prepared, data.max_tokens)?;
    let mut order: Vec<usize> = (0..texts.len()).filter(|i| !prepared[*i].is_empty()).collect();
    // Sentences of similar length are translated together, which changes no translation.
    order.sort_by_key(|line| encoded.length(*line));
    let mut translations = vec![String::new(); texts.len()];
    for part in order.chunks(spec.training.batch_size.max(1)) {
        let ids: Vec<&[u32]> = part.iter().map(|line| encoded.get(*line).0).collect();
        let found = batch(&model, &ids, &decoding, device)?;
        for (line, ids) in part.iter().zip(found) {
            translations[*line] = tokenizers.target.text(&ids)?;
        }
    }
    Ok(translations)
}

fn batch(
    model: &EncoderDecoder,
    sentences: &[&[u32]],
    decoding: &Decoding,
    device: &Device,
) -> Result<Vec<Vec<u32>>> {
    Ok(decode(model, &padded(sentences, device)?, decoding)?)
}

//! Translates lines with a trained model.

use candle_core::Device;

use super::batches::padded;
use super::data::{model, section};
use super::decoding::{Decoding, translate as decode};
use super::task::Translation;
use crate::data::translation::{PairTokenizers, Sizes};
use crate::error::{Error, Fault, Result};
use crate::models::encoder_decoder::EncoderDecoder;
use crate::tasks::generation::{Lines, Translated};

/// The translations of lines, in their order. An empty line stays empty. Lines of more tokens than
/// `data.max_tokens` are truncated and counted.
pub fn translate_lines(lines: &Lines) -> Result<Translated> {
    let Lines { spec, tensors, tokenizer, device, texts, beam } = *lines;
    let tokenizer = tokenizer.ok_or_else(|| {
        Error::from(
            Fault::new("there is no tokenizer beside the weights")
                .expected("the tokenizer.json that a run saves with its weights"),
        )
    })?;
    let data = section(spec);
    let tokenizers = PairTokenizers::read(&data.tokenizer, "the run's tokenizer.json", tokenizer)?;
    tokenizers.expect_rows(&Sizes::of(model(spec)))?;
    let blueprint = Translation::blueprint(spec);
    let (store, model) = blueprint.evaluate(device)?;
    store.load(tensors)?;
    drop(model);
    let trained = blueprint.frozen(&store)?;
    let (known, begin) = (tokenizers.target.rows(), tokenizers.source.begins());
    let mut decoding = Decoding::of(&data.decoding, known, begin);
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
        let found = batch(&trained, &ids, &decoding, device)?;
        for (line, ids) in part.iter().zip(found) {
            // Pieces may make a line break.
            let text = tokenizers.target.text(&ids)?;
            translations[*line] = text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
    }
    Ok(Translated { texts: translations, truncated: encoded.cut })
}

fn batch(
    model: &EncoderDecoder,
    sentences: &[&[u32]],
    decoding: &Decoding,
    device: &Device,
) -> Result<Vec<Vec<u32>>> {
    Ok(decode(model, &padded(sentences, device)?, decoding)?)
}

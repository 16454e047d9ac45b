//! Trains the pieces of a unigram language model (arXiv 1804.10959), as SentencePiece does, by Hugging Face's
//! `tokenizers`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, Tokenizer};

use crate::data::quiet::quietly;
use crate::data::text::{WORD_BEGIN, words};
use crate::error::{Error, Fault, Result};

/// By how much the library raises the score of each further letter that the training has dropped.
const STEP: f64 = 0.0001;

/// A tokenizer of at most `vocabulary` pieces, `special` among them, with the first ids. The same sentences
/// give the same tokenizer, with any number of threads.
///
/// The library alone does not: it adds floating-point numbers by threads, and takes words and letters from hash
/// maps. So it trains on one thread and on words in alphabetical order, and pieces of equal score are sorted.
pub fn unigram<'t>(
    vocabulary: usize,
    special: &[&str],
    unknown: usize,
    sentences: impl Iterator<Item = &'t str>,
) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(Unigram::default());
    let metaspace = Metaspace::new(WORD_BEGIN, PrependScheme::Always, true);
    tokenizer.with_pre_tokenizer(Some(metaspace.clone()));
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for sentence in sentences {
        for word in words(&tokenizer, sentence).map_err(failed)? {
            *counts.entry(word).or_default() += 1;
        }
    }
    if counts.is_empty() {
        return Err(Fault::new("the training split has no words to train a tokenizer on")
            .within("data.tokenizer")
            .into());
    }
    let letters: BTreeSet<char> = counts.keys().flat_map(|word| word.chars()).collect();
    if letters.len() + special.len() >= vocabulary {
        return Err(Fault::new("the vocabulary has no room for every character of the training split")
            .within("data.tokenizer.vocabulary")
            .found(vocabulary)
            .expected(format!(
                "at least {}: {} different characters, each of which needs a token, {} special tokens and a piece",
                letters.len() + special.len() + 1,
                letters.len(),
                special.len(),
            ))
            .into());
    }
    let tokens = special.iter().map(|token| AddedToken::from(token.to_string(), true));
    let trainer = UnigramTrainer::builder()
        .vocab_size(vocabulary as u32)
        .show_progress(false)
        .special_tokens(tokens.collect())
        .unk_token(Some(special[unknown].to_string()))
        .build()
        .map_err(failed)?;
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(failed)?;
    let mut model = Unigram::default();
    let counts: Vec<(String, u32)> = counts.into_iter().collect();
    // The library panics where a probability is not a number.
    let trained = one_thread.install(|| quietly(|| trainer.do_train(counts, &mut model).map(drop)));
    trained.ok_or_else(|| failed("the pieces have no probabilities"))?.map_err(failed)?;
    let pieces: Vec<(String, f64)> = model.iter().cloned().collect();
    let pieces = in_order(pieces, special.len());
    tokenizer.with_model(Unigram::from(pieces, Some(unknown), false).map_err(failed)?);
    tokenizer.with_pre_tokenizer(Some(metaspace.clone()));
    tokenizer.with_decoder(Some(metaspace));
    Ok(tokenizer)
}

fn failed(e: impl Display) -> Error {
    Fault::failed(format!("training the tokenizer failed: {e}")).into()
}

/// Sorts pieces by their score, those of equal score by their letters; the first `special` ones stay.
///
/// Letters that no piece has left get the lowest score and up, in the order of a hash map. Here they get these
/// scores in alphabetical order.
fn in_order(mut pieces: Vec<(String, f64)>, special: usize) -> Vec<(String, f64)> {
    let learned = &mut pieces[special..];
    let lowest = learned.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let mut scores: Vec<f64> = Vec::new();
    let mut penalty = 0.0;
    let mut letters: Vec<usize> = Vec::new();
    let is_letter = |piece: &str| piece.chars().nth(1).is_none();
    // The library computes them by the same additions, so they are equal to the bit.
    for _ in 0..learned.len() {
        let score = lowest + penalty;
        let found =
            (0..learned.len()).filter(|at| learned[*at].1 == score && is_letter(&learned[*at].0));
        let found: Vec<usize> = found.collect();
        if found.is_empty() {
            break;
        }
        scores.extend(found.iter().map(|_| score));
        letters.extend(found);
        penalty += STEP;
    }
    letters.sort_by(|a, b| learned[*a].0.cmp(&learned[*b].0));
    for (at, score) in letters.into_iter().zip(scores) {
        learned[at].1 = score;
    }
    learned.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
    const LINES: [&str; 5] = [
        "Ein kleiner Hund läuft über die Wiese.",
        "Zwei Hunde laufen über eine Wiese, über und über!",
        "der Hund, die Hunde, ein Hündchen — 素晴らしい 🎬 x y z q",
        "läuft laufen lief gelaufen, läuft",
        "",
    ];

    fn train(vocabulary: usize) -> Tokenizer {
        unigram(vocabulary, &SPECIAL, 1, LINES.iter().copied()).unwrap()
    }

    #[test]
    fn training_again_gives_the_same_pieces_with_any_number_of_threads() {
        for vocabulary in [60, 80, 200] {
            let first = train(vocabulary).to_string(false).unwrap();
            for threads in [1, 2, 3, 8] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let again = pool.install(|| train(vocabulary)).to_string(false).unwrap();
                assert_eq!(again, first, "{vocabulary} {threads}");
            }
        }
    }

    #[test]
    fn special_tokens_come_first_and_texts_come_back() {
        let tokenizer = train(80);
        assert!(tokenizer.get_vocab_size(true) <= 80);
        for (id, token) in SPECIAL.iter().enumerate() {
            assert_eq!(tokenizer.id_to_token(id as u32).as_deref(), Some(*token));
        }
        for line in LINES {
            let encoded = tokenizer.encode(line, false).unwrap();
            assert!(encoded.get_ids().iter().all(|id| *id > 3), "{line}");
            assert_eq!(tokenizer.decode(encoded.get_ids(), true).unwrap(), line);
        }
        let unknown = tokenizer.encode("ж", false).unwrap();
        assert!(unknown.get_ids().contains(&1));
        // Each letter needs a token.
        let few = unigram(20, &SPECIAL, 1, LINES.iter().copied()).unwrap_err().to_string();
        assert!(few.contains("different characters"), "{few}");
    }
}

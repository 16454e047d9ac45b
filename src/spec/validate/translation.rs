//! `data` of translation.

use super::check::{Check, hub_name, one_source};
use super::text::columns;
use crate::spec::error::SpecError;
use crate::spec::schema::{
    EncoderDecoderSpec, KeepHyphens, Normalisation, RunSpec, Select, StartHead,
    TranslationDataSpec, TranslationTokenizerKind,
};

/// Which tokens both languages become, and how translations are found.
pub fn translation(
    data: &TranslationDataSpec,
    model: &EncoderDecoderSpec,
    run: &RunSpec,
    check: &Check,
) -> Result<(), SpecError> {
    let read = [
        ("data.source_column", Some(&data.source_column)),
        ("data.target_column", Some(&data.target_column)),
    ];
    columns(&data.columns, &read, check)?;
    let other = "another column than data.source_column";
    check.that("data.target_column", data.target_column != data.source_column, other)?;
    let start = run.start.as_ref();
    if start.is_some_and(|start| start.head == StartHead::New) {
        return Err(SpecError::new("a translation model has no head that is trained anew")
            .found("`start.head: new`")
            .expected("`keep`: the tokens are those that the weights know")
            .at(check.origin("start.head")));
    }
    tokenizer(data, model, check)?;
    // The marks of a sentence's beginning and end, and a token of its own.
    check.between("data.max_tokens", data.max_tokens, 3, model.positions)?;
    let ratio = data.max_length_ratio.is_none_or(|ratio| ratio.is_finite() && ratio >= 1.0);
    check.that("data.max_length_ratio", ratio, "a number, 1 or more")?;
    if let Some(tokens) = data.batch_tokens {
        check.between("data.batch_tokens", tokens, data.max_tokens, 1 << 30)?;
        let expected = "`true`, or `training.batch_size` in place of `data.batch_tokens`: with random lengths, \
                        batches of so many tokens would be mostly padding";
        check.that("data.group_by_length", data.group_by_length, expected)?;
    }
    let decoding = &data.decoding;
    check.between("data.decoding.beam", decoding.beam, 1, 1000)?;
    let penalty = decoding.length_penalty.is_finite() && decoding.length_penalty >= 0.0;
    check.that("data.decoding.length_penalty", penalty, "a number, 0 or more")?;
    let ratio = (0.0..=100.0).contains(&decoding.length_ratio);
    check.that("data.decoding.length_ratio", ratio, "a number from 0 to 100")?;
    check.between("data.decoding.extra_tokens", decoding.extra_tokens, 1, 1 << 16)?;
    check.between("data.decoding.validate_every", decoding.validate_every, 1, 1_000_000)?;
    // Else training would end before a second translation of validation.
    let compared = run.training.patience.filter(|_| run.training.select == Select::Best);
    let waits = compared.is_none_or(|patience| patience >= decoding.validate_every);
    let expected = format!(
        "at least {}, as `data.decoding.validate_every`: other epochs have no metric",
        decoding.validate_every
    );
    check.that("training.patience", waits, expected)
}

fn tokenizer(
    data: &TranslationDataSpec,
    model: &EncoderDecoderSpec,
    check: &Check,
) -> Result<(), SpecError> {
    // The bytes, or room for an alphabet, and the special tokens.
    const MIN_VOCABULARY: usize = 260;
    let tokenizer = &data.tokenizer;
    let train = tokenizer.train.map(|kind| match kind {
        TranslationTokenizerKind::Words => "words",
        TranslationTokenizerKind::ByteLevelBpe => "byte-level-bpe",
        TranslationTokenizerKind::Unigram => "unigram",
    });
    let sources =
        [("hub", tokenizer.hub.as_deref()), ("path", tokenizer.path.as_deref()), ("train", train)];
    one_source("data.tokenizer", "of tokens", &sources, check)?;
    if let Some(repository) = &tokenizer.hub {
        hub_name("data.tokenizer.hub", repository, check)?;
    }
    check.that(
        "model.shared_embedding",
        tokenizer.is_shared() || !model.shared_embedding,
        "`false`, or one tokenizer for both languages, `data.tokenizer.joint: true`",
    )?;
    let one = "`both` or `none`: both languages have one tokenizer";
    let same = tokenizer.keep_hyphens.of_source() == tokenizer.keep_hyphens.of_target();
    check.that("data.tokenizer.keep_hyphens", !tokenizer.joint || same, one)?;
    match tokenizer.train {
        None => {
            let trained = "none: a tokenizer that is read is as it is";
            let given = [
                ("joint", tokenizer.joint),
                ("vocabulary", tokenizer.vocabulary.is_some()),
                ("keep_hyphens", tokenizer.keep_hyphens != KeepHyphens::None),
                ("minimum_count", tokenizer.minimum_count.is_some()),
                ("normalisation", tokenizer.normalisation != Normalisation::None),
            ];
            given.into_iter().try_for_each(|(field, is_given)| {
                check.that(&format!("data.tokenizer.{field}"), !is_given, trained)
            })
        }
        Some(TranslationTokenizerKind::Words) => {
            let none = "none: there are as many words as there are";
            check.that("data.tokenizer.vocabulary", tokenizer.vocabulary.is_none(), none)?;
            let count = tokenizer.minimum_count();
            check.between("data.tokenizer.minimum_count", count, 1, 1_000_000_000)
        }
        Some(TranslationTokenizerKind::ByteLevelBpe | TranslationTokenizerKind::Unigram) => {
            let none = "none: subword tokenizers have no minimum count";
            check.that("data.tokenizer.minimum_count", tokenizer.minimum_count.is_none(), none)?;
            let none = "`none`: only `train: words` has words";
            check.that(
                "data.tokenizer.keep_hyphens",
                tokenizer.keep_hyphens == KeepHyphens::None,
                none,
            )?;
            let rows = model.source_vocabulary.min(model.target_vocabulary);
            let least = format!("at least {MIN_VOCABULARY}, as a trained tokenizer has");
            check.that("model.target_vocabulary", rows >= MIN_VOCABULARY, least)?;
            check.between("data.tokenizer.vocabulary", tokenizer.vocabulary(), MIN_VOCABULARY, rows)
        }
    }
}

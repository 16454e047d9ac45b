//! `data` of language modelling.

use super::check::{Check, hub_name, one_source};
use super::text::columns;
use crate::spec::error::SpecError;
use crate::spec::schema::{
    DecoderSpec, LanguageDataSpec, LanguageTokenizer, SplitSpec, StartHead, StartSpec,
    TokenizerKind, TokenizerSpec, TrainedTokenizer, Windows,
};

/// Which tokens the text becomes, and which windows they are cut into.
pub fn language(
    data: &LanguageDataSpec,
    model: &DecoderSpec,
    start: Option<&StartSpec>,
    check: &Check,
) -> Result<(), SpecError> {
    columns(&data.columns, &[("data.text_column", Some(&data.text_column))], check)?;
    parts(data, check)?;
    windows(data, model, check)?;
    if start.is_some_and(|start| start.head == StartHead::New) {
        return Err(SpecError::new("a language model has no head that is trained anew")
            .found("`start.head: new`")
            .expected("`keep`: the tokens are those that the weights know")
            .at(check.origin("start.head")));
    }
    match &data.tokenizer {
        None if start.and_then(StartSpec::checkpoint_name).is_some() => Ok(()),
        None => Err(SpecError::new("there is no tokenizer")
            .expected(
                "`data.tokenizer` with `characters`, `bytes`, or a mapping with `hub`, `path` or `train`, \
                 unless the run starts from a checkpoint or a model of the Hub that has one",
            )
            .help("arms that start from another arm have its tokenizer: name it once, for all arms")
            .at(check.origin("data"))),
        Some(LanguageTokenizer::Characters) => Ok(()),
        Some(LanguageTokenizer::Bytes) => check.that(
            "model.vocabulary",
            model.vocabulary == 256,
            "256, as `data.tokenizer: bytes` has tokens",
        ),
        Some(LanguageTokenizer::Pieces(tokenizer)) => pieces(tokenizer, model, check),
    }
}

/// Parts are the end of the text, so that nothing is drawn.
fn parts(data: &LanguageDataSpec, check: &Check) -> Result<(), SpecError> {
    for (field, split) in
        [("data.validation", data.validation.as_ref()), ("data.test", Some(&data.test))]
    {
        if let Some(SplitSpec::Part(part)) = split {
            let expected = "none: the part is taken from the end of the training text";
            check.that(&format!("{field}.seed"), part.seed == 0, expected)?;
        }
    }
    Ok(())
}

fn windows(data: &LanguageDataSpec, model: &DecoderSpec, check: &Check) -> Result<(), SpecError> {
    let window = data.window(model.positions);
    check.that(
        "data.window",
        (1..=model.positions).contains(&window),
        format!(
            "a whole number from 1 to {}, model.positions: the model sees no more tokens",
            model.positions
        ),
    )?;
    check.that(
        "data.stride",
        (1..=window).contains(&data.stride(model.positions)),
        format!(
            "a whole number from 1 to {window}, the window: a larger one would leave tokens out"
        ),
    )?;
    if let Some(windows) = data.epoch_windows {
        check.between("data.epoch_windows", windows, 1, 1_000_000_000)?;
        let expected = "none beside `windows: contiguous`, whose epoch is the text";
        check.that("data.epoch_windows", data.windows == Windows::Random, expected)?;
    }
    let Some(random) = &data.evaluation else { return Ok(()) };
    check.between("data.evaluation.random_batches", random.random_batches, 1, 1_000_000)?;
    let expected = "none beside `data.evaluation`, whose windows are random";
    check.that("data.stride", data.stride.is_none_or(|stride| stride == window), expected)
}

fn pieces(tokenizer: &TokenizerSpec, model: &DecoderSpec, check: &Check) -> Result<(), SpecError> {
    // The bytes and the special tokens.
    const MIN_VOCABULARY: usize = 260;
    let field = "data.tokenizer.train";
    let whole = "byte-level-bpe: of word pieces a text cannot be put together again";
    check.that(field, tokenizer.train != Some(TokenizerKind::WordPiece), whole)?;
    let train = tokenizer.train.map(|_| "byte-level-bpe");
    let sources =
        [("hub", tokenizer.hub.as_deref()), ("path", tokenizer.path.as_deref()), ("train", train)];
    one_source("data.tokenizer", "of a tokenizer", &sources, check)?;
    if let Some(repository) = &tokenizer.hub {
        hub_name("data.tokenizer.hub", repository, check)?;
    }
    let none = "none: byte-level BPE keeps every letter, and a tokenizer that is read is as it is";
    check.that("data.tokenizer.lowercase", tokenizer.lowercase.is_none(), none)?;
    let Some(TrainedTokenizer::ByteLevelBpe { vocabulary }) = tokenizer.trained() else {
        let trained = "a trained tokenizer alone has it: `train: byte-level-bpe`";
        return check.that("data.tokenizer.vocabulary", tokenizer.vocabulary.is_none(), trained);
    };
    let least = format!("at least {MIN_VOCABULARY}, as a trained tokenizer has");
    check.that("model.vocabulary", model.vocabulary >= MIN_VOCABULARY, least)?;
    check.between("data.tokenizer.vocabulary", vocabulary, MIN_VOCABULARY, model.vocabulary)
}

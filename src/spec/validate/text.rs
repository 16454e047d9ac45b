//! `data` of tasks over texts.

use super::check::{Check, hub_name, one_source};
use crate::spec::error::SpecError;
use crate::spec::schema::{EncoderSpec, StartSpec, TextDataSpec, TokenizerKind, TrainedTokenizer};
use crate::spec::wording::shorten;

/// Which tokens texts become, and how many of them.
pub fn texts(
    data: &TextDataSpec,
    model: &EncoderSpec,
    start: Option<&StartSpec>,
    check: &Check,
) -> Result<(), SpecError> {
    // A text's special tokens, and one of its own.
    const MIN_TOKENS: usize = 4;
    // The bytes and the special tokens.
    const MIN_VOCABULARY: usize = 260;
    let positions =
        format!("at least {MIN_TOKENS}, for a text's special tokens and one of its own");
    check.that("model.positions", model.positions >= MIN_TOKENS, positions)?;
    check.between("data.max_tokens", data.max_tokens, MIN_TOKENS, model.positions)?;
    let read = [
        ("data.text_column", Some(&data.text_column)),
        ("data.pair_column", data.pair_column.as_ref()),
        ("data.label_column", Some(&data.label_column)),
    ];
    columns(&data.columns, &read, check)?;
    if let Some(pair) = &data.pair_column {
        let other = "another column than data.text_column";
        check.that("data.pair_column", *pair != data.text_column, other)?;
        let types = "0, for a model that does not tell the texts of a pair apart, or at least 2";
        check.that("model.token_types", model.token_types != 1, types)?;
    }
    let Some(tokenizer) = &data.tokenizer else {
        let beside = start.and_then(StartSpec::checkpoint_name).is_some();
        if beside {
            return Ok(());
        }
        return Err(SpecError::new("there is no tokenizer")
            .expected(
                "`data.tokenizer` with `hub`, `path` or `train`, unless the run starts from a checkpoint \
                 or a model of the Hub that has one",
            )
            .help("arms that start from another arm have its tokenizer: name it once, for all arms")
            .at(check.origin("data")));
    };
    let train = tokenizer.train.map(|kind| match kind {
        TokenizerKind::WordPiece => "word-piece",
        TokenizerKind::ByteLevelBpe => "byte-level-bpe",
    });
    let sources =
        [("hub", tokenizer.hub.as_deref()), ("path", tokenizer.path.as_deref()), ("train", train)];
    one_source("data.tokenizer", "of a tokenizer", &sources, check)?;
    if let Some(repository) = &tokenizer.hub {
        hub_name("data.tokenizer.hub", repository, check)?;
    }
    let trained = "a trained tokenizer alone has it: `train: word-piece`";
    if tokenizer.train.is_none() {
        check.that("data.tokenizer.vocabulary", tokenizer.vocabulary.is_none(), trained)?;
        check.that("data.tokenizer.lowercase", tokenizer.lowercase.is_none(), trained)?;
    }
    if tokenizer.train == Some(TokenizerKind::ByteLevelBpe) {
        let pieces = "none beside `byte-level-bpe`, which keeps every letter";
        check.that("data.tokenizer.lowercase", tokenizer.lowercase.is_none(), pieces)?;
    }
    if let Some(
        TrainedTokenizer::WordPiece { vocabulary, .. }
        | TrainedTokenizer::ByteLevelBpe { vocabulary },
    ) = tokenizer.trained()
    {
        let least = format!("at least {MIN_VOCABULARY}, as a trained tokenizer has");
        check.that("model.vocabulary", model.vocabulary >= MIN_VOCABULARY, least)?;
        let field = "data.tokenizer.vocabulary";
        check.between(field, vocabulary, MIN_VOCABULARY, model.vocabulary)?;
    }
    Ok(())
}

/// The names of columns that files do not name: those that are read must be among them.
pub fn columns(
    all: &[String],
    read: &[(&str, Option<&String>)],
    check: &Check,
) -> Result<(), SpecError> {
    for (i, name) in all.iter().enumerate() {
        let field = format!("data.columns[{i}]");
        check.that(&field, !name.is_empty(), "the name of a column")?;
        check.that(&field, !all[..i].contains(name), "each name once")?;
    }
    for (field, name) in read {
        let Some(name) = name.filter(|name| !all.is_empty() && !all.contains(name)) else {
            continue;
        };
        return Err(SpecError::new("a column that is read is not among `data.columns`")
            .found(format!("{field} is `{}`", shorten(name)))
            .expected(format!("one of {}", all.join(", ")))
            .suggest(name, all.iter().map(String::as_str))
            .at(check.origin(if check.says(field) { field } else { "data.columns" })));
    }
    Ok(())
}

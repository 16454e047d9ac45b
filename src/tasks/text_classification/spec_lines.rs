//! The lines of a spec that reads a dataset of texts.

use crate::tasks::spec_lines::{Dataset, Roles, Section, class_count, shown};

/// The lines, or a sentence that says why there are none; None for a dataset without texts, for one of images
/// with their captions, and for translations without labels.
pub fn spec_lines(dataset: &Dataset) -> Option<Result<String, String>> {
    if dataset.contents.image_column().is_some() {
        return None;
    }
    let languages = dataset.contents.train()?.languages();
    if languages.len() > 1 && dataset.contents.label_column().is_none() {
        return None;
    }
    let columns = dataset.contents.text_columns()?;
    let roles = Roles::of(dataset.contents, &dataset.splits);
    Some(roles.and_then(|roles| lines(dataset, &roles, columns)))
}

fn lines(
    dataset: &Dataset,
    roles: &Roles,
    (text, pair): (&str, Option<&str>),
) -> Result<String, String> {
    let train = dataset.contents.split(roles.train);
    if dataset.named_by_first_row && train.is_some_and(|train| train.names_look_like_values()) {
        return Err(
            "the first row looks like an example, not like names of columns: --columns gives \
                    them, as in `--columns label,text`"
                .into(),
        );
    }
    let label = dataset.label_column()?;
    for split in roles.splits(dataset.contents) {
        for column in [Some(text), pair].into_iter().flatten() {
            if !split.has_texts(column) {
                let (name, column) = (shown(&split.name), shown(column));
                return Err(format!("the split {name} has no texts in `{column}`"));
            }
        }
    }
    let classes = class_count(dataset, roles, label)?;
    let mut columns = vec![("text_column", text, "text"), ("label_column", label, "label")];
    columns.extend(pair.map(|pair| ("pair_column", pair, "")));
    let mut data = dataset.section(&columns, roles);
    let more = dataset.contents.more_texts();
    if !more.is_empty() {
        data.remark(&format!("other columns of texts: {}", more.join(", ")));
    }
    let splits: Vec<_> = roles.splits(dataset.contents).collect();
    let is_shared = |column: &str| dataset.contents.shares_texts(column, &splits);
    if is_shared(text) && pair.is_none_or(is_shared) {
        data.remark("texts stand in two splits; `remove` leaves them out of the earlier one");
        data.put("duplicates", "keep");
    }
    data.put("tokenizer", "{train: word-piece}");
    let mut model = Section::new("model");
    model.put("architecture", "encoder");
    model.put("vocabulary", 8192);
    model.put("classes", classes);
    Ok(data.text() + &model.text())
}

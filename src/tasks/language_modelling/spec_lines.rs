//! The lines of a spec that reads a dataset for language modelling.

use crate::tasks::spec_lines::{Dataset, Roles, Section};

/// The share of the training text that a part takes where the dataset has no split for it.
const FRACTION: f64 = 0.05;

/// The lines, or a sentence that says why there are none; None for a dataset without texts, and for one
/// of images or of labelled texts.
pub fn spec_lines(dataset: &Dataset) -> Option<Result<String, String>> {
    let contents = dataset.contents;
    let has_translations = contents.train().is_some_and(|train| train.languages().len() > 1);
    if has_translations || contents.image_column().is_some() || contents.label_column().is_some() {
        return None;
    }
    let (text, None) = contents.text_columns()? else { return None };
    let train = contents.train()?;
    if dataset.named_by_first_row && train.names_look_like_values() {
        return None;
    }
    // A part is one of characters, so that a single document has parts.
    let roles = Roles::of_text(&dataset.splits, FRACTION);
    Some(roles.map(|roles| lines(dataset, &roles, text)))
}

fn lines(dataset: &Dataset, roles: &Roles, text: &str) -> String {
    let mut data = dataset.section(&[("text_column", text, "text")], roles);
    let more = dataset.contents.more_texts();
    if !more.is_empty() {
        data.remark(&format!("other columns of texts: {}", more.join(", ")));
    }
    data.put("tokenizer", "bytes");
    let mut model = Section::new("model");
    model.put("architecture", "decoder");
    model.put("vocabulary", 256);
    model.put("positions", 256);
    data.text() + &model.text()
}

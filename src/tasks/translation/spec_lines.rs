//! The lines of a spec that reads a parallel corpus.

use crate::tasks::spec_lines::{Dataset, Roles, Section, shown};

/// Tokens of byte-level BPE.
const VOCABULARY: usize = 8192;

/// The lines, or a sentence that says why there are none; None unless the dataset has translations, or two
/// columns that are called by a language's code.
pub fn spec_lines(dataset: &Dataset) -> Option<Result<String, String>> {
    let languages = dataset.contents.train()?.languages();
    let [source, target, ..] = languages[..] else { return None };
    let roles = Roles::of(dataset.contents, &dataset.splits);
    Some(roles.and_then(|roles| lines(dataset, &roles, source, target, &languages[2..])))
}

fn lines(
    dataset: &Dataset,
    roles: &Roles,
    source: &str,
    target: &str,
    others: &[&str],
) -> Result<String, String> {
    for split in roles.splits(dataset.contents) {
        for language in [source, target] {
            if !split.languages().contains(&language) {
                let (name, language) = (shown(&split.name), shown(language));
                return Err(format!("the split {name} has no sentences in `{language}`"));
            }
        }
    }
    let columns = [("source_column", source, ""), ("target_column", target, "")];
    let mut data = dataset.section(&columns, roles);
    data.remark("for the other direction, exchange the two columns");
    if !others.is_empty() {
        data.remark(&format!("other languages: {}", others.join(", ")));
    }
    data.put("tokenizer", format!("{{train: byte-level-bpe, vocabulary: {VOCABULARY}}}"));
    let mut model = Section::new("model");
    model.put("architecture", "encoder-decoder");
    model.put("source_vocabulary", VOCABULARY);
    model.put("target_vocabulary", VOCABULARY);
    Ok(data.text() + &model.text())
}

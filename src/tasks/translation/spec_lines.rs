//! The lines of a spec that reads a parallel corpus.

use crate::tasks::spec_lines::{Dataset, Roles, Section};

/// Tokens of byte-level BPE.
const VOCABULARY: usize = 8192;

/// The lines; None for a dataset without translations, and without two columns called by a language's code.
pub fn spec_lines(dataset: &Dataset) -> Option<Result<String, String>> {
    let languages = dataset.contents.languages();
    let [source, target, ..] = languages[..] else { return None };
    let roles = Roles::of(dataset.contents, &dataset.splits);
    Some(roles.map(|roles| lines(dataset, &roles, source, target)))
}

fn lines(dataset: &Dataset, roles: &Roles, source: &str, target: &str) -> String {
    let columns = [("source_column", source, ""), ("target_column", target, "")];
    let mut data = dataset.section(&columns, roles);
    data.remark("the other way round, exchange the two columns");
    data.put("tokenizer", format!("{{train: byte-level-bpe, vocabulary: {VOCABULARY}}}"));
    let mut model = Section::new("model");
    model.put("architecture", "encoder-decoder");
    model.put("source_vocabulary", VOCABULARY);
    model.put("target_vocabulary", VOCABULARY);
    data.text() + &model.text()
}

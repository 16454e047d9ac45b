//! The documents of a split, and parts of a text that are validation and test.

use sha2::{Digest, Sha256};

use crate::data::duplicates::content_digest;
use crate::data::load::{OpenSplit, Read, ReadSplit};
use crate::data::select::{Select, Wanted};
use crate::data::text::column_texts;
use crate::data::used_examples::Piece;
use crate::error::{Fault, Result};
use crate::spec::{LanguageDataSpec, SplitSpec};

/// Shorter documents may be in two splits by chance, as lines and headings are.
const LONG: usize = 100;

/// A document, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub text: String,
    /// Its file, with the row where a file has several; for errors.
    pub place: String,
    /// The line of the document that the text begins in, from 1.
    pub line: usize,
    /// Digest of the whole document's content.
    digest: u128,
    /// The character of the document that the text begins with, from 0.
    begin: u64,
    /// Characters of the whole document, without the separator behind it.
    length: u64,
}

impl Document {
    /// A text that is of no dataset, such as a prompt.
    pub fn alone(text: &str, place: &str) -> Document {
        Document {
            text: text.into(),
            place: place.into(),
            line: 1,
            digest: 0,
            begin: 0,
            length: u64::MAX,
        }
    }

    /// What it is of its document, without the separator behind that.
    pub fn piece(&self) -> Piece {
        let end = self.begin + self.text.chars().count() as u64;
        Piece { digest: self.digest, begin: self.begin, end: end.min(self.length) }
    }
}

/// Reads the documents of splits. Between two documents stands the separator, at the end of the first.
pub struct ReadDocuments<'a> {
    pub data: &'a LanguageDataSpec,
    /// Number of missing documents, which count as empty.
    pub missing: usize,
}

impl ReadSplit for ReadDocuments<'_> {
    type Examples = Vec<Document>;

    const EXAMPLE: [&'static str; 2] = ["document", "documents"];

    fn read(&mut self, split: &mut OpenSplit) -> Result<Read<Vec<Document>>> {
        let column = &self.data.text_column;
        let wanted = [Wanted::texts(column, "data.text_column")];
        let files = split.digest_of_files().finalize();
        let (mut documents, mut tables, mut digests) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(table) = split.files.next_table(Select::Wanted(&wanted))? {
            for (row, text) in column_texts(&table, column)?.into_iter().enumerate() {
                self.missing += usize::from(text.is_none());
                let text = text.unwrap_or_default();
                let mut hash = Sha256::new().chain_update(&text);
                if text.len() < LONG {
                    let row = digests.len().to_le_bytes();
                    hash = hash.chain_update(files).chain_update(row);
                }
                let digest = content_digest(hash);
                digests.push(digest);
                let (place, length) = (table.place(row), text.chars().count() as u64);
                documents.push(Document { text, place, line: 1, digest, begin: 0, length });
            }
            tables.push(table.rows);
        }
        if documents.iter().all(|document| document.text.is_empty()) && !documents.is_empty() {
            return Err(Fault::new("the text is empty")
                .source(&documents[0].place)
                .found("no character")
                .expected("text to predict")
                .into());
        }
        let last = documents.len().saturating_sub(1);
        for document in &mut documents[..last] {
            document.text += self.data.separator.text();
        }
        Ok(Read { examples: documents, digests, classes: split.known.clone(), tables })
    }
}

/// Cuts the training text into that of training, of validation and of the test, in the order of the text.
/// A part that is None is empty, and so is that of a split with files of its own.
///
/// Of n characters, training has the first ⌊(1 − v − t) n⌋, and the test those from ⌊(1 − t) n⌋ on.
/// Errors if a part, or what is left to train on, has no character.
pub fn cut(
    documents: Vec<Document>,
    validation: Option<&SplitSpec>,
    test: Option<&SplitSpec>,
) -> Result<[Vec<Document>; 3]> {
    let share = |split: Option<&SplitSpec>| match split {
        Some(SplitSpec::Part(part)) => Some(part.fraction),
        _ => None,
    };
    let (validation, test) = (share(validation), share(test));
    let all: usize = documents.iter().map(|document| document.text.chars().count()).sum();
    // In floating point (1 − 0.05 − 0.05) · 100 is 89.99999999999999, which must give 90.
    let place = |left: f64| ((left * all as f64 + 1e-6).floor() as usize).min(all);
    let end = place(1.0 - test.unwrap_or(0.0));
    let middle = place(1.0 - validation.unwrap_or(0.0) - test.unwrap_or(0.0)).min(end);
    for (name, part, characters) in
        [("validation", validation, end - middle), ("test", test, all - end)]
    {
        if let Some(part) = part.filter(|_| characters == 0) {
            return Err(Fault::new("the part is empty")
                .source(format!("data.{name}"))
                .found(format!("{part} of {all} characters"))
                .expected("a fraction that makes at least one character")
                .into());
        }
    }
    if middle == 0 {
        return Err(Fault::new("nothing is left to train on")
            .within("data")
            .found(format!("{all} characters, all of which are in the parts"))
            .expected("smaller fractions")
            .into());
    }
    let (train, rest) = split_at(documents, middle);
    let (validation, test) = split_at(rest, end - middle);
    Ok([train, validation, test])
}

/// The documents up to a character, and those from it on. A document that holds it is divided.
fn split_at(documents: Vec<Document>, characters: usize) -> (Vec<Document>, Vec<Document>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut left = characters;
    for mut document in documents {
        if left == 0 {
            after.push(document);
            continue;
        }
        let length = document.text.chars().count();
        if length > left {
            let at = document.text.char_indices().nth(left).map_or(0, |(at, _)| at);
            let text = document.text.split_off(at);
            let line = document.line + document.text.matches('\n').count();
            let begin = document.begin + left as u64;
            after.push(Document { text, line, begin, place: document.place.clone(), ..document });
        }
        left -= length.min(left);
        before.push(document);
    }
    (before, after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::PartSpec;

    fn document(text: &str) -> Document {
        Document::alone(text, "a.txt")
    }

    fn part(fraction: f64) -> SplitSpec {
        SplitSpec::Part(PartSpec { fraction, seed: 0 })
    }

    fn joined(documents: &[Document]) -> String {
        documents.iter().map(|document| document.text.as_str()).collect()
    }

    /// The sizes are those of karpathy/tiny_shakespeare and, without validation, those of nanoGPT.
    #[test]
    fn parts_have_the_sizes_of_published_splits() {
        let text = document(&"x".repeat(1_115_394));
        let sizes = |validation: Option<f64>, test: f64| {
            let validation = validation.map(part);
            let parts = cut(vec![text.clone()], validation.as_ref(), Some(&part(test))).unwrap();
            parts.map(|part| joined(&part).len())
        };
        assert_eq!(sizes(Some(0.05), 0.05), [1_003_854, 55_770, 55_770]);
        assert_eq!(sizes(None, 0.1), [1_003_854, 0, 111_540]);
    }

    #[test]
    fn a_part_knows_its_place_in_its_document() {
        let all = vec![document(&"é".repeat(90)), document("abcdefghij")];
        let parts = cut(all, Some(&part(0.05)), Some(&part(0.05))).unwrap();
        let places = parts
            .map(|part| part.iter().map(|d| (d.piece().begin, d.piece().end)).collect::<Vec<_>>());
        assert_eq!(places, [vec![(0, 90)], vec![(0, 5)], vec![(5, 10)]]);
    }

    #[test]
    fn a_part_knows_the_line_that_it_begins_in() {
        let all = vec![document("aé\nb\n"), document("c\nd")];
        let [train, validation, test] = cut(all, Some(&part(0.25)), Some(&part(0.25))).unwrap();
        assert_eq!((joined(&train), joined(&validation)), ("aé\nb".into(), "\nc".into()));
        assert_eq!((joined(&test), validation[0].line, test[0].line), ("\nd".into(), 2, 1));
    }

    #[test]
    fn empty_parts_are_refused() {
        let refused = |text: &str, validation: f64, test: f64| {
            let (validation, test) = (part(validation), part(test));
            let cut = cut(vec![document(text)], Some(&validation), Some(&test));
            cut.unwrap_err().to_string()
        };
        assert!(refused("abc", 0.01, 0.5).contains("0.01 of 3 characters"));
        assert!(refused("ab", 0.49, 0.5).contains("nothing is left to train on"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_parts_put_together_are_the_text(
            texts in proptest::collection::vec("[aé\n𝕏]{0,30}", 1..5),
            validation in 0.1f64..0.4, test in 0.1f64..0.4,
        ) {
            let all: Vec<Document> = texts.iter().map(|text| document(text)).collect();
            if let Ok(parts) = cut(all, Some(&part(validation)), Some(&part(test))) {
                prop_assert_eq!(parts.map(|part| joined(&part)).concat(), texts.concat());
            }
        }
    }
}

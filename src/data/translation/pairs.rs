//! Reads sentence pairs: from two columns of texts, or from a column of translations (Hugging Face's
//! `translation` feature, a text for each language).

use sha2::{Digest, Sha256};

use crate::data::duplicates::content_digest;
use crate::data::load::{OpenSplit, Read, ReadSplit};
use crate::data::select::{Select, Wanted};
use crate::data::table::{Table, Values};
use crate::error::{Fault, Result};
use crate::spec::TranslationDataSpec;

/// The sentence pairs of one split, one for each row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentencePairs {
    pub source: Vec<String>,
    pub target: Vec<String>,
    /// Number of rows with an empty or missing sentence. They stay, as rows without tokens of their own.
    pub empty: usize,
}

/// Reads the pairs of a split.
pub struct ReadPairs<'a>(pub &'a TranslationDataSpec);

impl ReadSplit for ReadPairs<'_> {
    type Examples = SentencePairs;

    const EXAMPLE: [&'static str; 2] = ["sentence pair", "sentence pairs"];

    fn read(&mut self, split: &mut OpenSplit) -> Result<Read<SentencePairs>> {
        let mut pairs = SentencePairs::default();
        let mut tables = Vec::new();
        let wanted = [
            Wanted::sentences(&self.0.source_column, "data.source_column"),
            Wanted::sentences(&self.0.target_column, "data.target_column"),
        ];
        while let Some(table) = split.files.next_table(Select::Wanted(&wanted))? {
            let [source, target] = [0, 1].map(|side| sentences(&table, &wanted[side]));
            for (source, target) in source?.into_iter().zip(target?) {
                let of = |text: Option<String>| text.unwrap_or_default().trim().to_string();
                let (source, target) = (of(source), of(target));
                pairs.empty += usize::from(source.is_empty() || target.is_empty());
                pairs.source.push(source);
                pairs.target.push(target);
            }
            tables.push(table.rows);
        }
        let files = split.digest_of_files().finalize();
        let digest = |row: usize| {
            let (source, target) = (&pairs.source[row], &pairs.target[row]);
            let mut hash = Sha256::new().chain_update(source).chain_update([0]);
            hash = hash.chain_update(target);
            // Empty pairs must not count as duplicates.
            if source.is_empty() && target.is_empty() {
                hash = hash.chain_update(files).chain_update(row.to_le_bytes());
            }
            content_digest(hash)
        };
        let digests = (0..pairs.source.len()).map(digest).collect();
        Ok(Read { examples: pairs, digests, classes: split.known.clone(), tables })
    }
}

/// The sentences of a column of this name, or of the language of this name in a column of translations.
/// None for missing ones.
fn sentences(table: &Table, wanted: &Wanted) -> Result<Vec<Option<String>>> {
    let Wanted { name, field, .. } = wanted;
    let in_language = table.columns.iter().find_map(|column| match &column.values {
        Values::Languages { languages, texts } => {
            let at = languages.iter().position(|language| language == name)?;
            Some((&column.name, &texts[at]))
        }
        _ => None,
    });
    if let Some(column) = table.column(name) {
        if let Some((other, _)) = in_language {
            return Err(Fault::new("the sentences are there twice")
                .source(table.file())
                .found(format!(
                    "the column `{name}`, and the language `{name}` of the column `{other}`"
                ))
                .expected("one of them")
                .help(format!("`{field}` names both: remove or rename one"))
                .into());
        }
        return match &column.values {
            Values::Text(texts) => Ok(texts.clone()),
            _ => Err(Fault::new(format!("column `{name}` has the wrong type"))
                .source(table.file())
                .found(column.kind())
                .expected("texts")
                .help(format!("`{field}` says which column holds the sentences"))
                .into()),
        };
    }
    // Readers check that a file with rows has what is wanted.
    Ok(in_language.map(|(_, texts)| texts.clone()).unwrap_or_default())
}

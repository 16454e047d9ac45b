//! The three splits of a text, as tokens.

use std::sync::Arc;

use super::documents::{Document, ReadDocuments, cut};
use super::vocabulary::{Tokens, Vocabulary};
use crate::data::UsedExamples;
use crate::data::load::{Role, load, sha256};
use crate::data::text::{FoundTokenizer, Tokenizer};
use crate::error::{Error, Fault, Result};
use crate::hub::Hub;
use crate::random::{Purpose, Stream};
use crate::spec::{FilesSpec, LanguageDataSpec, LanguageTokenizer, SplitSpec, TrainedTokenizer};

/// The splits of a text, as tokens. Clones share them.
#[derive(Clone, Debug)]
pub struct LanguageData {
    pub train: Arc<Tokens>,
    /// Empty if a run trains without validation.
    pub validation: Arc<Tokens>,
    pub test: Arc<Tokens>,
    /// Of training, validation and test.
    pub sizes: [TextSize; 3],
    /// None for random tokens.
    pub vocabulary: Option<Vocabulary>,
    /// The tokenizer's origin, for errors and records.
    pub tokenizer_name: String,
    /// Split, name and SHA-256 of every file read, in reading order.
    pub files: Vec<(String, String, String)>,
    /// One sentence for each fact that a reader must know.
    pub notes: Vec<String>,
    pub used: Arc<UsedExamples>,
}

/// The size of a split's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TextSize {
    pub characters: u64,
    pub bytes: u64,
    pub tokens: u64,
}

impl LanguageData {
    /// Reads, checks and tokenises the three splits. `rows` is the model's number of tokens. `beside` names
    /// the weights that the run starts from. If the section names no tokenizer, the one beside these weights
    /// is used.
    ///
    /// Errors if a column is missing, if a split has no text, if a part of the training text is empty, if
    /// there is no tokenizer, if the model has fewer tokens than it, or if a text of validation or test has
    /// a character that is not among the tokens.
    pub fn load(
        data: &LanguageDataSpec,
        rows: usize,
        beside: Option<&str>,
        hub: &Hub,
    ) -> Result<LanguageData> {
        // Done first, since a missing tokenizer is then reported quickly.
        let found = match &data.tokenizer {
            Some(LanguageTokenizer::Characters | LanguageTokenizer::Bytes) => None,
            Some(LanguageTokenizer::Pieces(tokenizer)) => {
                Some(FoundTokenizer::of(Some(tokenizer), beside, hub)?)
            }
            None => Some(FoundTokenizer::of(None, beside, hub)?),
        };
        let mut reader = ReadDocuments { data, missing: 0 };
        let loaded = load(&with_own_files(data), "", hub, &mut reader)?;
        let documents = |role| {
            let (split, rows) = loaded.of(role);
            match rows {
                _ if split.role != role => Vec::new(),
                None => split.examples.clone(),
                Some(rows) => {
                    rows.iter().map(|row| split.examples[*row as usize].clone()).collect()
                }
            }
        };
        let parts = cut(documents(Role::Train), data.validation.as_ref(), Some(&data.test))?;
        let [train, mut validation, mut test] = parts;
        for (part, split, role) in [
            (&mut validation, data.validation.as_ref(), Role::Validation),
            (&mut test, Some(&data.test), Role::Test),
        ] {
            if let Some(SplitSpec::Named(_)) = split {
                *part = documents(role);
            }
        }
        let (vocabulary, tokenizer_name) = match found {
            None if data.tokenizer == Some(LanguageTokenizer::Bytes) => {
                (Vocabulary::of_bytes()?, "bytes".to_string())
            }
            None => (Vocabulary::of_characters(&train)?, "characters of the training split".into()),
            Some(FoundTokenizer::Read(tokenizer, name)) => (Vocabulary::of(*tokenizer), name),
            Some(FoundTokenizer::ToTrain(spec)) => {
                (trained(&spec, &train)?, "byte-level BPE of the training split".into())
            }
        };
        check_rows(&vocabulary, &tokenizer_name, rows)?;
        let pieces =
            |documents: &[Document]| documents.iter().map(Document::piece).collect::<Vec<_>>();
        let used = UsedExamples::new([pieces(&train), pieces(&validation)].concat(), pieces(&test));
        let named = [("train", &train), ("validation", &validation), ("test", &test)];
        let mut splits = Vec::with_capacity(3);
        for (name, documents) in named {
            let tokens = vocabulary.encode(documents)?;
            check_length(name, &tokens)?;
            splits.push((Arc::new(tokens), documents));
        }
        let size = |(tokens, documents): &(Arc<Tokens>, &Vec<Document>)| TextSize {
            characters: documents.iter().map(|document| document.text.chars().count() as u64).sum(),
            bytes: documents.iter().map(|document| document.text.len() as u64).sum(),
            tokens: tokens.len() as u64,
        };
        let sizes = [size(&splits[0]), size(&splits[1]), size(&splits[2])];
        let tokens = |split: usize| splits[split].0.clone();
        let mut notes = vec![sizes_note(&sizes, vocabulary.unit())];
        notes.extend(missing_note(reader.missing));
        notes.extend(loaded.shared.notes("Documents"));
        Ok(LanguageData {
            train: tokens(0),
            validation: tokens(1),
            test: tokens(2),
            sizes,
            vocabulary: Some(vocabulary),
            tokenizer_name,
            files: loaded.files.clone(),
            notes,
            used: Arc::new(used),
        })
    }

    /// Random tokens for benchmarks: so many of training, and of validation and test each.
    pub fn noise(rows: usize, train: usize, other: usize) -> LanguageData {
        let split = |name: &str, tokens: usize| {
            let mut stream = Stream::new(0, Purpose::Noise, name);
            let ids = (0..tokens).map(|_| stream.below(rows.max(1) as u32)).collect();
            Arc::new(Tokens { ids, bytes: vec![1; tokens] })
        };
        let splits = [split("train", train), split("validation", other), split("test", other)];
        let sizes = splits.clone().map(|tokens| {
            let tokens = tokens.len() as u64;
            TextSize { characters: tokens, bytes: tokens, tokens }
        });
        let [train, validation, test] = splits;
        LanguageData {
            train,
            validation,
            test,
            sizes,
            vocabulary: None,
            tokenizer_name: "none".into(),
            files: Vec::new(),
            notes: Vec::new(),
            used: Arc::default(),
        }
    }

    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.vocabulary.as_ref().map(Vocabulary::tokenizer)
    }

    /// A hash of all files read and of the tokenizer, independent of their location.
    pub fn sha256(&self) -> String {
        let tokenizer = self.tokenizer().map(Tokenizer::sha256).unwrap_or_default();
        sha256(&self.files, None, &["tokenizer", &tokenizer])
    }
}

/// The files of the section, without the splits that are parts of the training text.
fn with_own_files(data: &LanguageDataSpec) -> FilesSpec<'_> {
    let named = |split: &&SplitSpec| matches!(split, SplitSpec::Named(_));
    let files = data.files();
    FilesSpec {
        validation: files.validation.filter(named),
        test: files.test.filter(named),
        ..files
    }
}

/// Trains a tokenizer, only on the training split.
fn trained(spec: &TrainedTokenizer, documents: &[Document]) -> Result<Vocabulary> {
    let texts = documents.iter().map(|document| document.text.as_str());
    Ok(Vocabulary::of(Tokenizer::train(spec, texts)?))
}

/// Errors if the model has not as many tokens as the vocabulary. A tokenizer of pieces may have fewer: a
/// trained one has as many as the text gives, and published models have rows that no token uses.
fn check_rows(vocabulary: &Vocabulary, name: &str, rows: usize) -> Result<()> {
    let tokens = vocabulary.rows();
    let fits = if vocabulary.is_exact() { tokens == rows } else { tokens <= rows };
    if fits {
        return Ok(());
    }
    let unit = vocabulary.unit();
    Err(Fault::new("the model's vocabulary is not that of the data")
        .within("model.vocabulary")
        .found(rows)
        .expected(match vocabulary.is_exact() {
            true => format!("{tokens}: the {unit} of the data ({name})"),
            false => format!("at least {tokens}, as many as the tokenizer has ({name})"),
        })
        .help(format!("`model.vocabulary: {tokens}`"))
        .into())
}

/// Errors if no token of a split can be predicted, or if there are more than can be counted.
fn check_length(name: &str, tokens: &Tokens) -> Result<()> {
    let summary = match tokens.len() {
        // A run without validation has no token of it.
        0 if name == "validation" => return Ok(()),
        0 | 1 => format!("the split `{name}` has no token to predict"),
        n if u32::try_from(n).is_err() => format!("the split `{name}` has too many tokens"),
        _ => return Ok(()),
    };
    Err(Error::from(
        Fault::new(summary)
            .within("data")
            .found(format!("tokens: {}", tokens.len()))
            .expected(format!("2 to {}: each is predicted from those before it", u32::MAX)),
    ))
}

fn sizes_note(sizes: &[TextSize; 3], unit: &str) -> String {
    let all = |of: fn(&TextSize) -> u64| -> Vec<u64> { sizes.iter().map(of).collect() };
    let listed = |values: &[u64]| {
        let texts: Vec<String> = values.iter().map(u64::to_string).collect();
        texts.join(", ")
    };
    let (tokens, bytes) = (all(|size| size.tokens), all(|size| size.bytes));
    let of_bytes = match bytes == tokens {
        true => String::new(),
        false => format!("; bytes: {}", listed(&bytes)),
    };
    format!("Text for training, validation and test, {unit}: {}{of_bytes}.", listed(&tokens))
}

fn missing_note(missing: usize) -> Option<String> {
    let verb = if missing == 1 { "document is" } else { "documents are" };
    (missing > 0).then(|| format!("{missing} {verb} missing and taken for empty."))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LONG: &str = "A document that is longer than a hundred characters, so that it is no heading \
        or line that may stand in several texts by chance.";

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(files: &[(&str, &str)]) -> Folder {
            let dir = tempfile::tempdir().unwrap();
            files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
            Folder(dir)
        }

        fn load(&self, more: &str, rows: usize) -> Result<LanguageData> {
            let path = self.0.path().display();
            let data: LanguageDataSpec =
                serde_json::from_str(&format!("{{\"path\": \"{path}\"{more}}}")).unwrap();
            LanguageData::load(&data, rows, None, &Hub::default())
        }

        fn refused(&self, more: &str, rows: usize) -> String {
            self.load(more, rows).unwrap_err().to_string()
        }
    }

    const BYTES: &str = r#", "validation": null, "tokenizer": "bytes""#;

    fn text(tokens: &Tokens) -> String {
        let bytes: Vec<u8> = tokens.ids.iter().map(|id| *id as u8).collect();
        String::from_utf8(bytes).unwrap()
    }

    /// The same documents in every format give the same text.
    #[test]
    fn documents_are_joined_by_the_separator() {
        let csv = "text,more\none,1\n\"two\nlines\",2\n,3\n";
        let json = "{\"text\": \"one\"}\n{\"text\": \"two\\nlines\"}\n{\"text\": null}\n";
        for (name, content) in [("train.csv", csv), ("train.jsonl", json)] {
            let test = name.replace("train", "test");
            let folder = Folder::new(&[(name, content), (&test, &content.replace("one", "1"))]);
            let data = folder.load(BYTES, 256).unwrap();
            assert_eq!(text(&data.train), "one\ntwo\nlines\n", "{name}");
            assert_eq!(text(&data.test), "1\ntwo\nlines\n", "{name}");
            assert!(data.validation.is_empty());
            assert!(data.notes[1].contains("2 documents are missing"), "{:?}", data.notes);
            let apart = |separator: &str| {
                let more = format!("{BYTES}, \"separator\": \"{separator}\"");
                text(&folder.load(&more, 256).unwrap().train)
            };
            assert_eq!(apart("blank-line"), "one\n\ntwo\nlines\n\n");
            assert_eq!(apart("none"), "onetwo\nlines");
        }
        let folder = Folder::new(&[("train.txt", "one\n"), ("test.txt", "two")]);
        let data = folder.load(BYTES, 256).unwrap();
        assert_eq!((text(&data.train), text(&data.test)), ("one\n".into(), "two".into()));
    }

    #[test]
    fn parts_are_the_end_of_the_training_text() {
        let folder = Folder::new(&[("all.txt", "0123456789abcdefghij")]);
        let parts = r#", "validation": {"fraction": 0.2}, "test": {"fraction": 0.1}"#;
        let data = folder.load(&format!("{parts}, \"tokenizer\": \"bytes\""), 256).unwrap();
        assert_eq!(text(&data.train), "0123456789abcd");
        assert_eq!((text(&data.validation), text(&data.test)), ("efgh".into(), "ij".into()));
        let size = |n| TextSize { characters: n, bytes: n, tokens: n };
        assert_eq!(data.sizes, [size(14), size(4), size(2)]);
    }

    #[test]
    fn the_vocabulary_is_that_of_the_training_split() {
        let folder = Folder::new(&[("train.txt", "abcab\ncb"), ("test.txt", "ab\nacx")]);
        let characters = r#", "validation": null, "tokenizer": "characters""#;
        let error = folder.refused(characters, 4);
        assert!(error.contains("test.txt:2: a character is not among the tokens"), "{error}");
        let error = folder.refused(characters, 5);
        assert!(
            error.contains("found:    5") && error.contains("expected: 4: the char"),
            "{error}"
        );
        // As many pieces as there are may be too few, not too many.
        let pieces = r#", "validation": null, "tokenizer": {"train": "byte-level-bpe"}"#;
        let data = folder.load(pieces, 8192).unwrap();
        let rows = data.vocabulary.as_ref().map(Vocabulary::rows).unwrap();
        assert!(rows >= 260 && data.test.ids.iter().all(|id| (*id as usize) < rows));
        assert!(folder.refused(pieces, rows - 1).contains("as many as the tokenizer has"));
    }

    #[test]
    fn faulty_texts_are_refused() {
        let refused = |files: &[(&str, &str)], more: &str| Folder::new(files).refused(more, 256);
        let error = refused(&[("train.txt", ""), ("test.txt", "ab")], BYTES);
        assert!(error.contains("train.txt: the text is empty"), "{error}");
        let error = refused(&[("train.txt", "ab"), ("test.txt", "a")], BYTES);
        assert!(error.contains("the split `test` has no token to predict"), "{error}");
        let column = format!("{BYTES}, \"text_column\": \"content\"");
        let error = refused(&[("train.txt", "ab"), ("test.txt", "cd")], &column);
        assert!(error.contains("no column `content`") && error.contains("text (text)"), "{error}");
        let both = [("train.txt", LONG), ("test.csv", "text\na\n")];
        assert!(refused(&both, BYTES).contains("there are no files of the split"), "formats");
        let rows = format!("text\nshort\n\"{LONG}\"\n");
        let (train, test) = (("train.csv", &rows[..]), ("test.csv", &format!("{rows}more\n")[..]));
        let error = refused(&[train, test], BYTES);
        assert!(error.contains("document") && error.contains("two splits"), "{error}");
        let kept = format!("{BYTES}, \"duplicates\": \"keep\"");
        let data = Folder::new(&[train, test]).load(&kept, 256).unwrap();
        assert!(data.notes.iter().any(|note| note.contains("Documents")), "{:?}", data.notes);
        // Left out of training, also where a part of it is the other split.
        let removed = format!("{BYTES}, \"duplicates\": \"remove\"");
        let left = Folder::new(&[train, test]).load(&removed, 256).unwrap();
        assert_eq!(left.test.len(), data.test.len());
        assert!(left.train.len() < data.train.len());
        let part = format!("{removed}, \"test\": {{\"fraction\": 0.2}}");
        let whole = Folder::new(&[train]).load(&part, 256).unwrap();
        assert!(whole.train.len() + whole.test.len() > LONG.len());
    }

    #[test]
    fn the_hash_is_that_of_files_and_tokenizer() {
        let folder = Folder::new(&[("train.txt", "abab"), ("test.txt", "ba")]);
        let hash = |more: &str, rows| folder.load(more, rows).unwrap().sha256();
        let characters = r#", "validation": null, "tokenizer": "characters""#;
        assert_eq!(hash(BYTES, 256), hash(BYTES, 256));
        assert_ne!(hash(BYTES, 256), hash(characters, 2));
    }
}

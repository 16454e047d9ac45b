//! The three splits of a dataset of texts with labels.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::found::FoundTokenizer;
use super::split::TextSplit;
use super::tokenizer::{Encoded, Texts, Tokenizer};
use crate::data::UsedExamples;
use crate::data::duplicates::content_digest;
use crate::data::labels::{Labels, wrong_type};
use crate::data::load::{LoadedDataset, OpenSplit, Read, ReadSplit, Role, load, sha256};
use crate::data::select::{Select, Wanted};
use crate::data::table::{Table, Values};
use crate::error::{Error, Fault, Result};
use crate::hub::Hub;
use crate::random::{Purpose, Stream};
use crate::spec::{TextDataSpec, TrainedTokenizer};

/// The model's limits on classes and tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Labels are below this.
    pub classes: usize,
    /// Rows of the word embedding. Token ids are below this.
    pub vocabulary: usize,
    /// Rows of the embedding of token types; 0 if the model has none.
    pub token_types: usize,
}

/// The three splits of a text classification dataset, as tokens.
#[derive(Clone, Debug)]
pub struct TextData {
    pub train: TextSplit,
    /// Empty if a run trains without validation.
    pub validation: TextSplit,
    pub test: TextSplit,
    /// Empty if the classes have no names.
    pub class_names: Vec<String>,
    /// Whether the files hold names as labels. Numbers are then their indices in `class_names`.
    named_labels: bool,
    /// None for random texts.
    pub tokenizer: Option<Tokenizer>,
    /// The tokenizer's origin, for errors and records.
    pub tokenizer_name: String,
    /// Split, name and SHA-256 of every file read, in reading order.
    pub files: Vec<(String, String, String)>,
    /// One sentence for each kind of change to texts.
    pub notes: Vec<String>,
    pub used: Arc<UsedExamples>,
}

impl TextData {
    /// Reads, checks and tokenises the three splits. `beside` names the weights that the run starts
    /// from. If the section names no tokenizer, the one beside these weights is used.
    ///
    /// Errors if a column is missing or holds something else, if a text or a label is missing, if
    /// there is no tokenizer, or if it has more tokens than the model.
    pub fn load(
        data: &TextDataSpec,
        limits: Limits,
        beside: Option<&str>,
        hub: &Hub,
    ) -> Result<TextData> {
        // Done first, since a missing tokenizer is then reported quickly.
        let found = FoundTokenizer::of(data.tokenizer.as_ref(), beside, hub)?;
        let mut reader = ReadTexts { data, classes: limits.classes };
        let loaded = load(&data.files(), &data.label_column, hub, &mut reader)?;
        let (tokenizer, tokenizer_name) = match found {
            FoundTokenizer::Read(tokenizer, name) => (*tokenizer, name),
            FoundTokenizer::ToTrain(spec) => {
                let tokenizer = train(&spec, &loaded)?;
                let kind = match spec {
                    TrainedTokenizer::WordPiece { .. } => "word pieces",
                    TrainedTokenizer::ByteLevelBpe { .. } => "byte-level BPE",
                };
                (tokenizer, format!("{kind} of the training split"))
            }
        };
        check_vocabulary(&tokenizer, &tokenizer_name, limits)?;
        let mut encoded: Vec<(Role, Arc<Encoded>)> = Vec::new();
        for split in loaded.splits() {
            let texts = split.examples.texts();
            let tokens = tokenizer.encode(&texts, data.max_tokens);
            let named = |error: Error| error.map_fault(|fault| fault.source(&tokenizer_name));
            let tokens = tokens.map_err(named)?;
            check_token_types(&tokens, &tokenizer_name, limits)?;
            encoded.push((split.role, Arc::new(tokens)));
        }
        let split = |role: Role| {
            let (split, rows) = loaded.of(role);
            let (_, encoded) = encoded.iter().find(|(role, _)| *role == split.role)?;
            let rows = rows.map(<[u32]>::to_vec);
            Some(TextSplit::new(encoded.clone(), &split.examples.labels, rows))
        };
        // Every split that has files was encoded.
        let not_encoded = || Error::from(Fault::failed("a split was not tokenised"));
        let split = |role| split(role).ok_or_else(not_encoded);
        let (train, validation, test) =
            (split(Role::Train)?, split(Role::Validation)?, split(Role::Test)?);
        let cut = encoded.iter().map(|(_, encoded)| encoded.cut).sum();
        let empty = loaded.splits().map(|split| split.examples.empty).sum();
        let missing = loaded.splits().map(|split| split.examples.missing).sum();
        let mut notes = notes(cut, empty, missing, data.max_tokens);
        notes.extend(loaded.shared.notes("Texts"));
        let used = Arc::new(UsedExamples::of(&loaded));
        Ok(TextData {
            train,
            validation,
            test,
            class_names: loaded.classes.names,
            named_labels: loaded.classes.named_labels,
            tokenizer: Some(tokenizer),
            tokenizer_name,
            files: loaded.files,
            notes,
            used,
        })
    }

    /// Random texts for benchmarks, with 4 to `max_tokens` tokens, most of them short.
    pub fn noise(limits: Limits, max_tokens: usize, train: usize, other: usize) -> TextData {
        let split = |name: &str, texts: usize| {
            let mut stream = Stream::new(0, Purpose::Noise, name);
            let mut encoded = Encoded::default();
            let mut labels = Vec::new();
            for _ in 0..texts {
                let share = stream.uniform().powi(2);
                let length =
                    4.min(max_tokens) + (share * max_tokens.saturating_sub(4) as f64) as usize;
                let token = |stream: &mut Stream| stream.below(limits.vocabulary.max(1) as u32);
                encoded.ids.extend((0..length).map(|_| token(&mut stream)));
                encoded.types.resize(encoded.ids.len(), 0);
                encoded.ends.push(encoded.ids.len());
                labels.push(stream.below(limits.classes.max(1) as u32));
            }
            TextSplit::new(Arc::new(encoded), &labels, None)
        };
        TextData {
            train: split("train", train),
            validation: split("validation", other),
            test: split("test", other),
            class_names: Vec::new(),
            named_labels: false,
            tokenizer: None,
            tokenizer_name: "none".into(),
            files: Vec::new(),
            notes: Vec::new(),
            used: Arc::default(),
        }
    }

    /// The id of the padding token.
    pub fn padding(&self) -> u32 {
        self.tokenizer.as_ref().map_or(0, Tokenizer::padding)
    }

    /// A hash of all files read and of the tokenizer, independent of their location.
    pub fn sha256(&self) -> String {
        let names = self.named_labels.then_some(&self.class_names[..]);
        let tokenizer = self.tokenizer.as_ref().map(Tokenizer::sha256).unwrap_or_default();
        sha256(&self.files, names, &["tokenizer", &tokenizer])
    }
}

/// One sentence for each count above 0.
fn notes(cut: usize, empty: usize, missing: usize, max_tokens: usize) -> Vec<String> {
    let counted = |count: usize| match count {
        1 => "1 text".to_string(),
        _ => format!("{count} texts"),
    };
    let mut notes = Vec::new();
    if cut > 0 {
        let verb = if cut == 1 { "was" } else { "were" };
        notes.push(format!("{} {verb} cut to {max_tokens} tokens.", counted(cut)));
    }
    if empty > 0 {
        let verb = if empty == 1 { "is" } else { "are" };
        notes.push(format!("{} {verb} empty.", counted(empty)));
    }
    if missing > 0 {
        let verb = if missing == 1 { "is" } else { "are" };
        notes.push(format!("{} {verb} missing and taken for empty.", counted(missing)));
    }
    notes
}

fn check_vocabulary(tokenizer: &Tokenizer, name: &str, limits: Limits) -> Result<()> {
    match tokenizer.rows() <= limits.vocabulary {
        true => Ok(()),
        false => Err(Fault::new("the tokenizer has more tokens than the model")
            .source(name)
            .found(format!("numbers up to {}", tokenizer.rows() - 1))
            .expected(format!("below model.vocabulary, {}", limits.vocabulary))
            .help("a larger `model.vocabulary`, or the tokenizer of the model")
            .into()),
    }
}

fn check_token_types(encoded: &Encoded, name: &str, limits: Limits) -> Result<()> {
    let highest = encoded.types.iter().copied().max().map_or(0, usize::from);
    match limits.token_types == 0 || highest < limits.token_types {
        true => Ok(()),
        false => Err(Fault::new("the tokenizer has more token types than the model")
            .source(name)
            .found(format!("types up to {highest}"))
            .expected(format!("below model.token_types, {}", limits.token_types))
            .help("a larger `model.token_types`, 0 for a model without, or the tokenizer of the model")
            .into()),
    }
}

/// Trains a tokenizer, only on the texts of the training split.
fn train(spec: &TrainedTokenizer, loaded: &LoadedDataset<RawTexts>) -> Result<Tokenizer> {
    let (split, rows) = loaded.of(Role::Train);
    let RawTexts { first, second, .. } = &split.examples;
    let rows: Vec<usize> = match rows {
        Some(rows) => rows.iter().map(|row| *row as usize).collect(),
        None => (0..first.len()).collect(),
    };
    let of_row = |row: usize| {
        let second = second.as_ref().map(|second| second[row].as_str());
        std::iter::once(first[row].as_str()).chain(second)
    };
    let texts: Vec<&str> = rows.into_iter().flat_map(of_row).collect();
    Tokenizer::train(spec, texts.into_iter())
}

/// The texts and labels of one split, one for each row.
struct RawTexts {
    first: Vec<String>,
    second: Option<Vec<String>>,
    labels: Vec<u32>,
    /// Number of texts with nothing but white space.
    empty: usize,
    /// Number of missing texts, which count as empty.
    missing: usize,
}

impl RawTexts {
    fn texts(&self) -> Texts<'_> {
        Texts { first: &self.first, second: self.second.as_deref() }
    }
}

/// Reads texts and labels.
struct ReadTexts<'a> {
    data: &'a TextDataSpec,
    classes: usize,
}

impl ReadSplit for ReadTexts<'_> {
    type Examples = RawTexts;

    const EXAMPLE: [&'static str; 2] = ["text", "texts"];

    fn read(&mut self, split: &mut OpenSplit) -> Result<Read<RawTexts>> {
        let data = self.data;
        let mut wanted = vec![Wanted::texts(&data.text_column, "data.text_column")];
        wanted.extend(data.pair_column.as_deref().map(|c| Wanted::texts(c, "data.pair_column")));
        wanted.push(Wanted::labels(&data.label_column));
        let select = Select::Wanted(&wanted);
        let mut labels = Labels::new(self.classes, split.role == Role::Train, split.known.clone());
        let (mut first, mut second) = (Vec::new(), data.pair_column.as_ref().map(|_| Vec::new()));
        let (mut tables, mut missing_texts) = (Vec::new(), 0);
        while let Some(table) = split.files.next_table(select)? {
            // Every reader checks that its file has these columns, so this error is never seen.
            let missing =
                |name: &str| Error::from(Fault::new(format!("there is no column `{name}`")));
            let column = table.column(&data.label_column);
            labels.add(&table, column.ok_or_else(|| missing(&data.label_column))?)?;
            let mut add = |name: &str, to: &mut Vec<String>| {
                for text in column_texts(&table, name)? {
                    missing_texts += usize::from(text.is_none());
                    to.push(text.unwrap_or_default());
                }
                Ok::<(), Error>(())
            };
            add(&data.text_column, &mut first)?;
            if let (Some(second), Some(name)) = (&mut second, &data.pair_column) {
                add(name, second)?;
            }
            tables.push(table.rows);
        }
        let (labels, classes) = labels.finish()?;
        let all = || first.iter().chain(second.iter().flatten());
        let empty = all().filter(|text| text.trim().is_empty()).count() - missing_texts;
        let files = split.digest_of_files().finalize();
        let digest = |row: usize| {
            let mut hash = Sha256::new().chain_update(&first[row]);
            if let Some(second) = &second {
                hash = hash.chain_update([0]).chain_update(&second[row]);
            }
            // Empty texts are kept but must not count as duplicates, so each gets its own digest.
            let parts = std::iter::once(&first[row]).chain(second.iter().map(|all| &all[row]));
            if parts.into_iter().all(|text| text.trim().is_empty()) {
                hash = hash.chain_update(files).chain_update(row.to_le_bytes());
            }
            content_digest(hash)
        };
        let digests = (0..first.len()).map(digest).collect();
        let examples = RawTexts { first, second, labels, empty, missing: missing_texts };
        Ok(Read { examples, digests, classes, tables })
    }
}

/// The texts of a column; None for a missing one, such as an empty field of CSV.
pub fn column_texts(table: &Table, name: &str) -> Result<Vec<Option<String>>> {
    let Some(column) = table.column(name) else {
        return Err(Fault::new(format!("there is no column `{name}`")).source(table.file()).into());
    };
    let Values::Text(texts) = &column.values else {
        return Err(wrong_type(table, column, "texts"));
    };
    Ok(texts.clone())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::text::TOKENIZER;

    const LIMITS: Limits = Limits { classes: 2, vocabulary: 300, token_types: 2 };
    const TRAIN: &str = "text,label\nA quiet film,0\n\"Loud, and long\",1\n\"\",0\nquiet quiet,1\n";
    const TEST: &str = "text,label\nanother film,1\n";

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(files: &[(&str, &str)]) -> Folder {
            let dir = tempfile::tempdir().unwrap();
            files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
            Folder(dir)
        }

        fn load(&self, more: &str, beside: Option<&str>) -> Result<TextData> {
            let path = self.0.path().display();
            let json = format!("{{\"path\": \"{path}\", \"validation\": null{more}}}");
            let data: TextDataSpec = serde_json::from_str(&json).unwrap();
            TextData::load(&data, LIMITS, beside, &Hub::default())
        }

        fn refused(&self, more: &str, beside: Option<&str>) -> String {
            self.load(more, beside).unwrap_err().to_string()
        }
    }

    const BYTES: &str = r#", "tokenizer": {"train": "byte-level-bpe", "vocabulary": 280}"#;

    #[test]
    fn texts_and_labels_are_in_the_order_of_their_rows() {
        let folder = Folder::new(&[("train.csv", TRAIN), ("test.csv", TEST)]);
        let data = folder.load(BYTES, None).unwrap();
        assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (4, 0, 1));
        assert_eq!(data.train.labels(), [0, 1, 0, 1]);
        let encode = |text: &str| {
            let texts = [text.to_string()];
            let encoded = data
                .tokenizer
                .as_ref()
                .unwrap()
                .encode(&Texts { first: &texts, second: None }, 128);
            encoded.unwrap().ids
        };
        for (i, text) in ["A quiet film", "Loud, and long", "", "quiet quiet"].iter().enumerate() {
            assert_eq!(data.train.get(i).0, encode(text));
            assert_eq!(data.train.length(i), encode(text).len());
        }
        assert_eq!(data.test.get(0).0, encode("another film"));
        // A missing text is kept and counted.
        assert_eq!(data.notes, ["1 text is missing and taken for empty."]);
        let cut = folder.load(&format!("{BYTES}, \"max_tokens\": 5"), None).unwrap();
        assert_eq!(cut.notes[0], "3 texts were cut to 5 tokens.");
    }

    /// Changes the test's texts and expects the same tokenizer.
    #[test]
    fn a_tokenizer_is_trained_on_training_texts_alone() {
        let folder = |test: &str| {
            Folder::new(&[("train.csv", TRAIN), ("test.csv", &format!("text,label\n{test},1\n"))])
        };
        let of = |test: &str| folder(test).load(BYTES, None).unwrap();
        let (one, other) = (of("zzzz zzzz zzzz"), of("yyyy yyyy yyyy"));
        let json = |data: &TextData| data.tokenizer.as_ref().unwrap().json().to_string();
        assert_eq!(json(&one), json(&other));
        assert_ne!(one.sha256(), other.sha256());
        // The same files with another tokenizer are different data.
        let smaller = BYTES.replace("280", "262");
        let again = folder("zzzz zzzz zzzz").load(&smaller, None).unwrap();
        assert_ne!(again.sha256(), one.sha256());
    }

    #[test]
    fn a_tokenizer_is_found_by_its_path_and_beside_weights() {
        let files = [("train.csv", TRAIN), ("test.csv", TEST)];
        let trained = Folder::new(&files).load(BYTES, None).unwrap();
        let model = Folder::new(&[(TOKENIZER, trained.tokenizer.as_ref().unwrap().json())]);
        let folder = Folder::new(&files);
        let at = model.0.path().display().to_string();
        let named = format!(", \"tokenizer\": {{\"path\": \"{at}\"}}");
        for (more, beside) in [
            (named.as_str(), None),
            ("", Some(at.clone())),
            ("", Some(format!("{at}/{TOKENIZER}"))),
            ("", Some(format!("{at}/model.safetensors"))),
            (&format!(", \"tokenizer\": {{\"path\": \"{at}/{TOKENIZER}\"}}"), None),
        ] {
            let data = folder.load(more, beside.as_deref()).unwrap();
            assert_eq!(data.train.get(0), trained.train.get(0), "{more} {beside:?}");
            assert_eq!(data.sha256(), trained.sha256());
        }
    }

    #[test]
    fn pairs_are_read_from_two_columns() {
        let train = "a,b,label\nfirst,second,0\nthird,,1\n".replace(",,", ",\"\",");
        let folder = Folder::new(&[("train.csv", &train), ("test.csv", "a,b,label\nx,y,0\n")]);
        let columns = r#", "text_column": "a", "pair_column": "b""#;
        let data = folder.load(&format!("{columns}{BYTES}"), None).unwrap();
        let (ids, types) = data.train.get(0);
        assert_eq!(ids.iter().filter(|id| **id == 3).count(), 2);
        assert!(types.contains(&0) && types.contains(&1));
    }

    #[test]
    fn errors_name_what_cannot_be_read() {
        let of = |train: &str| Folder::new(&[("train.csv", train), ("test.csv", TEST)]);
        let sound = of(TRAIN);
        let column = of(&TRAIN.replace("text,", "sentence,")).refused(BYTES, None);
        assert!(column.contains("there is no column `text`"), "{column}");
        assert!(column.contains("found:    sentence (text), label (text)"), "{column}");
        let none = sound.refused("", None);
        assert!(none.starts_with("data.tokenizer: there is no tokenizer"), "{none}");
        let label = of(&TRAIN.replace("long\",1", "long\",7")).refused(BYTES, None);
        assert!(label.contains("label out of range") && label.contains("row 1"), "{label}");
        let numbers = of("text,label\n1,0\n2,1\n").refused(BYTES, None);
        assert!(numbers.contains("column `text` has the wrong type"), "{numbers}");
        let twice = of(&format!("{TRAIN}another film,1\n")).refused(BYTES, None);
        assert!(twice.contains("1 text stands in two splits"), "{twice}");
        let nowhere = sound.refused(", \"tokenizer\": {\"path\": \"/nowhere\"}", None);
        assert!(nowhere.starts_with("/nowhere: the tokenizer cannot be read"), "{nowhere}");
    }

    #[test]
    fn random_texts_fit_the_model() {
        let data = TextData::noise(LIMITS, 40, 100, 10);
        assert_eq!((data.train.len(), data.test.len()), (100, 10));
        for i in 0..100 {
            let (ids, _) = data.train.get(i);
            assert!((4..=40).contains(&ids.len()) && ids.iter().all(|id| *id < 300));
        }
    }
}

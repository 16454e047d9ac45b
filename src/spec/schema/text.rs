//! `data` of tasks over texts: where they come from, and which tokens they become.

use serde::{Deserialize, Serialize};

use super::data::{grouped, label_column, test_split, train_split, validation_split};
use super::{Duplicates, FilesSpec, SplitSpec};

/// Where labelled texts come from and what is done to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextDataSpec {
    /// A dataset of the Hugging Face Hub, `owner/name` or `owner/name@revision`. Exactly one of
    /// `hub`, `path` and `embedded` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// A folder with files in the layout of a Hub dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A dataset inside the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<String>,
    /// The configuration (subset) of a dataset that has several; None is its default or only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Patterns of the files of the dataset that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Names of the columns of CSV and TSV files whose first row is an example; empty where the first
    /// row names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    #[serde(default = "text_column")]
    pub text_column: String,
    /// The second text of a pair; None where examples are single texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair_column: Option<String>,
    #[serde(default = "label_column")]
    pub label_column: String,
    /// Name of the training split.
    #[serde(default = "train_split")]
    pub train: String,
    /// None trains without validation.
    #[serde(default = "validation_split")]
    pub validation: Option<SplitSpec>,
    #[serde(default = "test_split")]
    pub test: SplitSpec,
    #[serde(default)]
    pub duplicates: Duplicates,
    /// None takes the one beside the weights that the run starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerSpec>,
    /// Texts of more tokens are cut, special tokens included.
    #[serde(default = "max_tokens")]
    pub max_tokens: usize,
    /// Whether the texts of a training batch have similar lengths, so that it has little padding. Else they
    /// are drawn at random.
    #[serde(default = "grouped")]
    pub group_by_length: bool,
}

impl TextDataSpec {
    /// Where the examples are.
    pub fn files(&self) -> FilesSpec<'_> {
        FilesSpec {
            hub: self.hub.as_deref(),
            path: self.path.as_deref(),
            embedded: self.embedded.as_deref(),
            config: self.config.as_deref(),
            ignore: &self.ignore,
            columns: &self.columns,
            train: &self.train,
            validation: self.validation.as_ref(),
            test: Some(&self.test),
            duplicates: self.duplicates,
            languages: None,
        }
    }
}

fn text_column() -> String {
    "text".into()
}
fn max_tokens() -> usize {
    128
}

/// Which tokens texts become. Exactly one of `hub`, `path` and `train` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerSpec {
    /// A model of the Hugging Face Hub, whose `tokenizer.json` is taken: `owner/name` or
    /// `owner/name@revision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// A `tokenizer.json`, or a folder with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A tokenizer of this kind, trained on the training split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<TokenizerKind>,
    /// The most tokens of a trained one, special ones included; None is 8192.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// Whether a trained word-piece tokenizer converts to lower case and strips accents; None means
    /// yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowercase: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerKind {
    /// BERT's.
    WordPiece,
    /// GPT-2's, which knows every text.
    ByteLevelBpe,
}

/// A tokenizer that is trained on the training split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainedTokenizer {
    /// At most `vocabulary` tokens.
    WordPiece { vocabulary: usize, lowercase: bool },
    /// At most `vocabulary` tokens, at least 260: the bytes and the special ones.
    ByteLevelBpe { vocabulary: usize },
}

impl TextDataSpec {
    /// The tokenizer to train; None where it is in a file.
    pub fn trained_tokenizer(&self) -> Option<TrainedTokenizer> {
        self.tokenizer.as_ref()?.trained()
    }
}

impl TokenizerSpec {
    /// Fills in the defaults of a trained tokenizer.
    pub fn normalise(&mut self) {
        match self.trained() {
            None => {}
            Some(TrainedTokenizer::WordPiece { vocabulary, lowercase }) => {
                (self.vocabulary, self.lowercase) = (Some(vocabulary), Some(lowercase));
            }
            Some(TrainedTokenizer::ByteLevelBpe { vocabulary }) => {
                self.vocabulary = Some(vocabulary);
            }
        }
    }

    /// What to train; None where the tokenizer is in a file.
    pub fn trained(&self) -> Option<TrainedTokenizer> {
        let vocabulary = self.vocabulary.unwrap_or(8192);
        Some(match self.train? {
            TokenizerKind::WordPiece => TrainedTokenizer::WordPiece {
                vocabulary,
                lowercase: self.lowercase.unwrap_or(true),
            },
            TokenizerKind::ByteLevelBpe => TrainedTokenizer::ByteLevelBpe { vocabulary },
        })
    }
}

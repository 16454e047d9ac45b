//! `data` of language modelling: where the text comes from, its tokens, and the windows that it is cut
//! into.

use serde::{Deserialize, Serialize};

use super::data::{test_split, train_split, validation_split};
use super::{Duplicates, FilesSpec, SplitSpec, TokenizerSpec, TrainedTokenizer};

/// Where the text comes from and what is done to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageDataSpec {
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
    /// The column of the documents. A file of plain text is one document, in the column `text`.
    #[serde(default = "text_column")]
    pub text_column: String,
    /// What stands between two documents.
    #[serde(default)]
    pub separator: Separator,
    /// Name of the training split.
    #[serde(default = "train_split")]
    pub train: String,
    /// None trains without validation. A part is taken from the end of the training text, in front of
    /// that of `test`.
    #[serde(default = "validation_split")]
    pub validation: Option<SplitSpec>,
    /// A part is taken from the end of the training text.
    #[serde(default = "test_split")]
    pub test: SplitSpec,
    /// About long documents that are in two splits.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// None takes the one beside the weights that the run starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<LanguageTokenizer>,
    /// Tokens that the model sees at once; None is `model.positions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// How the training text is cut into windows.
    #[serde(default)]
    pub windows: Windows,
    /// Random windows that an epoch draws; None: as many as the text holds without overlap. Validation is
    /// once an epoch, so that this says how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_windows: Option<usize>,
    /// By how many tokens the windows of an evaluation advance; None is `window`, so that they do not
    /// overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// None evaluates on the whole split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<RandomEvaluation>,
}

/// What stands between two documents of a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Separator {
    #[default]
    Newline,
    BlankLine,
    None,
}

impl Separator {
    /// The characters that it is.
    pub fn text(self) -> &'static str {
        match self {
            Separator::Newline => "\n",
            Separator::BlankLine => "\n\n",
            Separator::None => "",
        }
    }
}

/// Which tokens the text becomes.
#[derive(Clone, Debug, PartialEq)]
pub enum LanguageTokenizer {
    /// The characters of the training text, in the order of their code points.
    Characters,
    /// The 256 bytes.
    Bytes,
    /// A tokenizer that is read or trained. In YAML a mapping.
    Pieces(TokenizerSpec),
}

/// How an epoch cuts the training text into windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Windows {
    /// Windows begin at random, about as many as the text holds without overlap.
    #[default]
    Random,
    /// Windows follow each other without overlap, from a random offset on, and are shuffled.
    Contiguous,
}

/// An evaluation on random windows, as published numbers of some programs are. The windows are the same in
/// every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomEvaluation {
    /// Number of batches of `training.batch_size` windows.
    pub random_batches: usize,
}

impl LanguageDataSpec {
    /// Where the documents are.
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

    /// Tokens that a model with so many positions sees at once.
    pub fn window(&self, positions: usize) -> usize {
        self.window.unwrap_or(positions)
    }

    /// By how many tokens the windows of an evaluation advance.
    pub fn stride(&self, positions: usize) -> usize {
        self.stride.unwrap_or(self.window(positions))
    }

    /// The tokenizer to train; None for the others.
    pub fn trained_tokenizer(&self) -> Option<TrainedTokenizer> {
        match self.tokenizer.as_ref()? {
            LanguageTokenizer::Pieces(tokenizer) => tokenizer.trained(),
            LanguageTokenizer::Characters | LanguageTokenizer::Bytes => None,
        }
    }

    /// Whether the tokenizer is made by the run, and not read from a file.
    pub fn makes_tokenizer(&self) -> bool {
        match &self.tokenizer {
            None => false,
            Some(LanguageTokenizer::Characters | LanguageTokenizer::Bytes) => true,
            Some(LanguageTokenizer::Pieces(tokenizer)) => tokenizer.train.is_some(),
        }
    }

    /// Fills in what is left to the model and to a trained tokenizer.
    pub fn normalise(&mut self, positions: usize) {
        if let Some(LanguageTokenizer::Pieces(tokenizer)) = &mut self.tokenizer {
            tokenizer.normalise();
        }
        self.stride = Some(self.stride(positions));
        self.window = Some(self.window(positions));
        if self.evaluation.is_some() {
            // Random windows have no stride.
            self.stride = self.window;
        }
    }
}

fn text_column() -> String {
    "text".into()
}

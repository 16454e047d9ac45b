//! `data` of translation: where sentence pairs come from, their tokens, and how a model's translations are
//! made and scored.

use serde::{Deserialize, Serialize};

use super::data::{grouped, test_split, train_split, validation_split};
use super::{Duplicates, FilesSpec, SplitSpec};
use crate::spec::repository::HUB_PREFIX;

/// Where sentence pairs come from and what is done to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TranslationDataSpec {
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
    /// The column of the sentences to translate.
    pub source_column: String,
    /// The column of their translations.
    pub target_column: String,
    /// Name of the training split.
    #[serde(default = "train_split")]
    pub train: String,
    /// None trains without validation.
    #[serde(default = "validation_split")]
    pub validation: Option<SplitSpec>,
    #[serde(default = "test_split")]
    pub test: SplitSpec,
    /// About sentence pairs that are in two splits. Published numbers keep them.
    #[serde(default = "keep")]
    pub duplicates: Duplicates,
    /// Whether both languages are converted to lower case, and translations are scored so.
    #[serde(default)]
    pub lowercase: bool,
    pub tokenizer: TranslationTokenizer,
    /// Training leaves out pairs with a sentence of more tokens. Elsewhere sentences are
    /// truncated; BLEU is computed on whole references.
    #[serde(default = "max_tokens")]
    pub max_tokens: usize,
    /// Training leaves out pairs whose longer sentence has more than this many times the tokens of the
    /// shorter, those of beginning and end aside. None keeps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length_ratio: Option<f64>,
    /// Whether the pairs of a training batch have similar lengths, so that it has little padding. Else they
    /// are drawn at random.
    #[serde(default = "grouped")]
    pub group_by_length: bool,
    /// The most tokens of each language in a training batch, padding included, in place of
    /// `training.batch_size` pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_tokens: Option<usize>,
    /// How translations are found.
    #[serde(default)]
    pub decoding: DecodingSpec,
}

/// The tokens of both languages. Exactly one of `hub`, `path` and `train` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TranslationTokenizer {
    /// A Marian model of the Hugging Face Hub, whose pieces are taken: `owner/name` or `owner/name@revision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// A folder with the files of such a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Tokens of this kind, trained on the training split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<TranslationTokenizerKind>,
    /// Whether both languages have one tokenizer.
    #[serde(default)]
    pub joint: bool,
    /// Vocabulary size of byte-level BPE or unigram, special tokens included; None is 8192. `words` have as
    /// many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// Languages whose words keep their hyphens and apostrophes; in the others a hyphen is a word, and
    /// `n't` and `'s` are.
    #[serde(default)]
    pub keep_hyphens: KeepHyphens,
    /// Words that occur less often are the unknown token; None is 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_count: Option<usize>,
    /// Normalisation before tokenising. References are scored as they are, except by word BLEU.
    #[serde(default)]
    pub normalisation: Normalisation,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TranslationTokenizerKind {
    /// Whole words and punctuation marks.
    #[default]
    Words,
    /// GPT-2's, which knows every text.
    ByteLevelBpe,
    /// SentencePiece's pieces of a unigram language model. A character that the training split does not have
    /// is unknown.
    Unigram,
}

/// How characters are brought to the same form before a text becomes tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    #[default]
    None,
    /// Unicode's NFKC: one form of each character, compatible ones as their plain form.
    Nfkc,
}

/// Languages whose words keep their hyphens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepHyphens {
    #[default]
    None,
    Source,
    Target,
    Both,
}

impl KeepHyphens {
    pub fn of_source(self) -> bool {
        matches!(self, KeepHyphens::Source | KeepHyphens::Both)
    }

    pub fn of_target(self) -> bool {
        matches!(self, KeepHyphens::Target | KeepHyphens::Both)
    }
}

/// How translations of the test split are found. Those of validation are found greedily.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecodingSpec {
    /// Hypotheses that are kept at each step; 1 is greedy decoding.
    pub beam: usize,
    /// Hypotheses are compared by the sum of their log-probabilities over their number of tokens to this
    /// power.
    pub length_penalty: f64,
    /// A translation has at most this many tokens for each token of its source, and `extra_tokens` more, the
    /// end-of-sentence token included.
    pub length_ratio: f64,
    /// See `length_ratio`. No translation has more tokens than the model has positions.
    pub extra_tokens: usize,
    /// Validation translates after every N-th epoch and after the last; after the others it measures only
    /// the loss.
    pub validate_every: usize,
}

impl Default for DecodingSpec {
    fn default() -> DecodingSpec {
        DecodingSpec {
            beam: 1,
            length_penalty: 1.0,
            length_ratio: 2.0,
            extra_tokens: 10,
            validate_every: 1,
        }
    }
}

impl TranslationDataSpec {
    /// Where the pairs are.
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
            languages: Some([&self.source_column, &self.target_column]),
        }
    }

    /// Fills in the defaults of the tokenizer. Greedy decoding has no length penalty.
    pub fn normalise(&mut self) {
        let tokenizer = &mut self.tokenizer;
        match tokenizer.train {
            None => {}
            Some(TranslationTokenizerKind::Words) => {
                tokenizer.minimum_count = Some(tokenizer.minimum_count());
            }
            Some(TranslationTokenizerKind::ByteLevelBpe | TranslationTokenizerKind::Unigram) => {
                tokenizer.vocabulary = Some(tokenizer.vocabulary());
            }
        }
        if self.decoding.beam == 1 {
            self.decoding.length_penalty = DecodingSpec::default().length_penalty;
        }
    }
}

impl TranslationTokenizer {
    /// As notes and errors name one that is read: `hub:` and the model's name, or its path.
    pub fn name(&self) -> String {
        let hub = self.hub.as_ref().map(|name| format!("{HUB_PREFIX}{name}"));
        hub.or(self.path.clone()).unwrap_or_default()
    }

    /// Whether both languages have the same numbers of tokens.
    pub fn is_shared(&self) -> bool {
        self.joint || self.train.is_none()
    }

    /// How often a word must occur to be a token.
    pub fn minimum_count(&self) -> usize {
        self.minimum_count.unwrap_or(2)
    }

    /// The most tokens of byte-level BPE or unigram.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary.unwrap_or(8192)
    }
}

fn keep() -> Duplicates {
    Duplicates::Keep
}
fn max_tokens() -> usize {
    128
}

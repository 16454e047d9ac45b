//! A run as a whole. Which fields `data` and `model` have is decided by two other fields: `task`
//! and `model.architecture`.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Architecture, DecoderSpec, EncoderDecoderSpec, EncoderSpec, FilesSpec, ImageDataSpec,
    LanguageDataSpec, LoraSpec, ModelSpec, StartSpec, TextDataSpec, TrainingSpec,
    TranslationDataSpec, VitSpec, VloraSpec,
};
use crate::spec::precision::Precision;

/// Everything that affects a run's result, except its seed and the bytes of its data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSpec {
    pub task: Task,
    pub data: DataSpec,
    pub model: ModelSpec,
    pub method: Method,
    /// Kept only where `method` is `vlora`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlora: Option<VloraSpec>,
    /// Weights to start from; None starts from the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<StartSpec>,
    /// LoRA on top of the weights of `start`, which are frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSpec>,
    pub training: TrainingSpec,
    pub precision: Precision,
}

/// Number of parameters of a run's model in closed form. Passed in, since specs do not know models.
pub type ParameterCount<'a> = &'a dyn Fn(&RunSpec) -> u64;

impl RunSpec {
    /// Whether the result is the same for every seed: published weights, or those of a file, are only tested.
    pub fn is_fixed(&self) -> bool {
        let checkpoint = self.start.as_ref().and_then(StartSpec::checkpoint_name);
        !self.training.trains() && checkpoint.is_some()
    }

    /// The resolved spec as YAML, with its defaults. Options that are off are left out.
    pub fn to_yaml(&self) -> Result<String, String> {
        serde_yaml::to_string(self).map_err(|e| e.to_string())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One image, one of `model.classes` labels; cross-entropy, accuracy.
    ImageClassification,
    /// One text or a pair of texts, one of `model.classes` labels; cross-entropy, accuracy.
    TextClassification,
    /// Running text: each token is predicted from those before it; cross-entropy in nats a token.
    LanguageModelling,
    /// A sentence in one language, the same in another; BLEU.
    Translation,
}

impl Task {
    pub const ALL: [Task; 4] = [
        Task::ImageClassification,
        Task::TextClassification,
        Task::LanguageModelling,
        Task::Translation,
    ];

    /// As specs write it.
    pub fn name(self) -> &'static str {
        match self {
            Task::ImageClassification => "image-classification",
            Task::TextClassification => "text-classification",
            Task::LanguageModelling => "language-modelling",
            Task::Translation => "translation",
        }
    }

    /// The architectures that can be trained on it.
    pub fn architectures(self) -> &'static [Architecture] {
        match self {
            Task::ImageClassification => &[Architecture::Vit],
            Task::TextClassification => &[Architecture::Encoder],
            Task::LanguageModelling => &[Architecture::Decoder],
            Task::Translation => &[Architecture::EncoderDecoder],
        }
    }
}

/// `data`, as the task has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DataSpec {
    Images(ImageDataSpec),
    Text(TextDataSpec),
    Language(LanguageDataSpec),
    Translation(TranslationDataSpec),
}

impl From<TranslationDataSpec> for DataSpec {
    fn from(data: TranslationDataSpec) -> DataSpec {
        DataSpec::Translation(data)
    }
}

impl From<LanguageDataSpec> for DataSpec {
    fn from(data: LanguageDataSpec) -> DataSpec {
        DataSpec::Language(data)
    }
}

impl From<TextDataSpec> for DataSpec {
    fn from(data: TextDataSpec) -> DataSpec {
        DataSpec::Text(data)
    }
}

impl From<ImageDataSpec> for DataSpec {
    fn from(data: ImageDataSpec) -> DataSpec {
        DataSpec::Images(data)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Every layer has its own weights.
    #[default]
    Dense,
    /// Compounds: one dense layer, then layers that add low-rank increments.
    Vlora,
}

/// A run's fields with the types that its task and its architecture give `data` and `model`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fields<D, M> {
    task: Task,
    data: D,
    model: M,
    #[serde(default)]
    method: Method,
    #[serde(default)]
    vlora: Option<VloraSpec>,
    #[serde(default)]
    start: Option<StartSpec>,
    #[serde(default)]
    lora: Option<LoraSpec>,
    #[serde(default)]
    training: TrainingSpec,
    /// Older records lack this field; they are float32.
    #[serde(default)]
    precision: Precision,
}

impl<D: Into<DataSpec>, M: Into<ModelSpec>> From<Fields<D, M>> for RunSpec {
    fn from(fields: Fields<D, M>) -> RunSpec {
        let Fields { task, data, model, method, vlora, start, lora, training, precision } = fields;
        let (data, model) = (data.into(), model.into());
        RunSpec { task, data, model, method, vlora, start, lora, training, precision }
    }
}

/// Where a run's fields are read from.
pub trait FieldsSource {
    type Error;

    fn read<D: DeserializeOwned, M: DeserializeOwned>(self) -> Result<Fields<D, M>, Self::Error>;
}

/// Reads a run with the types of its task and its architecture; None where they do not fit each
/// other.
pub fn read_run<S: FieldsSource>(
    task: Task,
    architecture: Architecture,
    source: S,
) -> Result<Option<RunSpec>, S::Error> {
    Ok(Some(match (task, architecture) {
        (Task::ImageClassification, Architecture::Vit) => {
            source.read::<ImageDataSpec, VitSpec>()?.into()
        }
        (Task::TextClassification, Architecture::Encoder) => {
            source.read::<TextDataSpec, EncoderSpec>()?.into()
        }
        (Task::LanguageModelling, Architecture::Decoder) => {
            source.read::<LanguageDataSpec, DecoderSpec>()?.into()
        }
        (Task::Translation, Architecture::EncoderDecoder) => {
            source.read::<TranslationDataSpec, EncoderDecoderSpec>()?.into()
        }
        (
            Task::ImageClassification
            | Task::TextClassification
            | Task::LanguageModelling
            | Task::Translation,
            _,
        ) => return Ok(None),
    }))
}

/// The fields that decide which others there are.
#[derive(Deserialize)]
struct Tags {
    task: Task,
    model: ModelTag,
}

#[derive(Deserialize)]
struct ModelTag {
    architecture: Architecture,
}

impl FieldsSource for serde_json::Value {
    type Error = serde_json::Error;

    fn read<D: DeserializeOwned, M: DeserializeOwned>(self) -> Result<Fields<D, M>, Self::Error> {
        serde_json::from_value(self)
    }
}

/// For records, which have a complete run.
impl<'de> Deserialize<'de> for RunSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RunSpec, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let tags: Tags = Tags::deserialize(&value).map_err(D::Error::custom)?;
        let architecture = tags.model.architecture;
        let run = read_run(tags.task, architecture, value).map_err(D::Error::custom)?;
        run.ok_or_else(|| {
            let (task, architecture) = (tags.task.name(), architecture.name());
            D::Error::custom(format!("the task {task} has no architecture {architecture}"))
        })
    }
}

impl DataSpec {
    /// Where the examples are.
    pub fn files(&self) -> FilesSpec<'_> {
        match self {
            DataSpec::Images(data) => data.files(),
            DataSpec::Text(data) => data.files(),
            DataSpec::Language(data) => data.files(),
            DataSpec::Translation(data) => data.files(),
        }
    }

    /// Brings values that mean the same to the same: what a trained tokenizer is where nothing is said,
    /// and the windows that follow from the model.
    pub fn normalise(&mut self, model: &ModelSpec) {
        match (self, model) {
            (DataSpec::Text(TextDataSpec { tokenizer: Some(tokenizer), .. }), _) => {
                tokenizer.normalise();
            }
            (DataSpec::Language(data), ModelSpec::Decoder(model)) => {
                data.normalise(model.positions);
            }
            (DataSpec::Translation(data), _) => data.normalise(),
            _ => {}
        }
    }

    /// Whether a run's data make a tokenizer, which is then saved with the run.
    pub fn trains_tokenizer(&self) -> bool {
        match self {
            DataSpec::Images(_) => false,
            DataSpec::Text(data) => data.trained_tokenizer().is_some(),
            DataSpec::Language(data) => data.makes_tokenizer(),
            DataSpec::Translation(data) => data.tokenizer.train.is_some(),
        }
    }

    /// The section of a task over images; None for another.
    pub fn as_images(&self) -> Option<&ImageDataSpec> {
        match self {
            DataSpec::Images(data) => Some(data),
            _ => None,
        }
    }

    /// The section of a task over labelled texts; None for another.
    pub fn as_text(&self) -> Option<&TextDataSpec> {
        match self {
            DataSpec::Text(data) => Some(data),
            _ => None,
        }
    }

    /// The section of translation; None for another task.
    pub fn as_translation(&self) -> Option<&TranslationDataSpec> {
        match self {
            DataSpec::Translation(data) => Some(data),
            _ => None,
        }
    }

    /// The section of language modelling; None for another task.
    pub fn as_language(&self) -> Option<&LanguageDataSpec> {
        match self {
            DataSpec::Language(data) => Some(data),
            _ => None,
        }
    }
}

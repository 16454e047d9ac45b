//! Small specs. A test says what it changes of one, and the text is made of both.

use serde_yaml::Value;
use vlora::models;
use vlora::spec::{self, Experiment, SpecError};

/// One epoch of a tiny ViT on real images, in a second: `baseline`, and `vlora` with two layers in one
/// compound.
pub const TINY: &str = "\
name: tiny
task: image-classification
data:
  embedded: fashion-mnist-mini
  augment: {crop_padding: 1, horizontal_flip: true}
model:
  architecture: vit
  image_size: 28
  patch_size: 14
  channels: 1
  classes: 10
  dim: 16
  depth: 2
  heads: 2
  mlp_ratio: 2
vlora:
  compound_size: 2
  rank: 2
training:
  epochs: 1
  batch_size: 100
  learning_rate: 3.0e-3
arms:
  baseline: {method: dense}
  vlora: {method: vlora}
seeds: [0]
";

/// The same arms on texts of a few words, in the folder `reviews`.
const TINY_TEXTS: &str = "\
name: tiny
task: text-classification
data:
  path: reviews
  tokenizer: {train: word-piece, vocabulary: 300}
  max_tokens: 12
model:
  architecture: encoder
  vocabulary: 300
  positions: 16
  classes: 2
  dim: 16
  depth: 2
  heads: 2
  mlp_ratio: 2
  pool: mean
  dropout: 0
  attention_dropout: 0
vlora:
  compound_size: 2
  rank: 2
training:
  epochs: 4
  batch_size: 16
  learning_rate: 1.0e-2
arms:
  baseline: {method: dense}
  vlora: {method: vlora}
seeds: [0]
";

/// The same arms, as language models, in the folder `plays`.
const TINY_LANGUAGE: &str = "\
name: tiny
task: language-modelling
data:
  path: plays
  validation: {fraction: 0.1}
  test: {fraction: 0.1}
  tokenizer: characters
model:
  architecture: decoder
  vocabulary: 20
  positions: 16
  dim: 16
  depth: 2
  heads: 2
  mlp_ratio: 2
  bias: false
  dropout: 0
  attention_dropout: 0
vlora:
  compound_size: 2
  rank: 2
training:
  epochs: 2
  batch_size: 16
  learning_rate: 1.0e-2
arms:
  baseline: {method: dense}
  vlora: {method: vlora}
seeds: [0]
";

/// The same arms on sentence pairs, in the folder `pairs`.
const TINY_TRANSLATION: &str = "\
name: tiny
task: translation
data:
  path: pairs
  source_column: de
  target_column: en
  lowercase: true
  tokenizer: {train: words, minimum_count: 1}
  max_tokens: 16
model:
  architecture: encoder-decoder
  source_vocabulary: 40
  target_vocabulary: 40
  positions: 16
  dim: 16
  depth: 2
  heads: 2
  mlp_ratio: 2
  dropout: 0
  attention_dropout: 0
  activation_dropout: 0
vlora:
  compound_size: 2
  rank: 2
training:
  epochs: 4
  batch_size: 16
  learning_rate: 1.0e-2
arms:
  baseline: {method: dense}
  vlora: {method: vlora}
seeds: [0]
";

/// The required fields alone, with the values of experiments/reference-translation.yaml.
const TRANSLATION: &str = "\
task: translation
data: {path: datasets/captions, source_column: de, target_column: en, tokenizer: {train: byte-level-bpe}}
model: {architecture: encoder-decoder, source_vocabulary: 8192, target_vocabulary: 8192, dim: 128, depth: 4, heads: 4}
vlora: {compound_size: 4, rank: 8}
arms: {baseline: {}}
seeds: [0]
";

/// The required fields alone, with the values of experiments/reference-language.yaml.
const LANGUAGE: &str = "\
task: language-modelling
data: {embedded: shakespeare, tokenizer: characters}
model: {architecture: decoder, vocabulary: 65, positions: 64, dim: 128, depth: 4, heads: 4}
vlora: {compound_size: 4, rank: 8}
arms: {baseline: {}}
seeds: [0]
";

/// The required fields alone, with the values of experiments/reference.yaml.
const IMAGES: &str = "\
task: image-classification
data: {embedded: fashion-mnist-mini}
model: {architecture: vit, image_size: 28, patch_size: 7, channels: 1, classes: 10, dim: 64, depth: 4, heads: 4}
vlora: {compound_size: 4, rank: 8}
arms: {baseline: {}}
seeds: [0]
";

/// The required fields alone, with the values of experiments/reference-text.yaml.
const TEXTS: &str = "\
task: text-classification
data: {path: reviews, tokenizer: {train: word-piece}}
model: {architecture: encoder, vocabulary: 8192, classes: 2, dim: 128, depth: 4, heads: 2}
vlora: {compound_size: 2, rank: 8}
arms: {baseline: {}}
seeds: [0]
";

/// A spec that is changed field by field. Fields and arms keep their order.
#[derive(Clone, Debug)]
pub struct Spec(Value);

impl Spec {
    pub fn of(text: &str) -> Spec {
        Spec(serde_yaml::from_str(text).unwrap())
    }

    /// Of [`TINY`].
    pub fn tiny() -> Spec {
        Spec::of(TINY)
    }

    /// Of [`TINY_TEXTS`].
    pub fn tiny_texts() -> Spec {
        Spec::of(TINY_TEXTS)
    }

    /// Of [`TINY_LANGUAGE`].
    pub fn tiny_language() -> Spec {
        Spec::of(TINY_LANGUAGE)
    }

    /// Of [`TINY_TRANSLATION`].
    pub fn tiny_translation() -> Spec {
        Spec::of(TINY_TRANSLATION)
    }

    /// Of [`TRANSLATION`].
    pub fn translation() -> Spec {
        Spec::of(TRANSLATION)
    }

    /// Of [`LANGUAGE`].
    pub fn language() -> Spec {
        Spec::of(LANGUAGE)
    }

    /// Of [`IMAGES`].
    pub fn images() -> Spec {
        Spec::of(IMAGES)
    }

    /// Of [`TEXTS`].
    pub fn texts() -> Spec {
        Spec::of(TEXTS)
    }

    /// Sets a field by its path, in the manner of `--set`: `set("model.dim=32")`.
    pub fn set(mut self, field: &str) -> Spec {
        let (path, value) = field.split_once('=').unwrap();
        self.put(path, value);
        self
    }

    /// Takes out a field or a section, which must be there.
    pub fn without(mut self, path: &str) -> Spec {
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        let fields = self.at(section).as_mapping_mut().unwrap();
        assert!(fields.shift_remove(name).is_some(), "the spec has no {path}");
        self
    }

    /// Adds an arm behind the others.
    pub fn arm(mut self, name: &str, fields: &str) -> Spec {
        let arms = self.at("arms").as_mapping_mut().unwrap();
        let before = arms.insert(name.into(), serde_yaml::from_str(fields).unwrap());
        assert!(before.is_none(), "the spec has an arm {name}");
        self
    }

    /// Puts these arms in the place of all: an arm a line.
    pub fn arms(mut self, arms: &str) -> Spec {
        self.put("arms", arms);
        self
    }

    /// The YAML text.
    pub fn text(&self) -> String {
        serde_yaml::to_string(&self.0).unwrap()
    }

    pub fn experiment(&self) -> Experiment {
        parsed(&self.text(), &[]).unwrap_or_else(|error| panic!("{error}"))
    }

    fn put(&mut self, path: &str, value: &str) {
        *self.at(path) = serde_yaml::from_str(value).unwrap();
    }

    /// The value at a path. Sections on the way are made where there are none.
    fn at(&mut self, path: &str) -> &mut Value {
        let names = path.split('.').filter(|name| !name.is_empty());
        names.fold(&mut self.0, |section, name| &mut section[name])
    }
}

/// The spec of a text, with overrides as `--set` has them.
pub fn parsed(text: &str, set: &[&str]) -> Result<Experiment, SpecError> {
    let set: Vec<String> = set.iter().map(|argument| argument.to_string()).collect();
    spec::parse(text.as_bytes(), "tiny.yaml", "tiny", &set, &models::parameters)
}

//! Names of the files in a model's folder.

/// The weights.
pub const MODEL: &str = "model.safetensors";
/// The index of weights in several files.
pub const INDEX: &str = "model.safetensors.index.json";
/// The model's config.
pub const CONFIG: &str = "config.json";
/// The preprocessing of images.
pub const PREPROCESSOR: &str = "preprocessor_config.json";
pub const TOKENIZER: &str = "tokenizer.json";

/// File name extension of safetensors files.
pub const ENDING: &str = ".safetensors";

//! What the files of a model are called in its folder.

/// The weights.
pub const MODEL: &str = "model.safetensors";
/// The index of weights over several files.
pub const INDEX: &str = "model.safetensors.index.json";
/// The model's description.
pub const CONFIG: &str = "config.json";
/// How the images are prepared.
pub const PREPROCESSOR: &str = "preprocessor_config.json";
pub const TOKENIZER: &str = "tokenizer.json";

/// How the names of safetensors files end.
pub const ENDING: &str = ".safetensors";

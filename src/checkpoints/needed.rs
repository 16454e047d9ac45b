//! Selects the files of a repository that a base model needs.
//!
//! They are selected from the Hub's listing, so that nothing else is downloaded. Repositories often
//! hold further copies of the weights, which are just as large.

use std::path::Path;

use super::fault::first_of;
use super::file_names::{CONFIG, ENDING, INDEX, MODEL, PREPROCESSOR, TOKENIZER};
use super::shards::Index;
use crate::data::translation::MARIAN_FILES;
use crate::error::{Fault, Result};

/// Optional files beside the weights. The README has the licence.
const BESIDE: [&str; 6] = [
    "README.md",
    CONFIG,
    PREPROCESSOR,
    "special_tokens_map.json",
    TOKENIZER,
    "tokenizer_config.json",
];

/// File name extensions of weights that are pickles or may contain one.
const PICKLES: [&str; 5] = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];

/// File name extensions of other programs' weights. They are not pickles, but are not read either.
const OTHERS: [&str; 5] = [".h5", ".msgpack", ".onnx", ".gguf", ".ot"];

/// The files of a repository that its base model needs, sorted. `files` are paths with `/`. For
/// sharded weights the result has only the index; [`needed_after_index`] then returns the shards. A
/// single weights file is preferred to an index.
pub fn needed(files: &[String]) -> Result<Vec<String>> {
    let has = |name: &str| files.iter().any(|file| file == name);
    let Some(weights) = [MODEL, INDEX].into_iter().find(|name| has(name)) else {
        return Err(no_weights(files).into());
    };
    // Other models have a `vocab.json` that nothing reads.
    let tokenizers = if MARIAN_FILES.into_iter().all(has) { &MARIAN_FILES[..] } else { &[] };
    let beside = BESIDE.iter().chain(tokenizers).chain([&weights]);
    let mut names: Vec<String> =
        beside.filter(|name| has(name)).map(|name| name.to_string()).collect();
    names.sort_unstable();
    Ok(names)
}

/// The shards that an index names, sorted.
pub fn needed_after_index(index: &[u8]) -> Result<Vec<String>> {
    Ok(Index::parse(Path::new(INDEX), index)?.shards())
}

/// The error for a listing without safetensors weights.
fn no_weights(files: &[String]) -> Fault {
    let ends = |endings: &[&str]| -> Vec<&str> {
        let fits = |file: &&str| endings.iter().any(|end| file.to_lowercase().ends_with(end));
        files.iter().map(String::as_str).filter(|file| is_weights(file)).filter(fits).collect()
    };
    let expected = format!("{MODEL}, or {INDEX} with its shards");
    let (pickles, others) = (ends(&PICKLES), ends(&OTHERS));
    if !pickles.is_empty() || !others.is_empty() {
        let summary = match pickles.is_empty() {
            false => {
                "the repository has its weights as pickles, which are never read: loading one can \
                 run any code"
            }
            true => "the repository has its weights only for other programs",
        };
        return Fault::new(summary)
            .found([pickles, others].concat().join(", "))
            .expected(expected)
            .help(
                "https://huggingface.co/spaces/safetensors/convert adds safetensors to a \
                 repository as a pull request; its revision is read as `owner/name@refs/pr/N`. \
                 Or, if you trust the files, load the model in Python and save_pretrained() it \
                 to a folder",
            );
    }
    let safetensors: Vec<&str> =
        files.iter().map(String::as_str).filter(|file| file.ends_with(ENDING)).collect();
    let fault = Fault::new("the repository holds no weights of a base model").expected(expected);
    match safetensors.is_empty() {
        true => fault.found(format!("{} files, none of them weights", files.len())),
        false => fault.found(first_of(&safetensors)).help(
            "weights in folders, of adapters or of parts of a model are not read as a base model",
        ),
    }
}

/// Whether a file may hold weights. Files of trainers, such as optimiser states, do not.
fn is_weights(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    !["training_args", "optimizer", "scheduler", "rng_state", "scaler"]
        .iter()
        .any(|other| name.starts_with(other))
}

/// The first file name of a folder that looks like weights in a pickle.
pub fn first_pickle(names: &[String]) -> Option<&str> {
    let fits = |name: &&str| PICKLES.iter().any(|end| name.to_lowercase().ends_with(end));
    let weights = names.iter().map(String::as_str).filter(|name| is_weights(name));
    // If there are several, the one that transformers writes comes first.
    weights.filter(fits).min_by_key(|name| (!name.starts_with("pytorch_model"), *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(files: &[&str]) -> Result<Vec<String>> {
        needed(&files.iter().map(|file| file.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn only_the_needed_files_of_a_repository_are_selected() {
        // Files of google/vit-base-patch16-224.
        let vit = listed(&[
            ".gitattributes",
            "README.md",
            "config.json",
            "flax_model.msgpack",
            "model.safetensors",
            "preprocessor_config.json",
            "pytorch_model.bin",
            "tf_model.h5",
        ]);
        let want = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"];
        assert_eq!(vit.unwrap(), want);
        // Some files of sentence-transformers/all-MiniLM-L6-v2.
        let bert = listed(&[
            "1_Pooling/config.json",
            "config.json",
            "model.safetensors",
            "model.safetensors.index.json",
            "onnx/model.onnx",
            "openvino/model.safetensors",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.txt",
        ]);
        let want = [
            "config.json",
            "model.safetensors",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        assert_eq!(bert.unwrap(), want);
    }

    #[test]
    fn shards_are_known_by_their_index() {
        let files = ["config.json", "m-1.safetensors", "m-2.safetensors", INDEX];
        assert_eq!(listed(&files).unwrap(), ["config.json", INDEX]);
        let index =
            br#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}}"#;
        assert_eq!(needed_after_index(index).unwrap(), ["m-1.safetensors", "m-2.safetensors"]);
        let outside = br#"{"weight_map": {"a": "../m-2.safetensors"}}"#;
        let message = needed_after_index(outside).unwrap_err().to_string();
        assert!(message.contains("outside of its folder") && message.contains(INDEX), "{message}");
    }

    #[test]
    fn the_error_for_pickles_says_how_to_convert_them() {
        let message = |files: &[&str]| {
            let error = listed(files).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        let pickles = message(&["config.json", "pytorch_model.bin", "tf_model.h5", "optimizer.pt"]);
        for part in ["run any code", "pytorch_model.bin, tf_model.h5\n", "@refs/pr/N", "convert"] {
            assert!(pickles.contains(part), "{part}: {pickles}");
        }
        assert!(!pickles.contains("optimizer"), "{pickles}");
        let flax = message(&["config.json", "flax_model.msgpack"]);
        assert!(flax.contains("only for other programs") && flax.contains("refs/pr/N"), "{flax}");
        let parts = message(&["unet/model.safetensors", "adapter_model.safetensors"]);
        assert!(parts.contains("unet/model.safetensors (and 1 more)"), "{parts}");
        assert!(message(&["data.parquet"]).contains("none of them weights"));
    }
}

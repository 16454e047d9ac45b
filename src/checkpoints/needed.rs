//! Which files of a repository a base model is read from.
//!
//! Out of a listing of the Hub, so that nothing else is downloaded: the other copies of the
//! weights there are as large again.

use std::path::Path;

use super::fault::first_of;
use super::file_names::{CONFIG, ENDING, INDEX, MODEL, PREPROCESSOR, TOKENIZER};
use super::shards::Index;
use crate::error::{Fault, Result};

/// Files beside the weights, read where they are there. The README has the licence.
const BESIDE: [&str; 6] = [
    "README.md",
    CONFIG,
    PREPROCESSOR,
    "special_tokens_map.json",
    TOKENIZER,
    "tokenizer_config.json",
];

/// How names of weights end that are pickles, or may hold one.
const PICKLES: [&str; 5] = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];

/// Weights of other programs, no pickles, which are not read either.
const OTHERS: [&str; 5] = [".h5", ".msgpack", ".onnx", ".gguf", ".ot"];

/// Of a repository's files (paths with `/`), those that reading its base model takes, sorted. Where
/// its weights are sharded the index stands for them: once it is read,
/// [`needed_after_index`] says which the shards are. One file goes before an index.
pub fn needed(files: &[String]) -> Result<Vec<String>> {
    let has = |name: &str| files.iter().any(|file| file == name);
    let Some(weights) = [MODEL, INDEX].into_iter().find(|name| has(name)) else {
        return Err(no_weights(files).into());
    };
    let mut names: Vec<String> =
        BESIDE.into_iter().chain([weights]).filter(|name| has(name)).map(str::to_string).collect();
    names.sort_unstable();
    Ok(names)
}

/// The shards that an index names, sorted.
pub fn needed_after_index(index: &[u8]) -> Result<Vec<String>> {
    Ok(Index::parse(Path::new(INDEX), index)?.shards())
}

/// Why a listing without weights in safetensors has none.
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

/// What trainers leave beside the weights, which holds none.
fn is_weights(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    !["training_args", "optimizer", "scheduler", "rng_state", "scaler"]
        .iter()
        .any(|other| name.starts_with(other))
}

/// The first of a folder's names that looks like weights in a pickle.
pub fn first_pickle(names: &[String]) -> Option<&str> {
    let fits = |name: &&str| PICKLES.iter().any(|end| name.to_lowercase().ends_with(end));
    let weights = names.iter().map(String::as_str).filter(|name| is_weights(name));
    // As transformers names them, where there are several.
    weights.filter(fits).min_by_key(|name| (!name.starts_with("pytorch_model"), *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(files: &[&str]) -> Result<Vec<String>> {
        needed(&files.iter().map(|file| file.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn the_listing_of_a_repository_is_thinned() {
        // As google/vit-base-patch16-224 has them.
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
        // As sentence-transformers/all-MiniLM-L6-v2 has them, in part.
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
        let told = needed_after_index(outside).unwrap_err().to_string();
        assert!(told.contains("outside of its folder") && told.contains(INDEX), "{told}");
    }

    #[test]
    fn pickles_are_refused_with_the_way_out() {
        let told = |files: &[&str]| {
            let error = listed(files).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        let pickles = told(&["config.json", "pytorch_model.bin", "tf_model.h5", "optimizer.pt"]);
        for part in ["run any code", "pytorch_model.bin, tf_model.h5\n", "@refs/pr/N", "convert"] {
            assert!(pickles.contains(part), "{part}: {pickles}");
        }
        assert!(!pickles.contains("optimizer"), "{pickles}");
        let flax = told(&["config.json", "flax_model.msgpack"]);
        assert!(flax.contains("only for other programs") && flax.contains("refs/pr/N"), "{flax}");
        let parts = told(&["unet/model.safetensors", "adapter_model.safetensors"]);
        assert!(parts.contains("unet/model.safetensors (and 1 more)"), "{parts}");
        assert!(told(&["data.parquet"]).contains("none of them weights"));
    }
}

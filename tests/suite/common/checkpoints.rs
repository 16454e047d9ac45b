//! The fixtures of `scripts/reference/checkpoints.py`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use vlora::checkpoints::{Checkpoint, CheckpointFormat, Hints, read, read_checkpoint};
use vlora::spec::{ModelSpec, VitSpec};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)
}

/// Files of the fixtures, the format, and the name in `expected.safetensors`.
pub const FILES: [(&str, CheckpointFormat, &str); 7] = [
    ("authors.safetensors", CheckpointFormat::Authors, "authors"),
    ("timm.safetensors", CheckpointFormat::Timm, "timm"),
    ("timm-mean.safetensors", CheckpointFormat::Timm, "timm-mean"),
    ("timm-folder", CheckpointFormat::Timm, "timm-folder"),
    ("timm-folder-mean", CheckpointFormat::Timm, "timm-folder-mean"),
    ("hf-vit", CheckpointFormat::HuggingFace, "hf-vit"),
    ("hf-vit-sharded", CheckpointFormat::HuggingFace, "hf-vit"),
];

/// What the models are, and what no file says.
pub fn settings(name: &str) -> Value {
    let expected = read(&fixture("expected.safetensors")).unwrap();
    let all: Value = serde_json::from_str(&expected.metadata["settings"]).unwrap();
    all[name].clone()
}

pub fn hints(settings: &Value) -> Hints {
    let heads = settings["heads"].as_u64().map(|heads| heads as usize);
    Hints { heads, alpha: settings["alpha"].as_f64(), ..Hints::default() }
}

pub fn vit_mut(model: &mut ModelSpec) -> &mut VitSpec {
    match model {
        ModelSpec::Vit(model) => model,
        other => panic!("{other:?}"),
    }
}

pub fn load(file: &str) -> Checkpoint {
    let (_, _, name) = FILES.iter().find(|(f, _, _)| *f == file).unwrap();
    read_checkpoint(&fixture(file), &hints(&settings(name))).unwrap().checkpoint
}

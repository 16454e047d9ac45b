//! The errors for folders of shards with one fault each. Their texts are in `tests/suite/snapshots/`.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use serde_json::{Value, json};
use vlora::checkpoints::{Hints, INDEX, needed_after_index, parse, read};

use crate::common::checkpoints::fixture;
use crate::common::told::tell;

fn ones() -> Tensor {
    Tensor::ones(12, DType::F32, &Device::Cpu).unwrap()
}

/// A folder of shards in which one thing is changed.
struct Sharded {
    folder: tempfile::TempDir,
    index: Value,
}

const SHARD: [&str; 2] = ["model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors"];
/// In the first shard.
const NORM: &str = "vit.layernorm.weight";

impl Sharded {
    fn new() -> Sharded {
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(fixture("hf-vit-sharded")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        let index = std::fs::read(folder.path().join(INDEX)).unwrap();
        Sharded { folder, index: serde_json::from_slice(&index).unwrap() }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, index: impl AsRef<[u8]>) {
        std::fs::write(self.at(INDEX), index).unwrap();
    }

    fn map(&mut self) -> &mut serde_json::Map<String, Value> {
        self.index["weight_map"].as_object_mut().unwrap()
    }

    /// Changes a shard's tensors.
    fn shard(&self, name: &str, edit: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
        let bytes = std::fs::read(self.at(name)).unwrap();
        let mut tensors = parse(&self.at(name), &bytes).unwrap().tensors;
        edit(&mut tensors);
        let bytes = safetensors::serialize(&tensors, None).unwrap();
        std::fs::write(self.at(name), bytes).unwrap();
    }
}

#[test]
fn faulty_shards_are_reported() {
    type Edit<'a> = (&'a str, &'a dyn Fn(&mut Sharded));
    let renamed = |s: &mut Sharded, to: &str| {
        s.map().insert(NORM.into(), to.into());
        s.write(s.index.to_string());
    };
    let text_edit = |s: &mut Sharded, from: &str, to: &str| {
        let text = s.index.to_string();
        assert!(text.contains(from));
        s.write(text.replacen(from, to, 1));
    };
    let edits: &[Edit] = &[
        ("no JSON", &|s| s.write("{]")),
        ("no text", &|s| s.write([0xff, 0xfe])),
        ("a list", &|s| s.write("[]")),
        ("no map", &|s| s.write(r#"{"metadata": {"total_size": 1}}"#)),
        ("an empty map", &|s| s.write(r#"{"weight_map": {}}"#)),
        ("a map of another type", &|s| s.write(r#"{"weight_map": ["a"]}"#)),
        ("deep JSON", &|s| s.write(format!("{{\"weight_map\": {}", "[".repeat(100_000)))),
        ("a shard's name of another type", &|s| {
            s.map().insert(NORM.into(), json!(3));
            s.write(s.index.to_string());
        }),
        ("the folder above", &|s| renamed(s, "../model.safetensors")),
        ("a folder below", &|s| renamed(s, "sub/model.safetensors")),
        ("an absolute path", &|s| renamed(s, "/etc/model.safetensors")),
        ("a backslash", &|s| renamed(s, "..\\model.safetensors")),
        ("a drive", &|s| renamed(s, "C:model.safetensors")),
        ("a pickle", &|s| renamed(s, "pytorch_model-00001-of-00002.bin")),
        ("no name", &|s| renamed(s, "")),
        ("two spellings", &|s| renamed(s, "Model-00002-of-00004.safetensors")),
        ("a tensor twice", &|s| {
            let twice = format!("\"weight_map\":{{\"{NORM}\":\"{}\",", SHARD[1]);
            text_edit(s, "\"weight_map\":{", &twice);
        }),
        ("a size that is no number", &|s| {
            s.index["metadata"]["total_size"] = json!("18 kB");
            s.write(s.index.to_string());
        }),
        ("metadata of another type", &|s| {
            s.index["metadata"] = json!([1]);
            s.write(s.index.to_string());
        }),
        ("another size", &|s| {
            s.index["metadata"]["total_size"] = json!(18_400);
            s.write(s.index.to_string());
        }),
        ("a shard missing", &|s| std::fs::remove_file(s.at(SHARD[1])).unwrap()),
        ("a folder for a shard", &|s| {
            std::fs::remove_file(s.at(SHARD[1])).unwrap();
            std::fs::create_dir(s.at(SHARD[1])).unwrap();
        }),
        ("a shard cut short", &|s| {
            let bytes = std::fs::read(s.at(SHARD[1])).unwrap();
            std::fs::write(s.at(SHARD[1]), &bytes[..bytes.len() - 4]).unwrap();
        }),
        ("a pickle for a shard", &|s| {
            std::fs::write(s.at(SHARD[0]), b"PK\x03\x04\x00\x00\x08\x08\x00\x00").unwrap();
        }),
        ("a tensor in no shard", &|s| s.shard(SHARD[0], |f| drop(f.remove(NORM)))),
        ("a tensor in another shard", &|s| {
            s.shard(SHARD[0], |f| drop(f.remove(NORM)));
            s.shard(SHARD[1], |f| drop(f.insert(NORM.into(), ones())));
        }),
        ("a tensor in two shards", &|s| {
            s.shard(SHARD[1], |f| drop(f.insert(NORM.into(), ones())));
        }),
        ("a tensor in no map", &|s| {
            s.shard(SHARD[1], |f| drop(f.insert("more".into(), ones())));
        }),
        ("a model's tensor left out of both", &|s| {
            s.shard(SHARD[0], |f| drop(f.remove(NORM)));
            s.map().remove(NORM);
            s.index["metadata"] = Value::Null;
            s.write(s.index.to_string());
        }),
    ];
    let mut text = String::new();
    for (what, edit) in edits {
        let mut sharded = Sharded::new();
        assert!(sharded.index["weight_map"][NORM] == SHARD[0]);
        edit(&mut sharded);
        let folder = sharded.folder.path();
        tell(&mut text, folder, what, folder, &Hints::default());
    }
    let sharded = Sharded::new();
    let (folder, one) = (sharded.folder.path(), sharded.at(SHARD[0]));
    tell(&mut text, folder, "one shard", &one, &Hints::default());
    std::fs::remove_file(sharded.at(INDEX)).unwrap();
    tell(&mut text, folder, "one shard without an index", &one, &Hints::default());
    insta::assert_snapshot!(text);
    let error = read(folder).unwrap_err();
    assert!(error.to_string().contains(&format!("{}, a shard without its index", SHARD[0])));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to an index, it is read or refused, and names nothing outside of its folder.
    #[test]
    fn damaged_indexes_never_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let folder = fixture("hf-vit-sharded");
        let mut bytes = std::fs::read(folder.join(INDEX)).unwrap();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let sharded = Sharded::new();
        sharded.write(&bytes);
        if let Err(error) = read(sharded.folder.path()) {
            prop_assert_eq!(error.exit_code(), 2);
        }
        if let Ok(shards) = needed_after_index(&bytes) {
            prop_assert!(shards.iter().all(|name| !name.contains(['/', '\\'])));
        }
    }
}

//! What is told of faulty checkpoints. Each is one edit of a sound one; the texts are held in
//! `tests/suite/snapshots/`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use serde_json::{Value, json};
use vlora::checkpoints::{
    CONFIG, CheckpointFormat, Hints, MODEL, Metadata, PREPROCESSOR, read, read_checkpoint_as,
};
use vlora::spec::Normalize;

use crate::common::checkpoints::{fixture, hints, load, settings};
use crate::common::told::tell;

struct Faulty {
    tensors: BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
}

impl Faulty {
    fn of(path: &Path) -> Faulty {
        let file = read(path).unwrap();
        Faulty { tensors: file.tensors, metadata: file.metadata.into_iter().collect() }
    }

    fn bytes(self) -> Vec<u8> {
        safetensors::serialize(&self.tensors, Some(self.metadata)).unwrap()
    }
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
}

type Edit<'a> = (&'a str, &'a dyn Fn(&mut Faulty));

/// Edits of one file's tensors and what each is told.
fn told(text: &mut String, folder: &Path, sound: &Path, name: &str, hints: &Hints, edits: &[Edit]) {
    let path = folder.join(name);
    for (what, edit) in edits {
        let mut faulty = Faulty::of(sound);
        edit(&mut faulty);
        std::fs::write(&path, faulty.bytes()).unwrap();
        let asked = if name == MODEL { folder } else { &path };
        tell(text, folder, what, asked, hints);
    }
}

#[test]
fn faulty_tensors_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut text = String::new();
    let weight = "blocks.1.mlp.fc1.weight";
    let three = Hints { heads: Some(3), ..Hints::default() };
    let timm: &[Edit] = &[
        ("missing", &|f| drop(f.tensors.remove(weight))),
        ("missing beside a misspelt one", &|f| {
            let tensor = f.tensors.remove(weight).unwrap();
            f.tensors.insert("blocks.1.mlp.fc_1.weight".into(), tensor);
        }),
        ("extra", &|f| drop(f.tensors.insert("blocks.1.mlp.fc3.weight".into(), ones(&[3])))),
        ("misshapen", &|f| drop(f.tensors.insert(weight.into(), ones(&[12, 24])))),
        ("a vector for a matrix", &|f| drop(f.tensors.insert("head.weight".into(), ones(&[12])))),
        ("integers", &|f| {
            let tensor = Tensor::zeros((24, 12), DType::I64, &Device::Cpu).unwrap();
            f.tensors.insert(weight.into(), tensor);
        }),
        ("double precision", &|f| {
            let tensor = Tensor::zeros((24, 12), DType::F64, &Device::Cpu).unwrap();
            f.tensors.insert(weight.into(), tensor);
        }),
        ("not finite", &|f| {
            let mut values = vec![0f32; 24 * 12];
            (values[40], values[41]) = (f32::NAN, f32::INFINITY);
            let tensor = Tensor::from_vec(values, (24, 12), &Device::Cpu).unwrap();
            f.tensors.insert(weight.into(), tensor);
        }),
        ("a layer far away", &|f| {
            f.tensors.insert("blocks.99999999.norm1.weight".into(), ones(&[12]));
        }),
        ("a number of tokens that is no square", &|f| {
            f.tensors.insert("pos_embed".into(), ones(&[1, 7, 12]));
        }),
        ("an empty patch", &|f| {
            f.tensors.insert("patch_embed.proj.weight".into(), ones(&[12, 3, 0, 0]));
        }),
        ("layer scale", &|f| drop(f.tensors.insert("blocks.0.ls1.gamma".into(), ones(&[12])))),
        ("register tokens", &|f| drop(f.tensors.insert("reg_token".into(), ones(&[1, 4, 12])))),
        ("qkv without bias", &|f| f.tensors.retain(|name, _| !name.ends_with("qkv.bias"))),
        ("mean pooling with a class token", &|f| {
            f.tensors.insert("fc_norm.weight".into(), ones(&[12]));
        }),
        ("no classifier", &|f| f.tensors.retain(|name, _| !name.starts_with("head."))),
        ("of no known format", &|f| {
            f.tensors = [("encoder.w".to_string(), ones(&[2]))].into();
        }),
    ];
    let sound = fixture("timm.safetensors");
    told(&mut text, folder, &sound, "timm.safetensors", &three, timm);
    tell(&mut text, &fixture(""), "heads not given", &sound, &Hints::default());
    let five = Hints { heads: Some(5), ..Hints::default() };
    tell(&mut text, &fixture(""), "heads that do not divide", &sound, &five);

    let copy = "blocks.0.blocks.2.mlp.fc1.parametrizations.weight";
    let authors: &[Edit] = &[
        ("a copy that is not the base", &|f| {
            let tensor = &f.tensors[&format!("{copy}.original")];
            let changed = (tensor + 1e-3).unwrap();
            f.tensors.insert(format!("{copy}.original"), changed);
        }),
        ("a factor missing", &|f| drop(f.tensors.remove(&format!("{copy}.0.B")))),
        ("a rank that differs between layers", &|f| {
            f.tensors.insert(format!("{copy}.0.A"), ones(&[3, 12]));
        }),
        ("no rank", &|f| {
            let name = "blocks.0.blocks.1.attn.qkv.parametrizations.weight.0.A";
            f.tensors
                .insert(name.into(), Tensor::zeros((0, 12), DType::F32, &Device::Cpu).unwrap());
        }),
        ("no increments", &|f| f.tensors.retain(|name, _| !name.contains("parametrizations"))),
        ("a compound cut off", &|f| {
            f.tensors.retain(|name, _| !name.contains("blocks.1.blocks.2."))
        }),
    ];
    let hints = hints(&settings("authors"));
    let sound = fixture("authors.safetensors");
    told(&mut text, folder, &sound, "authors.safetensors", &hints, authors);
    let nan = Hints { alpha: Some(f64::NAN), ..hints };
    tell(&mut text, &fixture(""), "alpha is no number", &sound, &nan);
    insta::assert_snapshot!(text);
}

#[test]
fn faulty_hugging_face_folders_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut text = String::new();
    let hints = Hints::default();
    let key = "vit.encoder.layer.1.attention.attention.key.weight";
    let edits: &[Edit] = &[
        ("a key missing", &|f| drop(f.tensors.remove(key))),
        ("a key misshapen", &|f| drop(f.tensors.insert(key.into(), ones(&[12])))),
        ("queries, keys and values misshapen", &|f| {
            for part in ["query", "key", "value"] {
                f.tensors.insert(key.replace("key", part), ones(&[12, 13]));
            }
        }),
        ("a layer's tensor missing", &|f| {
            f.tensors.remove("vit.encoder.layer.1.intermediate.dense.weight");
        }),
        ("no classifier", &|f| f.tensors.retain(|name, _| !name.starts_with("classifier"))),
        ("a pooler", &|f| {
            f.tensors.insert("vit.pooler.dense.weight".into(), ones(&[12, 12]));
        }),
    ];
    let sound = fixture("hf-vit");
    let config = std::fs::read_to_string(sound.join(CONFIG)).unwrap();
    std::fs::write(folder.join(CONFIG), &config).unwrap();
    told(&mut text, folder, &sound, MODEL, &hints, edits);

    std::fs::copy(sound.join(MODEL), folder.join(MODEL)).unwrap();
    let good: Value = serde_json::from_str(&config).unwrap();
    for (field, value) in [
        ("hidden_act", json!("gelu_new")),
        ("qkv_bias", json!(false)),
        ("model_type", json!("deit")),
        ("model_type", Value::Null),
        ("num_attention_heads", json!(5)),
        ("num_attention_heads", json!(0)),
        ("num_hidden_layers", json!(2)),
        ("intermediate_size", json!(48)),
        ("image_size", json!([8, 16])),
        ("image_size", json!([8, 8, 8])),
        ("image_size", json!(16)),
        ("layer_norm_eps", json!(-1)),
        ("id2label", json!({"0": "cat", "1": "dog"})),
        ("id2label", json!({"0": "cat", "2": "dog"})),
        ("id2label", json!({"0": "cat", "1": 1})),
        ("id2label", json!(["cat", "dog"])),
        ("hidden_size", Value::Null),
        ("label2id", json!({"LABEL_0": 1, "LABEL_1": 0})),
        ("problem_type", json!("multi_label_classification")),
        ("pruned_heads", json!({"1": [0]})),
        ("quantization_config", json!({"bits": 4})),
        ("use_rotary", json!(true)),
    ] {
        let mut config = good.clone();
        config[field] = value.clone();
        std::fs::write(folder.join(CONFIG), config.to_string()).unwrap();
        tell(&mut text, folder, &format!("{field}: {value}"), folder, &hints);
    }
    std::fs::write(folder.join(CONFIG), &config).unwrap();
    for processor in [
        "{",
        r#"{"image_mean": [0.5]}"#,
        r#"{"image_std": 0}"#,
        r#"{"do_flip_channel_order": true}"#,
        r#"{"gamma": 2}"#,
    ] {
        std::fs::write(folder.join(PREPROCESSOR), processor).unwrap();
        tell(&mut text, folder, &format!("{PREPROCESSOR}: {processor}"), folder, &hints);
    }
    std::fs::remove_file(folder.join(PREPROCESSOR)).unwrap();
    std::fs::write(folder.join(CONFIG), "{").unwrap();
    tell(&mut text, folder, "a damaged config", folder, &hints);
    std::fs::remove_file(folder.join(CONFIG)).unwrap();
    tell(&mut text, folder, "no config", folder, &hints);
    tell(&mut text, &fixture(""), "another model", &fixture("hf-bert"), &hints);
    insta::assert_snapshot!(text);
}

/// One field of timm's description at a value that the weights or this program do not have.
#[test]
fn faulty_timm_folders_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let sound = fixture("timm-folder");
    std::fs::copy(sound.join(MODEL), folder.join(MODEL)).unwrap();
    let config = std::fs::read_to_string(sound.join(CONFIG)).unwrap();
    let good: Value = serde_json::from_str(&config).unwrap();
    let unsupported = "the model is not supported";
    for (pointer, value, part) in [
        ("/architecture", json!(3), "architecture: the field has another type"),
        ("/architecture", json!("vit_base_patch16_clip_224"), unsupported),
        ("/architecture", json!("vit_base_patch16_224\u{1b}[31m"), "found:    `vit_base"),
        ("/num_classes", json!(7), "num_classes contradicts the weights"),
        ("/num_features", json!(192), "num_features contradicts the weights"),
        ("/global_pool", json!("avg"), "global_pool contradicts the weights"),
        ("/global_pool", json!("map"), "expected: `token` or `avg`"),
        ("/label_names", json!(["a", "b"]), "label_names contradicts the weights"),
        ("/label_names", json!({"0": "a", "2": "b"}), "label_names.1: a class has no name"),
        (
            "/label_names",
            json!(["a", 2, "c", "d", "e"]),
            "label_names.1: a class's name is no text",
        ),
        ("/model_args", json!([]), "model_args: the field has another type"),
        ("/model_args/act_layer", json!("quick_gelu"), "expected: \"gelu\""),
        ("/model_args/class_token", json!(false), "model_args.class_token"),
        ("/model_args/fc_norm", json!(true), "model_args.fc_norm"),
        ("/model_args/global_pool", json!("avg"), "`avg`, as model_args.global_pool has it"),
        ("/model_args/img_size", json!([8, 16]), "model_args.img_size"),
        ("/model_args/init_values", json!(1e-5), "model_args.init_values"),
        ("/model_args/mlp_ratio", json!(4), "model_args.mlp_ratio contradicts the weights"),
        ("/model_args/norm_layer", json!("rmsnorm"), "expected: \"layernorm\""),
        ("/model_args/num_classes", json!(7), "model_args.num_classes contradicts the weights"),
        ("/model_args/num_heads", json!(5), "a divisor of model.dim, 12"),
        ("/model_args/reg_tokens", json!(4), "model_args.reg_tokens"),
        ("/model_args/rotary", json!(true), "model_args.rotary"),
        ("/pretrained_cfg/classifier", json!("fc"), "expected: `head`"),
        ("/pretrained_cfg/mean", json!([0.5, 0.5]), "mean: the images' normalisation does not fit"),
        ("/pretrained_cfg/mean", Value::Null, "pretrained_cfg.mean: the field is missing"),
        ("/pretrained_cfg/std", json!([0.5, 0.0, 0.5]), "pretrained_cfg.std: a deviation is not"),
        ("/pretrained_cfg/gamma", json!(2.2), "pretrained_cfg.gamma"),
        ("/pretrained_cfg/input_size", json!([3, 8, 16]), "pretrained_cfg.input_size"),
        ("/quantization_config", json!({"bits": 4}), "quantization_config"),
        ("/model_type", json!("vit"), "hidden_size: the field is missing"),
    ] {
        let mut config = good.clone();
        let (section, field) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(section).unwrap()[field] = value.clone();
        std::fs::write(folder.join(CONFIG), config.to_string()).unwrap();
        let mut text = String::new();
        tell(&mut text, folder, &format!("{pointer}: {value}"), folder, &Hints::default());
        assert!(text.contains(part) && !text.contains('\u{1b}'), "{text}");
    }
    // A size that only the pretrained model's description says.
    let mut larger = good.clone();
    larger["model_args"]["img_size"] = Value::Null;
    larger["pretrained_cfg"]["input_size"] = json!([3, 224, 224]);
    std::fs::write(folder.join(CONFIG), larger.to_string()).unwrap();
    let mut text = String::new();
    tell(&mut text, folder, "another input size", folder, &Hints::default());
    assert!(text.contains("pretrained_cfg.input_size contradicts the weights"), "{text}");
}

/// A file of this header and so many zeros.
fn crafted(header: &str, zeros: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + zeros, 0);
    bytes
}

#[test]
fn damaged_safetensors_files_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut text = String::new();
    let hints = Hints::default();
    let sound = std::fs::read(fixture("timm.safetensors")).unwrap();
    let entry = |shape: &str, from: u64, to: u64| {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let (two, overlapping) = (entry("[2]", 0, 8), entry("[2]", 4, 12));
    let huge = entry("[4611686018427387904, 4]", 0, 8);
    for (what, bytes) in [
        ("empty", vec![]),
        ("cut within the header", sound[..100].to_vec()),
        ("cut within the tensors", sound[..sound.len() - 7].to_vec()),
        ("something behind", [&sound[..], b"more"].concat()),
        ("a huge header", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("no JSON", crafted("{]", 0)),
        ("no text", [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat()),
        ("deep JSON", crafted(&"[".repeat(100_000), 0)),
        ("tensors that overlap", crafted(&format!(r#"{{"a":{two},"b":{overlapping}}}"#), 12)),
        ("a shape that overflows", crafted(&format!(r#"{{"a":{huge}}}"#), 8)),
        (
            "a shape of other size",
            crafted(&format!(r#"{{"a\u001b[1m":{}}}"#, entry("[3]", 0, 8)), 8),
        ),
        ("backward offsets", crafted(&format!(r#"{{"a":{}}}"#, entry("[2]", 8, 0)), 8)),
        ("an unknown type", crafted(&format!(r#"{{"a":{}}}"#, two.replace("F32", "F33")), 8)),
        ("no tensors", crafted("{}", 0)),
        ("a pickle in a zip", b"PK\x03\x04\x00\x00\x08\x08\x00\x00".to_vec()),
        ("a bare pickle", b"\x80\x02}q\x00(X\x01\x00\x00\x00".to_vec()),
    ] {
        let path = folder.join("weights.bin");
        std::fs::write(&path, bytes).unwrap();
        tell(&mut text, folder, what, &path, &hints);
    }
    tell(&mut text, folder, "not there", &folder.join("none.safetensors"), &hints);
    let empty = folder.join("empty");
    std::fs::create_dir(&empty).unwrap();
    tell(&mut text, folder, "a folder without weights", &empty, &hints);
    std::fs::write(empty.join("pytorch_model.bin"), "").unwrap();
    tell(&mut text, folder, "a folder with a pickle", &empty, &hints);
    let other = folder.join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("training_args.bin"), "").unwrap();
    tell(&mut text, folder, "a folder with a pickle that is no model", &other, &hints);
    insta::assert_snapshot!(text);
}

#[test]
fn faulty_metadata_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut text = String::new();
    let mut ours = load("authors.safetensors");
    ours.metadata = Metadata {
        class_names: ["a", "b", "c", "d", "e"].map(String::from).to_vec(),
        normalize: Some(Normalize { mean: vec![0.5; 3], std: vec![0.25; 3] }),
    };
    let sound = folder.join("sound.safetensors");
    std::fs::write(&sound, ours.to_bytes().unwrap()).unwrap();
    let head: Value = serde_json::from_str(&read(&sound).unwrap().metadata["vlora"]).unwrap();
    let path = folder.join("compact.safetensors");
    let big = 1u64 << 62;
    for (pointer, value) in [
        ("/format", json!(3)),
        ("/format", json!(0)),
        ("/labels/class_names", json!(["a"])),
        ("/labels/class_names/0", json!(1)),
        ("/labels/normalize/mean", json!([0.5])),
        ("/labels/normalize/std/0", json!(0)),
        ("/labels/normalize", json!({"mean": 0.5})),
        ("/model/dim", json!("wide")),
        ("/model/dim", json!(big)),
        ("/model/dim", json!(24)),
        ("/model/heads", json!(0)),
        ("/model/heads", json!(5)),
        ("/model/depth", json!(7)),
        ("/model/depth", json!(9)),
        ("/model/depth", json!(big)),
        ("/model/image_size", json!(4096)),
        ("/model/patch_size", json!(0)),
        ("/model/mlp_ratio", json!(1e300)),
        ("/model/architecture", json!("resnet")),
        ("/model/pool", json!("mean")),
        ("/vlora", Value::Null),
        ("/vlora/compound_size", json!(0)),
        ("/vlora/rank", json!(big)),
        ("/vlora/rank", json!("full")),
        ("/vlora/alpha", json!(-1)),
        ("/vlora/targets", json!([])),
        ("/vlora/targets/0", json!("attn.kqv")),
        ("/lora", json!({"rank": 0})),
        ("/lora", json!({"rank": 2, "targets": ["attn.qkv"]})),
    ] {
        let mut head = head.clone();
        *head.pointer_mut(pointer).unwrap() = value.clone();
        let mut faulty = Faulty::of(&sound);
        faulty.metadata.insert("vlora".into(), head.to_string());
        std::fs::write(&path, faulty.bytes()).unwrap();
        tell(&mut text, folder, &format!("{pointer}: {value}"), &path, &Hints::default());
    }
    let edits: &[Edit] = &[
        ("an unknown field", &|f| {
            let more = f.metadata["vlora"].replacen("\"heads\"", "\"haeds\":1,\"heads\"", 1);
            f.metadata.insert("vlora".into(), more);
        }),
        ("no JSON", &|f| drop(f.metadata.insert("vlora".into(), "{".into()))),
        ("a factor missing", &|f| drop(f.tensors.remove("blocks.1.attn.qkv.weight.A"))),
        ("an increment for a dense weight", &|f| {
            let tensor = f.tensors.remove("blocks.0.attn.qkv.weight").unwrap();
            f.tensors.insert("blocks.0.attn.qkv.weight.delta".into(), tensor);
        }),
    ];
    told(&mut text, folder, &sound, "compact.safetensors", &Hints::default(), edits);
    insta::assert_snapshot!(text);
}

fn small() -> Vec<u8> {
    std::fs::read(fixture("timm.safetensors")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to a file's bytes, it is read or refused.
    #[test]
    fn damaged_files_never_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        in_header in any::<bool>(),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        which in 0..3usize,
    ) {
        let mut bytes = match which {
            0 => small(),
            1 => std::fs::read(fixture("authors.safetensors")).unwrap(),
            _ => load("authors.safetensors").to_bytes().unwrap(),
        };
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let within = if in_header { header } else { bytes.len() };
        for (at, value) in flips {
            bytes[at.index(within)] = value;
        }
        if let Some(cut) = cut {
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("damaged.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let hints = Hints { heads: Some(3), ..Hints::default() };
        for format in [None, Some(CheckpointFormat::Timm), Some(CheckpointFormat::Authors), Some(CheckpointFormat::Compact)] {
            if let Ok(loaded) = read_checkpoint_as(&path, format, &hints) {
                loaded.checkpoint.merged().unwrap();
            }
        }
    }
}

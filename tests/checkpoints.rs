//! Checkpoints of other programs, from `scripts/reference/checkpoints.py`: read, computed with,
//! written back, and what is told of faulty ones. The texts are held in `tests/snapshots/`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use assert_cmd::prelude::*;
use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use serde_json::{Value, json};
use vlora::models::checkpoint::{
    CONFIG, Checkpoint, Exported, Form, Hints, MODEL, parse, read, read_checkpoint,
    read_checkpoint_as,
};
use vlora::nn::{Init, Pass};
use vlora::random::{Purpose, Stream};
use vlora::spec::{LoraSpec, Pool, Rank, Reference, Target};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)
}

/// Files of the fixtures, the form, and the name in `expected.safetensors`.
const FILES: [(&str, Form, &str); 4] = [
    ("authors.safetensors", Form::Authors, "authors"),
    ("timm.safetensors", Form::Timm, "timm"),
    ("timm-mean.safetensors", Form::Timm, "timm-mean"),
    ("hf-vit", Form::HuggingFace, "hf-vit"),
];

/// What the models are, and what no file says.
fn settings(name: &str) -> Value {
    let expected = read(&fixture("expected.safetensors")).unwrap();
    let all: Value = serde_json::from_str(&expected.metadata["settings"]).unwrap();
    all[name].clone()
}

fn hints(settings: &Value) -> Hints {
    let heads = settings["heads"].as_u64().map(|heads| heads as usize);
    Hints { heads, alpha: settings["alpha"].as_f64() }
}

fn load(file: &str) -> Checkpoint {
    let (_, _, name) = FILES.iter().find(|(f, _, _)| *f == file).unwrap();
    read_checkpoint(&fixture(file), &hints(&settings(name))).unwrap().checkpoint
}

fn logits(checkpoint: &Checkpoint) -> Tensor {
    let images = read(&fixture("expected.safetensors")).unwrap().tensors["images"].clone();
    checkpoint.vit().unwrap().forward(&images, Pass::Evaluation).unwrap()
}

/// The largest difference over the largest magnitude of what is wanted.
fn relative(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims());
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (got, want) = (values(got), values(want));
    let size = want.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    let apart = got.iter().zip(&want).map(|(g, w)| (g - w).abs());
    f64::from(apart.fold(0f32, f32::max) / size)
}

fn bits(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, (Vec<usize>, Vec<u32>)> {
    let bits = |t: &Tensor| {
        let values = t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        (t.dims().to_vec(), values.into_iter().map(f32::to_bits).collect())
    };
    tensors.iter().map(|(name, t)| (name.clone(), bits(t))).collect()
}

fn bytes(exported: Exported) -> Vec<u8> {
    match exported {
        Exported::File(bytes) => bytes,
        Exported::Folder(files) => panic!("{} files", files.len()),
    }
}

#[test]
fn each_import_is_the_model_that_its_program_has() {
    let expected = read(&fixture("expected.safetensors")).unwrap();
    for (file, form, name) in FILES {
        let settings = settings(name);
        let loaded = read_checkpoint(&fixture(file), &hints(&settings)).unwrap();
        assert_eq!(loaded.form, form);
        let (checkpoint, number) = (&loaded.checkpoint, |field: &str| settings[field].as_f64());
        let model = &checkpoint.model;
        for (field, value) in [
            ("image_size", model.image_size as f64),
            ("patch_size", model.patch_size as f64),
            ("channels", model.channels as f64),
            ("classes", model.classes as f64),
            ("dim", model.dim as f64),
            ("depth", model.depth as f64),
            ("heads", model.heads as f64),
            ("mlp_ratio", model.mlp_ratio),
            ("norm_eps", model.norm_eps),
        ] {
            assert_eq!(Some(value), number(field), "{name}: {field}");
        }
        assert_eq!(model.pool == Pool::Mean, settings["pool"] == "mean");
        if let Some(vlora) = &checkpoint.vlora {
            assert_eq!(Some(vlora.compound_size as f64), number("compound_size"));
            assert_eq!(vlora.rank, Rank::Of(number("rank").unwrap() as usize));
            assert_eq!((Some(vlora.alpha), vlora.detach), (number("alpha"), true));
            assert_eq!(vlora.reference, Reference::Base);
        }
        assert_eq!(checkpoint.vlora.is_some(), form == Form::Authors);
        let error = relative(&logits(checkpoint), &expected.tensors[&format!("{name}.logits")]);
        assert!(error < 1e-5, "{name}: logits differ by {error:e}");
    }
}

/// Through the compact form and back to where it came from: the same file.
#[test]
fn what_comes_from_a_program_returns_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("compact.safetensors");
    for (file, form, _) in FILES {
        let first = load(file);
        std::fs::write(&path, first.to_bytes().unwrap()).unwrap();
        let compact = read_checkpoint(&path, &Hints::default()).unwrap();
        assert_eq!(compact.form, Form::Compact);
        let compact = compact.checkpoint;
        assert_eq!(
            (&compact.model, &compact.vlora, &compact.lora),
            (&first.model, &first.vlora, &first.lora)
        );
        assert_eq!(bits(&compact.tensors), bits(&first.tensors));
        assert_eq!(compact.to_bytes().unwrap(), first.to_bytes().unwrap());
        match compact.export(form).unwrap() {
            Exported::File(bytes) => {
                assert!(bytes == std::fs::read(fixture(file)).unwrap(), "{file}");
            }
            Exported::Folder(files) => {
                assert_eq!(files[0].0, Path::new(MODEL));
                let model = parse(Path::new(MODEL), &files[0].1).unwrap();
                let want = read(&fixture(file)).unwrap();
                assert_eq!(bits(&model.tensors), bits(&want.tensors));
                assert_eq!(model.metadata, want.metadata);
                let config: Value = serde_json::from_slice(&files[1].1).unwrap();
                let text = std::fs::read(fixture(file).join(CONFIG)).unwrap();
                let theirs: Value = serde_json::from_slice(&text).unwrap();
                for (field, value) in config.as_object().unwrap() {
                    // The decoder that it is for is no part of the model.
                    assert!(field == "encoder_stride" || theirs[field] == *value, "{field}");
                }
            }
        }
    }
}

/// A VLoRA model with its increments added up computes the same in every dense form.
#[test]
fn dense_exports_compute_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let ours = load("authors.safetensors");
    let want = logits(&ours);
    let heads = Hints { heads: Some(ours.model.heads), alpha: None };

    let file = dir.path().join("timm.safetensors");
    std::fs::write(&file, bytes(ours.export(Form::Timm).unwrap())).unwrap();
    let folder = dir.path().join("hf");
    std::fs::create_dir(&folder).unwrap();
    let Exported::Folder(files) = ours.export(Form::HuggingFace).unwrap() else { panic!() };
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    for (path, form) in [(&file, Form::Timm), (&folder, Form::HuggingFace)] {
        let back = read_checkpoint(path, &heads).unwrap();
        assert_eq!((back.form, &back.checkpoint.vlora), (form, &None));
        assert_eq!(back.checkpoint.model, ours.model);
        let error = relative(&logits(&back.checkpoint), &want);
        assert!(error < 1e-5, "{form}: logits differ by {error:e}");
    }
}

#[test]
fn a_file_without_copies_of_base_weights_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("authors.safetensors");
    let mut tensors = read(&fixture("authors.safetensors")).unwrap().tensors;
    tensors.retain(|name, _| !name.ends_with(".original"));
    std::fs::write(&file, safetensors::serialize(&tensors, None).unwrap()).unwrap();
    let ours = load("authors.safetensors");
    let back = read_checkpoint(&file, &hints(&settings("authors"))).unwrap().checkpoint;
    assert_eq!(bits(&back.tensors), bits(&ours.tensors));
}

/// Vectors and ranks of targets' own go to the authors' form and come back.
#[test]
fn vectors_and_own_ranks_keep_in_the_authors_form() {
    let mut ours = load("authors.safetensors");
    let vlora = ours.vlora.as_mut().unwrap();
    vlora.targets[2].rank = Some(Rank::Of(1));
    for target in [Target::AttnQkvBias, Target::Norm1Weight] {
        vlora.targets.push(vlora::spec::TargetSpec::plain(target));
    }
    let dim = ours.model.dim;
    let zeros = |size: usize| Tensor::zeros(size, DType::F32, &Device::Cpu).unwrap();
    for layer in [1, 2, 4, 5] {
        for factor in ["A", "B"] {
            let name = format!("blocks.{layer}.mlp.fc1.weight.{factor}");
            let one = ours.tensors[&name].narrow(0, 0, 1).unwrap().contiguous().unwrap();
            ours.tensors.insert(name, one);
        }
        for (vector, size) in [("attn.qkv.bias", 3 * dim), ("norm1.weight", dim)] {
            ours.tensors.remove(&format!("blocks.{layer}.{vector}")).unwrap();
            ours.tensors.insert(format!("blocks.{layer}.{vector}.A"), zeros(size));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("authors.safetensors");
    std::fs::write(&file, bytes(ours.export(Form::Authors).unwrap())).unwrap();
    let names = read(&file).unwrap().tensors;
    for name in ["bias.original", "bias.0.A"] {
        let name = format!("blocks.0.blocks.1.attn.qkv.parametrizations.{name}");
        assert!(names.contains_key(&name), "{name}");
    }
    let back = read_checkpoint(&file, &hints(&settings("authors"))).unwrap().checkpoint;
    assert_eq!((&back.vlora, bits(&back.tensors)), (&ours.vlora, bits(&ours.tensors)));
    assert_eq!(relative(&logits(&back), &logits(&ours)), 0.0);
}

/// The same with LoRA on queries, keys, values and the MLP's second matrix.
fn with_lora(mut checkpoint: Checkpoint) -> Checkpoint {
    let lora = LoraSpec {
        rank: 2,
        alpha: 3.0,
        dropout: 0.25,
        targets: vec![Target::AttnQkv, Target::MlpFc2],
        also_train: vec![],
    };
    for layer in 0..checkpoint.model.depth {
        for target in &lora.targets {
            let (output, input) = checkpoint.model.target_shape(*target);
            for (factor, width) in [("A", input), ("B", output)] {
                let name = format!("blocks.{layer}.{}.lora_{factor}", target.parameter());
                let mut stream = Stream::new(9, Purpose::Init, &name);
                let values = Init::Normal { std: 0.3 }.values(2 * width, &mut stream);
                let tensor = Tensor::from_vec(values, (2, width), &Device::Cpu).unwrap();
                checkpoint.tensors.insert(name, tensor);
            }
        }
    }
    checkpoint.lora = Some(lora);
    checkpoint
}

#[test]
fn lora_is_dropped_merged_and_taken_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lora.safetensors");
    for file in ["timm.safetensors", "authors.safetensors"] {
        let below = load(file);
        let adapted = with_lora(below.clone());
        std::fs::write(&path, adapted.to_bytes().unwrap()).unwrap();
        let adapted = read_checkpoint(&path, &Hints::default()).unwrap().checkpoint;
        assert_eq!(bits(&adapted.without_lora().tensors), bits(&below.tensors));

        let merged = adapted.merge_lora().unwrap();
        assert!((merged.vlora.is_none(), merged.lora.is_none()) == (true, true));
        let error = relative(&logits(&merged), &logits(&adapted));
        assert!(error < 1e-5, "{file}: merging changes logits by {error:e}");
        assert!(relative(&logits(&merged), &logits(&below)) > 1e-2, "LoRA does nothing");

        let apart = merged.unmerge_lora(&adapted).unwrap();
        let dense = below.materialised().unwrap();
        assert!(apart.tensors.keys().eq(dense.tensors.keys()));
        for (name, want) in &dense.tensors {
            let error = relative(&apart.tensors[name], want);
            assert!(error < 1e-6, "{file}: {name} comes back {error:e} away");
        }
        assert!(below.unmerge_lora(&adapted).is_err() == below.vlora.is_some());
    }
}

/// Every float16 and bfloat16 value is a float32 value.
#[test]
fn half_precision_is_widened_exactly() {
    let values = [1.5f32, -0.25, 3.0e-5, 1024.0, 0.0];
    let wide = Tensor::new(&values, &Device::Cpu).unwrap();
    for dtype in [DType::F16, DType::BF16] {
        let narrow = wide.to_dtype(dtype).unwrap();
        let want = narrow.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        let bytes = safetensors::serialize([("w", narrow)], None).unwrap();
        let file = parse(Path::new("w"), &bytes).unwrap();
        assert_eq!(file.tensors["w"].to_vec1::<f32>().unwrap(), want);
    }
}

/// A faulty file, made from a sound one.
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

fn tell(text: &mut String, folder: &Path, what: &str, path: &Path, hints: &Hints) {
    let error = match read_checkpoint(path, hints) {
        Ok(_) => panic!("{what}: accepted"),
        Err(e) => e,
    };
    assert_eq!(error.exit_code(), 2, "{what}: {error}");
    let place = format!("{}/", folder.display().to_string().trim_end_matches('/'));
    writeln!(text, "# {what}\n{}\n", error.to_string().replace(&place, "")).unwrap();
}

#[test]
fn faulty_tensors_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut text = String::new();
    let weight = "blocks.1.mlp.fc1.weight";
    let three = Hints { heads: Some(3), alpha: None };
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
        ("of no known form", &|f| {
            f.tensors = [("encoder.w".to_string(), ones(&[2]))].into();
        }),
    ];
    let sound = fixture("timm.safetensors");
    told(&mut text, folder, &sound, "timm.safetensors", &three, timm);
    tell(&mut text, &fixture(""), "heads not given", &sound, &Hints::default());
    let five = Hints { heads: Some(5), alpha: None };
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
fn faulty_hugging_face_folders_are_told() {
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
        ("num_attention_heads", json!(5)),
        ("num_attention_heads", json!(0)),
        ("num_hidden_layers", json!(2)),
        ("intermediate_size", json!(48)),
        ("image_size", json!([8, 8])),
        ("image_size", json!(16)),
        ("layer_norm_eps", json!(-1)),
        ("id2label", json!({"0": "cat", "1": "dog"})),
        ("hidden_size", Value::Null),
    ] {
        let mut config = good.clone();
        config[field] = value.clone();
        std::fs::write(folder.join(CONFIG), config.to_string()).unwrap();
        tell(&mut text, folder, &format!("{field}: {value}"), folder, &hints);
    }
    std::fs::write(folder.join(CONFIG), "{").unwrap();
    tell(&mut text, folder, "a damaged description", folder, &hints);
    std::fs::remove_file(folder.join(CONFIG)).unwrap();
    tell(&mut text, folder, "no description", folder, &hints);
    tell(&mut text, &fixture(""), "another model", &fixture("hf-bert"), &hints);
    insta::assert_snapshot!(text);
}

/// A file of this header and so many zeros.
fn crafted(header: &str, zeros: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + zeros, 0);
    bytes
}

#[test]
fn files_that_are_no_sound_safetensors_are_told() {
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
    std::fs::write(empty.join("model.safetensors.index.json"), "{}").unwrap();
    tell(&mut text, folder, "a folder with shards", &empty, &hints);
    let shard = empty.join("model-00001-of-00002.safetensors");
    std::fs::write(&shard, &sound).unwrap();
    tell(&mut text, folder, "one shard", &shard, &hints);
    insta::assert_snapshot!(text);
}

#[test]
fn faulty_metadata_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut text = String::new();
    let ours = load("authors.safetensors");
    let sound = folder.join("sound.safetensors");
    std::fs::write(&sound, ours.to_bytes().unwrap()).unwrap();
    let head: Value = serde_json::from_str(&read(&sound).unwrap().metadata["vlora"]).unwrap();
    let path = folder.join("compact.safetensors");
    let big = 1u64 << 62;
    for (pointer, value) in [
        ("/format", json!(2)),
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

#[test]
fn the_authors_form_refuses_what_it_cannot_hold() {
    let ours = load("authors.safetensors");
    let refused = |edit: &dyn Fn(&mut Checkpoint), part: &str| {
        let mut checkpoint = ours.clone();
        edit(&mut checkpoint);
        let error = checkpoint.export(Form::Authors).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(&|c| c.vlora = None, "a dense model");
    refused(&|c| c.vlora.as_mut().unwrap().detach = false, "detach: false");
    refused(&|c| c.vlora.as_mut().unwrap().reference = Reference::Previous, "previous");
    refused(&|c| c.vlora.as_mut().unwrap().rank = Rank::Full, "rank: full");
    refused(&|c| c.vlora.as_mut().unwrap().rank = Rank::Of(0), "rank: 0");
    refused(&|c| c.model.norm_eps = 1e-5, "norm_eps");
    refused(&|c| *c = with_lora(c.clone()), "--lora drop");
    let mean = load("timm-mean.safetensors").export(Form::HuggingFace).unwrap_err();
    assert!(mean.to_string().contains("pool: mean"), "{mean}");
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
        let hints = Hints { heads: Some(3), alpha: None };
        for form in [None, Some(Form::Timm), Some(Form::Authors), Some(Form::Compact)] {
            if let Ok(loaded) = read_checkpoint_as(&path, form, &hints) {
                loaded.checkpoint.materialised().unwrap();
            }
        }
    }
}

fn vlora(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = std::process::Command::cargo_bin("vlora").unwrap();
    let output = command.current_dir(dir).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn the_commands_import_and_export() {
    let dir = tempfile::tempdir().unwrap();
    let source = fixture("authors.safetensors");
    let source = source.to_str().unwrap();
    let run = |args: &[&str]| vlora(dir.path(), args);
    let (code, out, err) =
        run(&["import", source, "--heads", "4", "--alpha", "5", "--out", "ours.safetensors"]);
    assert_eq!(code, 0, "{err}");
    for part in ["the authors' form", "2 of 3 layers", "rank 2; alpha 5", "heads 4", "5 classes"] {
        assert!(out.contains(part), "{part} is missing in\n{out}");
    }
    let to =
        |form: &str, out: &str| run(&["export", "ours.safetensors", "--to", form, "--out", out]);
    let (code, _, err) = to("authors", "back/authors.safetensors");
    assert_eq!(code, 0, "{err}");
    let back = std::fs::read(dir.path().join("back/authors.safetensors")).unwrap();
    assert!(back == std::fs::read(source).unwrap());
    let (code, out, err) = to("hf-vit", "hf");
    assert!(code == 0 && out.contains("wrote hf/config.json"), "{err}");
    assert_eq!(run(&["import", "hf", "--out", "again.safetensors"]).0, 0);

    let refused = |args: &[&str], part: &str| {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(part) && !err.contains("panicked"), "{args:?}: {err}");
    };
    refused(&["export", "hf", "--to", "compact", "--out", "again.safetensors"], "--force");
    refused(&["export", "ours.safetensors", "--to", "hf-vit", "--out", "hf"], "the file exists");
    refused(&["export", "hf", "--to", "timm", "--out", "hf"], "this is a folder");
    refused(&["export", "hf", "--to", "hf-vit", "--out", "ours.safetensors"], "this is a file");
    refused(&["export", "hf", "--to", "authors", "--out", "a"], "a dense model");
    refused(&["export", "hf", "--to", "timm", "--out", "a", "--lora", "drop"], "has no LoRA");
    refused(&["import", "hf", "--heads", "3", "--out", "a"], "the file has 4 heads");
    refused(&["import", "hf", "--alpha", "3", "--out", "a"], "no increments");
    refused(&["import", source, "--out", "a"], "--heads N");
    let force = ["export", "hf", "--to", "compact", "--out", "again.safetensors", "--force"];
    assert_eq!(run(&force).0, 0);
    assert!(!dir.path().join("a").exists());
}

//! Checkpoints of other programs, from `scripts/reference/checkpoints.py`: read, computed with,
//! and written back.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use vlora::checkpoints::{
    CONFIG, Checkpoint, CheckpointFormat, Exported, Hints, INDEX, MODEL, Metadata, PREPROCESSOR,
    align, parse, read, read_checkpoint, resample_positions,
};
use vlora::nn::{Init, Mode};
use vlora::random::{Purpose, Stream};
use vlora::results::Resampled;
use vlora::spec::{
    LoraSpec, ModelSpec, Normalize, Pool, PositionEmbedding, Rank, Reference, RunSpec, VitSpec,
};

use crate::common::checkpoints::{FILES, fixture, hints, load, settings, vit_mut};
use crate::common::compare::{relative, values};
use crate::common::hash::sha256;
use crate::common::program::{self, Ran};
use crate::common::results::{json, run_folders};
use crate::common::spec::TINY;

fn logits(checkpoint: &Checkpoint) -> Tensor {
    let images = read(&fixture("expected.safetensors")).unwrap().tensors["images"].clone();
    checkpoint.vit().unwrap().forward(&images, Mode::Evaluation).unwrap().tensor().clone()
}

fn bits(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, (Vec<usize>, Vec<u32>)> {
    let bits = |t: &Tensor| (t.dims().to_vec(), values(t).into_iter().map(f32::to_bits).collect());
    tensors.iter().map(|(name, t)| (name.clone(), bits(t))).collect()
}

fn vit(model: &ModelSpec) -> &VitSpec {
    model.as_vit().unwrap()
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
    for (file, format, name) in FILES {
        let settings = settings(name);
        let loaded = read_checkpoint(&fixture(file), &hints(&settings)).unwrap();
        assert_eq!(loaded.format, format);
        let (checkpoint, number) = (&loaded.checkpoint, |field: &str| settings[field].as_f64());
        let model = vit(&checkpoint.model);
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
            assert_eq!(vlora.compound_size.map(|size| size as f64), number("compound_size"));
            assert_eq!(vlora.rank, Rank::Of(number("rank").unwrap() as usize));
            assert_eq!((Some(vlora.alpha), vlora.detach), (number("alpha"), true));
            assert_eq!(vlora.reference, Reference::Base);
        }
        assert_eq!(checkpoint.vlora.is_some(), format == CheckpointFormat::Authors);
        let error = relative(&logits(checkpoint), &expected.tensors[&format!("{name}.logits")]);
        assert!(error < 1e-5, "{name}: logits differ by {error:e}");
    }
}

/// Through the compact format and back to where it came from: the same file.
#[test]
fn what_comes_from_a_program_returns_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("compact.safetensors");
    for (file, format, _) in FILES {
        let first = load(file);
        std::fs::write(&path, first.to_bytes().unwrap()).unwrap();
        let compact = read_checkpoint(&path, &Hints::default()).unwrap();
        assert_eq!(compact.format, CheckpointFormat::Compact);
        let compact = compact.checkpoint;
        assert_eq!(
            (&compact.model, &compact.vlora, &compact.lora, &compact.metadata),
            (&first.model, &first.vlora, &first.lora, &first.metadata)
        );
        assert_eq!(bits(&compact.tensors), bits(&first.tensors));
        assert_eq!(compact.to_bytes().unwrap(), first.to_bytes().unwrap());
        match compact.export(format).unwrap() {
            Exported::File(bytes) => {
                let source = read(&fixture(file)).unwrap().path;
                assert!(bytes == std::fs::read(source).unwrap(), "{file}");
            }
            Exported::Folder(files) => {
                assert_eq!(files[0].0, Path::new(MODEL));
                let model = parse(Path::new(MODEL), &files[0].1).unwrap();
                let want = read(&fixture(file)).unwrap();
                assert_eq!(bits(&model.tensors), bits(&want.tensors));
                assert_eq!(model.metadata, want.metadata);
                let names: Vec<&Path> = files.iter().map(|(name, _)| name.as_path()).collect();
                let processor = fixture(file).join(PREPROCESSOR).is_file();
                assert_eq!(names.contains(&Path::new(PREPROCESSOR)), processor, "{file}");
                for (name, bytes) in &files[1..] {
                    let json: Value = serde_json::from_slice(bytes).unwrap();
                    let text = std::fs::read(fixture(file).join(name)).unwrap();
                    let theirs: Value = serde_json::from_slice(&text).unwrap();
                    for (field, value) in json.as_object().unwrap() {
                        // The decoder that it is for is no part of the model.
                        assert!(field == "encoder_stride" || theirs[field] == *value, "{field}");
                    }
                }
            }
        }
    }
}

/// What the index and the shards say together is what one file says; the hash is that of what
/// `sha256sum` prints of them.
#[test]
fn shards_are_read_as_one_file() {
    let folder = fixture("hf-vit-sharded");
    let (sharded, single) = (read(&folder).unwrap(), read(&fixture("hf-vit")).unwrap());
    assert_eq!(sharded.path, folder.join(INDEX));
    assert_eq!(bits(&sharded.tensors), bits(&single.tensors));
    assert_eq!(sharded.metadata, single.metadata);
    assert_eq!(read(&folder.join(INDEX)).unwrap().sha256, sharded.sha256);
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".safetensors"))
        .collect();
    names.sort_unstable();
    assert!(names.len() > 2, "{names:?}");
    names.insert(0, INDEX.into());
    let line =
        |name: &String| format!("{}  {name}\n", sha256(&std::fs::read(folder.join(name)).unwrap()));
    let lines: String = names.iter().map(line).collect();
    assert_eq!(sharded.sha256, sha256(lines.as_bytes()));

    // A folder's single file goes before its index, as in transformers.
    let dir = tempfile::tempdir().unwrap();
    for name in &names {
        std::fs::copy(folder.join(name), dir.path().join(name)).unwrap();
    }
    std::fs::copy(fixture("hf-vit").join(MODEL), dir.path().join(MODEL)).unwrap();
    let both = read(dir.path()).unwrap();
    assert_eq!((both.path, both.sha256), (dir.path().join(MODEL), single.sha256));
}

/// Class names and the image processor of transformers' folder, and what it makes of every byte.
#[test]
fn names_and_normalisation_are_the_folders() {
    let labels = load("hf-vit-sharded").metadata;
    let names = ["tench", "goldfish", "great white shark", "tiger shark", "hammerhead"];
    assert_eq!(labels.class_names, names);
    let normalize = labels.normalize.unwrap();
    let expected = read(&fixture("expected.safetensors")).unwrap();
    let planes = |name: &str| {
        let tensor = expected.tensors[name].transpose(0, 1).unwrap();
        tensor.flatten_from(1).unwrap().to_vec2::<f32>().unwrap()
    };
    let (bytes, values) = (planes("processor.bytes"), planes("processor.values"));
    for channel in 0..3 {
        assert_eq!(bytes[channel].len(), 256);
        for (byte, want) in bytes[channel].iter().zip(&values[channel]) {
            let got = (f64::from(*byte) / 255.0 - normalize.mean[channel]) / normalize.std[channel];
            assert!((got - f64::from(*want)).abs() < 1e-6, "{byte}: {got}, {want}");
        }
    }
    // LABEL_0 and so on are no names, and other formats have none.
    for file in ["hf-vit", "timm.safetensors"] {
        assert_eq!(load(file).metadata, Metadata::default(), "{file}");
    }
    // A new head has other classes; the images stay as they were.
    let hints = Hints { new_head: Some(5), ..Hints::default() };
    let new = read_checkpoint(&fixture("hf-vit-sharded"), &hints).unwrap().checkpoint;
    assert_eq!(new.metadata, Metadata { class_names: vec![], normalize: Some(normalize) });
    // What is done to weights leaves them.
    assert_eq!(new.merged().unwrap().metadata, new.metadata);
    assert_eq!(new.without_lora().metadata, new.metadata);
}

/// The folder as timm writes it says heads, class names and normalisation.
#[test]
fn timms_folder_says_what_its_weights_do_not() {
    for (file, heads, pool) in
        [("timm-folder", 2, Pool::ClassToken), ("timm-folder-mean", 6, Pool::Mean)]
    {
        let ours = read_checkpoint(&fixture(file), &Hints::default()).unwrap().checkpoint;
        assert_eq!((ours.model.heads(), vit(&ours.model).pool), (heads, pool));
        let names = ["tench", "goldfish", "great white shark", "tiger shark", "hammerhead"];
        assert_eq!(ours.metadata.class_names, names);
        let normalize = Normalize { mean: vec![0.5, 0.4, 0.3], std: vec![0.25, 0.2, 0.125] };
        assert_eq!(ours.metadata.normalize.as_ref(), Some(&normalize));
        // Older files have the pretrained model's fields beside the architecture.
        let dir = tempfile::tempdir().unwrap();
        let config = std::fs::read(fixture(file).join(CONFIG)).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        let old = config.as_object_mut().unwrap();
        let mut pretrained = old.remove("pretrained_cfg").unwrap();
        pretrained.as_object_mut().unwrap().remove("num_classes");
        old.extend(pretrained.as_object().unwrap().clone());
        std::fs::write(dir.path().join(CONFIG), config.to_string()).unwrap();
        std::fs::copy(fixture(file).join(MODEL), dir.path().join(MODEL)).unwrap();
        let flat = read_checkpoint(dir.path(), &Hints::default()).unwrap().checkpoint;
        assert_eq!((&flat.model, &flat.metadata), (&ours.model, &ours.metadata));
        // A new head has other classes; the images stay as they were.
        let hints = Hints { new_head: Some(7), ..Hints::default() };
        let tensors = read(&fixture(file)).unwrap().tensors;
        let headless = tensors.into_iter().filter(|(name, _)| !name.starts_with("head."));
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(fixture(file).join(CONFIG), dir.path().join(CONFIG)).unwrap();
        candle_core::safetensors::save(&headless.collect(), dir.path().join(MODEL)).unwrap();
        let new = read_checkpoint(dir.path(), &hints).unwrap().checkpoint;
        assert_eq!(new.metadata, Metadata { class_names: vec![], normalize: Some(normalize) });
    }
}

/// Each field of a description at another value: what its program then computes with the same
/// weights is computed here too, or the field is refused by its name. What changes nothing is read.
#[test]
fn descriptions_are_obeyed_or_refused_field_by_field() {
    let text = std::fs::read_to_string(fixture("fields.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let expected = read(&fixture("expected.safetensors")).unwrap();
    let (mut read_same, mut read_other, mut refused) = (0, 0, 0);
    for row in &rows {
        let source = if row["format"] == "timm" { "timm-folder" } else { "hf-vit" };
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(fixture(source).join(MODEL), dir.path().join(MODEL)).unwrap();
        let config = std::fs::read(fixture(source).join(CONFIG)).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        let changes = row["changes"].as_object().unwrap();
        for (field, value) in changes {
            match field.split_once('.') {
                Some((section, name)) => config[section][name] = value.clone(),
                None => config[field] = value.clone(),
            }
        }
        std::fs::write(dir.path().join(CONFIG), config.to_string()).unwrap();
        let sound = &expected.tensors[&format!("{source}.logits")];
        let want = row["logits"].as_array().map(|all| {
            let values: Vec<f32> = all.iter().map(|v| v.as_f64().unwrap() as f32).collect();
            Tensor::from_vec(values, sound.dims(), &Device::Cpu)
        });
        let want = want.transpose().ok().flatten();
        let changes_nothing = want.as_ref().is_some_and(|want| relative(want, sound) < 1e-6);
        match read_checkpoint(dir.path(), &Hints::default()) {
            Ok(loaded) => {
                let want = want.unwrap_or_else(|| panic!("{row}: accepted"));
                let error = relative(&logits(&loaded.checkpoint), &want);
                assert!(error < 1e-5, "{changes:?}: logits differ by {error:e}");
                if changes_nothing { read_same += 1 } else { read_other += 1 }
            }
            Err(error) => {
                assert_eq!(error.exit_code(), 2);
                let told = error.to_string();
                assert!(!changes_nothing, "{changes:?}: {told}");
                let names = changes.keys().map(|field| field.rsplit('.').next().unwrap());
                assert!(names.into_iter().any(|name| told.contains(name)), "{changes:?}: {told}");
                assert!(told.contains("config.json"), "{changes:?}: {told}");
                refused += 1;
            }
        }
    }
    // Heads and ε are obeyed.
    assert!(
        read_same >= 30 && read_other >= 6 && refused >= 40,
        "{read_same} {read_other} {refused}"
    );
}

/// A run that starts from a checkpoint of this model, with images of another size.
fn run_of(checkpoint: &Checkpoint, image_size: usize, how: &str) -> RunSpec {
    let mut model = serde_json::to_value(&checkpoint.model).unwrap();
    model["image_size"] = image_size.into();
    let start = json!({"checkpoint": "x", "position_embedding": how});
    let data = json!({"embedded": "fashion-mnist-mini"});
    let run = json!({"task": "image-classification", "data": data, "model": model, "start": start});
    serde_json::from_value(run).unwrap()
}

/// Up and down, with and without a class token's position, as timm and transformers do it.
#[test]
fn position_embeddings_are_resampled_as_each_program_does() {
    let expected = read(&fixture("positions.safetensors")).unwrap().tensors;
    let mut compared = 0;
    for (name, values) in &expected {
        let Some(case) = name.strip_suffix(".from") else { continue };
        let numbers: Vec<usize> = case.split('-').map(|n| n.parse().unwrap()).collect();
        let &[from, to, prefix] = numbers.as_slice() else { panic!("{case}") };
        for (method, theirs) in
            [(PositionEmbedding::Timm, "timm"), (PositionEmbedding::HuggingFace, "hugging-face")]
        {
            let Some(want) = expected.get(&format!("{case}.{theirs}")) else { continue };
            let got = resample_positions(values, prefix, Resampled { method, from, to }).unwrap();
            let error = relative(&got, want);
            assert!(error < 1e-5, "{case}, {theirs}: {error:e}");
            compared += 1;
        }
    }
    assert_eq!(compared, 27);
    // Whole models on larger images.
    let images = &expected["images"];
    let larger = |checkpoint: &Checkpoint, how: &str| {
        let adapted = align(checkpoint, &run_of(checkpoint, 20, how), &[]).unwrap();
        let vit = adapted.checkpoint.vit().unwrap();
        (vit.forward(images, Mode::Evaluation).unwrap().tensor().clone(), adapted.positions)
    };
    for (file, how, name) in [
        ("timm.safetensors", "timm", "timm"),
        ("timm.safetensors", "auto", "timm"),
        ("timm-mean.safetensors", "timm", "timm-mean"),
        ("hf-vit", "hugging-face", "hf-vit"),
    ] {
        let (got, positions) = larger(&load(file), how);
        let error = relative(&got, &expected[&format!("{name}.logits")]);
        assert!(error < 1e-5, "{name}: logits differ by {error:e}");
        assert_eq!(positions.map(|p| (p.from, p.to)), Some((2, 5)));
    }
    // They are not the same, so neither would do for the other.
    let (timm, _) = larger(&load("hf-vit"), "timm");
    assert!(relative(&timm, &expected["hf-vit.logits"]) > 1e-3);
    // Nothing is done where the size is the same, and `refuse` refuses another.
    let same = load("timm.safetensors");
    let kept = align(&same, &run_of(&same, 8, "timm"), &[]).unwrap();
    assert_eq!((bits(&kept.checkpoint.tensors), kept.positions), (bits(&same.tensors), None));
    let told = align(&same, &run_of(&same, 20, "refuse"), &[]).map(drop).unwrap_err().to_string();
    assert!(told.contains("image_size: 8") && told.contains("position_embedding: auto"), "{told}");
}

/// As this program wrote them before it knew labels.
#[test]
fn compact_files_of_format_1_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.safetensors");
    let ours = load("authors.safetensors");
    let new = parse(Path::new("new"), &ours.to_bytes().unwrap()).unwrap();
    let head = new.metadata["vlora"].replacen("\"format\":2", "\"format\":1", 1);
    assert!(head.contains("\"format\":1") && !head.contains("labels"), "{head}");
    let metadata = Some([("vlora".to_string(), head)].into());
    std::fs::write(&path, safetensors::serialize(&new.tensors, metadata).unwrap()).unwrap();
    let old = read_checkpoint(&path, &Hints::default()).unwrap().checkpoint;
    assert_eq!((old.metadata, bits(&old.tensors)), (Metadata::default(), bits(&ours.tensors)));
}

/// A VLoRA model with its increments added up computes the same in every dense format.
#[test]
fn dense_exports_compute_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let ours = load("authors.safetensors");
    let want = logits(&ours);
    let heads = Hints { heads: Some(ours.model.heads()), ..Hints::default() };

    let file = dir.path().join("timm.safetensors");
    std::fs::write(&file, bytes(ours.export(CheckpointFormat::Timm).unwrap())).unwrap();
    let folder = dir.path().join("hf");
    std::fs::create_dir(&folder).unwrap();
    let Exported::Folder(files) = ours.export(CheckpointFormat::HuggingFace).unwrap() else {
        panic!()
    };
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    for (path, format) in
        [(&file, CheckpointFormat::Timm), (&folder, CheckpointFormat::HuggingFace)]
    {
        let back = read_checkpoint(path, &heads).unwrap();
        assert_eq!((back.format, &back.checkpoint.vlora), (format, &None));
        assert_eq!(back.checkpoint.model, ours.model);
        let error = relative(&logits(&back.checkpoint), &want);
        assert!(error < 1e-5, "{format}: logits differ by {error:e}");
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

/// Vectors and ranks of targets' own go to the authors' format and come back.
#[test]
fn vectors_and_own_ranks_keep_in_the_authors_format() {
    let mut ours = load("authors.safetensors");
    let vlora = ours.vlora.as_mut().unwrap();
    vlora.targets[2].rank = Some(Rank::Of(1));
    for target in ["attn.qkv.bias", "norm1.weight"] {
        vlora.targets.push(vlora::spec::TargetSpec::plain(target));
    }
    let dim = ours.model.dim();
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
    std::fs::write(&file, bytes(ours.export(CheckpointFormat::Authors).unwrap())).unwrap();
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
        targets: ["attn.qkv", "mlp.fc2"].map(Into::into).to_vec(),
        also_train: vec![],
    };
    for layer in 0..checkpoint.model.depth() {
        for target in &lora.targets {
            let weights = checkpoint.model.weights();
            let weight = weights.iter().find(|weight| weight.target == *target).unwrap();
            let (output, input) = weight.sides();
            for (factor, width) in [("A", input), ("B", output)] {
                let name = format!("blocks.{layer}.{}.lora_{factor}", weight.parameter());
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

        let merged = adapted.merged().unwrap();
        assert!((merged.vlora.is_none(), merged.lora.is_none()) == (true, true));
        let error = relative(&logits(&merged), &logits(&adapted));
        assert!(error < 1e-5, "{file}: merging changes logits by {error:e}");
        assert!(relative(&logits(&merged), &logits(&below)) > 1e-2, "LoRA does nothing");

        let apart = merged.unmerge_lora(&adapted).unwrap();
        let dense = below.merged().unwrap();
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
#[test]
fn the_authors_format_refuses_what_it_cannot_hold() {
    let ours = load("authors.safetensors");
    let refused = |edit: &dyn Fn(&mut Checkpoint), part: &str| {
        let mut checkpoint = ours.clone();
        edit(&mut checkpoint);
        let error = checkpoint.export(CheckpointFormat::Authors).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(&|c| c.vlora = None, "a dense model");
    refused(&|c| c.vlora.as_mut().unwrap().detach = false, "detach: false");
    refused(&|c| c.vlora.as_mut().unwrap().reference = Reference::Previous, "previous");
    refused(&|c| c.vlora.as_mut().unwrap().rank = Rank::Full, "rank: full");
    refused(&|c| c.vlora.as_mut().unwrap().rank = Rank::Of(0), "rank: 0");
    refused(&|c| vit_mut(&mut c.model).norm_eps = 1e-5, "norm_eps");
    refused(&|c| *c = with_lora(c.clone()), "--lora drop");
    let mean = load("timm-mean.safetensors").export(CheckpointFormat::HuggingFace).unwrap_err();
    assert!(mean.to_string().contains("pool: mean"), "{mean}");
}

/// Backbones without a classifier are read for runs that bring one, and for no other.
#[test]
fn a_model_without_a_head_serves_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("hf-vit/config.json"), dir.path().join(CONFIG)).unwrap();
    std::fs::create_dir(dir.path().join("timm")).unwrap();
    for (source, file, head) in [
        ("hf-vit/model.safetensors", MODEL, "classifier."),
        ("timm.safetensors", "timm/t", "head."),
    ] {
        let mut tensors = read(&fixture(source)).unwrap().tensors;
        tensors.retain(|name, _| !name.starts_with(head));
        if head == "classifier." {
            let pooler = Tensor::zeros((12, 12), DType::F32, &Device::Cpu).unwrap();
            tensors.insert("vit.pooler.dense.weight".into(), pooler);
        }
        let path = dir.path().join(file);
        candle_core::safetensors::save(&tensors.into_iter().collect(), &path).unwrap();
        let hints = Hints { heads: Some(3), ..Hints::default() };
        let told = read_checkpoint(&path, &hints).unwrap_err().to_string();
        assert!(told.contains("no classifier") && told.contains("start.head: new"), "{told}");
        let ours =
            read_checkpoint(&path, &Hints { new_head: Some(7), ..hints }).unwrap().checkpoint;
        assert_eq!(ours.model.classes(), 7);
        let whole = Hints { heads: Some(3), ..Hints::default() };
        let source = fixture(source.trim_end_matches("/model.safetensors"));
        let whole = read_checkpoint(&source, &whole).unwrap().checkpoint;
        let rest = |c: &Checkpoint| {
            let rest = c.tensors.iter().filter(|(name, _)| !name.starts_with("head."));
            bits(&rest.map(|(name, t)| (name.clone(), t.clone())).collect())
        };
        assert_eq!(rest(&ours), rest(&whole));
    }
}

/// A run's model knows what its classes are called and how its images were normalised, also in
/// another program's format.
#[test]
fn a_run_leaves_its_names_and_normalisation() {
    let dir = program::folder_with(TINY);
    let ran = program::vlora(dir.path(), &["run", "tiny.yaml", "-q", "--set", "seeds=[0]"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for run in run_folders(&dir.path().join("results/tiny")) {
        let provenance = json(&run.join("provenance.json"));
        let out = run.join("hf");
        let export = ["export", run.to_str().unwrap(), "--to", "hf-vit", "--out"];
        let ran = program::vlora(dir.path(), &[&export[..], &[out.to_str().unwrap()]].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.contains("classes     T-shirt/top, Trouser, "), "{}", ran.out);
        let (config, processor) = (json(&out.join(CONFIG)), json(&out.join(PREPROCESSOR)));
        assert_eq!(processor["image_mean"], provenance["pixel_mean"]);
        assert_eq!(processor["image_std"], provenance["pixel_std"]);
        assert_eq!(processor["size"]["height"], 28);
        for (number, name) in provenance["class_names"].as_array().unwrap().iter().enumerate() {
            assert_eq!(config["id2label"][number.to_string()], *name);
            assert_eq!(config["label2id"][name.as_str().unwrap()], number);
        }
    }
}

#[test]
fn the_commands_import_and_export() {
    let dir = tempfile::tempdir().unwrap();
    let source = fixture("authors.safetensors");
    let source = source.to_str().unwrap();
    let run = |args: &[&str]| {
        let Ran { code, out, err } = program::vlora(dir.path(), args);
        (code, out, err)
    };
    let (code, out, err) =
        run(&["import", source, "--heads", "4", "--alpha", "5", "--out", "ours.safetensors"]);
    assert_eq!(code, 0, "{err}");
    for part in ["the authors' format", "2 of 3 layers", "rank 2; alpha 5", "heads 4", "5 classes"]
    {
        assert!(out.contains(part), "{part} is missing in\n{out}");
    }
    let to = |format: &str, out: &str| {
        run(&["export", "ours.safetensors", "--to", format, "--out", out])
    };
    let (code, _, err) = to("authors", "back/authors.safetensors");
    assert_eq!(code, 0, "{err}");
    let back = std::fs::read(dir.path().join("back/authors.safetensors")).unwrap();
    assert!(back == std::fs::read(source).unwrap());
    let (code, out, err) = to("hf-vit", "hf");
    assert!(code == 0 && out.contains("wrote hf/config.json"), "{err}");
    assert_eq!(run(&["import", "hf", "--out", "again.safetensors"]).0, 0);

    // Names of classes and the normalisation go through the compact format.
    let sharded = fixture("hf-vit-sharded");
    let sharded = sharded.to_str().unwrap();
    let (code, out, err) = run(&["import", sharded, "--out", "named.safetensors"]);
    assert!(code == 0 && out.contains("tench, goldfish, great white shark, tiger"), "{err}{out}");
    let (code, out, err) =
        run(&["export", "named.safetensors", "--to", "hf-vit", "--out", "named-hf"]);
    assert!(code == 0 && out.contains("wrote named-hf/preprocessor_config.json"), "{err}");
    let labels = |at: &Path| read_checkpoint(at, &Hints::default()).unwrap().checkpoint.metadata;
    assert_eq!(labels(&dir.path().join("named-hf")), labels(Path::new(sharded)));

    let refused = |args: &[&str], part: &str| {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(part) && !err.contains("panicked"), "{args:?}: {err}");
    };
    refused(&["export", "hf", "--to", "compact", "--out", "again.safetensors"], "--force");
    refused(&["export", "ours.safetensors", "--to", "hf-vit", "--out", "hf"], "the file exists");
    let nameless = ["export", "ours.safetensors", "--to", "hf-vit", "--out", "named-hf", "--force"];
    refused(&nameless, "preprocessor_config.json: the file belongs to another model");
    refused(&["export", "hf", "--to", "timm", "--out", "hf"], "this is a folder");
    refused(&["export", "hf", "--to", "hf-vit", "--out", "ours.safetensors"], "this is a file");
    refused(&["export", "hf", "--to", "authors", "--out", "a"], "a dense model");
    refused(&["export", "hf", "--to", "timm", "--out", "a", "--lora", "drop"], "has no LoRA");
    refused(&["import", "hf", "--heads", "3", "--out", "a"], "the file has 4 heads");
    refused(&["import", "hf", "--alpha", "3", "--out", "a"], "no increments");
    refused(&["import", source, "--out", "a"], "--heads N");
    // What a format does not hold is said.
    let (_, out, _) = to("authors", "named/authors.safetensors");
    let call = "vl_size=3, vl_param_name=[\"attn.qkv.weight\", \"attn.proj.weight\", \
                \"mlp.fc1.weight\", \"mlp.fc2.weight\"], vl_rank=[2, 2, 2, 2], vl_alpha=[5, 5, 5, 5])";
    assert!(out.contains("depth=2, num_heads=4") && out.contains(call), "{out}");
    let own = ["--heads", "4", "--alpha", "5", "--target-alpha", "mlp.fc2=1"];
    let (code, _, err) = run(&[&["import", source, "--out", "own"][..], &own].concat());
    assert_eq!(code, 0, "{err}");
    let (_, out, _) = run(&["export", "own", "--to", "authors", "--out", "own.authors"]);
    assert!(out.contains("vl_alpha=[5, 5, 5, 1]"), "{out}");
    refused(&["import", source, "--target-alpha", "mlp.fc=1", "--out", "a"], "mean `mlp.fc2`?");
    refused(&["import", source, "--target-alpha", "mlp.fc1", "--out", "a"], "no target and number");

    refused(&["import", "own", "--target-alpha", "mlp.fc2=2", "--out", "a"], "has alpha 1");
    refused(&["import", "hf", "--target-alpha", "mlp.fc2=2", "--out", "a"], "no such increments");

    let less = ["compress", "again.safetensors", "--compound-size", "3", "--rank", "1"];
    let (code, out, err) = run(&[&less[..], &["--out", "less.safetensors"]].concat());
    assert!(code == 0 && out.contains("energy kept") && out.contains("fewer"), "{err}{out}");
    refused(&[&less[..], &["--out", "a", "--targets", "atn.qkv"]].concat(), "mean `attn.qkv`?");
    let many =
        ["compress", "again.safetensors", "--compound-size", "3", "--rank", "13", "--out", "a"];
    refused(&many, "--rank: invalid value\n  found:    13\n  expected: at most 12");
    let single =
        ["compress", "again.safetensors", "--compound-size", "1", "--rank", "1", "--out", "a"];
    refused(&single, "have no increments");
    let negative = ["compress", "hf", "--compound-size", "3", "--rank", "-1", "--out", "a"];
    refused(&negative, "0 or more, or `full`");
    let full = ["compress", "hf", "--compound-size", "3", "--rank", "full", "--out", "full"];
    let (code, out, err) = run(&full);
    assert!(code == 0 && out.contains("100.0 %"), "{err}{out}");
    let uneven =
        ["compress", "again.safetensors", "--compound-size", "4", "--rank", "1", "--out", "a"];
    refused(
        &uneven,
        "--compound-size: invalid value\n  found:    4\n  expected: a divisor of model.depth, 6",
    );
    let twice = [&less[..], &["--out", "a", "--targets", "attn.qkv,attn.qkv"]].concat();
    refused(&twice, "error: --targets: ");
    refused(&["export", "hf", "--to", "timm", "--out", "a", "--unmerge", "own"], "has no LoRA");
    let force = ["export", "hf", "--to", "compact", "--out", "again.safetensors", "--force"];
    assert_eq!(run(&force).0, 0);
    assert!(!dir.path().join("a").exists());
}

//! `vlora spectrum` on files whose differences are known.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use tempfile::TempDir;
use vlora::nn::Init;
use vlora::random::{Purpose, Stream};

use crate::common::program::{Ran, folder_with, vlora};
use crate::common::results::{run_folders, run_of};
use crate::common::spec::TINY;

fn spectrum(dir: &Path, args: &[&str]) -> Ran {
    vlora(dir, &[&["spectrum"], args].concat())
}

fn normal(name: &str, shape: (usize, usize)) -> Tensor {
    let mut stream = Stream::new(0, Purpose::Init, name);
    let values = Init::Normal { std: 1.0 }.values(shape.0 * shape.1, &mut stream);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

const SHAPES: [(&str, (usize, usize)); 4] =
    [("attn.qkv", (60, 20)), ("attn.proj", (20, 20)), ("mlp.fc1", (40, 20)), ("mlp.fc2", (20, 40))];

/// Four layers, each the one before plus a matrix of rank 2.
fn chain() -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    for (target, shape) in SHAPES {
        let mut weight = normal(target, shape);
        for layer in 0..4 {
            let name = format!("blocks.{layer}.{target}.weight");
            if layer > 0 {
                let b = normal(&format!("{name}.B"), (2, shape.0)).t().unwrap();
                let a = normal(&format!("{name}.A"), (2, shape.1));
                weight = (weight + b.matmul(&a).unwrap()).unwrap();
            }
            tensors.insert(name, weight.clone());
        }
    }
    tensors
}

/// The same in BERT's names.
fn bert(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let mut renamed = BTreeMap::new();
    for (name, tensor) in tensors {
        let layer = name.split('.').nth(1).unwrap();
        let (target, _) = SHAPES.iter().find(|(target, _)| name.contains(target)).unwrap();
        let at = |part: &str| format!("bert.encoder.layer.{layer}.{part}.weight");
        match *target {
            "attn.qkv" => {
                for (i, part) in ["query", "key", "value"].iter().enumerate() {
                    let rows = tensor.narrow(0, 20 * i, 20).unwrap().copy().unwrap();
                    renamed.insert(at(&format!("attention.self.{part}")), rows);
                }
            }
            "attn.proj" => drop(renamed.insert(at("attention.output.dense"), tensor.clone())),
            "mlp.fc1" => drop(renamed.insert(at("intermediate.dense"), tensor.clone())),
            _ => drop(renamed.insert(at("output.dense"), tensor.clone())),
        }
    }
    renamed
}

/// The encoder of PyTorch's Transformer with these layers, and a decoder of two others, whose
/// cross-attention is packed as PyTorch packs it.
fn encoder_decoder(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let mut renamed = BTreeMap::new();
    for (name, tensor) in tensors {
        let layer = name.split('.').nth(1).unwrap();
        let (target, _) = SHAPES.iter().find(|(target, _)| name.contains(target)).unwrap();
        let part = match *target {
            "attn.qkv" => "self_attn.in_proj_weight",
            "attn.proj" => "self_attn.out_proj.weight",
            "mlp.fc1" => "linear1.weight",
            _ => "linear2.weight",
        };
        renamed.insert(format!("transformer.encoder.layers.{layer}.{part}"), tensor.clone());
    }
    for layer in 0..2 {
        for (part, shape) in [
            ("self_attn.in_proj_weight", (60, 20)),
            ("self_attn.out_proj.weight", (20, 20)),
            ("multihead_attn.in_proj_weight", (60, 20)),
            ("multihead_attn.out_proj.weight", (20, 20)),
            ("linear1.weight", (40, 20)),
            ("linear2.weight", (20, 40)),
        ] {
            let name = format!("transformer.decoder.layers.{layer}.{part}");
            renamed.insert(name.clone(), normal(&name, shape));
        }
    }
    renamed
}

fn folder_of(tensors: &BTreeMap<String, Tensor>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    save(tensors, &dir.path().join("tiny.safetensors"));
    dir
}

fn save(tensors: &BTreeMap<String, Tensor>, path: &Path) {
    let tensors: HashMap<String, Tensor> = tensors.clone().into_iter().collect();
    candle_core::safetensors::save(&tensors, path).unwrap();
}

/// Rows of a CSV file by column.
fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(|row| row.unwrap()).collect()
}

#[test]
fn increments_of_rank_two_are_found() {
    let dir = folder_of(&chain());
    let ran = spectrum(dir.path(), &["tiny.safetensors", "--reference", "previous"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let folder = dir.path().join("results/spectrum/tiny-previous-4");
    let rows = rows(&folder.join("spectrum.csv"));
    assert_eq!(rows.len(), 3 * 4);
    for row in &rows {
        let number = |column: &str| row[column].parse::<f64>().unwrap();
        assert_eq!(number("reference_layer"), number("layer") - 1.0);
        assert!(number("energy_1_difference") < 0.99, "{row:?}");
        assert!(number("energy_2_difference") > 1.0 - 1e-9, "{row:?}");
        assert_eq!(row["rank_99_difference"], "2");
        assert!(number("stable_rank_difference") < 2.0 + 1e-6);
        assert!(number("error_2_increment") < 1e-4 && number("error_2_alone") > 0.1);
        for yardstick in ["weight", "random"] {
            assert!(number(&format!("rank_99_{yardstick}")) > 10.0, "{row:?}");
        }
    }
    // A value each of min(out, in), of which two are not 0.
    let values = self::rows(&folder.join("singular-values.csv"));
    assert_eq!(values.len(), 3 * 4 * 20);
    let large = |row: &&HashMap<String, String>| row["value"].parse::<f64>().unwrap() > 1e-3;
    assert_eq!(values.iter().filter(large).count(), 3 * 4 * 2);

    for target in SHAPES.map(|(target, _)| target) {
        assert!(ran.out.contains(target), "{}", ran.out);
    }
    assert!(ran.out.contains("keeps 100.0 % of D"), "{}", ran.out);
    let markdown = std::fs::read_to_string(folder.join("spectrum.md")).unwrap();
    for part in ["| mlp.fc2 | 20 × 40 |", "SHA-256", "layout of timm", "fewer for 4 of 4 targets"]
    {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
    let svg = std::fs::read_to_string(folder.join("energy-vs-rank.svg")).unwrap();
    assert!(svg.contains("attn.qkv (60 × 20)") && svg.contains("random G"));
    let png = std::fs::read(folder.join("energy-vs-rank.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
}

#[test]
fn a_model_with_two_stacks_is_read_one_at_a_time() {
    let dir = folder_of(&encoder_decoder(&chain()));
    let ran = spectrum(dir.path(), &["tiny.safetensors"]);
    assert!(ran.code == 2 && ran.err.contains("one of encoder, decoder"), "{}", ran.err);
    let of = |stack: &str| {
        let args = ["tiny.safetensors", "--stack", stack, "--reference", "previous"];
        let ran = spectrum(dir.path(), &args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        let layers = if stack == "encoder" { 4 } else { 2 };
        let folder = format!("results/spectrum/tiny-{stack}-previous-{layers}");
        rows(&dir.path().join(folder).join("spectrum.csv"))
    };
    let encoder = of("encoder");
    let other = ["tiny.safetensors", "--stack", "decoder", "--out"];
    let ran =
        spectrum(dir.path(), &[&other[..], &["results/spectrum/tiny-encoder-previous-4"]].concat());
    assert!(ran.code == 2 && ran.err.contains("Transformer, encoder)"), "{}", ran.err);
    assert_eq!(encoder.len(), 3 * 4);
    assert!(encoder.iter().all(|row| row["rank_99_difference"] == "2"), "{encoder:?}");
    let decoder = of("decoder");
    let targets: Vec<&str> = decoder.iter().map(|row| row["target"].as_str()).collect();
    let cross = ["query", "key", "value", "out_proj"].map(|part| format!("multihead_attn.{part}"));
    assert_eq!(targets.len(), 8);
    assert!(cross.iter().all(|name| targets.contains(&name.as_str())), "{targets:?}");
    assert!(decoder.iter().all(|row| row["rank_99_difference"].parse::<u32>().unwrap() > 10));
}

/// Against the base the ranks add up, within the compounds asked for.
#[test]
fn ranks_add_up_within_a_compound() {
    let dir = folder_of(&chain());
    let ranks = |args: &[&str]| -> Vec<(String, String, String)> {
        let out = format!("out{}", args.concat());
        let ran = spectrum(dir.path(), &[&["tiny.safetensors", "--out", &out], args].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        let rows = rows(&dir.path().join(&out).join("spectrum.csv"));
        let of_one = rows.into_iter().filter(|row| row["target"] == "mlp.fc1");
        of_one
            .map(|row| {
                let get = |column: &str| row[column].clone();
                let share = |rank: &str| get(&format!("energy_{rank}_difference")).parse::<f64>();
                let whole =
                    ["1", "2", "4", "8"].into_iter().find(|r| share(r).unwrap() > 1.0 - 1e-9);
                (get("layer"), get("reference_layer"), whole.unwrap().to_string())
            })
            .collect()
    };
    let row = |l: &str, r: &str, rank: &str| (l.to_string(), r.to_string(), rank.to_string());
    assert_eq!(ranks(&[]), [row("1", "0", "2"), row("2", "0", "4"), row("3", "0", "8")]);
    assert_eq!(ranks(&["--compound-size", "2"]), [row("1", "0", "2"), row("3", "2", "2")]);
}

/// Names change nothing but the layout that is told, and the output is the same each time.
#[test]
fn names_of_another_layout_change_no_number() {
    let dir = folder_of(&chain());
    save(&bert(&chain()), &dir.path().join("model.safetensors"));
    let table = |file: &str| {
        let ran = spectrum(
            dir.path(),
            &[file, "--out", file.split('.').next().unwrap(), "--format", "csv"],
        );
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    assert_eq!(table("tiny.safetensors"), table("model.safetensors"));
    assert_eq!(table("tiny.safetensors"), table("tiny.safetensors"));
    for file in ["spectrum.csv", "singular-values.csv", "energy-vs-rank.svg", "energy-vs-rank.png"]
    {
        let read = |folder: &str| std::fs::read(dir.path().join(folder).join(file)).unwrap();
        assert_eq!(read("tiny"), read("model"), "{file}");
    }
    let markdown = std::fs::read_to_string(dir.path().join("model/spectrum.md")).unwrap();
    assert!(markdown.contains("layout of BERT-like"), "{markdown}");
    // A file called as every model's is goes by its folder's name.
    // Beside a pickle, and under another name, the file is what is to be given.
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::copy(dir.path().join("model.safetensors"), other.join("mine.safetensors")).unwrap();
    for pickle in ["old.pth", "pytorch_model.bin"] {
        std::fs::write(other.join(pickle), "x").unwrap();
        let ran = spectrum(dir.path(), &["other"]);
        assert_eq!(ran.code, 2);
        for part in
            ["mine.safetensors; ", pickle, "help:     name the file: `other/mine.safetensors`"]
        {
            assert!(ran.err.contains(part), "{}", ran.err);
        }
        std::fs::remove_file(other.join(pickle)).unwrap();
    }
    let ran = spectrum(dir.path(), &["."]);
    let name = dir.path().file_name().unwrap().to_string_lossy();
    let folder = format!("results/spectrum/{name}-base-4");
    assert!(ran.code == 0 && dir.path().join(&folder).is_dir(), "{}", ran.err);
    // The tables are a function of the record.
    let table = std::fs::read(dir.path().join(&folder).join("spectrum.md")).unwrap();
    std::fs::remove_file(dir.path().join(&folder).join("spectrum.md")).unwrap();
    let report = vlora(dir.path(), &["report", &folder]);
    assert_eq!((report.code, &report.out), (0, &ran.out), "{}", report.err);
    assert_eq!(std::fs::read(dir.path().join(&folder).join("spectrum.md")).unwrap(), table);
}

/// Trained runs of this program: VLoRA's layers, which its file holds as factors, differ by the
/// rank that they were trained with, the baseline's by more.
#[test]
fn a_trained_run_has_the_rank_of_its_increments() {
    let dir = folder_with(TINY);
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "-q"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let results = dir.path().join("results/tiny");
    let mut whole_at_two: Vec<bool> = run_folders(&results)
        .iter()
        .map(|run| {
            let out = run.file_name().unwrap().to_str().unwrap();
            let ran = spectrum(dir.path(), &[run.to_str().unwrap(), "--out", out]);
            assert_eq!(ran.code, 0, "{}", ran.err);
            let rows = rows(&dir.path().join(out).join("spectrum.csv"));
            assert_eq!(rows.len(), 4);
            let kept = |row: &HashMap<String, String>| {
                row["energy_2_difference"].parse::<f64>().unwrap() > 1.0 - 1e-6
            };
            assert!(rows.iter().all(|row| kept(row) == kept(&rows[0])));
            kept(&rows[0])
        })
        .collect();
    whole_at_two.sort_unstable();
    assert_eq!(whole_at_two, [false, true]);

    // Without increments the layers of a compound are equal.
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "-q", "--set", "vlora.rank=0", "--replace"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let shared = run_of(&results, "vlora");
    let ran = spectrum(dir.path(), &[shared.to_str().unwrap(), "--out", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let rows = rows(&dir.path().join("out/spectrum.csv"));
    assert!(rows.iter().all(|row| row["relative_norm"].parse::<f64>().unwrap() == 0.0), "{rows:?}");
    // Another model's results are not written over.
    let other = run_of(&results, "baseline");
    let ran = spectrum(dir.path(), &[other.to_str().unwrap(), "--out", "out"]);
    assert!(ran.code == 2 && ran.err.contains("holds another spectrum"), "{}", ran.err);
}

/// Layers that are equal, in a model of two layers of width 1.
#[test]
fn nothing_to_find_is_no_fault() {
    let mut tensors = BTreeMap::new();
    for (layer, target) in (0..2).flat_map(|l| SHAPES.map(|(target, _)| (l, target))) {
        let rows = if target == "attn.qkv" { 3 } else { 1 };
        tensors.insert(format!("blocks.{layer}.{target}.weight"), normal(target, (rows, 1)));
    }
    let dir = folder_of(&tensors);
    let ran = spectrum(dir.path(), &["tiny.safetensors", "--title", "Twins"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.out.contains("NaN") && !ran.out.contains("inf"), "{}", ran.out);
    let markdown =
        std::fs::read_to_string(dir.path().join("results/spectrum/tiny-base-2/spectrum.md"))
            .unwrap();
    assert!(markdown.starts_with("# How the layers of Twins differ"));

    // Weights of zeros have no relative size.
    let zeros = tensors.iter().map(|(n, t)| (n.clone(), t.zeros_like().unwrap())).collect();
    save(&zeros, &dir.path().join("zeros.safetensors"));
    let ran = spectrum(dir.path(), &["zeros.safetensors"]);
    assert!(ran.code == 0 && !ran.err.contains("panicked"), "{}", ran.err);
    assert!(!ran.out.contains("NaN") && !ran.out.contains("inf"), "{}", ran.out);
}

#[test]
fn bad_input_is_refused_by_name() {
    let dir = folder_of(&chain());
    let told = |args: &[&str], parts: &[&str]| {
        let ran = spectrum(dir.path(), args);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {}", ran.err);
        for part in parts {
            assert!(ran.err.contains(part), "{args:?}: {}", ran.err);
        }
        assert!(!ran.err.contains("panicked") && !dir.path().join("results").exists());
    };
    told(&["none.safetensors"], &["none.safetensors", "cannot be read"]);
    told(&["tiny.safetensors", "--compound-size", "3"], &["--compound-size: 3", "one of 2, 4"]);
    told(&["tiny.safetensors", "--compound-size", "0"], &["--compound-size: 0", "one of 2, 4"]);
    std::fs::write(dir.path().join("text"), "not weights").unwrap();
    told(&["text"], &["text: the file is not a sound safetensors file"]);
    let change = |file: &str, change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut tensors = chain();
        change(&mut tensors);
        save(&tensors, &dir.path().join(file));
    };
    let lost = "blocks.2.attn.proj.weight";
    change("gap", &|t| drop(t.remove(lost)));
    told(&["gap"], &["gap: a layer's weight is missing", lost, "layout of timm"]);
    change("one", &|t| t.retain(|name, _| name.starts_with("blocks.0.")));
    told(&["one"], &["one: the model has one layer", "two layers or more"]);
    change("other", &|t| t.retain(|name, _| name.ends_with("fc1.weight")));
    told(&["other"], &["no Transformer in a layout that is known", "timm", "BERT-like"]);
    change("nan", &|t| {
        let bad = (&t[lost] * f64::NAN).unwrap();
        t.insert(lost.into(), bad);
    });
    told(&["nan"], &["nan: a weight is not finite", lost]);
}

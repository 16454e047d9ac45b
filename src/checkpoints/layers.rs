//! The matrices of a Transformer's layers, from any supported layout of names.
//!
//! | layout | layer N's matrices |
//! |---|---|
//! | timm, and this program's own | `blocks.N.attn.qkv`, `attn.proj`, `mlp.fc1`, `mlp.fc2` |
//! | Hugging Face ViT | `encoder.layer.N.attention.attention.query`, `key`, `value`, `attention.output.dense`, `intermediate.dense`, `output.dense` |
//! | BERT-like | the same with `attention.self.query`, `key`, `value` |
//! | GPT-2 | `h.N.attn.c_attn`, `attn.c_proj`, `mlp.c_fc`, `mlp.c_proj`, transposed |
//! | PyTorch's `nn.Transformer`, and this program's | of a stack, `encoder.layers.N.` or `decoder.layers.N.`: `self_attn.in_proj`, `self_attn.out_proj`, `linear1`, `linear2`; of the decoder also `multihead_attn.query`, `key`, `value`, `out_proj` |
//! | BART-like (Marian, OPT) | of a stack, `encoder.layers.N.` or `decoder.layers.N.`: `self_attn.q_proj`, `k_proj`, `v_proj`, `self_attn.out_proj`, `fc1`, `fc2`; of the decoder also `encoder_attn.q_proj`, `k_proj`, `v_proj`, `out_proj` |
//! | DistilBERT | `transformer.layer.N.attention.q_lin`, `k_lin`, `v_lin`, `attention.out_lin`, `ffn.lin1`, `ffn.lin2` |
//!
//! Names may have a prefix (`vit.`, `bert.`). Separate queries, keys and values are joined in this
//! order, as in timm. Files with increments (this program's compact format, the authors' package) are
//! read as the dense model that computes the same.

use std::path::Path;

use candle_core::Tensor;

use super::file::TensorFile;
use super::format::CheckpointFormat;
use super::hints::Hints;
use super::import::import_checkpoint;
use super::pytorch::{by_our_names, is_pytorch_name};
use super::read_base::beside;
use super::weights::read;
use crate::error::{Fault, Result};
use crate::vlora::{TargetLayers, is_increment, is_lora};

/// The matrices of every layer, float32, each \[out, in\].
#[derive(Clone, Debug)]
pub struct Layers {
    pub layout: String,
    /// Of a model with several stacks of layers: which one; else empty.
    pub stack: &'static str,
    pub depth: usize,
    /// Alpha of the increments that were merged; None for a file without increments.
    pub alpha: Option<f64>,
    /// For each target, one matrix for each layer, all of the same shape. Targets have timm's names
    /// and order.
    pub matrices: Vec<TargetLayers>,
}

struct Layout {
    name: &'static str,
    /// The part of a name before the layer's number.
    stem: &'static str,
    /// Each target with the parts of names after the number. Several are joined along dimension 0.
    targets: &'static [(&'static str, &'static [&'static str])],
    /// Of a model with several stacks of layers: which one; else empty.
    stack: &'static str,
}

/// The layout whose matrices are \[in, out\] in transformers' files, and \[out, in\] in nanoGPT's and this
/// program's. The shape of `attn.c_attn` tells which.
const GPT2: &str = "GPT-2";

/// The beginning of the names of cross-attention's targets.
const CROSS_ATTENTION: &str = "multihead_attn.";

const LAYOUTS: [Layout; 9] = [
    Layout {
        name: "timm",
        stem: "blocks.",
        stack: "",
        targets: &[
            ("attn.qkv", &["attn.qkv.weight"]),
            ("attn.proj", &["attn.proj.weight"]),
            ("mlp.fc1", &["mlp.fc1.weight"]),
            ("mlp.fc2", &["mlp.fc2.weight"]),
        ],
    },
    Layout {
        name: "Hugging Face ViT",
        stem: "encoder.layer.",
        stack: "",
        targets: &[
            (
                "attn.qkv",
                &[
                    "attention.attention.query.weight",
                    "attention.attention.key.weight",
                    "attention.attention.value.weight",
                ],
            ),
            ("attn.proj", &["attention.output.dense.weight"]),
            ("mlp.fc1", &["intermediate.dense.weight"]),
            ("mlp.fc2", &["output.dense.weight"]),
        ],
    },
    Layout {
        name: "BERT-like",
        stem: "encoder.layer.",
        stack: "",
        targets: &[
            (
                "attn.qkv",
                &[
                    "attention.self.query.weight",
                    "attention.self.key.weight",
                    "attention.self.value.weight",
                ],
            ),
            ("attn.proj", &["attention.output.dense.weight"]),
            ("mlp.fc1", &["intermediate.dense.weight"]),
            ("mlp.fc2", &["output.dense.weight"]),
        ],
    },
    Layout {
        name: "DistilBERT",
        stem: "transformer.layer.",
        stack: "",
        targets: &[
            (
                "attn.qkv",
                &["attention.q_lin.weight", "attention.k_lin.weight", "attention.v_lin.weight"],
            ),
            ("attn.proj", &["attention.out_lin.weight"]),
            ("mlp.fc1", &["ffn.lin1.weight"]),
            ("mlp.fc2", &["ffn.lin2.weight"]),
        ],
    },
    Layout {
        name: GPT2,
        stem: "h.",
        stack: "",
        targets: &[
            ("attn.qkv", &["attn.c_attn.weight"]),
            ("attn.proj", &["attn.c_proj.weight"]),
            ("mlp.fc1", &["mlp.c_fc.weight"]),
            ("mlp.fc2", &["mlp.c_proj.weight"]),
        ],
    },
    Layout {
        name: "PyTorch's Transformer, encoder",
        stem: "encoder.layers.",
        stack: "encoder",
        targets: &[
            ("self_attn.in_proj", &["self_attn.in_proj.weight"]),
            ("self_attn.out_proj", &["self_attn.out_proj.weight"]),
            ("linear1", &["linear1.weight"]),
            ("linear2", &["linear2.weight"]),
        ],
    },
    Layout {
        name: "PyTorch's Transformer, decoder",
        stem: "decoder.layers.",
        stack: "decoder",
        targets: &[
            ("self_attn.in_proj", &["self_attn.in_proj.weight"]),
            ("self_attn.out_proj", &["self_attn.out_proj.weight"]),
            ("linear1", &["linear1.weight"]),
            ("linear2", &["linear2.weight"]),
            ("multihead_attn.query", &["multihead_attn.query.weight"]),
            ("multihead_attn.key", &["multihead_attn.key.weight"]),
            ("multihead_attn.value", &["multihead_attn.value.weight"]),
            ("multihead_attn.out_proj", &["multihead_attn.out_proj.weight"]),
        ],
    },
    Layout {
        name: "BART-like, encoder",
        stem: "encoder.layers.",
        stack: "encoder",
        targets: &[
            (
                "self_attn.in_proj",
                &["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"],
            ),
            ("self_attn.out_proj", &["self_attn.out_proj.weight"]),
            ("linear1", &["fc1.weight"]),
            ("linear2", &["fc2.weight"]),
        ],
    },
    Layout {
        name: "BART-like, decoder",
        stem: "decoder.layers.",
        stack: "decoder",
        targets: &[
            (
                "self_attn.in_proj",
                &["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"],
            ),
            ("self_attn.out_proj", &["self_attn.out_proj.weight"]),
            ("linear1", &["fc1.weight"]),
            ("linear2", &["fc2.weight"]),
            ("multihead_attn.query", &["encoder_attn.q_proj.weight"]),
            ("multihead_attn.key", &["encoder_attn.k_proj.weight"]),
            ("multihead_attn.value", &["encoder_attn.v_proj.weight"]),
            ("multihead_attn.out_proj", &["encoder_attn.out_proj.weight"]),
        ],
    },
];

impl Layout {
    /// `<prefix><stem><layer>.<part>`.
    fn tensor(&self, prefix: &str, layer: usize, part: &str) -> String {
        format!("{prefix}{}{layer}.{part}", self.stem)
    }

    /// A name's prefix and layer; None if the name is not of this layout.
    fn place<'n>(&self, name: &'n str) -> Option<(&'n str, usize)> {
        let (at, stem) = name.match_indices(self.stem).last()?;
        let (prefix, rest) = (&name[..at], &name[at + stem.len()..]);
        let (layer, part) = rest.split_once('.')?;
        let known = self.targets.iter().any(|(_, parts)| parts.contains(&part));
        let whole = prefix.is_empty() || prefix.ends_with('.');
        (known && whole).then_some((prefix, layer.parse().ok()?))
    }

    /// The part of a name that identifies the layout.
    fn mark(&self) -> &'static str {
        self.targets[0].1[0]
    }
}

/// Reads the weights at `path`, as [`read`] does, and their layers.
///
/// `alpha` is that of increments in the authors' format, whose files do not contain it; None means 1. `stack` is
/// whose layers are read of a model that has several; it has to be given for these alone.
pub fn read_layers(
    path: &Path,
    alpha: Option<f64>,
    stack: Option<&str>,
) -> Result<(Layers, TensorFile)> {
    let mut file = read(path)?;
    if !file.is_compact() && !file.tensors.keys().any(|name| holds_increment(name)) {
        if file.tensors.keys().any(|name| is_pytorch_name(name)) {
            file.tensors = by_our_names(&file)?;
        }
        return Ok((layers(&file, stack)?, file));
    }
    // The number of heads does not change the matrices, so any number will do.
    let hints = Hints { heads: Some(1), alpha, ..Hints::default() };
    let loaded = import_checkpoint(&file, None, &hints)?;
    file.tensors = loaded.checkpoint.merged()?.tensors;
    let mut layers = layers(&file, stack)?;
    let of_stack = match layers.stack {
        "" => String::new(),
        name => format!(", {name}"),
    };
    layers.alpha = loaded.checkpoint.vlora.as_ref().map(|vlora| vlora.alpha);
    layers.layout = match &loaded.checkpoint.vlora {
        Some(vlora) => {
            let assumed = match (loaded.format, alpha) {
                (CheckpointFormat::Authors, None) => " (assumed: the file does not store it)",
                _ => "",
            };
            let lora = if loaded.checkpoint.lora.is_some() { " and LoRA" } else { "" };
            let alpha = vlora.alpha;
            format!(
                "{}{of_stack}, increments of alpha {alpha}{assumed}{lora} merged into the weights",
                loaded.format
            )
        }
        None if loaded.checkpoint.lora.is_some() => {
            format!("{}{of_stack}, LoRA merged into the weights", loaded.format)
        }
        None => format!("{}{of_stack}", loaded.format),
    };
    Ok((layers, file))
}

/// The layers of dense weights.
fn layers(file: &TensorFile, stack: Option<&str>) -> Result<Layers> {
    if file.tensors.is_empty() {
        file.only_floats(|_| false)?;
    }
    let names = || file.tensors.keys().map(String::as_str);
    let marked = |layout: &&Layout| {
        let is_mark = |name: &str| name.ends_with(layout.mark()) && layout.place(name).is_some();
        names().any(is_mark)
    };
    let found: Vec<&Layout> = LAYOUTS.iter().filter(marked).collect();
    let layout = match (found.as_slice(), stack) {
        ([], _) => return Err(unknown(file)),
        ([only], None) => only,
        _ => {
            let named =
                found.iter().find(|layout| !layout.stack.is_empty() && Some(layout.stack) == stack);
            let stacks: Vec<&str> = found.iter().map(|layout| layout.stack).collect();
            let expected = match stacks.as_slice() {
                [""] => "no `--stack`: the model has one stack of layers".to_string(),
                names => format!("`--stack` with one of {}", names.join(", ")),
            };
            named.ok_or_else(|| {
                Fault::of_file(&file.path, "it has to be said which stack of layers is meant")
                    .found(stack.map_or("no `--stack`".into(), |name| format!("`{name}`")))
                    .expected(expected)
            })?
        }
    };
    let mut places: Vec<(&str, usize)> = names().filter_map(|name| layout.place(name)).collect();
    places.sort_unstable();
    let (Some((prefix, _)), Some((other, deepest))) = (places.first(), places.last()) else {
        return Err(unknown(file));
    };
    if prefix != other {
        return Err(Fault::of_file(&file.path, "the file holds several Transformers")
            .found(format!("{} and {}", layout.tensor(prefix, 0, ""), layout.tensor(other, 0, "")))
            .expected("the layers of one")
            .into());
    }
    // A damaged, too large number gives an error about missing layers. Nothing is allocated for it.
    let depth = deepest.saturating_add(1);
    let packed = file.tensors.get(&layout.tensor(prefix, 0, layout.mark())).map(Tensor::dims);
    let transposed = layout.name == GPT2
        && matches!(packed, Some([input, output]) if *output == input.saturating_mul(3));
    let mut matrices = Vec::new();
    for (target, parts) in layout.targets.iter().copied() {
        // A decoder without an encoder has no cross-attention.
        let is_optional = target.starts_with(CROSS_ATTENTION);
        if is_optional && !file.tensors.contains_key(&layout.tensor(prefix, 0, parts[0])) {
            continue;
        }
        let mut all: Vec<Tensor> = Vec::new();
        for layer in 0..depth {
            let name = layout.tensor(prefix, layer, parts[0]);
            let part = |part: &&str| matrix(file, layout, &layout.tensor(prefix, layer, part));
            let parts = parts.iter().map(part).collect::<Result<Vec<_>>>()?;
            let whole = joined(&parts).ok_or_else(|| {
                let shapes: Vec<&[usize]> = parts.iter().map(Tensor::dims).collect();
                Fault::of_file(&file.path, "queries, keys and values have different inputs")
                    .tensor(&name)
                    .found(format!("{shapes:?}"))
                    .expected("three matrices [out, in] of one in")
            })?;
            let whole = if transposed { whole.t()?.contiguous()? } else { whole };
            if let Some(first) = all.first().filter(|first| first.dims() != whole.dims()) {
                return Err(Fault::of_file(&file.path, "the layers differ in shape")
                    .tensor(&name)
                    .found(format!("{:?}", whole.dims()))
                    .expected(format!("{:?}, as in layer 0", first.dims()))
                    .into());
            }
            all.push(whole);
        }
        matrices.push((target.into(), all));
    }
    Ok(Layers { layout: layout.name.into(), stack: layout.stack, depth, alpha: None, matrices })
}

/// Whether a tensor belongs to an increment or LoRA, in this program's format or the authors'.
fn holds_increment(name: &str) -> bool {
    is_increment(name) || is_lora(name) || name.contains(".parametrizations.")
}

fn matrix(file: &TensorFile, layout: &Layout, name: &str) -> Result<Tensor> {
    let fault = |summary: &str| Fault::of_file(&file.path, summary).tensor(name);
    match file.tensors.get(name) {
        Some(tensor) if tensor.rank() == 2 && tensor.elem_count() > 0 => Ok(tensor.clone()),
        Some(tensor) => Err(fault("a layer's weight is no matrix")
            .found(format!("shape {:?}", tensor.dims()))
            .expected("[out, in], neither of them 0")
            .into()),
        None => Err(match file.others.get(name) {
            Some(dtype) => fault("a layer's weight has another type")
                .found(dtype)
                .expected("F32, F16 or BF16")
                .help("quantised weights have to be dequantised first"),
            None => fault("a layer's weight is missing")
                .found("no such tensor")
                .expected(format!("every layer's weights, in the layout of {}", layout.name)),
        }
        .into()),
    }
}

/// Joins matrices along dimension 0; None if their inputs differ.
fn joined(parts: &[Tensor]) -> Option<Tensor> {
    match parts {
        [only] => Some(only.clone()),
        _ => Tensor::cat(parts, 0).ok(),
    }
}

/// The layouts that an error lists: of two stacks of one model the first.
fn listed() -> impl Iterator<Item = &'static Layout> {
    LAYOUTS.iter().filter(|layout| layout.stack != "decoder")
}

fn unknown(file: &TensorFile) -> crate::error::Error {
    let first = file.tensors.keys().next().map_or("none", String::as_str);
    let described = beside(&file.path).and_then(|(_, base)| base.ok());
    let of = described.map_or_else(String::new, |base| format!(" of {base}"));
    let name = |layout: &Layout| {
        format!("{} ({})", layout.tensor("[prefix.]", 0, layout.mark()), layout.name)
    };
    let names: Vec<String> = listed().map(name).collect();
    Fault::of_file(&file.path, "the file holds no Transformer in a layout that is known")
        .found(format!("{} tensors{of}, the first {first}", file.tensors.len()))
        .expected(format!("names as in {}", names.join(", ")))
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use candle_core::{DType, Device};

    use super::*;

    /// Names and shapes.
    type Named = Vec<(String, Vec<usize>)>;

    fn file(tensors: Named) -> TensorFile {
        let fill = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
            let ones = Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
            (name, (ones * i as f64).unwrap())
        };
        TensorFile {
            path: PathBuf::from("some.safetensors"),
            sha256: String::new(),
            metadata: BTreeMap::new(),
            tensors: tensors.into_iter().enumerate().map(fill).collect(),
            others: BTreeMap::new(),
        }
    }

    /// Tensors of a model of width 4 and MLP width 6.
    fn named(layout: &Layout, prefix: &str, depth: usize) -> Named {
        let mut all = vec![(format!("{prefix}embeddings.weight"), vec![9, 4])];
        for layer in 0..depth {
            for (target, parts) in layout.targets.iter().copied() {
                let shape = match target {
                    "attn.qkv" | "self_attn.in_proj" => [12 / parts.len(), 4],
                    "mlp.fc1" | "linear1" => [6, 4],
                    "mlp.fc2" | "linear2" => [4, 6],
                    _ => [4, 4],
                };
                for part in parts {
                    all.push((layout.tensor(prefix, layer, part), shape.to_vec()));
                }
            }
        }
        all
    }

    #[test]
    fn every_layout_is_read_with_and_without_a_prefix() {
        for layout in &LAYOUTS {
            for prefix in ["", "model.vit."] {
                let file = file(named(layout, prefix, 11));
                let got = layers(&file, None).unwrap();
                assert_eq!((got.layout.as_str(), got.depth), (layout.name, 11));
                let shape = |i: usize| got.matrices[i].1[10].dims2().unwrap();
                assert_eq!([0, 1, 2, 3].map(shape), [(12, 4), (4, 4), (6, 4), (4, 6)]);
                for (i, (target, parts)) in layout.targets.iter().copied().enumerate() {
                    assert_eq!(got.matrices[i].0.name(), target);
                    let rows = got.matrices[i].1[7].to_vec2::<f32>().unwrap();
                    let each = rows.len() / parts.len();
                    for (i, part) in parts.iter().enumerate() {
                        let tensor = &file.tensors[&layout.tensor(prefix, 7, part)];
                        let want = tensor.to_vec2::<f32>().unwrap();
                        assert_eq!(rows[i * each..(i + 1) * each], want[..], "{part}");
                    }
                }
            }
        }
    }

    /// transformers' GPT-2 and nanoGPT give the same matrices.
    #[test]
    fn matrices_of_conv1d_are_turned() {
        let layout = &LAYOUTS[4];
        let plain = file(named(layout, "transformer.", 2));
        let mut turned = plain.clone();
        for (name, tensor) in &mut turned.tensors {
            if name.contains(".h.") {
                *tensor = tensor.t().unwrap().contiguous().unwrap();
            }
        }
        let (want, got) = (layers(&plain, None).unwrap(), layers(&turned, None).unwrap());
        for ((target, want), (other, got)) in want.matrices.iter().zip(&got.matrices) {
            assert_eq!(target, other);
            let values = |all: &[Tensor]| all[1].to_vec2::<f32>().unwrap();
            assert_eq!(values(want), values(got), "{target}");
        }
    }

    #[test]
    fn errors_name_the_missing_or_misshapen_tensor() {
        let [timm, _, bert, ..] = &LAYOUTS;
        let message = |layout: &Layout, change: &dyn Fn(&mut Named)| {
            let mut tensors = named(layout, "", 3);
            change(&mut tensors);
            layers(&file(tensors), None).unwrap_err().to_string()
        };
        let key = "encoder.layer.1.attention.self.key.weight";
        let missing = message(bert, &|t| t.retain(|(name, _)| name != key));
        assert!(missing.starts_with("some.safetensors: a layer's weight is missing"), "{missing}");
        assert!(missing.contains(key) && missing.contains("BERT-like"), "{missing}");
        let far = "blocks.18446744073709551615.attn.qkv.weight";
        let gap = message(timm, &|t| t.push((far.into(), vec![12, 4])));
        assert!(gap.contains("blocks.3.attn.qkv.weight") && gap.contains("missing"), "{gap}");
        let set = |name: &'static str, shape: &'static [usize]| {
            move |t: &mut Named| {
                t.iter_mut().filter(|(n, _)| n == name).for_each(|(_, s)| *s = shape.to_vec());
            }
        };
        let shape = message(timm, &set("blocks.2.mlp.fc1.weight", &[5, 4]));
        assert!(shape.contains("blocks.2.mlp.fc1.weight") && shape.contains("[6, 4]"), "{shape}");
        assert!(message(timm, &set("blocks.0.mlp.fc1.weight", &[5])).contains("no matrix"));
        assert!(message(bert, &set(key, &[4, 3])).contains("different inputs"));
        let two = message(timm, &|t| t.extend(named(timm, "teacher.", 1)));
        assert!(two.contains("several Transformers") && two.contains("teacher.blocks.0"), "{two}");
        let none = message(timm, &|t| t.truncate(1));
        for layout in listed() {
            assert!(none.contains(layout.name), "{none}");
        }
    }

    #[test]
    fn a_stack_is_chosen_of_a_model_that_has_several() {
        let [.., encoder, decoder] = &LAYOUTS;
        let both = [named(encoder, "model.", 2), named(decoder, "model.", 3)].concat();
        let of = |stack| layers(&file(both.clone()), stack);
        let depth = |stack| of(Some(stack)).map(|found| (found.stack, found.depth)).unwrap();
        assert_eq!(["encoder", "decoder"].map(depth), [("encoder", 2), ("decoder", 3)]);
        for (found, stack) in [("no `--stack`", None), ("`middle`", Some("middle"))] {
            let told = of(stack).unwrap_err().to_string();
            for part in [found, "one of encoder, decoder"] {
                assert!(told.contains(part), "{part} is missing in {told}");
            }
        }
        // One that is alone needs no name.
        let alone = file(named(encoder, "model.", 2));
        assert_eq!(layers(&alone, None).unwrap().depth, 2);
        let told = layers(&alone, Some("decoder")).unwrap_err().to_string();
        assert!(told.contains("`decoder`") && told.contains("one of encoder"), "{told}");
        let one =
            layers(&file(named(&LAYOUTS[0], "", 2)), Some("encoder")).unwrap_err().to_string();
        assert!(one.contains("one stack of layers"), "{one}");
        // As OPT's.
        let mut bare = named(decoder, "model.", 2);
        bare.retain(|(name, _)| !name.contains("encoder_attn"));
        assert_eq!(layers(&file(bare), None).unwrap().matrices.len(), 4);
    }

    #[test]
    fn quantised_weights_give_another_error_than_missing_ones() {
        let mut file = file(named(&LAYOUTS[0], "", 2));
        let name = "blocks.1.mlp.fc2.weight".to_string();
        file.tensors.remove(&name);
        file.others.insert(name, "I8".into());
        let message = layers(&file, None).unwrap_err().to_string();
        assert!(message.contains("another type") && message.contains("I8"), "{message}");
    }
}

//! A state dict of the authors' `VisionTransformerVLoRA` (`vlora` 0.1.2, `models/vit.py`,
//! `utils/vlorafy.py`).
//!
//! Block i of compound c is `blocks.{c}.blocks.{i}`, which is layer `c · size + i` here. A block
//! with i > 0 stores a matrix's increment as `….attn.qkv.parametrizations.weight.0.A` and `.B`, and
//! a vector's increment as `….parametrizations.bias.0.A`. It also stores a copy of the compound's
//! base weight as `….parametrizations.weight.original`, which must equal the base bit by bit. A
//! file without copies (`safetensors.torch.save_model`) is read too. The file does not contain
//! alpha.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::checkpoint::Checkpoint;
use super::compact::file_bytes;
use super::file::TensorFile;
use super::hints::Hints;
use super::shapes::Renamed;
use super::timm::{NORM_EPS, described, heads, refuse_variants, with_metadata};
use crate::error::{Fault, Result};
use crate::spec::{LayerWeight, ModelSpec, Pool, Rank, Reference, TargetSpec, VitSpec, VloraSpec};
use crate::vlora::{Increment, LayerMap};

/// A parameter's name, split into compound, block and the rest.
struct Place<'a> {
    compound: usize,
    inner: usize,
    rest: &'a str,
}

fn place(name: &str) -> Option<Place<'_>> {
    let (compound, rest) = name.strip_prefix("blocks.")?.split_once('.')?;
    let (inner, rest) = rest.strip_prefix("blocks.")?.split_once('.')?;
    Some(Place { compound: compound.parse().ok()?, inner: inner.parse().ok()?, rest })
}

/// The weights that can have increments in this form. Their sizes have no meaning.
pub fn authors_targets() -> Vec<LayerWeight> {
    VitSpec::layer_weights(1, 1)
}

/// Whether a name has this form.
pub fn is_authors_name(name: &str) -> bool {
    place(name).is_some()
}

/// Converts a name within a block to ours: `attn.qkv.parametrizations.weight.0.A` becomes
/// `attn.qkv.weight.A`. The copy of a base weight keeps its end `.original`.
fn ours(rest: &str) -> String {
    match rest.split_once(".parametrizations.") {
        Some((module, parameter)) => {
            format!("{module}.{}", parameter.replacen(".0.", ".", 1))
        }
        None => rest.to_string(),
    }
}

/// Converts one of our names to theirs, for compounds of `size` layers.
fn theirs(ours: &str, size: usize) -> String {
    let block = || {
        let (layer, rest) = ours.strip_prefix("blocks.")?.split_once('.')?;
        let layer: usize = layer.parse().ok()?;
        let (compound, inner) = (layer.checked_div(size)?, layer.checked_rem(size)?);
        let rest = match rest.rsplit_once('.') {
            Some((parameter, factor @ ("A" | "B" | "original"))) => {
                let (module, parameter) = parameter.rsplit_once('.')?;
                let zero = if factor == "original" { "" } else { "0." };
                format!("{module}.parametrizations.{parameter}.{zero}{factor}")
            }
            _ => rest.to_string(),
        };
        Some(format!("blocks.{compound}.blocks.{inner}.{rest}"))
    };
    block().unwrap_or_else(|| ours.to_string())
}

pub fn import(file: &TensorFile, hints: &Hints) -> Result<Checkpoint> {
    file.only_floats(|_| false)?;
    // Their model is based on timm's, so the description may be timm's too.
    let described = described(file)?;
    refuse_variants(file, "attn.qkv")?;
    let last = file.tensors.keys().filter_map(|name| place(name)).map(|p| p.inner).max();
    let Some(size) = last.and_then(|last| last.checked_add(1)) else {
        return Err(Fault::of_file(&file.path, "the file is not in the authors' form")
            .expected("names as in blocks.0.blocks.0.attn.qkv.weight")
            .into());
    };
    let mut tensors = BTreeMap::new();
    let mut originals = Vec::new();
    for (name, tensor) in &file.tensors {
        let our_name = match place(name) {
            None => name.clone(),
            Some(p) => {
                let layer = p.compound.saturating_mul(size).saturating_add(p.inner);
                format!("blocks.{layer}.{}", ours(p.rest))
            }
        };
        match our_name.strip_suffix(".original") {
            Some(parameter) => originals.push((name, parameter.to_string(), tensor)),
            None => {
                tensors.insert(our_name, tensor.clone());
            }
        }
    }
    for (name, parameter, copy) in originals {
        let base = base_of(&parameter, size).unwrap_or(parameter);
        if !tensors.get(&base).is_some_and(|base| same(base, copy).unwrap_or(false)) {
            return Err(Fault::of_file(
                &file.path,
                "the copy of a base weight is not the base weight",
            )
            .tensor(name)
            .expected(format!("to the bit what {} holds", theirs(&base, size)))
            .help("the increments were trained on another base, or the file is damaged")
            .into());
        }
    }
    let theirs = |name: &str| theirs(name, size);
    let renamed = Renamed { path: &file.path, tensors, theirs: &theirs };
    let mut model = renamed.vit(heads(&renamed, described.as_ref(), hints)?, NORM_EPS)?;
    // Rounded up to whole compounds, so that the error for a missing block names it.
    model.depth = model.depth.checked_next_multiple_of(size).unwrap_or(usize::MAX);
    let vlora = increments(file, &renamed, &model, size, hints)?;
    with_metadata(renamed.checkpoint(model.into(), Some(vlora), None)?, described, hints)
}

/// The base layer's parameter for one of our parameter names.
fn base_of(parameter: &str, size: usize) -> Option<String> {
    let (layer, rest) = parameter.strip_prefix("blocks.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    Some(format!("blocks.{}.{rest}", layer - layer.checked_rem(size)?))
}

/// Whether shape and every bit are equal.
fn same(a: &Tensor, b: &Tensor) -> candle_core::Result<bool> {
    let bits = |t: &Tensor| -> candle_core::Result<Vec<u32>> {
        Ok(t.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
    };
    Ok(a.dims() == b.dims() && bits(a)? == bits(b)?)
}

/// Targets and ranks, as in the first layer with increments. If another layer differs, a later
/// check reports a missing, extra or misshapen tensor.
fn increments(
    file: &TensorFile,
    renamed: &Renamed,
    model: &VitSpec,
    size: usize,
    hints: &Hints,
) -> Result<VloraSpec> {
    let factor = |weight: &LayerWeight| format!("blocks.1.{}.A", weight.parameter());
    let rank = |weight: &LayerWeight| {
        let factor = renamed.tensors.get(&factor(weight))?;
        Some(Rank::Of(if weight.is_vector() { 0 } else { *factor.dims().first()? }))
    };
    // Matrices come before vectors.
    let weights = ModelSpec::Vit(model.clone()).weights();
    let found: Vec<(&LayerWeight, Rank)> = match size {
        // Compounds of one layer hold no increments.
        1 => weights.iter().filter(|w| !w.is_vector()).map(|w| (w, Rank::Of(1))).collect(),
        _ => weights.iter().filter_map(|weight| Some((weight, rank(weight)?))).collect(),
    };
    if let Some((weight, _)) =
        found.iter().find(|(weight, rank)| !weight.is_vector() && *rank == Rank::Of(0))
    {
        return Err(Fault::of_file(&file.path, "an increment has rank 0")
            .tensor((renamed.theirs)(&factor(weight)))
            .expected("[rank, in] with a rank of at least 1")
            .into());
    }
    if found.is_empty() {
        return Err(Fault::of_file(&file.path, "the model has no increments")
            .found(format!("compounds of {size} blocks, all dense"))
            .expected("names as in blocks.0.blocks.1.attn.qkv.parametrizations.weight.0.A")
            .into());
    }
    let common = match found.first() {
        Some((weight, rank)) if !weight.is_vector() => *rank,
        _ => Rank::Of(1),
    };
    let targets = found.iter().map(|(weight, rank)| {
        let own = !weight.is_vector() && *rank != common;
        let alpha = hints.target_alphas.get(&weight.target).copied();
        TargetSpec { target: weight.target.clone(), rank: own.then_some(*rank), alpha }
    });
    Ok(VloraSpec {
        alpha: hints.alpha.unwrap_or(1.0),
        targets: targets.collect(),
        ..VloraSpec::new(size, common)
    })
}

/// The tensors by the authors' names, with the copies of the base weights.
pub fn authors_tensors(checkpoint: &Checkpoint) -> Result<BTreeMap<String, Tensor>> {
    let vlora = expressible(checkpoint)?;
    let size = vlora.compound_size.unwrap_or(1);
    let mut tensors = BTreeMap::new();
    for (name, tensor) in &checkpoint.tensors {
        tensors.insert(theirs(name, size), tensor.clone());
        let copied = name.strip_prefix("blocks.").and_then(|_| name.strip_suffix(".A"));
        let base = copied.and_then(|parameter| Some((parameter, base_of(parameter, size)?)));
        if let Some((parameter, base)) = base
            && let Some(base) = checkpoint.tensors.get(&base)
        {
            tensors.insert(theirs(&format!("{parameter}.original"), size), base.clone());
        }
    }
    Ok(tensors)
}

/// The increments. Errors if the authors' package cannot hold the model.
fn expressible(checkpoint: &Checkpoint) -> Result<&VloraSpec> {
    let no = |why: &str| {
        Err(Fault::new("the authors' form cannot hold this model")
            .found(why)
            .expected("low-rank increments on each compound's first layer, detached")
            .help("--to compact holds every model; --to timm a Vision Transformer, as a dense one")
            .into())
    };
    let Some(VitSpec { norm_eps, .. }) = checkpoint.model.as_vit() else {
        return no("a model that is no Vision Transformer");
    };
    let Some(vlora) = &checkpoint.vlora else {
        return no("a dense model, as merging LoRA makes it too");
    };
    if checkpoint.lora.is_some() {
        return no("LoRA on top, which --lora drop takes off");
    }
    if !vlora.has_plain_compounds(checkpoint.model.depth()) {
        return no("layers that share otherwise than in compounds of one size");
    }
    if vlora.reference != Reference::Base {
        return no("reference: previous");
    }
    if !vlora.detach {
        return no("detach: false");
    }
    if *norm_eps != NORM_EPS {
        return no(&format!("norm_eps: {norm_eps}, where timm's models have {NORM_EPS}"));
    }
    for stack in checkpoint.model.stacks() {
        let map = LayerMap::of(&stack, Some(vlora));
        if (0..stack.depth).all(|layer| map.reference(layer).is_none()) {
            continue;
        }
        for weight in &stack.weights {
            match Increment::of(weight, vlora) {
                Some(Increment::Full) => return no("full increments (rank: full)"),
                Some(Increment::Shared) => return no("layers without increments (rank: 0)"),
                _ => {}
            }
        }
    }
    Ok(vlora)
}

/// The Python call that builds the model of a file in the authors' form. The file does not contain
/// these arguments.
pub fn construction(checkpoint: &Checkpoint) -> Option<String> {
    let vlora = checkpoint.vlora.as_ref()?;
    let model = &checkpoint.model;
    let m = model.as_vit()?;
    let list = |of: &dyn Fn(&TargetSpec) -> String| {
        format!("[{}]", vlora.targets.iter().map(of).collect::<Vec<_>>().join(", "))
    };
    let rank = |own: &TargetSpec| match own.rank.unwrap_or(vlora.rank) {
        // A vector has no rank, but the package requires a number.
        _ if model.is_vector(&own.target) => "1".to_string(),
        rank => rank.to_string(),
    };
    let pool = match m.pool {
        Pool::ClassToken => "",
        Pool::Mean => ", global_pool=\"avg\", class_token=False",
    };
    Some(format!(
        "VisionTransformerVLoRA(img_size={}, patch_size={}, in_chans={}, num_classes={}, \
         embed_dim={}, depth={}, num_heads={}, mlp_ratio={}{pool}, vl_size={}, vl_param_name={}, \
         vl_rank={}, vl_alpha={})",
        m.image_size,
        m.patch_size,
        m.channels,
        m.classes,
        m.dim,
        m.depth / vlora.compound_size.unwrap_or(1).max(1),
        m.heads,
        m.mlp_ratio,
        vlora.compound_size.unwrap_or(1),
        list(&|own| match model.weight(&own.target) {
            Some(weight) => format!("\"{}\"", weight.parameter()),
            None => format!("\"{}\"", own.target),
        }),
        list(&rank),
        list(&|own| own.alpha.unwrap_or(vlora.alpha).to_string()),
    ))
}

/// The file in the authors' form.
pub fn export(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    file_bytes(&authors_tensors(checkpoint)?, "format", "pt".into())
}

//! What the states of the authors' models have in common (`vlora` 0.1.2, `utils/vlorafy.py`).
//!
//! A stack is a list of compounds, and a compound a list of blocks. Block i of compound c is
//! `{stack}{c}.blocks.{i}`, which is layer `c · size + i` here. A block with i > 0 stores a matrix's
//! increment as `….attn.qkv.parametrizations.weight.0.A` and `.B`, and a vector's increment as
//! `….parametrizations.bias.0.A`. It also stores a copy of the compound's base weight as
//! `….parametrizations.weight.original`, which must equal the base bit by bit. A file without copies
//! (`safetensors.torch.save_model`) is read too. The file does not contain alpha.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;

use super::checkpoint::Checkpoint;
use super::file::same;
use super::hints::Hints;
use super::shapes::Renamed;
use crate::error::{Fault, Result};
use crate::spec::{LayerWeight, Rank, Reference, TargetSpec, VloraSpec};
use crate::vlora::{Increment, LayerMap};

/// How the names of the blocks of each stack begin, the Vision Transformer's and the Transformer's.
pub const STACKS: [&str; 3] = ["blocks.", "encoder.layers.", "decoder.layers."];

/// A parameter's name, split into stack, compound, block and the rest.
struct Place<'a> {
    stack: &'static str,
    compound: usize,
    inner: usize,
    rest: &'a str,
}

fn place(name: &str) -> Option<Place<'_>> {
    STACKS.into_iter().find_map(|stack| {
        let (compound, rest) = name.strip_prefix(stack)?.split_once('.')?;
        let (inner, rest) = rest.strip_prefix("blocks.")?.split_once('.')?;
        Some(Place { stack, compound: compound.parse().ok()?, inner: inner.parse().ok()?, rest })
    })
}

/// The stack of a block's parameter; None for another name.
pub fn stack_of(name: &str) -> Option<&'static str> {
    place(name).map(|place| place.stack)
}

/// Blocks in a compound of a stack, by the names; None if no name is a block's.
pub fn compound_size(tensors: &BTreeMap<String, Tensor>, stack: &str) -> Option<usize> {
    let places = tensors.keys().filter_map(|name| place(name));
    places.filter(|p| p.stack == stack).map(|p| p.inner).max()?.checked_add(1)
}

/// A parameter of a layer, split into stack, layer and the rest.
fn layer_of(name: &str) -> Option<(&'static str, usize, &str)> {
    STACKS.into_iter().find_map(|stack| {
        let (layer, rest) = name.strip_prefix(stack)?.split_once('.')?;
        Some((stack, layer.parse().ok()?, rest))
    })
}

/// Converts a name within a block to that within a layer: `attn.qkv.parametrizations.weight.0.A` becomes
/// `attn.qkv.weight.A`. The copy of a base weight keeps its end `.original`.
fn in_layer(rest: &str) -> String {
    match rest.split_once(".parametrizations.") {
        Some((module, parameter)) => {
            format!("{module}.{}", parameter.replacen(".0.", ".", 1))
        }
        None => rest.to_string(),
    }
}

/// Converts the name of a layer's parameter to that of a block's, for compounds of `size` layers.
pub fn in_block(name: &str, size: usize) -> String {
    let block = || {
        let (stack, layer, rest) = layer_of(name)?;
        let (compound, inner) = (layer.checked_div(size)?, layer.checked_rem(size)?);
        let rest = match rest.rsplit_once('.') {
            Some((parameter, factor @ ("A" | "B" | "original"))) => {
                let (module, parameter) = parameter.rsplit_once('.')?;
                let zero = if factor == "original" { "" } else { "0." };
                format!("{module}.parametrizations.{parameter}.{zero}{factor}")
            }
            _ => rest.to_string(),
        };
        Some(format!("{stack}{compound}.blocks.{inner}.{rest}"))
    };
    block().unwrap_or_else(|| name.to_string())
}

/// The base layer's parameter for a parameter of a layer.
fn base_of(parameter: &str, size: usize) -> Option<String> {
    let (stack, layer, rest) = layer_of(parameter)?;
    Some(format!("{stack}{}.{rest}", layer - layer.checked_rem(size)?))
}

/// The tensors by layers' names, without the copies of base weights, which must be what they copy.
/// `in_file` converts the names of `tensors` to the file's, for errors.
pub fn by_layer(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    size: usize,
    in_file: &dyn Fn(&str) -> String,
) -> Result<BTreeMap<String, Tensor>> {
    let mut layers = BTreeMap::new();
    let mut originals = Vec::new();
    for (name, tensor) in tensors {
        let new_name = match place(name) {
            None => name.clone(),
            Some(Place { stack, compound, inner, rest }) => {
                let layer = compound.saturating_mul(size).saturating_add(inner);
                format!("{stack}{layer}.{}", in_layer(rest))
            }
        };
        if let Some(parameter) = new_name.strip_suffix(".original") {
            originals.push((name, parameter.to_string(), tensor));
        } else if layers.insert(new_name.clone(), tensor.clone()).is_some() {
            return Err(Fault::of_file(path, "two tensors have the same meaning")
                .tensor(in_file(name))
                .expected(format!("{} alone", in_file(&in_block(&new_name, size))))
                .into());
        }
    }
    for (name, parameter, copy) in originals {
        let base = base_of(&parameter, size).unwrap_or(parameter);
        if !layers.get(&base).is_some_and(|base| same(base, copy).unwrap_or(false)) {
            return Err(Fault::of_file(path, "the copy of a base weight is not the base weight")
                .tensor(in_file(name))
                .expected(format!("to the bit what {} holds", in_file(&in_block(&base, size))))
                .help("the increments were trained on another base, or the file is damaged")
                .into());
        }
    }
    Ok(layers)
}

/// The tensors by blocks' names, with the copies of the base weights. `layers` has them by layers' names.
pub fn by_block(layers: &BTreeMap<String, Tensor>, size: usize) -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    for (name, tensor) in layers {
        tensors.insert(in_block(name, size), tensor.clone());
        let copied = name.strip_suffix(".A");
        let base = copied.and_then(|parameter| Some((parameter, base_of(parameter, size)?)));
        if let Some((parameter, base)) = base
            && let Some(base) = layers.get(&base)
        {
            tensors.insert(in_block(&format!("{parameter}.original"), size), base.clone());
        }
    }
    tensors
}

/// Which of `weights` have increments in a stack, and their ranks (0 of a vector): as in the first layer with
/// increments. If another layer differs, a later check reports a missing, extra or misshapen tensor.
pub fn ranks(
    renamed: &Renamed,
    weights: &[LayerWeight],
    stack: &str,
    size: usize,
) -> Result<Vec<(LayerWeight, Rank)>> {
    if size == 1 {
        // Compounds of one layer hold no increments.
        let matrices = weights.iter().filter(|weight| !weight.is_vector());
        return Ok(matrices.map(|weight| (weight.clone(), Rank::Of(1))).collect());
    }
    let factor = |weight: &LayerWeight| first_factor(stack, weight);
    let rank = |weight: &LayerWeight| {
        let factor = renamed.tensors.get(&factor(weight))?;
        Some(Rank::Of(if weight.is_vector() { 0 } else { *factor.dims().first()? }))
    };
    // Matrices come before vectors.
    let found: Vec<(LayerWeight, Rank)> =
        weights.iter().filter_map(|weight| Some((weight.clone(), rank(weight)?))).collect();
    if let Some((weight, _)) =
        found.iter().find(|(weight, rank)| !weight.is_vector() && *rank == Rank::Of(0))
    {
        return Err(Fault::of_file(renamed.path, "an increment has rank 0")
            .tensor((renamed.theirs)(&factor(weight)))
            .expected("[rank, in] with a rank of at least 1")
            .into());
    }
    Ok(found)
}

/// The factor of a weight in the first layer with increments.
fn first_factor(stack: &str, weight: &LayerWeight) -> String {
    format!("{stack}1.{}.A", weight.parameter())
}

/// The error for a model in which none of `weights` has an increment.
pub fn no_increments(
    renamed: &Renamed,
    weights: &[LayerWeight],
    stack: &str,
    size: usize,
) -> Fault {
    let first = weights.first().map(|weight| (renamed.theirs)(&first_factor(stack, weight)));
    Fault::of_file(renamed.path, "the model has no increments")
        .found(format!("compounds of {size} blocks, all dense"))
        .expected(format!("names as in {}", first.unwrap_or_default()))
}

/// The increments of these weights, in compounds of `size` layers.
pub fn increments(found: &[(LayerWeight, Rank)], size: usize, hints: &Hints) -> VloraSpec {
    let common = match found.first() {
        Some((weight, rank)) if !weight.is_vector() => *rank,
        _ => Rank::Of(1),
    };
    let targets = found.iter().map(|(weight, rank)| {
        let differs = !weight.is_vector() && *rank != common;
        let alpha = hints.target_alphas.get(&weight.target).copied();
        TargetSpec { target: weight.target.clone(), rank: differs.then_some(*rank), alpha }
    });
    VloraSpec {
        alpha: hints.alpha.unwrap_or(1.0),
        targets: targets.collect(),
        ..VloraSpec::new(size, common)
    }
}

/// The error for a model that the authors' package cannot hold.
pub fn refused(why: &str) -> Fault {
    Fault::new("the authors' format cannot hold this model")
        .found(why)
        .expected("low-rank increments on each compound's first layer, detached")
        .help(
            "--to compact holds every model; --to timm a Vision Transformer and --to pytorch an \
             encoder-decoder, as dense ones",
        )
}

/// The increments. Errors if the authors' package has none of this kind.
pub fn expressible(checkpoint: &Checkpoint) -> Result<&VloraSpec> {
    let no = |why: &str| Err(refused(why).into());
    let Some(vlora) = &checkpoint.vlora else {
        return no("a dense model, as merging LoRA makes it too");
    };
    if checkpoint.lora.is_some() {
        return no("LoRA on top, which --lora drop takes off");
    }
    let stacks = checkpoint.model.stacks();
    if !stacks.iter().all(|stack| vlora.has_plain_compounds(stack.depth)) {
        return no("layers that share otherwise than in compounds of one size");
    }
    if vlora.reference != Reference::Base {
        return no("reference: previous");
    }
    if !vlora.detach {
        return no("detach: false");
    }
    for stack in stacks {
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

/// A Python list of what `of` says of each target.
pub fn list<'a>(
    targets: impl Iterator<Item = &'a TargetSpec>,
    of: impl Fn(&TargetSpec) -> String,
) -> String {
    format!("[{}]", targets.map(of).collect::<Vec<_>>().join(", "))
}

/// Ranks of targets as a Python list.
pub fn rank_list<'a>(
    targets: impl Iterator<Item = &'a TargetSpec>,
    checkpoint: &Checkpoint,
    vlora: &VloraSpec,
) -> String {
    list(targets, |target| match vlora.rank_of(target) {
        // A vector has no rank, but the package requires a number.
        _ if checkpoint.model.is_vector(&target.target) => "1".to_string(),
        rank => rank.to_string(),
    })
}

/// Alphas of targets as a Python list.
pub fn alpha_list<'a>(targets: impl Iterator<Item = &'a TargetSpec>, vlora: &VloraSpec) -> String {
    list(targets, |target| target.alpha.unwrap_or(vlora.alpha).to_string())
}

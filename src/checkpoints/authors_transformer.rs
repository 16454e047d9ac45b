//! A state dict of a module with the authors' `TransformerVLoRA` (`vlora` 0.1.2,
//! `models/transformer.py`) in place of `torch.nn.Transformer`.
//!
//! Names are those of [`pytorch`](super::pytorch), with the layers in [`compounds`](super::compounds).
//! `TransformerVLoRA` itself has neither embeddings nor an output layer, so a state of it alone is refused.
//! What no tensor shows comes from PyTorch's config beside the file, or from the run that starts from
//! it.
//!
//! Increments of the packed matrix of cross-attention are refused: queries, keys and values are three matrices
//! here, each with an increment of its own. Encoder and decoder have the same increments here, so a file in
//! which they differ is refused.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::checkpoint::Checkpoint;
use super::compounds::{
    STACKS, alpha_list, by_block, by_layer, compound_size, expressible, in_block, increments, list,
    no_increments, rank_list, ranks, refused, stack_of,
};
use super::file::TensorFile;
use super::hints::Hints;
use super::pytorch::{self, CROSS, State, bare, packed};
use super::shapes::Renamed;
use crate::error::{Fault, Result};
use crate::spec::{
    EncoderDecoderSpec, FinalNorm, LayerWeight, MlpActivation, ModelSpec, NormPlacement, Rank,
    Target, TargetSpec, VloraSpec,
};

const ENCODER: &str = STACKS[1];
const DECODER: &str = STACKS[2];

/// ε of PyTorch's layer norms, which the package cannot change.
const NORM_EPS: f64 = 1e-5;

/// Whether a name is of a compound of this model.
pub fn is_its_name(name: &str) -> bool {
    stack_of(bare(name)).is_some_and(|stack| stack != STACKS[0])
}

/// Whether a target is a part of what is one parameter in the package.
fn is_part(target: &Target) -> bool {
    CROSS.iter().any(|part| target.name().starts_with(&format!("multihead_attn.{part}")))
}

/// The weights of a model that can have increments in this format.
fn targets_of(model: &EncoderDecoderSpec) -> Vec<LayerWeight> {
    let weights = ModelSpec::EncoderDecoder(model.clone()).weights().into_iter();
    weights.filter(|weight| !is_part(&weight.target)).collect()
}

/// The weights that can have increments in this format, some more than once. Their sizes have no meaning.
pub fn targets() -> Vec<LayerWeight> {
    let weights = EncoderDecoderSpec::stacks_of(1, 1, [1, 1]).into_iter().flat_map(|s| s.weights);
    weights.filter(|weight| !is_part(&weight.target)).collect()
}

pub fn import(file: &TensorFile, hints: &Hints) -> Result<Checkpoint> {
    let state = State::of(file, hints)?;
    let [encoder, decoder] = [ENCODER, DECODER].map(|stack| compound_size(&state.tensors, stack));
    let (Some(size), Some(others)) = (encoder, decoder) else {
        let stack = if encoder.is_none() { ENCODER } else { DECODER };
        return Err(Fault::of_file(&file.path, "the file is not in the authors' format")
            .expected(format!(
                "names as in {}",
                state.in_file(&format!("{stack}0.blocks.0.linear1.weight"))
            ))
            .into());
    };
    if size != others {
        let found =
            format!("compounds of {size} layers in the encoder, of {others} in the decoder");
        return Err(unequal(file, found).into());
    }
    let in_file = |name: &str| state.in_file(name);
    let tensors = by_layer(&file.path, &state.tensors, size, &in_file)?;
    let in_file = |name: &str| state.in_file(&in_block(name, size));
    pytorch::checkpoint(file, hints, &tensors, &in_file, |renamed, model| {
        // Rounded up to whole compounds, so that the error for a missing block names it.
        let whole = |depth: usize| depth.checked_next_multiple_of(size).unwrap_or(usize::MAX);
        let (depth, decoder) = (whole(model.depth), whole(model.decoder_depth()));
        (model.depth, model.decoder_depth) = (depth, (decoder != depth).then_some(decoder));
        Ok(Some(increments(&common_ranks(file, renamed, model, size)?, size, hints)))
    })
}

fn unequal(file: &TensorFile, found: String) -> Fault {
    Fault::of_file(&file.path, "encoder and decoder have different increments")
        .found(found)
        .expected("the same compounds, targets and ranks in both")
}

/// The weights with increments, and their ranks, which must be the same in both stacks.
fn common_ranks(
    file: &TensorFile,
    renamed: &Renamed,
    model: &EncoderDecoderSpec,
    size: usize,
) -> Result<Vec<(LayerWeight, Rank)>> {
    let all = targets_of(model);
    let stacks = model.stacks();
    let in_encoder: Vec<LayerWeight> = all
        .iter()
        .filter(|weight| stacks.first().is_some_and(|stack| stack.weights.contains(weight)))
        .cloned()
        .collect();
    let encoder = ranks(renamed, &in_encoder, ENCODER, size)?;
    let decoder = ranks(renamed, &all, DECODER, size)?;
    if decoder.is_empty() {
        return Err(no_increments(renamed, &all, DECODER, size).into());
    }
    let rank_in = |found: &[(LayerWeight, Rank)], weight: &LayerWeight| {
        found.iter().find(|(other, _)| other == weight).map(|(_, rank)| *rank)
    };
    for weight in &in_encoder {
        let (here, there) = (rank_in(&encoder, weight), rank_in(&decoder, weight));
        if here != there {
            let text = |rank: Option<Rank>| match rank {
                Some(rank) if !weight.is_vector() => format!("rank {rank}"),
                Some(_) => "an increment".to_string(),
                None => "no increment".to_string(),
            };
            let (here, there) = (text(here), text(there));
            let found = format!("{}: {here} in the encoder, {there} in the decoder", weight.target);
            return Err(unequal(file, found).into());
        }
    }
    Ok(decoder)
}

/// The tensors by the authors' names, without the Transformer's prefix. Errors if the package cannot build
/// the model.
pub fn tensors(
    checkpoint: &Checkpoint,
    model: &EncoderDecoderSpec,
) -> Result<BTreeMap<String, Tensor>> {
    let vlora = expressible(checkpoint)?;
    let no = |why: String| Err(refused(&why).into());
    let size = vlora.compound_size.unwrap_or(1);
    if let Some(target) = vlora.targets.iter().find(|target| size > 1 && is_part(&target.target)) {
        return no(format!(
            "increments of {}, where the package has one matrix of cross-attention",
            target.target
        ));
    }
    // The package has a norm behind the encoder if its layers begin with one, and one behind the decoder in any
    // case.
    let (final_norm, norm) = match model.norm {
        NormPlacement::Post => (FinalNorm::Decoder, "`final_norm: decoder` with `norm: post`"),
        NormPlacement::Pre => (FinalNorm::Both, "`final_norm: both` with `norm: pre`"),
    };
    if model.final_norm != final_norm {
        return no(format!("another `final_norm`, where the package has {norm}"));
    }
    let activation = match model.activation {
        MlpActivation::Relu | MlpActivation::Gelu => None,
        MlpActivation::GeluTanh => Some("gelu-tanh"),
        MlpActivation::Silu => Some("silu"),
    };
    if let Some(name) = activation {
        return no(format!("`activation: {name}`, where the package has relu and gelu"));
    }
    if model.norm_eps != NORM_EPS {
        return no(format!(
            "norm_eps: {}, where the package's norms have {NORM_EPS}",
            model.norm_eps
        ));
    }
    Ok(by_block(&pytorch::state(checkpoint, model)?, size))
}

/// The file of these tensors.
pub fn bytes(tensors: BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    pytorch::state_bytes(tensors)
}

/// The Python call that builds the Transformer of the file.
pub fn construction(
    checkpoint: &Checkpoint,
    model: &EncoderDecoderSpec,
    vlora: &VloraSpec,
) -> String {
    let size = vlora.compound_size.unwrap_or(1).max(1);
    let mut arguments = format!("d_model={}, nhead={}", model.dim, model.heads);
    for stack in model.stacks() {
        let weight = |target: &TargetSpec| {
            stack
                .weights
                .iter()
                .find(|weight| weight.target == target.target && !is_part(&target.target))
        };
        let targets = || vlora.targets.iter().filter(|target| weight(target).is_some());
        let name = stack.name;
        arguments += &format!(
            ", num_{name}_compounds={}, {name}_compound_size={size}, {name}_vlora_params={}, \
             {name}_vlora_rank={}, {name}_vlora_alpha={}",
            stack.depth / size,
            list(targets(), |target| {
                let parameter = weight(target).map(LayerWeight::parameter).unwrap_or_default();
                format!("\"{}\"", packed(&parameter))
            }),
            rank_list(targets(), checkpoint, vlora),
            alpha_list(targets(), vlora),
        );
    }
    let activation = if model.activation == MlpActivation::Relu { "relu" } else { "gelu" };
    let before = if model.norm == NormPlacement::Pre { "True" } else { "False" };
    format!(
        "TransformerVLoRA({arguments}, dim_feedforward={}, dropout={}, activation=\"{activation}\", \
         normalize_before={before})",
        model.hidden(),
        model.dropout
    )
}

/// Lines for the user about what the file leaves out besides the arguments of [`construction`].
pub fn not_held(model: &EncoderDecoderSpec) -> String {
    let mut notes = String::from(
        "note: a state dict does not say how the model computes; to import it again, put the \
         config.json beside it that --to pytorch writes\n",
    );
    if model.attention_dropout != model.dropout || model.activation_dropout != model.dropout {
        notes += "note: the package has one rate of dropout, this model three\n";
    }
    notes
}

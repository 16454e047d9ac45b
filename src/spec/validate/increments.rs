//! `vlora` and `lora`: which weights get low-rank increments, and of which rank.

use super::check::Check;
use crate::spec::error::SpecError;
use crate::spec::node::Node;
use crate::spec::schema::{
    LayerWeight, LoraSpec, ModelSpec, Rank, Target, VectorGroup, VloraSpec, WeightShape,
};
use crate::spec::wording::one_of;

/// VLoRA's fields.
pub fn vlora(vlora: &VloraSpec, model: &ModelSpec, check: &Check) -> Result<(), SpecError> {
    sharing(vlora, model, check)?;
    for (i, group) in vlora.also_share.iter().enumerate() {
        let is_new = !vlora.also_share[..i].contains(group);
        let field = format!("vlora.also_share[{i}]");
        check.that(&field, is_new, "each group once")?;
        let has = model.weights().iter().any(|weight| group_of(weight) == Some(*group));
        check.that(&field, has, "a group that the layers of this model have")?;
    }
    check.positive("vlora.alpha", vlora.alpha)?;
    check.that("vlora.targets", !vlora.targets.is_empty(), "at least one weight")?;
    for (i, target) in vlora.targets.iter().enumerate() {
        let field = format!("vlora.targets[{i}]");
        let weight = check.target(&field, &target.target, model)?;
        let first = vlora.targets[..i].iter().all(|other| other.target != target.target);
        check.that(&field, first, "each weight once")?;
        if weight.is_vector() {
            let plain = target.rank.is_none() && target.alpha.is_none();
            check.that(&field, plain, "no rank and no alpha: a vector's increment has neither")?;
            let shared = is_shared(&weight, vlora);
            check.that(
                &field,
                !shared,
                "a weight that `vlora.also_share` does not share already",
            )?;
            continue;
        }
        let (rank, field) = match target.rank {
            Some(rank) => (rank, format!("{field}.rank")),
            None => (vlora.rank, "vlora.rank".into()),
        };
        if let Rank::Of(rank) = rank {
            check.rank(&field, rank, &weight)?;
        }
        if let Some(alpha) = target.alpha {
            check.positive(&format!("vlora.targets[{i}].alpha"), alpha)?;
        }
    }
    Ok(())
}

/// Whether a vector is shared without an increment.
fn is_shared(weight: &LayerWeight, vlora: &VloraSpec) -> bool {
    group_of(weight).is_some_and(|group| vlora.also_share.contains(&group))
}

/// The group of a vector; None for a matrix.
fn group_of(weight: &LayerWeight) -> Option<VectorGroup> {
    match weight.shape {
        WeightShape::Norm { .. } => Some(VectorGroup::Norms),
        WeightShape::Bias { .. } => Some(VectorGroup::Biases),
        WeightShape::Matrix { .. } => None,
    }
}

/// Which layers use one weight.
fn sharing(vlora: &VloraSpec, model: &ModelSpec, check: &Check) -> Result<(), SpecError> {
    // Stacks may have different depths.
    let mut depths: Vec<usize> = model.stacks().iter().map(|stack| stack.depth).collect();
    depths.dedup();
    let fields = ["model.depth", "model.decoder_depth"];
    if depths.len() > 1 && vlora.layers.is_some() {
        let expected = "no list where encoder and decoder have different depths: `compound_size`";
        return check.that("vlora.layers", false, expected);
    }
    depths.into_iter().zip(fields).try_for_each(|stack| sharing_of(vlora, stack, check))
}

/// Which layers of a stack use one weight. `depth` is its number of layers, which `depth_field` gives.
fn sharing_of(
    vlora: &VloraSpec,
    (depth, depth_field): (usize, &str),
    check: &Check,
) -> Result<(), SpecError> {
    if let Some(list) = &vlora.layers {
        for (field, given) in [
            ("compound_size", vlora.compound_size.is_some()),
            ("sharing", !vlora.sharing.is_sequence()),
            ("keep_first", vlora.keep_first > 0),
            ("keep_last", vlora.keep_last > 0),
        ] {
            let expected = "no such field, since `layers` says which layers use one weight";
            check.that(&format!("vlora.{field}"), !given, expected)?;
        }
        let expected = format!("a number for each of the {depth} layers of {depth_field}");
        check.that("vlora.layers", list.len() == depth, expected)?;
        let mut next = 0;
        for (layer, weight) in list.iter().enumerate() {
            let expected = match next {
                0 => "0, the first weight".to_string(),
                _ => {
                    format!("a weight used before, 0 to {}, or the next new one, {next}", next - 1)
                }
            };
            check.that(&format!("vlora.layers[{layer}]"), *weight <= next, expected)?;
            next = next.max(weight + 1);
        }
        return Ok(());
    }
    let kept = vlora.keep_first.saturating_add(vlora.keep_last);
    for (field, n) in [("keep_first", vlora.keep_first), ("keep_last", vlora.keep_last)] {
        let expected = format!("together with the other end fewer than {depth_field}, {depth}");
        check.that(&format!("vlora.{field}"), n == 0 || kept < depth, expected)?;
    }
    let Some(size) = vlora.compound_size else {
        return Err(SpecError::new("the field `compound_size` is missing")
            .expected(
                "a value for `vlora.compound_size`, how many layers use one weight, or `vlora.layers` with \
                 the weight of each",
            )
            .at(check.origin("vlora")));
    };
    // Compounds of one size are the rule. Other ways of sharing are defined for any number of layers.
    let shared = depth - kept;
    match vlora.sharing.is_sequence() && kept == 0 {
        true => check.that(
            "vlora.compound_size",
            size >= 1 && depth.is_multiple_of(size),
            format!("a divisor of {depth_field}, {depth}"),
        ),
        false => check.that(
            "vlora.compound_size",
            (1..=shared).contains(&size),
            format!("a whole number from 1 to {shared}, the layers that share"),
        ),
    }
}

/// Checks the names of targets in increments that a run does not use. `section` is where `vlora`
/// stands, or what is left of it.
pub fn target_names(vlora: &VloraSpec, model: &ModelSpec, section: &Node) -> Result<(), SpecError> {
    let check = Check { node: section };
    for (i, target) in vlora.targets.iter().enumerate() {
        check.target(&format!("targets[{i}]"), &target.target, model)?;
    }
    Ok(())
}

/// LoRA's own fields.
pub fn lora(lora: &LoraSpec, model: &ModelSpec, check: &Check) -> Result<(), SpecError> {
    check.that("lora.rank", lora.rank >= 1, "a rank of at least 1")?;
    check.positive("lora.alpha", lora.alpha)?;
    check.that("lora.dropout", (0.0..1.0).contains(&lora.dropout), "a number from 0 to below 1")?;
    check.that("lora.targets", !lora.targets.is_empty(), "at least one weight matrix")?;
    for (i, target) in lora.targets.iter().enumerate() {
        let field = format!("lora.targets[{i}]");
        let weight = check.target(&field, target, model)?;
        check.that(&field, !lora.targets[..i].contains(target), "each weight matrix once")?;
        let matrices = model.matrices();
        let matrices: Vec<&str> = matrices.iter().map(Target::name).collect();
        check.that(
            &field,
            !weight.is_vector(),
            format!("a weight matrix, {}", one_of(&matrices)),
        )?;
        check.rank("lora.rank", lora.rank, &weight)?;
    }
    for (i, group) in lora.also_train.iter().enumerate() {
        let field = format!("lora.also_train[{i}]");
        check.that(&field, !lora.also_train[..i].contains(group), "each group once")?;
    }
    Ok(())
}

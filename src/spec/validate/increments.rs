//! `vlora` and `lora`: which weights get low-rank increments, and of which rank.

use super::check::Check;
use crate::spec::error::SpecError;
use crate::spec::node::Node;
use crate::spec::schema::{LoraSpec, ModelSpec, Rank, Target, VloraSpec};
use crate::spec::wording::one_of;

/// VLoRA's fields.
pub fn vlora(vlora: &VloraSpec, model: &ModelSpec, check: &Check) -> Result<(), SpecError> {
    check.that(
        "vlora.compound_size",
        vlora.compound_size >= 1 && model.depth().is_multiple_of(vlora.compound_size),
        format!("a divisor of model.depth, {}", model.depth()),
    )?;
    check.positive("vlora.alpha", vlora.alpha)?;
    check.that("vlora.targets", !vlora.targets.is_empty(), "at least one weight")?;
    for (i, own) in vlora.targets.iter().enumerate() {
        let field = format!("vlora.targets[{i}]");
        let weight = check.target(&field, &own.target, model)?;
        let first = vlora.targets[..i].iter().all(|other| other.target != own.target);
        check.that(&field, first, "each weight once")?;
        if weight.is_vector() {
            let plain = own.rank.is_none() && own.alpha.is_none();
            check.that(&field, plain, "no rank and no alpha: a vector's increment has neither")?;
            continue;
        }
        let (rank, field) = match own.rank {
            Some(rank) => (rank, format!("{field}.rank")),
            None => (vlora.rank, "vlora.rank".into()),
        };
        if let Rank::Of(rank) = rank {
            check.rank(&field, rank, &weight)?;
        }
        if let Some(alpha) = own.alpha {
            check.positive(&format!("vlora.targets[{i}].alpha"), alpha)?;
        }
    }
    Ok(())
}

/// Checks the names of targets in increments that a run does not use. `section` is where `vlora`
/// stands, or what is left of it.
pub fn target_names(vlora: &VloraSpec, model: &ModelSpec, section: &Node) -> Result<(), SpecError> {
    let check = Check { node: section };
    for (i, own) in vlora.targets.iter().enumerate() {
        check.target(&format!("targets[{i}]"), &own.target, model)?;
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

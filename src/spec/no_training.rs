//! `training: none`, short for `training: {epochs: 0}`: weights are only tested.

use super::error::SpecError;
use super::fields::is_known;
use super::node::{Node, Value};

const TRAINING: &str = "training";
const NONE: &str = "none";
/// The fields of `training` that have an effect where there are no epochs.
const READ: [&str; 2] = ["epochs", "batch_size"];

/// Writes `training: none` of the common part and of arms as no epochs, so that it is merged as such.
pub fn write_out(root: &mut Node) {
    let arms = root.get("arms").and_then(Node::entries).unwrap_or_default();
    let of_arms = arms.iter().map(|(arm, _)| format!("arms.{arm}.{TRAINING}"));
    for field in std::iter::once(TRAINING.to_string()).chain(of_arms.collect::<Vec<_>>()) {
        let (node, is_there) = root.nearest(&field);
        if !is_there || node.value != Value::Text(NONE.into()) {
            continue;
        }
        let origin = node.origin.clone();
        root.set(&field, Node::empty_map(origin.clone()));
        root.set(&format!("{field}.epochs"), Node { value: Value::Unsigned(0), origin });
    }
}

/// Refuses an arm whose own section `training` has no epochs and yet says how to train, and a section that is
/// switched off by another word than `none`.
pub fn check_arms(root: &Node) -> Result<(), SpecError> {
    let is_off = |node: &Node| matches!(node.value, Value::Null | Value::Bool(false));
    let refuse = |node: &Node| {
        Err(SpecError::new("wrong type")
            .found(node.describe())
            .expected(
                "a mapping of fields, or `none`: the weights of `start` are tested as they are",
            )
            .at(node.origin.clone()))
    };
    if let Some(node) = root.get(TRAINING).filter(|node| is_off(node)) {
        return refuse(node);
    }
    for (_, arm) in root.get("arms").and_then(Node::entries).unwrap_or_default() {
        let Some(section) = arm.get(TRAINING) else { continue };
        if is_off(section) {
            return refuse(section);
        }
        if section.get("epochs").is_none_or(|epochs| epochs.value != Value::Unsigned(0)) {
            continue;
        }
        // A name that is no field is refused as such later.
        let trains = |name: &str| !READ.contains(&name) && is_known(&format!("{TRAINING}.{name}"));
        let fields = section.entries().unwrap_or_default();
        if let Some((name, field)) = fields.iter().find(|(name, _)| trains(name)) {
            return Err(SpecError::new("nothing is trained")
                .found(format!("`epochs: 0` beside `{name}`"))
                .expected("`training: none`, or epochs")
                .at(field.origin.clone()));
        }
    }
    Ok(())
}

/// Whether the section `training` of a run, merged, has no epochs.
pub fn is_untrained(run: &Node) -> bool {
    let (epochs, is_there) = run.nearest("training.epochs");
    is_there && epochs.value == Value::Unsigned(0)
}

/// The run without the fields of `training` that have no effect where there are no epochs.
pub fn without_unused(run: &Node) -> Node {
    let mut run = run.clone();
    let fields = READ.map(|field| format!("{TRAINING}.{field}"));
    let read = fields.map(|field| {
        let (node, is_there) = run.nearest(&field);
        is_there.then(|| (field, node.clone()))
    });
    run.take(TRAINING);
    for (field, node) in read.into_iter().flatten() {
        run.set(&field, node);
    }
    run
}

//! `training: none`, short for `training: {epochs: 0}`: weights are only tested.

use super::error::SpecError;
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

/// Refuses an arm whose own section `training` has no epochs and yet says how to train.
pub fn check_arms(root: &Node) -> Result<(), SpecError> {
    for (arm, _) in root.get("arms").and_then(Node::entries).unwrap_or_default() {
        let section = format!("arms.{arm}.{TRAINING}");
        let (epochs, is_there) = root.nearest(&format!("{section}.epochs"));
        if !is_there || epochs.value != Value::Unsigned(0) {
            continue;
        }
        let fields = root.nearest(&section).0.entries().unwrap_or_default();
        if let Some((name, field)) = fields.iter().find(|(name, _)| !READ.contains(&name.as_str()))
        {
            return Err(SpecError::new(format!("{section}.{name}: nothing is trained"))
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

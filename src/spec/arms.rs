//! The arms of an experiment, as written in its document.

use super::de::from_node;
use super::error::SpecError;
use super::matching::MatchSpec;
use super::node::{Node, Value};
use super::origin::{Origin, Step};
use super::sweep::{Sweep, sweep};
use super::wording::one_of;

/// The fields of a run. The common part gives them; arms and sweeps override them.
pub const RUN_FIELDS: [&str; 9] =
    ["task", "data", "model", "method", "vlora", "start", "lora", "training", "precision"];
/// A further field of an arm: it is matched in size to another arm.
const MATCH: &str = "match";
/// A further field of an arm: its own values of tuned fields.
const SWEEP: &str = "sweep";

/// Whether a name can be used in file names, tables and charts without escaping.
pub fn plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain)
}

/// The error for an arm's name that is none of `names`.
pub fn no_such_arm(name: &str, names: &[&str]) -> SpecError {
    SpecError::new("there is no such arm")
        .found(format!("`{name}`"))
        .expected(one_of(names))
        .suggest(name, names.iter().copied())
}

/// One entry of `arms`.
pub struct Arm {
    pub name: String,
    pub overrides: Node,
    /// The `match` section and its node.
    pub matched: Option<(MatchSpec, Node)>,
    /// Its own values of tuned fields.
    pub sweep: Sweep,
}

pub fn arms(node: Option<Node>, root: &Node) -> Result<Vec<Arm>, SpecError> {
    let expected = "a mapping from arm names to what they override, \
                    as in `baseline: {method: dense}`";
    let Some(mut node) = node else {
        return Err(SpecError::new("the field `arms` is missing")
            .expected(expected)
            .at(root.origin.clone()));
    };
    let found = node.describe();
    let entries = match &mut node.value {
        Value::Map(entries) if !entries.is_empty() => entries,
        _ => {
            return Err(SpecError::new("no arms are given")
                .found(found)
                .expected(expected)
                .at(node.origin));
        }
    };
    let mut arms: Vec<Arm> = Vec::new();
    for (name, mut overrides) in std::mem::take(entries) {
        if !plain_name(&name) || name.contains('.') {
            return Err(SpecError::new("the arm's name cannot be used in tables and file names")
                .found(format!("`{name}`"))
                .expected("up to 64 letters, digits, `_` and `-`")
                .at(overrides.origin));
        }
        // `baseline:` without a value overrides nothing.
        if overrides.value == Value::Null {
            overrides.value = Value::Map(Vec::new());
        }
        let Some(fields) = overrides.entries() else {
            return Err(SpecError::new("wrong type")
                .found(overrides.describe())
                .expected("a mapping of overridden fields, or nothing")
                .at(overrides.origin));
        };
        let known: Vec<&str> = RUN_FIELDS.into_iter().chain([MATCH, SWEEP]).collect();
        for (field, node) in fields {
            if !known.contains(&field.as_str()) {
                return Err(SpecError::unknown(field, &known)
                    .expected(format!("{}, which an arm can give", one_of(&known)))
                    .at(node.origin.clone()));
            }
        }
        let matched = match overrides.take(MATCH).filter(|node| node.value != Value::Null) {
            Some(node) => Some((from_node::<MatchSpec>(&node)?, node)),
            None => None,
        };
        let sweep = sweep(overrides.take(SWEEP))?;
        arms.push(Arm { name, overrides, matched, sweep });
    }
    Ok(arms)
}

pub fn baseline(node: Option<Node>, arms: &[Arm]) -> Result<String, SpecError> {
    let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
    let (name, origin) = match &node {
        Some(node) => (from_node::<String>(node)?, node.origin.clone()),
        None => ("baseline".to_string(), Origin::File(vec![Step::Key("arms".into())])),
    };
    match arms.iter().find(|arm| arm.name == name) {
        Some(Arm { matched: Some((_, node)), .. }) => {
            Err(SpecError::new("the baseline is matched to another arm")
                .found(format!("`{name}` with `match`"))
                .expected("a baseline of a size of its own")
                .at(node.origin.clone()))
        }
        Some(_) => Ok(name),
        None => Err(SpecError::new("there is no baseline arm to compare with")
            .found(format!("arms {}", names.join(", ")))
            .expected(format!("an arm `{name}`, or `baseline: NAME` with the name of an arm"))
            .suggest(&name, names)
            .at(origin)),
    }
}

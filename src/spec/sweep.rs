//! The sweep of an experiment: its fields, their values and the grid of all combinations.

use super::error::SpecError;
use super::fields;
use super::node::{Node, Value};
use super::origin::Origin;
use super::wording::one_of;

/// An experiment with more runs is considered a mistake.
pub const MAX_RUNS: usize = 10_000;
/// The most combinations of arms and sweep points. Many may resolve to the same run, if an arm does
/// not use a swept field; those are merged later.
const MAX_COMBINATIONS: usize = 50_000;

/// Swept fields with their values.
pub type Sweep = Vec<(String, Vec<Node>)>;

pub fn sweep(node: Option<Node>) -> Result<Sweep, SpecError> {
    // `--set sweep=null` removes the sweep of a spec.
    let Some(node) = node.filter(|n| n.value != Value::Null) else { return Ok(Vec::new()) };
    let expected = "a mapping from dotted fields to lists, as in `vlora.rank: [1, 2, 4]`";
    let Value::Map(entries) = node.value else {
        return Err(SpecError::new("wrong type")
            .found(node.describe())
            .expected(expected)
            .at(node.origin));
    };
    entries
        .into_iter()
        .map(|(key, values)| {
            if !fields::is_known(&key) {
                return Err(unknown_swept(&key).at(values.origin));
            }
            let found = values.describe();
            let nested = match &values.value {
                Value::Map(fields) => fields.first().map(|(field, _)| format!("{key}.{field}")),
                _ => None,
            };
            let items = match values.value {
                Value::List(items) if !items.is_empty() => items,
                other => {
                    let error = SpecError::new("nothing to sweep over")
                        .found(found)
                        .expected(expected)
                        .at(values.origin);
                    return Err(match (nested, other) {
                        (Some(nested), _) => {
                            error.help(format!("swept fields are dotted: `{nested}: […]`"))
                        }
                        (None, Value::List(_) | Value::Null) => error,
                        (None, other) => {
                            let one = Node { value: other, origin: Origin::File(Vec::new()) };
                            error.help(format!(
                                "write a list, even for one value: `[{}]`",
                                one.label()
                            ))
                        }
                    });
                }
            };
            if let Some(item) = items.iter().find(|item| item.entries().is_some()) {
                let inner = item.entries().and_then(|entries| entries.first());
                let error = SpecError::new("a sweep is over single fields")
                    .found(item.describe())
                    .expected(expected)
                    .at(item.origin.clone());
                return Err(match inner {
                    Some((field, value)) => error.help(format!(
                        "sweep over what is in it: `{key}.{field}: [{}]`",
                        value.label()
                    )),
                    None => error,
                });
            }
            // Labels must be different, since they identify variants.
            let same = |a: &Node, b: &Node| a == b || a.label() == b.label();
            match (1..items.len()).find(|i| items[..*i].iter().any(|item| same(item, &items[*i]))) {
                Some(i) => Err(SpecError::new("a value is swept over twice")
                    .found(items[i].describe())
                    .expected("each value once")
                    .at(items[i].origin.clone())),
                None => Ok((key, items)),
            }
        })
        .collect()
}

/// The error for a swept field that no run has. It lists the fields of the deepest existing section
/// on the path.
fn unknown_swept(key: &str) -> SpecError {
    let keys: Vec<&str> = key.split('.').collect();
    let known = |n: &usize| fields::section_fields(&keys[..*n].join("."));
    let (depth, names) =
        (0..keys.len()).rev().find_map(|n| known(&n).map(|names| (n, names))).unwrap_or_default();
    match (depth, keys[depth]) {
        (0, "seed" | "seeds") => SpecError::new("seeds are not swept over")
            .found(format!("`{key}`"))
            .expected("a field of a run")
            .help("list the seeds under `seeds` instead"),
        (0, first) => SpecError::unknown(first, &names)
            .found(format!("`{key}`"))
            .expected(format!("a dotted field that starts with {}", one_of(&names))),
        (_, field) => SpecError::unknown(field, &names),
    }
}

/// A value for each swept field.
pub type Point = Vec<(String, Node)>;

/// All combinations. The first field varies slowest, so rows are in the order written.
pub fn grid(sweep: &Sweep, arms: usize) -> Result<Vec<Point>, SpecError> {
    let points = sweep.iter().fold(1u128, |n, (_, values)| n.saturating_mul(values.len() as u128));
    let combinations = points.saturating_mul(arms as u128);
    if combinations > MAX_COMBINATIONS as u128 {
        return Err(too_large(
            format!("{combinations} combinations: {arms} arms × {points} sweep points"),
            format!(
                "at most {MAX_COMBINATIONS} combinations, equal ones included, and at most \
                 {MAX_RUNS} different runs"
            ),
        ));
    }
    let mut grid = vec![Vec::new()];
    for (key, values) in sweep {
        grid = grid
            .iter()
            .flat_map(|point: &Point| {
                values.iter().map(move |value| {
                    let mut point = point.clone();
                    point.push((key.clone(), value.clone()));
                    point
                })
            })
            .collect();
    }
    Ok(grid)
}

/// The error for a swept field that no arm uses. `because`: why it changes nothing in an arm that reads it.
pub fn unused(key: &str, because: Option<&str>) -> SpecError {
    let error = SpecError::new("the sweep changes no arm")
        .found(format!("`{key}`"))
        .expected("a field that at least one arm uses");
    match (because, key.split('.').next()) {
        (Some(because), _) => error.help(because),
        (None, Some("vlora")) => error.help("`vlora` is read by arms with `method: vlora`"),
        (None, Some("lora")) => {
            error.help("add the section `lora: {}` to an arm to sweep its fields")
        }
        (None, Some("start")) => {
            error.help("an arm has it with the section `start`, which may be `{}`")
        }
        (None, _) => error,
    }
}

pub fn too_large(found: String, expected: String) -> SpecError {
    SpecError::new("the experiment is too large")
        .found(found)
        .expected(expected)
        .at(Origin::File(Vec::new()))
}

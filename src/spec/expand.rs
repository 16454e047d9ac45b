//! From a spec's document to the variants it compares: arms × sweep points.

use std::collections::BTreeMap;

use super::de::{from_node, one_of};
use super::error::SpecError;
use super::fields;
use super::matching::MatchSpec;
use super::node::{Node, Origin, Value};
use super::precision::DeviceKind;
use super::resolve::Resolver;
use super::{Experiment, ParameterCount, Variant};

/// Fields of the document that are not part of a run.
pub const EXPERIMENT_FIELDS: [&str; 6] =
    ["name", "description", "baseline", "arms", "sweep", "seeds"];
/// Fields of a run, given in the common part and overridden by arms and sweeps.
pub const RUN_FIELDS: [&str; 9] =
    ["task", "data", "model", "method", "vlora", "start", "lora", "training", "precision"];
/// What an arm says of itself besides: it is matched in size to another.
const MATCH: &str = "match";

/// An experiment of more runs than this is taken for a mistake.
const MOST_RUNS: usize = 10_000;
/// Arms × sweep points that are looked at, before those that come to the same run are merged: those of
/// an arm that does not use what is swept.
const MOST_COMBINATIONS: usize = 50_000;

/// Expands a parsed document. `stem` is the file's name without its ending; `device` is what the
/// runs are for, where that is known.
pub fn expand(
    mut root: Node,
    stem: &str,
    count: ParameterCount,
    device: Option<DeviceKind>,
) -> Result<Experiment, SpecError> {
    let Some(entries) = root.entries() else {
        let found = match root.value {
            Value::Null => "an empty document".to_string(),
            _ => root.describe(),
        };
        let error = SpecError::new("the document is not an experiment")
            .found(found)
            .expected("a mapping with task, data, model, arms, …")
            .at(root.origin.clone());
        return Err(match &root.value {
            Value::Text(text) if text.contains(':') => {
                error.help("a blank belongs behind the colon, as in `seeds: [0]`")
            }
            _ => error,
        });
    };
    let known: Vec<&str> = EXPERIMENT_FIELDS.into_iter().chain(RUN_FIELDS).collect();
    for (key, node) in entries {
        if !known.contains(&key.as_str()) {
            return Err(SpecError::unknown(key, &known).at(node.origin.clone()));
        }
    }
    let name = experiment_name(root.take("name"), stem)?;
    let description = match root.take("description") {
        Some(node) => from_node::<String>(&node)?,
        None => String::new(),
    };
    let seeds = seeds(root.take("seeds"), &root)?;
    let arms = arms(root.take("arms"), &root)?;
    let baseline = baseline(root.take("baseline"), &arms)?;
    let sweep = sweep(root.take("sweep"))?;
    let grid = grid(&sweep, arms.len())?;

    let mut resolver = Resolver::new(&root, &arms, &grid, &sweep, count, device);
    let mut variants = Variants::default();
    for (arm, made) in arms.iter().enumerate() {
        for point in 0..grid.len() {
            variants.add(resolver.variant(arm, point)?, &made.overrides)?;
        }
    }
    resolver.expect_overrides_used()?;
    let variants = variants.list;
    for (key, values) in &sweep {
        if !variants.iter().any(|v| v.point.iter().any(|(k, _)| k == key)) {
            return Err(unused(key).at(values[0].origin.clone()));
        }
    }
    let runs = variants.len() * seeds.len();
    if runs > MOST_RUNS {
        let found = format!(
            "{runs} runs: {} variants × {} seeds, equal ones counted once",
            variants.len(),
            seeds.len()
        );
        return Err(too_large(found, format!("at most {MOST_RUNS} runs")));
    }
    Ok(Experiment { name, description, baseline, seeds, variants, source: String::new() })
}

/// A swept field that every arm is without.
fn unused(key: &str) -> SpecError {
    let error = SpecError::new("the sweep changes no arm")
        .found(format!("`{key}`"))
        .expected("a field that at least one arm uses");
    match key.split('.').next() {
        Some("vlora") => error.help("`vlora` is read by arms with `method: vlora`"),
        Some("lora") => error
            .help("LoRA is on in arms with the section `lora`: `lora: {}` takes all of a sweep"),
        Some("start") => error.help("an arm has it with the section `start`, which may be `{}`"),
        _ => error,
    }
}

fn too_large(found: String, expected: String) -> SpecError {
    SpecError::new("the experiment is too large")
        .found(found)
        .expected(expected)
        .at(Origin::File(Vec::new()))
}

fn experiment_name(node: Option<Node>, stem: &str) -> Result<String, SpecError> {
    let (name, origin) = match &node {
        Some(node) => (from_node::<String>(node)?, node.origin.clone()),
        None => (stem.to_string(), Origin::File(Vec::new())),
    };
    match plain_name(&name) {
        true => Ok(name),
        false => Err(SpecError::new("the experiment's name cannot be a folder's name")
            .found(format!("`{name}`"))
            .expected(
                "up to 64 letters, digits, `.`, `_` and `-`, not starting with `.`; set `name`",
            )
            .at(origin)),
    }
}

/// A name that can stand in file names, tables and charts as it is.
fn plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain)
}

fn seeds(node: Option<Node>, root: &Node) -> Result<Vec<u64>, SpecError> {
    let Some(node) = node else {
        return Err(SpecError::new("the field `seeds` is missing")
            .expected("a list of seeds, as in `seeds: [0, 1, 2]`")
            .at(root.origin.clone()));
    };
    let seeds: Vec<u64> = from_node(&node).map_err(|error| match node.value {
        // Written for how many there are to be.
        Value::Unsigned(n) if (2..=20).contains(&n) => {
            let first: Vec<String> = (0..n).map(|seed| seed.to_string()).collect();
            error.help(format!(
                "seeds are listed: `seeds: [{}]` are {n}, `seeds: [{n}]` is the one seed {n}",
                first.join(", ")
            ))
        }
        Value::Unsigned(n) => error.help(format!("seeds are listed: `seeds: [{n}]`")),
        _ => error,
    })?;
    if seeds.is_empty() {
        return Err(SpecError::new("no seeds are given")
            .found("an empty list")
            .expected("at least one seed")
            .at(node.origin));
    }
    match (1..seeds.len()).find(|i| seeds[..*i].contains(&seeds[*i])) {
        Some(i) => Err(SpecError::new("a seed is given twice")
            .found(seeds[i].to_string())
            .expected("each seed once")
            .at(node.items().get(i).unwrap_or(&node).origin.clone())),
        None => Ok(seeds),
    }
}

/// One entry of `arms`.
pub struct Arm {
    pub name: String,
    pub overrides: Node,
    /// With the node it was read from.
    pub matched: Option<(MatchSpec, Node)>,
}

fn arms(node: Option<Node>, root: &Node) -> Result<Vec<Arm>, SpecError> {
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
        // `baseline:` with nothing behind it overrides nothing.
        if overrides.value == Value::Null {
            overrides.value = Value::Map(Vec::new());
        }
        let Some(fields) = overrides.entries() else {
            return Err(SpecError::new("wrong type")
                .found(overrides.describe())
                .expected("a mapping of overridden fields, or nothing")
                .at(overrides.origin));
        };
        let known: Vec<&str> = RUN_FIELDS.into_iter().chain([MATCH]).collect();
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
        arms.push(Arm { name, overrides, matched });
    }
    Ok(arms)
}

fn baseline(node: Option<Node>, arms: &[Arm]) -> Result<String, SpecError> {
    let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
    let (name, origin) = match &node {
        Some(node) => (from_node::<String>(node)?, node.origin.clone()),
        None => ("baseline".to_string(), Origin::File(vec![super::node::Step::Key("arms".into())])),
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

/// Swept fields with their values.
pub type Sweep = Vec<(String, Vec<Node>)>;

fn sweep(node: Option<Node>) -> Result<Sweep, SpecError> {
    // `--set sweep=null` takes a spec's sweep away.
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
                                "in brackets, also a single one: `[{}]`",
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
            // Labels tell variants apart.
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

/// A swept field that no run has, with the fields of the last section on the way that there is.
fn unknown_swept(key: &str) -> SpecError {
    let keys: Vec<&str> = key.split('.').collect();
    let known = |n: &usize| fields::of_section(&keys[..*n].join("."));
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

/// All combinations; the first field varies slowest, so rows stand in the order written.
fn grid(sweep: &Sweep, arms: usize) -> Result<Vec<Point>, SpecError> {
    let points = sweep.iter().fold(1u128, |n, (_, values)| n.saturating_mul(values.len() as u128));
    let combinations = points.saturating_mul(arms as u128);
    if combinations > MOST_COMBINATIONS as u128 {
        return Err(too_large(
            format!("{combinations} combinations: {arms} arms × {points} sweep points"),
            format!(
                "at most {MOST_COMBINATIONS} combinations, equal ones among them, and at most \
                 {MOST_RUNS} runs of what differs"
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

/// The variants so far, with their places by what they resolve to.
#[derive(Default)]
struct Variants {
    list: Vec<Variant>,
    places: BTreeMap<String, Vec<usize>>,
}

impl Variants {
    /// Adds a variant unless its arm has it already (a sweep over a field the arm does not use, or
    /// one size that is nearest to several others). What such a variant is compared by is what its
    /// points share.
    fn add(&mut self, new: Variant, overrides: &Node) -> Result<(), SpecError> {
        let places = self.places.entry(resolved_key(&new)).or_default();
        if let Some(at) = places.iter().find(|at| self.list[**at].arm == new.arm) {
            let same = &mut self.list[*at];
            same.point.retain(|field| new.point.contains(field));
            for matched in new.matched {
                if !same.matched.contains(&matched) {
                    same.matched.push(matched);
                }
            }
            return Ok(());
        }
        match places.first().map(|at| &self.list[*at]) {
            // A matched arm may well come to another arm's size; that it does is worth knowing.
            Some(other) if new.matched.is_empty() && other.matched.is_empty() => {
                Err(SpecError::new("two arms are the same")
                    .found(format!(
                        "`{}` and `{}`, which resolve to equal runs",
                        other.arm, new.arm
                    ))
                    .expected("arms that differ")
                    .at(overrides.origin.clone()))
            }
            _ => {
                places.push(self.list.len());
                self.list.push(new);
                Ok(())
            }
        }
    }
}

/// Equal for variants that come to the same run.
pub fn resolved_key(variant: &Variant) -> String {
    // A resolved spec is maps, lists and scalars, all of which JSON holds.
    let spec = serde_json::to_string(&variant.spec).unwrap_or_default();
    format!("{spec} {}", variant.start.as_deref().unwrap_or_default())
}

//! From a spec's document to the variants it compares: arms × sweep points.

use std::collections::{BTreeMap, BTreeSet};

use super::de::{from_node, one_of};
use super::error::{SpecError, nearest};
use super::identity::flatten;
use super::matching::{self, MatchSpec, Matched};
use super::node::{Node, Origin, Value};
use super::schema::{Method, ModelSpec, RunSpec, StartHead};
use super::validate::validate;
use super::{Experiment, ParameterCount, Variant, last_field};

/// Fields of the document that are not part of a run.
const EXPERIMENT_FIELDS: [&str; 6] = ["name", "description", "baseline", "arms", "sweep", "seeds"];
/// Fields of a run, given in the common part and overridden by arms and sweeps.
const RUN_FIELDS: [&str; 8] =
    ["task", "data", "model", "method", "vlora", "start", "lora", "training"];
/// What an arm says of itself besides: it is matched in size to another.
const MATCH: &str = "match";
/// Sections that an arm has or has not: sweeping one of their fields leaves arms without alone.
const OPTIONAL_SECTIONS: [&str; 3] = ["vlora", "start", "lora"];

/// A grid larger than this is taken for a mistake.
const MOST_RUNS: usize = 10_000;

/// Expands a parsed document. `stem` is the file's name without its ending.
pub fn expand(mut root: Node, stem: &str, count: ParameterCount) -> Result<Experiment, SpecError> {
    let Some(entries) = root.entries() else {
        return Err(SpecError::new("the document is not an experiment")
            .found(root.describe())
            .expected("a mapping with task, data, model, arms, …")
            .at(root.origin.clone()));
    };
    let known: Vec<&str> = EXPERIMENT_FIELDS.into_iter().chain(RUN_FIELDS).collect();
    for (key, node) in entries {
        if !known.contains(&key.as_str()) {
            return Err(SpecError::new("unknown field")
                .found(format!("`{key}`"))
                .expected(one_of(&known))
                .suggest(key, known.iter().copied())
                .at(node.origin.clone()));
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
    let grid = grid(&sweep, arms.len() * seeds.len())?;

    let mut resolver = Resolver {
        common: &root,
        arms: &arms,
        grid: &grid,
        sweep: &sweep,
        count,
        done: BTreeMap::new(),
        open: Vec::new(),
    };
    let mut variants = Vec::new();
    for (arm, made) in arms.iter().enumerate() {
        for point in 0..grid.len() {
            let variant = resolver.variant(arm, point)?;
            add(&mut variants, variant, &made.overrides)?;
        }
    }
    for (key, values) in &sweep {
        if !variants.iter().any(|v| v.point.iter().any(|(k, _)| k == key)) {
            return Err(SpecError::new("the sweep changes no arm")
                .found(format!("`{key}`"))
                .expected("a field that at least one arm uses")
                .at(values[0].origin.clone()));
        }
    }
    Ok(Experiment { name, description, baseline, seeds, variants })
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
    let seeds: Vec<u64> = from_node(&node)?;
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
            .at(node.nearest("").0.origin.clone())),
        None => Ok(seeds),
    }
}

/// One entry of `arms`.
struct Arm {
    name: String,
    overrides: Node,
    /// With the node it was read from.
    matched: Option<(MatchSpec, Node)>,
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
                return Err(SpecError::new("unknown field")
                    .found(format!("`{field}`"))
                    .expected(format!("{}, which an arm can give", one_of(&known)))
                    .suggest(field, known.iter().copied())
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
            .at(origin)),
    }
}

type Sweep = Vec<(String, Vec<Node>)>;

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
            let first = key.split('.').next().unwrap_or_default();
            if !RUN_FIELDS.contains(&first) {
                let error = SpecError::new("unknown field in the sweep")
                    .found(format!("`{key}`"))
                    .expected(format!("a dotted field that starts with {}", one_of(&RUN_FIELDS)))
                    .at(values.origin);
                return Err(match first {
                    "seed" | "seeds" => error.help("list the seeds under `seeds` instead"),
                    _ => match nearest(first, RUN_FIELDS) {
                        Some(name) => error.help(format!("did you mean `{name}`?")),
                        None => error,
                    },
                });
            }
            let found = values.describe();
            let items = match values.value {
                Value::List(items) if !items.is_empty() => items,
                _ => {
                    return Err(SpecError::new("nothing to sweep over")
                        .found(found)
                        .expected(expected)
                        .at(values.origin));
                }
            };
            if let Some(item) = items.iter().find(|item| item.entries().is_some()) {
                return Err(SpecError::new("a sweep is over single fields")
                    .found(item.describe())
                    .expected(expected)
                    .at(item.origin.clone()));
            }
            match (1..items.len()).find(|i| items[..*i].contains(&items[*i])) {
                Some(i) => Err(SpecError::new("a value is swept over twice")
                    .found(items[i].describe())
                    .expected("each value once")
                    .at(items[i].origin.clone())),
                None => Ok((key, items)),
            }
        })
        .collect()
}

type Point = Vec<(String, Node)>;

/// All combinations; the first field varies slowest, so rows stand in the order written.
fn grid(sweep: &Sweep, runs_a_point: usize) -> Result<Vec<Point>, SpecError> {
    let size = sweep
        .iter()
        .try_fold(runs_a_point, |n, (_, values)| n.checked_mul(values.len()))
        .filter(|n| *n <= MOST_RUNS);
    if size.is_none() {
        return Err(SpecError::new("the experiment is too large")
            .found("more arms × sweep points × seeds")
            .expected(format!("at most {MOST_RUNS} runs"))
            .at(Origin::File(Vec::new())));
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

/// Makes variants, each after those it is matched to or starts from.
struct Resolver<'a> {
    common: &'a Node,
    arms: &'a [Arm],
    grid: &'a [Point],
    sweep: &'a Sweep,
    count: ParameterCount<'a>,
    /// By arm and point.
    done: BTreeMap<(usize, usize), Variant>,
    /// Arms being made: meeting one again is a circle.
    open: Vec<usize>,
}

impl Resolver<'_> {
    fn variant(&mut self, arm: usize, point: usize) -> Result<Variant, SpecError> {
        if let Some(variant) = self.done.get(&(arm, point)) {
            return Ok(variant.clone());
        }
        self.open.push(arm);
        let variant = self.resolve(arm, point)?;
        self.open.pop();
        self.done.insert((arm, point), variant.clone());
        Ok(variant)
    }

    /// The variant of the arm called `name`, which the arm made last refers to at `node`.
    fn other(&mut self, name: &str, point: usize, node: &Node) -> Result<Variant, SpecError> {
        let names: Vec<&str> = self.arms.iter().map(|arm| arm.name.as_str()).collect();
        let Some(at) = names.iter().position(|n| *n == name) else {
            return Err(SpecError::new("there is no such arm")
                .found(format!("`{name}`"))
                .expected(one_of(&names))
                .suggest(name, names)
                .at(node.origin.clone()));
        };
        if self.open.contains(&at) {
            let circle: Vec<&str> = self.open.iter().map(|i| names[*i]).chain([name]).collect();
            return Err(SpecError::new("arms depend on each other in a circle")
                .found(circle.join(" → "))
                .expected("an arm that does not depend on this one")
                .at(node.origin.clone()));
        }
        self.variant(at, point)
    }

    fn resolve(&mut self, arm_index: usize, point_index: usize) -> Result<Variant, SpecError> {
        let arm = &self.arms[arm_index];
        let point = &self.grid[point_index];
        let mut node = self.common.clone();
        node.overlay(&arm.overrides);
        for (key, value) in point.iter().filter(|(key, _)| optional_section(key).is_none()) {
            node.set(key, value.clone());
        }
        // An arm without a section uses none of its fields; setting one would ask it for the rest.
        let dense = node.get("method").is_none_or(|m| m.value != Value::Text("vlora".into()));
        for (key, value) in point {
            let Some(section) = optional_section(key) else { continue };
            let has = node.get(section).is_some_and(|n| n.value != Value::Null);
            if if section == "vlora" { !dense } else { has } {
                node.set(key, value.clone());
            }
        }
        let in_context = |e: SpecError| in_context(e, &arm.name, &arm.overrides, point);
        let mut spec: RunSpec = from_node(&node).map_err(in_context)?;
        validate(&spec, &node).map_err(in_context)?;
        normalise(&mut spec);

        let mut matched = Vec::new();
        if let Some((wish, wish_node)) = &arm.matched {
            let other = self.other(&wish.arm, point_index, wish_node)?;
            let (found, made) = self.matched(&spec, wish, wish_node, &other)?;
            (spec, matched) = (found, vec![made]);
        }
        let mut start = None;
        if let Some(name) = spec.start.as_ref().and_then(|s| s.arm.clone()) {
            let wish_node = node.nearest("start.arm").0.clone();
            let other = self.other(&name, point_index, &wish_node)?;
            same_model(&spec, &other, &wish_node)?;
            start = Some(other);
        }

        let used: BTreeSet<String> = flatten(&spec).into_keys().collect();
        let is_used = |key: &str| {
            used.iter().any(|u| {
                u == key || u.starts_with(&format!("{key}.")) || u.starts_with(&format!("{key}["))
            })
        };
        let inherited = |key: &str| {
            start.as_ref().is_some_and(|other| other.point.iter().any(|(k, _)| k == key))
        };
        let sized = |key: &str| matched.iter().any(|m: &Matched| m.by.field() == key);
        let mut values: Vec<(String, String)> = point
            .iter()
            .filter(|(key, _)| (is_used(key) || inherited(key)) && !sized(key))
            .map(|(key, value)| (key.clone(), value.label()))
            .collect();
        values.extend(matched.iter().map(|m| (m.by.field().to_string(), m.value.to_string())));
        let mut variant = Variant {
            arm: arm.name.clone(),
            point: values,
            label: String::new(),
            spec,
            start: start.map(|other| other.label),
            matched,
        };
        variant.label = label(&variant, self.sweep);
        Ok(variant)
    }

    /// `spec` in the size that `wish` asks for.
    fn matched(
        &self,
        spec: &RunSpec,
        wish: &MatchSpec,
        node: &Node,
        other: &Variant,
    ) -> Result<(RunSpec, Matched), SpecError> {
        if spec.method != Method::Dense {
            return Err(SpecError::new("only a dense arm is matched in size")
                .found("`match` with `method: vlora`")
                .expected("`method: dense`")
                .at(node.origin.clone()));
        }
        let wanted = (self.count)(&other.spec);
        let (found, value) = matching::nearest(spec, wish.by, wanted, self.count);
        let made = Matched {
            by: wish.by,
            value,
            parameters: (self.count)(&found),
            label: other.label.clone(),
            wanted,
        };
        Ok((found, made))
    }
}

/// The section of a swept field that arms may be without.
fn optional_section(key: &str) -> Option<&str> {
    let section = key.split('.').next()?;
    OPTIONAL_SECTIONS.contains(&section).then_some(section)
}

/// The arm and the point are worth naming only where they change the faulty section.
fn in_context(e: SpecError, arm: &str, overrides: &Node, point: &Point) -> SpecError {
    let Some(section) = e.origin().and_then(Origin::section).map(str::to_string) else {
        return e;
    };
    let swept: Vec<_> = point
        .iter()
        .filter(|(key, _)| key.split('.').next() == Some(&section))
        .map(|(key, value)| format!("{key}={}", value.label()))
        .collect();
    match (swept.is_empty(), overrides.get(&section).is_some()) {
        (true, false) => e,
        (true, true) => e.context(format!("arm {arm}")),
        (false, _) => e.context(format!("arm {arm} at {}", swept.join(", "))),
    }
}

/// Brings specs that mean the same to the same values, and so to the same run's id.
fn normalise(spec: &mut RunSpec) {
    if spec.method == Method::Dense {
        spec.vlora = None;
    }
    if let Some(vlora) = &mut spec.vlora {
        vlora.targets.sort_by_key(|own| own.target);
        for own in &mut vlora.targets {
            own.rank = own.rank.filter(|rank| *rank != vlora.rank);
            own.alpha = own.alpha.filter(|alpha| *alpha != vlora.alpha);
        }
    }
    if let Some(lora) = &mut spec.lora {
        lora.targets.sort();
        lora.also_train.sort();
    }
}

/// Refuses to start from an arm whose weights have other shapes.
fn same_model(spec: &RunSpec, other: &Variant, node: &Node) -> Result<(), SpecError> {
    let fields = |model: &ModelSpec| flatten(model);
    let (mine, theirs) = (fields(&spec.model), fields(&other.spec.model));
    let new_head = spec.start.as_ref().is_some_and(|s| s.head == StartHead::New);
    let differs = mine.iter().find(|(field, value)| {
        theirs.get(*field) != Some(value) && !(new_head && *field == "classes")
    });
    match differs {
        None => Ok(()),
        Some((field, value)) => {
            let found = theirs.get(field).map_or("nothing", String::as_str);
            Err(SpecError::new("the arm to start from has another model")
                .found(format!("model.{field}: {found} in `{}`, {value} here", other.label))
                .expected("the same model; with `start.head: new` the number of classes may differ")
                .at(node.origin.clone()))
        }
    }
}

/// Adds a variant unless its arm has it already (a sweep over a field the arm does not use, or
/// one size that is nearest to several others).
fn add(variants: &mut Vec<Variant>, new: Variant, overrides: &Node) -> Result<(), SpecError> {
    match variants.iter_mut().find(|v| v.spec == new.spec && v.start == new.start) {
        Some(same) if same.arm == new.arm => {
            for matched in new.matched {
                if !same.matched.contains(&matched) {
                    same.matched.push(matched);
                }
            }
            Ok(())
        }
        // A matched arm may well come to another arm's size; that it does is worth knowing.
        Some(same) if new.matched.is_empty() && same.matched.is_empty() => {
            Err(SpecError::new("two arms are the same")
                .found(format!("`{}` and `{}`, which resolve to equal runs", same.arm, new.arm))
                .expected("arms that differ")
                .at(overrides.origin.clone()))
        }
        _ => {
            variants.push(new);
            Ok(())
        }
    }
}

/// The arm's name, with the fields that tell its variants apart: `vlora rank=4`.
fn label(variant: &Variant, sweep: &Sweep) -> String {
    let unique =
        |key: &str| sweep.iter().filter(|(k, _)| last_field(k) == last_field(key)).count() <= 1;
    let mut out = variant.arm.clone();
    for (key, value) in &variant.point {
        let name = if unique(key) { last_field(key) } else { key };
        out.push_str(&format!(" {name}={value}"));
    }
    out
}

//! Expands a spec's document to the variants it compares: arms × sweep points.

use std::collections::BTreeMap;

use super::arms::{RUN_FIELDS, arms, baseline, plain_name};
use super::de::from_node;
use super::error::SpecError;
use super::experiment::{Experiment, Variant};
use super::node::{Node, Value};
use super::origin::Origin;
use super::precision::DeviceKind;
use super::resolve::{Resolver, resolved_key};
use super::schema::ParameterCount;
use super::slurm::slurm;
use super::sweep::{MAX_RUNS, grid, sweep, too_large, unused};
use super::tuning::Tuning;
use super::unused::Uses;

/// Fields of the document that are not part of a run.
pub const EXPERIMENT_FIELDS: [&str; 9] = [
    "name",
    "description",
    "baseline",
    "primary_contrast",
    "arms",
    "sweep",
    "tune",
    "seeds",
    "slurm",
];

/// Expands a parsed document, and says which of its values the runs use. `stem`: the file name without
/// extension. `device`: the kind of device for the runs, if known.
pub fn expand(
    mut root: Node,
    stem: &str,
    count: ParameterCount,
    device: Option<DeviceKind>,
) -> Result<(Experiment, Uses), SpecError> {
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
                error.help("put a space after the colon, as in `seeds: [0]`")
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
    let primary = root.take("primary_contrast");
    let written = sweep(root.take("sweep"))?;
    let tuning = Tuning::new(root.take("tune"), &written)?;
    let sweep = tuning.widened(&arms)?;
    let slurm = slurm(root.take("slurm"))?;
    let grid = grid(&sweep, arms.len())?;

    let mut resolver = Resolver::new(&root, &arms, &grid, &sweep, &tuning, count, device);
    let mut variants = Variants::default();
    for (arm, made) in arms.iter().enumerate() {
        for point in (0..grid.len()).filter(|point| tuning.tries(made, &grid[*point])) {
            variants.add(resolver.variant(arm, point)?, &made.overrides)?;
        }
    }
    resolver.expect_overrides_used()?;
    let uses = resolver.uses();
    let variants = variants.list;
    for (key, values) in &sweep {
        if !variants.iter().any(|v| v.point.iter().any(|(k, _)| k == key)) {
            return Err(unused(key, uses.reason(key)).at(values[0].origin.clone()));
        }
    }
    tuning.check(&variants, &arms, &root)?;
    let primary_contrast = primary_contrast(primary, &variants, &baseline, &tuning)?;
    let runs = variants.len() * seeds.len();
    if runs > MAX_RUNS {
        let found = format!(
            "{runs} runs: {} variants × {} seeds, equal ones counted once",
            variants.len(),
            seeds.len()
        );
        return Err(too_large(found, format!("at most {MAX_RUNS} runs")));
    }
    let experiment = Experiment {
        name,
        description,
        baseline,
        primary_contrast,
        tuned: tuning.fields,
        seeds,
        variants,
        slurm,
        notes: Vec::new(),
        source: String::new(),
    };
    Ok((experiment, uses))
}

/// The label of the variant that is compared with its baseline.
fn primary_contrast(
    node: Option<Node>,
    variants: &[Variant],
    baseline: &str,
    tuning: &Tuning,
) -> Result<Option<String>, SpecError> {
    let Some(node) = node else { return Ok(None) };
    let Some(label) = from_node::<Option<String>>(&node)? else { return Ok(None) };
    let fault = |summary: &str| {
        let mut of_arm: Vec<&str> =
            variants.iter().filter(|v| v.arm == label).map(Variant::compared_label).collect();
        // Trials have the label of their arm.
        of_arm.dedup();
        let compared = variants.iter().filter(|v| v.arm != baseline).map(Variant::compared_label);
        let error = SpecError::new(summary).found(format!("`{label}`")).at(node.origin.clone());
        match of_arm.is_empty() || label == baseline {
            true => error
                .expected("an arm's name, with its sweep point as a table has it")
                .suggest(&label, compared),
            false => error.expected(format!("one of its points: {}", some_of(&of_arm))),
        }
    };
    match variants.iter().find(|v| v.compared_label() == label) {
        None if variants.iter().any(|v| v.arm == label) => {
            Err(fault("the primary contrast is one comparison, and this arm is swept over"))
        }
        None => Err(fault("there is no such arm")),
        Some(variant) if variant.arm == baseline => {
            Err(fault("the primary contrast is with the baseline, and this is the baseline"))
        }
        Some(variant) => {
            let compared = |b: &&Variant| b.arm == baseline && b.agrees(variant, &tuning.fields);
            match variants.iter().find(compared) {
                Some(_) => Ok(Some(label)),
                None => Err(fault("this arm has no baseline at its sweep point to compare with")),
            }
        }
    }
}

/// The first few names.
fn some_of(names: &[&str]) -> String {
    const MAX_NAMES: usize = 8;
    let more = if names.len() > MAX_NAMES { ", …" } else { "" };
    let names: Vec<String> = names.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect();
    names.join(", ") + more
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

fn seeds(node: Option<Node>, root: &Node) -> Result<Vec<u64>, SpecError> {
    let Some(node) = node else {
        return Err(SpecError::new("the field `seeds` is missing")
            .expected("a list of seeds, as in `seeds: [0, 1, 2]`")
            .at(root.origin.clone()));
    };
    let seeds: Vec<u64> = from_node(&node).map_err(|error| match node.value {
        // Probably meant as the number of seeds.
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

/// The variants so far, and their indices by resolved spec.
#[derive(Default)]
struct Variants {
    list: Vec<Variant>,
    places: BTreeMap<String, Vec<usize>>,
}

impl Variants {
    /// Adds a variant, unless its arm already has an equal one. That happens in a sweep over a
    /// field that the arm does not use, or if one size is nearest to several others. The point of
    /// such a variant keeps the values that are common to all its points.
    fn add(&mut self, new: Variant, overrides: &Node) -> Result<(), SpecError> {
        // Arms can be compared only by the same metrics, so all have the same task.
        if let Some(first) = self.list.first().filter(|first| first.spec.task != new.spec.task) {
            let fields = overrides.entries().unwrap_or_default();
            let task = fields.iter().find(|(field, _)| field == "task").map(|(_, node)| node);
            return Err(SpecError::new("an experiment has one task")
                .found(format!("`{}` in the arm `{}`", new.spec.task.name(), new.arm))
                .expected(format!("`{}`, as in the arm `{}`", first.spec.task.name(), first.arm))
                .help("another task is an experiment of its own")
                .at(task.unwrap_or(overrides).origin.clone()));
        }
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
            // A matched arm may get the same size as another arm. Both are kept, since that is a
            // finding.
            Some(other) if new.matched.is_empty() && other.matched.is_empty() => {
                let error = SpecError::new("two arms are the same")
                    .found(format!(
                        "`{}` and `{}`, which resolve to equal runs",
                        other.arm, new.arm
                    ))
                    .expected("arms that differ")
                    .at(overrides.origin.clone());
                let is_unread = new.spec.vlora.is_none() && overrides.get("vlora").is_some();
                let replaced = new.point.iter().find(|(field, _)| overrides.nearest(field).1);
                Err(match replaced {
                    _ if is_unread => {
                        error.help("only an arm with `method: vlora` reads its section `vlora`")
                    }
                    Some((field, _)) => error.help(format!(
                        "the sweep over `{field}` takes the place of what the arms have"
                    )),
                    None => error,
                })
            }
            _ => {
                places.push(self.list.len());
                self.list.push(new);
                Ok(())
            }
        }
    }
}

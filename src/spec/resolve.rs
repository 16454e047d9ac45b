//! Resolves one arm at one sweep point to a complete run, after the arms it depends on: the arm it
//! starts from and the arm it is matched to.

use std::collections::{BTreeMap, BTreeSet};

use super::arms::{Arm, RUN_FIELDS, no_such_arm};
use super::de::{from_node, run_of};
use super::error::SpecError;
use super::experiment::Variant;
use super::fields;
use super::identity::{DUPLICATES, fields_within, flatten, identifying_fields, source_fields};
use super::matching::{self, MatchSpec, Matched};
use super::no_training::{is_untrained, without_unused};
use super::node::{Node, Value};
use super::normalise::{name_targets, normalise};
use super::origin::Origin;
use super::precision::DeviceKind;
use super::requested_precision;
use super::schema::{Method, ModelSpec, ParameterCount, RunSpec, VloraSpec};
use super::sweep::{Point, Sweep};
use super::tuning::Tuning;
use super::unused::{Uses, without_effect};
use super::validate::{target_names, validate};
use super::wording::last_field;

/// Sections that an arm may lack. Sweeping one of their fields does not change arms without the
/// section.
const OPTIONAL_SECTIONS: [&str; 3] = ["vlora", "start", "lora"];

const TRAINING: &str = "training";
/// Sections with one source of several, and the fields that name it.
const SOURCES: [(&str, &[&str]); 2] =
    [("data.tokenizer", &["hub", "path", "train"]), ("start", &["arm", "checkpoint", "hub"])];

/// Takes a common section away where an arm's names another source, so that the arm's stands alone. An arm that
/// mentions the common source as well, as in `train: null`, changes the common section.
fn drop_other_source(common: &mut Node, arm: &Node) {
    for (section, sources) in SOURCES {
        let source = |node: &Node| {
            let given = |name: &&str| {
                let (value, is_there) = node.nearest(&format!("{section}.{name}"));
                is_there && value.value != Value::Null
            };
            sources.iter().copied().find(given)
        };
        let (Some(before), Some(_)) = (source(common), source(arm)) else { continue };
        if !arm.nearest(&format!("{section}.{before}")).1 {
            let origin = common.nearest(section).0.origin.clone();
            common.set(section, Node { value: Value::Null, origin });
        }
    }
}

/// Resolves variants, each after those it depends on.
pub struct Resolver<'a> {
    common: &'a Node,
    arms: &'a [Arm],
    grid: &'a [Point],
    sweep: &'a Sweep,
    tuning: &'a Tuning,
    count: ParameterCount<'a>,
    /// The kind of device for the runs, if known.
    device: Option<DeviceKind>,
    /// Resolved variants by arm and point.
    done: BTreeMap<(usize, usize), Variant>,
    /// Labels by arm and resolved spec. Equal variants share the label of the first one.
    labels: BTreeMap<(usize, String), String>,
    /// Arms being resolved. Meeting one of them again means a circle.
    open: Vec<usize>,
    /// The `--set` arguments that some run got a value from.
    used: BTreeSet<String>,
    /// Arms with the sections that they read.
    read: BTreeSet<(String, String)>,
    /// What becomes of the written values.
    uses: Uses,
    /// See [`Resolver::swept_values`].
    swept_values: BTreeMap<String, Vec<&'a Node>>,
}

impl<'a> Resolver<'a> {
    pub fn new(
        common: &'a Node,
        arms: &'a [Arm],
        grid: &'a [Point],
        sweep: &'a Sweep,
        tuning: &'a Tuning,
        count: ParameterCount<'a>,
        device: Option<DeviceKind>,
    ) -> Resolver<'a> {
        let (done, labels, open) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let (used, read, uses) = (BTreeSet::new(), BTreeSet::new(), Uses::default());
        Resolver {
            common,
            arms,
            grid,
            sweep,
            tuning,
            count,
            device,
            done,
            labels,
            open,
            used,
            read,
            uses,
            swept_values: BTreeMap::new(),
        }
    }

    /// Refuses a `--set` that changed no run, once all variants are resolved. Either arms or the
    /// sweep override that field, or no arm reads it.
    pub fn expect_overrides_used(&self) -> Result<(), SpecError> {
        let mut given = BTreeSet::new();
        self.common.collect_arguments(&mut given);
        self.arms.iter().for_each(|arm| arm.overrides.collect_arguments(&mut given));
        // Other arguments concern the experiment: its arms or its sweep.
        let of_run = |argument: &String| {
            let origin = Origin::Set(argument.clone());
            origin.section().is_some_and(|section| RUN_FIELDS.contains(&section))
        };
        let unused = |argument: &&String| of_run(argument) && !self.used.contains(*argument);
        let Some(argument) = given.iter().find(unused) else { return Ok(()) };
        let origin = Origin::Set(argument.clone());
        let field = origin.run_path().join(".");
        let value = argument.split_once('=').map_or("", |(_, value)| value);
        let below = |key: &str| format!("{key}.").starts_with(&format!("{field}."));
        let section = origin.section().unwrap_or(&field).to_string();
        let reads = |arm: &&Arm| {
            origin.arm().is_none_or(|name| name == arm.name)
                && self.read.contains(&(arm.name.clone(), section.clone()))
        };
        let read = self.arms.iter().any(|arm| reads(&arm));
        let swept = self.sweep.iter().find(|(key, _)| read && below(key));
        let overriding_arm = self.arms.iter().find(|arm| arm.overrides.nearest(&field).1);
        let help = match (swept, overriding_arm) {
            (Some((key, _)), _) => {
                format!("it is swept over: `--set 'sweep.{key}=[{value}]'`, or `--set sweep=null`")
            }
            (None, Some(arm)) if read && origin.arm().is_none() => {
                let quote = if value.contains(' ') { "'" } else { "" };
                let set = format!("{quote}arms.{}.{field}={value}{quote}", arm.name);
                format!("arms give it themselves: `--set {set}`")
            }
            _ => match origin.arm() {
                Some(arm) => format!("the arm `{arm}` does not read `{section}`"),
                None => format!("no arm reads `{section}`"),
            },
        };
        Err(SpecError::new("the override changes no run")
            .found(format!("`{field}`, which no arm takes from here"))
            .expected("a field whose value at least one arm takes from here")
            .help(help)
            .at(origin))
    }

    /// What became of the written values, once all variants are resolved.
    pub fn uses(self) -> Uses {
        let Resolver { mut uses, read, sweep, .. } = self;
        // Not what is swept over: that is the value without the sweep.
        let is_within = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}."));
        let swept = |field: &str| {
            sweep.iter().any(|(key, _)| is_within(key, field) || is_within(field, key))
        };
        for (section, node) in self.common.entries().unwrap_or_default() {
            // Where no arm reads `vlora`, one note is about the whole section.
            if section != "vlora" || read.iter().any(|(_, name)| name == section) {
                uses.add_replaced(section, node, "no arm takes it from here", &swept);
            }
        }
        for arm in self.arms {
            for (section, node) in arm.overrides.entries().unwrap_or_default() {
                if read.contains(&(arm.name.clone(), section.clone())) {
                    uses.add_replaced(section, node, "it is swept over", &|_| false);
                }
            }
        }
        let set = self.common.entries().unwrap_or_default().iter();
        let set = set.flat_map(|(section, node)| node.leaves(section));
        for (field, node) in set.filter(|(field, _)| !swept(field)) {
            let Origin::Set(argument) = &node.origin else { continue };
            let section = field.split('.').next().unwrap_or_default().to_string();
            let reads = |arm: &&Arm| read.contains(&(arm.name.clone(), section.clone()));
            let readers: Vec<&Arm> = self.arms.iter().filter(reads).collect();
            let differs = |arm: &&&Arm| {
                let (value, is_there) = arm.overrides.nearest(&field);
                is_there && value != node
            };
            let others: Vec<&str> =
                readers.iter().filter(differs).map(|arm| arm.name.as_str()).collect();
            if !others.is_empty() && others.len() < readers.len() {
                uses.add_note(format!(
                    "--set {argument} leaves {} of {} arms at a `{field}` of their own: {}",
                    others.len(),
                    readers.len(),
                    others.join(", ")
                ));
            }
        }
        uses
    }

    /// The variant of an arm at a point, both by index. Points of an arm must be requested in
    /// ascending order. A point that resolves to the same run as an earlier one returns that
    /// variant.
    pub fn variant(&mut self, arm: usize, point: usize) -> Result<Variant, SpecError> {
        if let Some(variant) = self.done.get(&(arm, point)) {
            return Ok(variant.clone());
        }
        self.open.push(arm);
        let mut variant = self.resolve(arm, point)?;
        self.open.pop();
        // Points are requested in ascending order, so the label of the first equal point is known.
        let key = (arm, resolved_key(&variant));
        variant.label = self.labels.entry(key).or_insert(variant.label).clone();
        self.done.insert((arm, point), variant.clone());
        Ok(variant)
    }

    /// The variant of the arm `name`. `node`: where the current arm refers to it.
    fn other(&mut self, name: &str, point: usize, node: &Node) -> Result<Variant, SpecError> {
        let names: Vec<&str> = self.arms.iter().map(|arm| arm.name.as_str()).collect();
        let Some(at) = names.iter().position(|n| *n == name) else {
            return Err(no_such_arm(name, &names).at(node.origin.clone()));
        };
        if self.open.contains(&at) {
            let circle: Vec<&str> = self.open.iter().map(|i| names[*i]).chain([name]).collect();
            return Err(SpecError::new("arms depend on each other in a circle")
                .found(circle.join(" → "))
                .expected("an arm that does not depend on this one")
                .at(node.origin.clone()));
        }
        let point = self.tuning.referred(&self.arms[at], point, self.grid);
        self.variant(at, point)
    }

    /// The values that a field has in the grid, each once.
    fn swept_values(&mut self, key: &str) -> &[&'a Node] {
        self.swept_values.entry(key.to_string()).or_insert_with(|| {
            let mut distinct: Vec<&Node> = Vec::new();
            let all = self.grid.iter().flatten().filter(|(field, _)| field == key);
            for (_, value) in all {
                if !distinct.contains(&value) {
                    distinct.push(value);
                }
            }
            distinct
        })
    }

    fn resolve(&mut self, arm_index: usize, point_index: usize) -> Result<Variant, SpecError> {
        let arm = &self.arms[arm_index];
        let point = &self.grid[point_index];
        let mut node = self.common.clone();
        drop_other_source(&mut node, &arm.overrides);
        node.overlay(&arm.overrides);
        let untrained = is_untrained(&node);
        let applies = |key: &str| match key.split('.').next() {
            Some(TRAINING) => !untrained,
            _ => optional_section(key).is_none(),
        };
        for (key, value) in point.iter().filter(|(key, _)| applies(key)) {
            node.set(key, value.clone());
        }
        // An arm without the section uses none of its fields. Setting one would make the others
        // required.
        let dense = node.get("method").is_none_or(|m| m.value != Value::Text("vlora".into()));
        for (key, value) in point {
            let Some(section) = optional_section(key) else { continue };
            let has = node.get(section).is_some_and(|n| n.value != Value::Null);
            if if section == "vlora" { !dense } else { has } {
                node.set(key, value.clone());
            }
        }
        let unread = if dense { node.take("vlora") } else { None };
        match untrained {
            true => without_unused(&node).collect_arguments(&mut self.used),
            false => node.collect_arguments(&mut self.used),
        }
        let sections = node.entries().unwrap_or_default().iter();
        let sections = sections.filter(|(_, node)| node.value != Value::Null);
        self.read.extend(sections.map(|(section, _)| (arm.name.clone(), section.clone())));
        // The run stores the resolved precision instead of `auto`, so that its id includes it.
        let precision = node.take("precision");
        if let Some(node) = &precision {
            self.uses.add_value("precision", node);
        }
        let in_context = |e: SpecError| self.in_context(e, arm, point);
        let precision =
            requested_precision::resolve(precision.as_ref(), self.device).map_err(in_context)?;
        let mut spec = run_of(&node).map_err(in_context)?;
        let mut unread_at = None;
        if let Some(section) = unread {
            let of_arm = arm.overrides.get("vlora").filter(|vlora| vlora.value != Value::Null);
            unread_at = of_arm.or(self.common.get("vlora"));
            // The sweep was not applied to it.
            let is_of_arm = of_arm.is_some();
            check_unread(&section, &spec.model).map_err(|e| match is_of_arm {
                true => e.context(format!("arm {}", arm.name)),
                false => e,
            })?;
        }
        spec.precision = precision;
        name_targets(&mut spec, &node);
        validate(&spec, &node).map_err(in_context)?;
        let written = flatten(&spec);
        let unused = normalise(&mut spec);
        self.uses.add(&node, &without_effect(&written, &unused, &spec));
        if let Some(section) = unread_at {
            self.uses.add_unread("vlora", section, "`method` is dense");
        }

        let mut matched = Vec::new();
        if let Some((wish, wish_node)) = &arm.matched {
            let field = wish.by.field();
            if let (size, true) = arm.overrides.nearest(field) {
                return Err(SpecError::new("the arm's size is given twice")
                    .found(format!("`{field}: {}` beside `match`", size.label()))
                    .expected(format!("one of them: `match` gives the arm its `{field}`"))
                    .at(size.origin.clone()));
            }
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

        let fields = flatten(&spec);
        // Some options are left out of the fields at null: one is used if the spec has another of its values.
        let mut set_elsewhere = BTreeSet::new();
        for (key, _) in point {
            let is_absent = fields_within(&fields, key).next().is_none();
            let has_at = |value: &&Node| {
                let mut other = node.clone();
                other.set(key, (*value).clone());
                let Ok(mut spec) = run_of(&other) else { return false };
                name_targets(&mut spec, &other);
                normalise(&mut spec);
                fields_within(&flatten(&spec), key).next().is_some()
            };
            if is_absent && node.nearest(key).1 && self.swept_values(key).iter().any(has_at) {
                set_elsewhere.insert(key.as_str());
            }
        }
        let trains = spec.training.trains();
        let is_of_training = |key: &str| key.split('.').next() == Some(TRAINING);
        let has_effect = |key: &str| {
            (fields_within(&fields, key).next().is_some() || set_elsewhere.contains(key))
                && unused.iter().all(|unused_field| unused_field.field != key)
                && (trains || !is_of_training(key))
        };
        // The start may be another trial, so its values are those of its own point.
        let of_start = |key: &str| {
            let point = start.iter().flat_map(|other| &other.point);
            point.clone().find(|(field, _)| field == key).map(|(_, value)| value.clone())
        };
        let values: Vec<(String, String)> = point
            .iter()
            .filter_map(|(key, value)| {
                let value = if has_effect(key) { Some(value.label()) } else { of_start(key) };
                Some((key.clone(), value?))
            })
            .collect();
        let mut variant = Variant {
            arm: arm.name.clone(),
            point: values,
            label: String::new(),
            spec,
            start: start.map(|other| other.label),
            matched,
            trial_of: None,
        };
        variant.label = label(&variant, self.sweep, &|_| true);
        if !self.tuning.fields.is_empty() {
            let is_compared = |key: &str| !self.tuning.is_tuned(key);
            variant.trial_of = Some(label(&variant, self.sweep, &is_compared));
        }
        Ok(variant)
    }

    /// Adds the arm and point to an error. They are added only if they change the faulty section,
    /// or if a field is missing that some arms have.
    fn in_context(&self, e: SpecError, arm: &Arm, point: &Point) -> SpecError {
        let path: Vec<&str> = e.origin().map(Origin::run_path).unwrap_or_default();
        let field = e.missing_field().and_then(|field| full_path(&path, field));
        let section = match &field {
            Some(field) => field.split('.').next(),
            None => path.first().copied(),
        };
        let Some(section) = section.map(str::to_string) else { return e };
        let swept: Vec<_> = point
            .iter()
            .filter(|(key, _)| key.split('.').next() == Some(&section))
            .map(|(key, value)| format!("{key}={}", value.label()))
            .collect();
        let is_of_arm = arm.overrides.get(&section).is_some();
        let at = if swept.is_empty() { String::new() } else { format!(" at {}", swept.join(", ")) };
        let Some(field) = field else {
            return if is_of_arm || !swept.is_empty() {
                e.context(format!("arm {}{at}", arm.name))
            } else {
                e
            };
        };
        let others = self.arms.iter().any(|other| other.overrides.get(&section).is_some());
        let e = match optional_section(&section).is_some() || others || !swept.is_empty() {
            true => e.context(match section.as_str() {
                "vlora" => format!("arm {}{at}, whose method is vlora", arm.name),
                _ => format!("arm {}{at}", arm.name),
            }),
            false => e,
        };
        match field.contains('.') {
            true => e.expected(format!(
                "a value for `{field}`: for all arms, in this arm, or as `{field}: […]` in `sweep`"
            )),
            false => e,
        }
    }

    /// Changes the size of `spec` as `wish` requests.
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
        if run_fields(&found) == run_fields(&other.spec) {
            return Err(SpecError::new("the arm is the one that it is matched to")
                .found(format!("the same run as `{}`", other.label))
                .expected("an arm of another kind to match, such as one with `method: vlora`")
                .at(node.origin.clone()));
        }
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

/// A key that is equal for variants that resolve to the same run.
pub fn resolved_key(variant: &Variant) -> String {
    let start = variant.start.as_deref().unwrap_or_default();
    format!("{:?} {start}", run_fields(&variant.spec))
}

/// The fields of a spec that make its runs what they are, the start's weights aside.
fn run_fields(spec: &RunSpec) -> BTreeMap<String, String> {
    let mut fields = identifying_fields(spec);
    fields.extend(source_fields(spec));
    // `remove` changes the data, so that ids have another hash of the data. The others only accept or
    // refuse them.
    let duplicates = flatten(spec).remove(DUPLICATES);
    fields.extend(
        duplicates.filter(|value| value.contains("remove")).map(|value| (DUPLICATES.into(), value)),
    );
    fields
}

/// The section of a swept field, if arms may lack it.
fn optional_section(key: &str) -> Option<&str> {
    let section = key.split('.').next()?;
    OPTIONAL_SECTIONS.contains(&section).then_some(section)
}

/// The dotted path of a missing field. `path`: the origin of the error. For a section made by a
/// sweep or `--set`, that is the origin of a value in it.
fn full_path(path: &[&str], field: &str) -> Option<String> {
    let has =
        |section: &String| fields::section_fields(section).is_some_and(|f| f.contains(&field));
    let section = (0..=path.len()).rev().map(|n| path[..n].join(".")).find(has)?;
    Some(if section.is_empty() { field.to_string() } else { format!("{section}.{field}") })
}

/// Checks a `vlora` section that an arm does not read. Given values must be valid, but fields may
/// be missing, since other arms or the sweep may give them.
fn check_unread(section: &Node, model: &ModelSpec) -> Result<(), SpecError> {
    match from_node::<Option<VloraSpec>>(section) {
        Err(e) if e.missing_field().is_some() && e.origin() == Some(&section.origin) => Ok(()),
        Err(e) => Err(e),
        Ok(vlora) => vlora.map_or(Ok(()), |vlora| target_names(&vlora, model, section)),
    }
}

/// Refuses to start from an arm with another model.
fn same_model(spec: &RunSpec, other: &Variant, node: &Node) -> Result<(), SpecError> {
    let Some(differs) = spec.model.difference(&other.spec.model, spec.start.as_ref()) else {
        return Ok(());
    };
    Err(SpecError::new("the arm to start from has another model")
        .found(format!(
            "model.{}: {} in `{}`, {} here",
            differs.field, differs.theirs, other.label, differs.own
        ))
        .expected(
            "the same model; with `start.head: new` the number of classes may differ, without \
             `start.position_embedding: refuse` the image size",
        )
        .at(node.origin.clone()))
}

/// The arm's name with the fields that distinguish its variants: `vlora rank=4`. A matched size
/// replaces the swept value of that field. `names`: the swept fields that it names.
fn label(variant: &Variant, sweep: &Sweep, names: &dyn Fn(&str) -> bool) -> String {
    let unique =
        |key: &str| sweep.iter().filter(|(k, _)| last_field(k) == last_field(key)).count() <= 1;
    let sized = |key: &str| variant.matched.iter().any(|m| m.by.field() == key);
    let swept = variant.point.iter().filter(|(key, _)| !sized(key) && names(key));
    let swept = swept.map(|(key, value)| (key.as_str(), value.clone()));
    let found = variant.matched.iter().map(|m| (m.by.field(), m.value.to_string()));
    let mut out = variant.arm.clone();
    for (key, value) in swept.chain(found) {
        let name = if unique(key) { last_field(key) } else { key };
        out.push_str(&format!(" {name}={value}"));
    }
    out
}

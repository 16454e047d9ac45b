//! Values of a spec that change none of its runs, such as a scale of increments where no arm has low-rank
//! factors. They are not errors, since arms and sweeps share sections. The user gets a note.

use std::collections::{BTreeMap, BTreeSet};

use super::identity::{fields_within, flatten, is_within};
use super::node::{Node, Value};
use super::origin::{Origin, dotted};
use super::position::locate;
use super::schema::{DataSpec, Interpolation, RunSpec, ScheduleKind, TargetSpec};
use super::ways_of_sharing::shares_nothing;

/// A field that changes nothing in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedField {
    /// Dotted: `vlora.alpha`, `vlora.targets[2].alpha`.
    pub field: String,
    pub because: String,
}

impl UnusedField {
    pub fn new(field: impl Into<String>, because: impl Into<String>) -> UnusedField {
        UnusedField { field: field.into(), because: because.into() }
    }
}

/// The fields whose written values change nothing in a run. `written`: its fields before they were normalised;
/// `normalised`: what normalising has found to have no effect.
pub fn without_effect(
    written: &BTreeMap<String, String>,
    normalised: &[UnusedField],
    spec: &RunSpec,
) -> Vec<UnusedField> {
    let now = flatten(spec);
    // The others are in the run as they were written. Targets are in another order now.
    let is_lost = |unused: &&UnusedField| {
        unused.field.contains('[')
            || !fields_within(written, &unused.field).eq(fields_within(&now, &unused.field))
    };
    // It is required, whether or not it has an effect.
    let is_required = |unused: &&UnusedField| unused.field == "vlora.rank";
    let lost = normalised.iter().filter(|unused| !is_required(unused)).filter(is_lost).cloned();
    lost.chain(never_acts(spec)).collect()
}

/// Fields with limits that the training is too short to reach, and others that stay in the run but act on
/// nothing.
fn never_acts(spec: &RunSpec) -> Vec<UnusedField> {
    let mut unused = Vec::new();
    let training = &spec.training;
    let mut too_short = |fields: &[&str], least_epochs: usize| {
        if training.trains() && training.epochs < least_epochs {
            let because = format!("it takes {least_epochs} epochs to act, of {}", training.epochs);
            unused.extend(fields.iter().map(|field| UnusedField::new(*field, because.clone())));
        }
    };
    // The first epoch is the best so far, and after the last one there is nothing to stop.
    if let Some(patience) = training.patience {
        too_short(&["training.patience"], patience + 2);
    }
    // The rate falls one validation later, for the epochs that follow.
    if training.schedule == ScheduleKind::Plateau {
        let fields = ["training.plateau_patience", "training.plateau_factor"];
        too_short(&fields, training.plateau_patience() + 3);
    }
    if shares_nothing(spec) {
        let because = "each layer has weights of its own, as in a dense model";
        let fields = ["rank", "alpha", "init", "reference", "detach", "targets", "increment_on"];
        let fields = fields.map(|field| UnusedField::new(format!("vlora.{field}"), because));
        unused.extend(fields);
    } else if let Some(vlora) = &spec.vlora {
        let is_matrix = |target: &&TargetSpec| !spec.model.is_vector(&target.target);
        let mut matrices = vlora.targets.iter().filter(is_matrix).peekable();
        if matrices.peek().is_some() && matrices.all(|target| target.alpha.is_some()) {
            unused.push(UnusedField::new("vlora.alpha", "each target has an alpha of its own"));
        }
        if !vlora.has_increments() {
            unused.push(UnusedField::new("vlora.reference", "there are no increments"));
        }
        if !training.trains() {
            unused.push(UnusedField::new("vlora.detach", "nothing is trained"));
        }
    }
    match &spec.data {
        DataSpec::Images(data) => {
            if !data.resizes() && data.interpolation != Interpolation::default() {
                unused.push(UnusedField::new("data.interpolation", "no image is resized"));
            }
        }
        DataSpec::Translation(data) => {
            let because = match data.validation {
                None => Some("there is no validation"),
                Some(_) if training.epochs == 1 => Some("there is one epoch"),
                Some(_) => None,
            };
            if let Some(because) = because.filter(|_| data.decoding.validate_every > 1) {
                unused.push(UnusedField::new("data.decoding.validate_every", because));
            }
        }
        DataSpec::Text(_) | DataSpec::Language(_) => {}
    }
    unused
}

/// What becomes of the written values in all runs.
#[derive(Debug, Default)]
pub struct Uses {
    used: BTreeSet<Place>,
    /// The places in `unused`, each of which is there once.
    unused_places: BTreeSet<Place>,
    unused: Vec<(Place, Origin, String, String)>,
    /// Other notes, one line each.
    notes: Vec<String>,
}

/// Where a value was written, and its field in a run: one `--set` can give several.
type Place = (String, String);

fn place(field: &str, origin: &Origin) -> Place {
    let origin = match origin {
        Origin::File(steps) => dotted(steps),
        Origin::Set(argument) => format!("--set {argument}"),
    };
    (origin, field.to_string())
}

impl Uses {
    /// Takes the merged fields of a run, and those that change nothing in it. Null counts as not written.
    pub fn add(&mut self, run: &Node, unused: &[UnusedField]) {
        let mut values = Vec::new();
        for (section, node) in run.entries().unwrap_or_default() {
            self.used.insert(place(section, &node.origin));
            written(node, section.clone(), &mut values);
        }
        for (field, node) in values {
            let place = place(&field, &node.origin);
            match unused.iter().find(|outer| is_within(&field, &outer.field)) {
                None => {
                    self.used.insert(place);
                }
                Some(outer) => self.add_unread(&field, node, &outer.because),
            }
        }
    }

    /// Takes a field or section that a run was given and does not use.
    pub fn add_unread(&mut self, field: &str, node: &Node, because: &str) {
        let place = place(field, &node.origin);
        if self.unused_places.insert(place.clone()) {
            self.unused.push((place, node.origin.clone(), node.describe(), because.to_string()));
        }
    }

    /// Takes a value of a run that stands beside its sections' merged fields.
    pub fn add_value(&mut self, field: &str, node: &Node) {
        self.used.insert(place(field, &node.origin));
    }

    /// Takes a section as it was written for runs that read it, once all runs were added. What none of them
    /// has was replaced. Fields that `may_be` replaced are left out.
    pub fn add_replaced(
        &mut self,
        section: &str,
        node: &Node,
        because: &str,
        may_be: &dyn Fn(&str) -> bool,
    ) {
        let seen = |place: &Place| self.used.contains(place) || self.unused_places.contains(place);
        let mut found = Vec::new();
        replaced(node, section.to_string(), &seen, &mut found);
        for (field, node) in found.into_iter().filter(|(field, _)| !may_be(field)) {
            self.add_unread(&field, node, because);
        }
    }

    pub fn add_note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Why a field changes nothing in some run, if that is known.
    pub fn reason(&self, field: &str) -> Option<&str> {
        let same = |((_, unused), ..): &&(Place, Origin, String, String)| unused == field;
        self.unused.iter().find(same).map(|(_, _, _, because)| because.as_str())
    }

    /// A line for each value that no run uses, in the order written, and the other notes. `file` and
    /// `text`: the document.
    pub fn lines(self, file: &str, text: &str) -> Vec<String> {
        let Uses { used, unused, notes, .. } = self;
        let mut lines: Vec<(usize, String)> = Vec::new();
        for (place, origin, value, because) in unused {
            if used.contains(&place) {
                continue;
            }
            let (line, at) = match &origin {
                Origin::File(steps) => {
                    let line = locate(text, steps, false).map_or(0, |position| position.line);
                    (line, format!("{file}:{line}: {}: {value}", dotted(steps)))
                }
                Origin::Set(argument) => {
                    let (key, _) = argument.split_once('=').unwrap_or((argument, ""));
                    let whole = key.trim().ends_with(&place.1);
                    let field =
                        if whole { String::new() } else { format!(": {}: {value}", place.1) };
                    (usize::MAX, format!("--set {argument}{field}"))
                }
            };
            lines.push((line, format!("{at} changes no run: {because}")));
        }
        lines.sort_by_key(|(line, _)| *line);
        lines.into_iter().map(|(_, line)| line).chain(notes).collect()
    }
}

/// The values in a node whose places are not `seen`. A list of mappings of which none is seen is one
/// value.
fn replaced<'a>(
    node: &'a Node,
    field: String,
    seen: &dyn Fn(&Place) -> bool,
    found: &mut Vec<(String, &'a Node)>,
) {
    let is_seen = |(field, node): &(String, &Node)| seen(&place(field.as_str(), &node.origin));
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                replaced(value, format!("{field}.{key}"), seen, found);
            }
        }
        _ => {
            let mut values = Vec::new();
            written(node, field.clone(), &mut values);
            match values.iter().any(is_seen) {
                true => found.extend(values.into_iter().filter(|value| !is_seen(value))),
                false if values.is_empty() => {}
                false => found.push((field, node)),
            }
        }
    }
}

/// The values in a node that are neither mappings nor lists of mappings nor null, with their fields.
fn written<'a>(node: &'a Node, field: String, found: &mut Vec<(String, &'a Node)>) {
    match &node.value {
        Value::Null => {}
        Value::Map(entries) => {
            for (key, value) in entries {
                written(value, format!("{field}.{key}"), found);
            }
        }
        Value::List(items) if items.iter().any(|item| item.entries().is_some()) => {
            for (index, item) in items.iter().enumerate() {
                written(item, format!("{field}[{index}]"), found);
            }
        }
        _ => found.push((field, node)),
    }
}

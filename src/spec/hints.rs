//! Suggestions for unknown fields: what the user probably meant.
//!
//! One mechanism serves every unknown field of a spec, an arm, the sweep and `--set`. It tries in
//! this order: a similar name in the same section; a name from other programs ([`OTHER_NAMES`]); a
//! field of this name in another section; less similar names.

mod names;

use names::{MAIN_FIELDS, OTHER_NAMES, OTHER_VALUES};

use super::error::{SpecError, nearest_from};
use super::expand::EXPERIMENT_FIELDS;
use super::fields;
use super::origin::Origin;
use super::wording::last_field;

/// A similarity without doubt, as between `haeds` and `heads`.
const SURE: f64 = 0.75;

/// Adds a suggestion to the error, if one is found.
pub fn complete(error: SpecError) -> SpecError {
    let Some(origin) = error.origin().cloned() else { return error };
    let place = Place::of(&origin);
    if let Some(found) = error.unknown_value_found() {
        let field = place.path.join(".");
        let field = field.trim_end_matches(".target");
        let found = found.trim().to_lowercase();
        // Target names depend on the model. Do not suggest a name that this model does not have.
        let fits = |help: &str| {
            let meant = help.strip_prefix("did you mean `").and_then(|rest| rest.split_once('`'));
            meant.is_none_or(|(name, _)| error.expected_text().contains(name))
        };
        let known = OTHER_VALUES.iter().find(|(of, names, help)| {
            of.contains(&field) && names.contains(&&*found) && fits(help)
        });
        return match known {
            Some((_, _, help)) => error.help(*help),
            None => error,
        };
    }
    if let Some(found) = error.value_for_section() {
        let section = place.path.join(".");
        let help = for_section(&section, found);
        let names = fields::section_fields(&section).unwrap_or_default();
        let error = match names.is_empty() {
            true => error,
            false => error.expected(format!("a mapping of fields, of {}", names.join(", "))),
        };
        return match help {
            Some(help) => error.help(help),
            None => error,
        };
    }
    let help = error.unknown_field().and_then(|(found, names)| place.help(found, names));
    match help {
        Some(help) => error.help(help),
        None => error,
    }
}

/// A suggestion for the value `found` in place of a section.
fn for_section(section: &str, found: &str) -> Option<String> {
    let (_, fields) = MAIN_FIELDS.iter().find(|(name, _)| *name == section)?;
    // `data`, `model` and `start` need a name, other sections a number.
    let named = ["data", "model", "start"].contains(&section);
    if found.is_empty() || named != found.parse::<f64>().is_err() {
        return None;
    }
    let (first, others) = fields.split_first()?;
    let others: Vec<String> = others.iter().map(|field| format!("`{field}`")).collect();
    let others = match others.is_empty() {
        true => String::new(),
        false => format!(" Instead of `{first}` it may be {}", others.join(" or ")),
    };
    Some(format!("did you mean `{section}: {{{first}: {found}}}`?{others}"))
}

/// Normalises a name: `learningRate`, `learning-rate` and `Learning_Rate` become `learning_rate`.
fn plain(name: &str) -> String {
    let mut out = String::new();
    let mut before = '_';
    for c in name.trim().chars() {
        if c.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit()) {
            out.push('_');
        }
        match c {
            '-' | ' ' => out.push('_'),
            c => out.extend(c.to_lowercase()),
        }
        before = c;
    }
    out
}

/// Where an unknown field was written.
struct Place<'a> {
    origin: &'a Origin,
    /// The keys from the run down.
    path: Vec<&'a str>,
}

impl<'a> Place<'a> {
    fn of(origin: &'a Origin) -> Place<'a> {
        Place { origin, path: origin.run_path() }
    }

    /// A suggestion for the unknown field `found`. `names`: the valid fields at this place.
    fn help(&self, found: &str, names: &[&'static str]) -> Option<String> {
        // A dotted name in a file: `training.lr: 3`. In `--set` and the sweep it is already split.
        let typed: Vec<&str> = found.split('.').collect();
        let at = self.path.iter().position(|key| *key == found);
        let (section, mut rest) = match at {
            Some(at) => (self.path[..at].join("."), self.path[at + 1..].to_vec()),
            // The field is in a mapping given by `--set`.
            None => (self.path.join("."), Vec::new()),
        };
        rest.splice(0..0, typed.iter().skip(1).copied());
        let name = plain(typed[0]);
        let last = rest.last().map(|last| plain(last));
        let within = |name: &str| match section.is_empty() {
            true => name.to_string(),
            false => format!("{section}.{name}"),
        };
        let near = |enough: f64, name: &str| {
            nearest_from(enough, name, names.iter().copied()).map(|name| (vec![within(name)], ""))
        };
        let known = |name: &str| {
            fields_by_other_name(name, &section).or_else(|| in_other_sections(name, &section))
        };
        let below = |field: &str| -> Option<Candidates> {
            let section = nearest_from(0.5, &name, names.iter().copied())?;
            let path = [&*within(section), &rest[..rest.len() - 1].join("."), field];
            let path = path.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(".");
            fields::is_known(&path).then(|| (vec![path], ""))
        };
        let likely = match &last {
            // The last name is more informative than the name of its section.
            Some(last) => below(last).or_else(|| known(last)).or_else(|| near(SURE, &name)),
            None => near(SURE, &name),
        };
        // True in a mapping given by `--set`.
        let nested = at.is_none();
        let (mut candidates, remark) = likely
            .or_else(|| known(&name))
            .or_else(|| near(0.5, &name))
            .or_else(|| similar_in_other_sections(&name))?;
        // A field that this section has only for another task, such as the vocabulary of an image
        // model.
        let is_other_kind = |field: &String| match field.rsplit_once('.') {
            Some((above, key)) => above == section && rest.is_empty() && !names.contains(&key),
            None => false,
        };
        if candidates.iter().all(is_other_kind) && !candidates.is_empty() {
            return None;
        }
        candidates.retain(|field| !is_other_kind(field));
        if candidates.is_empty() {
            return Some(remark.into());
        }
        let typed = self.path.join(".");
        let is_of_run = !EXPERIMENT_FIELDS.contains(&typed.as_str());
        if at.is_some() && is_of_run && candidates == [typed] {
            return Some("specs of another task or architecture have this field".into());
        }
        // A part of the section may have the same field, such as a target with its own rank.
        let first = section.split('.').next().unwrap_or_default();
        let in_section = |field: &&String| field.starts_with(&format!("{first}."));
        let mut keys = candidates.iter().filter(in_section).map(|field| last_field(field));
        let key = keys.find(|last| names.contains(last));
        let candidates = match key.filter(|_| rest.is_empty()) {
            Some(key) => vec![within(key)],
            None => candidates,
        };
        let written = candidates.iter().flat_map(|field| self.fields_of(field));
        let written: Vec<String> = written
            .map(|field| match field.rsplit_once('.') {
                Some((above, key)) if nested && above == section => format!("`{key}`"),
                _ => self.written(&field, &section),
            })
            .collect();
        // What is written already is not meant.
        if written == [format!("`{found}`")] {
            return None;
        }
        let remark = if remark.is_empty() { String::new() } else { format!(" ({remark})") };
        Some(format!("did you mean {}?{remark}", written.join(" or ")))
    }

    /// The field itself, or the main fields of a section that `--set` gives a single value.
    fn fields_of(&self, field: &str) -> Vec<String> {
        let main_fields = MAIN_FIELDS.iter().find(|(section, _)| *section == field);
        match (self.origin, main_fields) {
            (Origin::Set(argument), Some((_, names))) if !argument.contains(['{', '[']) => {
                names.iter().map(|name| format!("{field}.{name}")).collect()
            }
            _ => vec![field.to_string()],
        }
    }

    /// How to write the field in this place. `section`: the section of the unknown field.
    fn written(&self, field: &str, section: &str) -> String {
        let of_experiment = EXPERIMENT_FIELDS.contains(&field);
        if let Origin::Set(argument) = self.origin {
            let value = argument.split_once('=').map_or("…", |(_, value)| value);
            let value = match value {
                mapping if mapping.contains('{') => "…".to_string(),
                "true" | "false" if field.starts_with("start.") => "…".to_string(),
                one if field == "seeds" && !one.starts_with('[') => format!("[{one}]"),
                other => other.to_string(),
            };
            let before = match self.origin.arm() {
                Some(arm) if !of_experiment && self.origin.is_swept() => {
                    format!("arms.{arm}.sweep.")
                }
                Some(arm) if !of_experiment => format!("arms.{arm}."),
                _ if self.origin.is_swept() && !of_experiment => "sweep.".to_string(),
                _ => String::new(),
            };
            return match value.contains(' ') {
                true => format!("`--set '{before}{field}={value}'`"),
                false => format!("`--set {before}{field}={value}`"),
            };
        }
        if of_experiment {
            return match section.is_empty()
                && self.origin.arm().is_none()
                && !self.origin.is_swept()
            {
                true => format!("`{field}`"),
                false => format!("`{field}` at the top of the spec"),
            };
        }
        if self.origin.is_swept() {
            return format!("`{field}`");
        }
        match field.rsplit_once('.') {
            Some((above, key)) if above == section => format!("`{key}`"),
            None if section.is_empty() => format!("`{field}`"),
            _ => {
                let nested =
                    field.rsplit('.').fold(String::new(), |inner, key| match inner.is_empty() {
                        true => format!("{key}: …"),
                        false => format!("{key}: {{{inner}}}"),
                    });
                let place = if self.origin.arm().is_some() { " in the arm" } else { "" };
                format!("`{field}`, that is `{nested}`{place}")
            }
        }
    }
}

type Candidates = (Vec<String>, &'static str);

/// The fields that other programs give this name. If `section` has any of them, only those.
fn fields_by_other_name(name: &str, section: &str) -> Option<Candidates> {
    let lookup = |name: &str| OTHER_NAMES.iter().find(|entry| entry.names.contains(&name));
    let first = section.split('.').next().unwrap_or_default();
    let entry = lookup(&format!("{first}.{name}")).or_else(|| lookup(name))?;
    let fields = entry.fields.iter().map(|field| field.to_string()).collect();
    Some((prefer_section(fields, section), entry.remark))
}

/// The fields of this name in other sections.
fn in_other_sections(name: &str, section: &str) -> Option<Candidates> {
    let ends = |path: &&str| path.rsplit('.').next() == Some(name);
    let all = fields::paths().iter().map(String::as_str).chain(EXPERIMENT_FIELDS);
    let found: Vec<String> = all.filter(ends).map(str::to_string).collect();
    (!found.is_empty()).then(|| (prefer_section(found, section), ""))
}

/// The fields of `section` among these, or all of them if it has none.
fn prefer_section(fields: Vec<String>, section: &str) -> Vec<String> {
    let first = section.split('.').next().unwrap_or_default();
    let in_section = |field: &&String| !first.is_empty() && field.starts_with(&format!("{first}."));
    match fields.iter().any(|field| in_section(&field)) {
        true => fields.iter().filter(in_section).cloned().collect(),
        false => fields,
    }
}

/// A field of any section with a similar name.
fn similar_in_other_sections(name: &str) -> Option<Candidates> {
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let names = fields::paths().iter().map(|path| last(path)).chain(EXPERIMENT_FIELDS);
    let near = nearest_from(SURE, name, names)?;
    in_other_sections(near, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for name in ["learningRate", "learning-rate", " Learning_Rate", "learning rate"] {
            assert_eq!(plain(name), "learning_rate");
        }
        assert_eq!(
            (&*plain("numHeads"), &*plain("LR"), &*plain("mlp2Dim")),
            ("num_heads", "lr", "mlp2_dim")
        );
    }
}

//! Reads a spec from a file or from bytes and applies `--set` overrides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::arms::no_such_arm;
use super::error::{SpecError, nearest};
use super::experiment::Experiment;
use super::node::{Node, Value};
use super::origin::Origin;
use super::position::Position;
use super::precision::DeviceKind;
use super::schema::ParameterCount;
use super::wording::shorten;
use super::{document, document_kind, expand, hints, no_training};

/// Largest accepted spec file; real specs are much smaller.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a spec file and applies `--set key=value` overrides. No device is assumed: `precision:
/// auto` is float32.
pub fn load(
    path: &Path,
    overrides: &[String],
    count: ParameterCount,
) -> Result<Experiment, SpecError> {
    load_for(None, path, overrides, count)
}

/// The same for a kind of device. Refuses a precision that the device does not support.
pub fn load_for(
    device: Option<DeviceKind>,
    path: &Path,
    overrides: &[String],
    count: ParameterCount,
) -> Result<Experiment, SpecError> {
    let file = path.display().to_string();
    let failed = |summary: &str, found: String| {
        SpecError::new(summary).found(found).expected("a YAML experiment spec").in_file(&file, "")
    };
    let meta = std::fs::metadata(path).map_err(|e| {
        let error = failed("the spec cannot be read", e.to_string());
        match nearest_spec(path) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        }
    })?;
    if !meta.is_file() {
        let error = failed("the spec is not a file", "a directory or special file".into());
        return Err(match &specs_in(path)[..] {
            [] => error,
            specs => error
                .help(format!("the folder contains {}", specs[..specs.len().min(20)].join(", "))),
        });
    }
    if meta.len() > MAX_BYTES {
        let found = format!("{} bytes; at most {MAX_BYTES} are read", meta.len());
        return Err(failed("the spec is too large", found));
    }
    let bytes =
        std::fs::read(path).map_err(|e| failed("the spec cannot be read", e.to_string()))?;
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    parse_for(device, &bytes, &file, &stem, overrides, count)
}

/// The existing spec with the most similar name, in the same folder or in `experiments`.
fn nearest_spec(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let has_ending = name.ends_with(".yaml") || name.ends_with(".yml");
    let name = if has_ending { name } else { format!("{name}.yaml") };
    let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    [beside.unwrap_or(Path::new(".")), Path::new("experiments")].into_iter().find_map(|folder| {
        let specs = specs_in(folder);
        let near = nearest(&name, specs.iter().map(String::as_str))?;
        let found = match folder == Path::new(".") {
            true => PathBuf::from(near),
            false => folder.join(near),
        };
        Some(found.display().to_string())
    })
}

/// The sorted names of the YAML files in a folder. Names with control characters are left out,
/// since they are shown in errors.
fn specs_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
        .filter(|name| !name.chars().any(char::is_control))
        .collect();
    names.sort();
    names
}

/// Reads a spec from bytes, for no particular device as in [`load`]. `file` names it in errors;
/// `stem` is the default for `name`.
pub fn parse(
    bytes: &[u8],
    file: &str,
    stem: &str,
    overrides: &[String],
    count: ParameterCount,
) -> Result<Experiment, SpecError> {
    parse_for(None, bytes, file, stem, overrides, count)
}

/// The same for a kind of device.
pub fn parse_for(
    device: Option<DeviceKind>,
    bytes: &[u8],
    file: &str,
    stem: &str,
    overrides: &[String],
    count: ParameterCount,
) -> Result<Experiment, SpecError> {
    let source = std::str::from_utf8(bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
        let error = SpecError::new("the file is not text")
            .found(format!("byte {:#04x}, which is not UTF-8", bytes[e.valid_up_to()]))
            .expected("a YAML experiment spec in UTF-8")
            .at_position(Position { line, column: 1 })
            .in_file(file, "");
        match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                error.help("the file is UTF-16: save it as UTF-8")
            }
            _ => error,
        }
    })?;
    let text = source.strip_prefix('\u{feff}').unwrap_or(source);
    let read = || {
        let mut root = document::parse(text)?;
        document_kind::expect_spec(&root)?;
        no_training::write_out(&mut root);
        let mut given = Given::default();
        for argument in overrides {
            let split = argument.split_once('=').map(|(key, value)| (key.trim(), value));
            let Some((key, value)) = split.filter(|(key, _)| !key.is_empty()) else {
                return Err(SpecError::new("an override has no field and value")
                    .found(format!("`{argument}`"))
                    .expected("key=value, as in --set training.epochs=3")
                    .at(Origin::Set(argument.clone())));
            };
            check_arm(&root, key, argument)?;
            let value = document::parse_argument(argument, value)?;
            let left_out = key
                .strip_prefix("arms.")
                .filter(|arm| !arm.contains('.') && value.value == Value::Null);
            given.add(key, argument, &value)?;
            match left_out {
                Some(arm) => leave_out(&mut root, arm, argument)?,
                None => root.set(key, value),
            }
            no_training::write_out(&mut root);
        }
        no_training::check_arms(&root)?;
        let (experiment, uses) = expand::expand(root, stem, count, device)?;
        let notes = uses.lines(file, text);
        Ok(Experiment { notes, source: source.to_string(), ..experiment })
    };
    read().map_err(|e: SpecError| hints::complete(e).in_file(file, text))
}

/// The fields given by the overrides so far, each with its value and argument.
#[derive(Default)]
struct Given(BTreeMap<String, (Node, String)>);

impl Given {
    /// Refuses a field that another override sets to another value, and a field whose new value
    /// would discard one set by another override.
    fn add(&mut self, key: &str, argument: &str, value: &Node) -> Result<(), SpecError> {
        let twice = |field: &str, before: &str| {
            Err(SpecError::new("a field is given twice")
                .found(format!("`{field}` in --set {before}, too", before = shorten(before)))
                .expected("each field once, or with one value")
                .at(Origin::Set(argument.to_string())))
        };
        for (field, value) in value.leaves(key) {
            let inside = format!("{field}.");
            let replaced = self.0.range(inside.clone()..).next();
            if let Some((other, (_, before))) = replaced.filter(|(f, _)| f.starts_with(&inside)) {
                return twice(other, before);
            }
            match self.0.get(&field) {
                Some((other, before)) if other != value => return twice(&field, before),
                _ => self.0.insert(field, (value.clone(), argument.to_string())),
            };
        }
        Ok(())
    }
}

/// Refuses an override of an arm that the spec does not have, since it would create a new arm.
fn check_arm(root: &Node, key: &str, argument: &str) -> Result<(), SpecError> {
    match key.strip_prefix("arms.").and_then(|rest| rest.split_once('.')) {
        Some((name, _)) if root.get("arms").is_none_or(|arms| arms.get(name).is_none()) => {
            Err(no_arm_for(root, name, argument))
        }
        _ => Ok(()),
    }
}

/// Takes an arm out of the spec, as `--set arms.NAME=null` asks for.
fn leave_out(root: &mut Node, name: &str, argument: &str) -> Result<(), SpecError> {
    match root.get_mut("arms").and_then(|arms| arms.take(name)) {
        Some(_) => Ok(()),
        None => Err(no_arm_for(root, name, argument)),
    }
}

fn no_arm_for(root: &Node, name: &str, argument: &str) -> SpecError {
    let arms = root.get("arms").and_then(Node::entries).unwrap_or_default();
    let names: Vec<&str> = arms.iter().map(|(name, _)| name.as_str()).collect();
    no_such_arm(name, &names).at(Origin::Set(argument.to_string()))
}

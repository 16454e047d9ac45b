//! The fields that a run can have. They are found from its types, so that no separate list can
//! become outdated.
//!
//! serde lists a struct's fields in the error for an unknown field. So an impossible field is added
//! at each path: a section answers with its fields, anything else does not. Fields of all tasks and
//! architectures are included.

use std::sync::OnceLock;

use super::de::run_of;
use super::node::{Node, Value};
use super::origin::Origin;
use super::schema::{Architecture, Task};

/// A name that no field has.
const NO_FIELD: &str = "\u{0}";

/// Dotted paths of all sections and fields of a run, in the order of the types. Fields of list
/// items are not included.
pub fn paths() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let mut paths = Vec::new();
        collect("", &mut paths);
        paths
    })
}

/// Fields of the section at `path`, over all tasks and architectures; fields of the run for an
/// empty `path`. None if there is no such section.
pub fn section_fields(path: &str) -> Option<Vec<&'static str>> {
    let mut all: Option<Vec<&'static str>> = None;
    for task in Task::ALL {
        for architecture in task.architectures() {
            let Some(fields) = section_fields_for(path, task, *architecture) else { continue };
            let all = all.get_or_insert_default();
            all.extend(fields.into_iter().filter(|f| !all.contains(f)).collect::<Vec<_>>());
        }
    }
    all
}

fn section_fields_for(
    path: &str,
    task: Task,
    architecture: Architecture,
) -> Option<Vec<&'static str>> {
    let at = Origin::File(Vec::new());
    let leaf = |value| Node { value, origin: at.clone() };
    let mut node = Node::empty_map(at.clone());
    let unknown = if path.is_empty() { NO_FIELD.into() } else { format!("{path}.{NO_FIELD}") };
    node.set(&unknown, leaf(Value::Null));
    // Added after the unknown field, which must be met first. Fields on `path` are not overwritten.
    for (tag, name) in [("task", task.name()), ("model.architecture", architecture.name())] {
        let leads_through = format!("{path}.").starts_with(&format!("{tag}."));
        if !leads_through {
            node.set(tag, leaf(Value::Text(name.into())));
        }
    }
    let error = run_of(&node).err()?;
    let (found, names) = error.unknown_field()?;
    (found == NO_FIELD).then(|| names.to_vec())
}

fn collect(section: &str, paths: &mut Vec<String>) {
    for name in section_fields(section).unwrap_or_default() {
        let path = if section.is_empty() { name.into() } else { format!("{section}.{name}") };
        paths.push(path.clone());
        collect(&path, paths);
    }
}

/// Whether a run has this section or field.
pub fn is_known(path: &str) -> bool {
    paths().iter().any(|known| known == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_found() {
        for path in [
            "task",
            "data",
            "data.augment.crop_padding",
            "data.normalize.std",
            "data.validation.fraction",
            "model.dim",
            "vlora.rank",
            "vlora.targets",
            "start.arm",
            "lora.also_train",
            "training.learning_rate",
            "precision",
        ] {
            assert!(is_known(path), "{path} is not among {:?}", paths());
        }
        for path in ["rank", "vlora.rank.x", "data.train.fraction", "", "vlora."] {
            assert!(!is_known(path), "{path}");
        }
        let augment = ["crop_padding", "horizontal_flip", "random_resized_crop"];
        assert_eq!(section_fields("data.augment").unwrap()[..3], augment);
        assert_eq!(section_fields("task"), None);
    }
}

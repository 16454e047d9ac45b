//! The fields that a run can have, read off its types, so that no list of them can fall behind.
//!
//! serde names a struct's fields when it meets one that the struct does not have. So each path is
//! asked for a field that nothing has: a section answers with its fields, anything else does not.

use std::sync::OnceLock;

use super::de::from_node;
use super::node::{Node, Origin, Value};
use super::schema::RunSpec;

/// No field is called so.
const NO_FIELD: &str = "\u{0}";

/// Dotted paths of all sections and fields of a run, in the order of the types. Fields of list
/// items are not among them.
pub fn paths() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let mut paths = Vec::new();
        collect("", &mut paths);
        paths
    })
}

/// Fields of the section at `path`; of the run itself where it is empty. None where there is no
/// such section.
pub fn of_section(path: &str) -> Option<Vec<&'static str>> {
    let nothing = Node { value: Value::Null, origin: Origin::File(Vec::new()) };
    let mut node = Node::empty_map(nothing.origin.clone());
    node.set(
        &if path.is_empty() { NO_FIELD.into() } else { format!("{path}.{NO_FIELD}") },
        nothing,
    );
    let error = from_node::<RunSpec>(&node).err()?;
    let (found, names) = error.unknown_field()?;
    (found == NO_FIELD).then(|| names.to_vec())
}

fn collect(section: &str, paths: &mut Vec<String>) {
    for name in of_section(section).unwrap_or_default() {
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
        assert_eq!(of_section("data.augment").unwrap(), augment);
        assert_eq!(of_section("task"), None);
    }
}

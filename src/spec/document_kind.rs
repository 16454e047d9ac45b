//! Whether a YAML file is an experiment spec or a file of published claims. A file of the other kind is refused
//! as such, in place of its first unknown field.

use super::error::SpecError;
use super::node::Node;

/// Fields that every spec has one of, and no file of claims.
const OF_SPECS: [&str; 3] = ["task", "model", "arms"];

/// Refuses a file of claims.
pub fn expect_spec(root: &Node) -> Result<(), SpecError> {
    if root.get("claims").is_none() || has_field_of_specs(root) {
        return Ok(());
    }
    Err(SpecError::new("the file is not an experiment spec")
        .found("a file of published claims")
        .expected("a YAML experiment spec")
        .help("`vlora claims FILE` reads it"))
}

/// Refuses an experiment spec.
pub fn expect_claims(root: &Node) -> Result<(), SpecError> {
    if root.get("claims").is_some() || !has_field_of_specs(root) {
        return Ok(());
    }
    Err(SpecError::new("the file is not one of published claims")
        .found("an experiment spec")
        .expected("a YAML file of published claims")
        .help("`vlora plan FILE` shows what it would run. A check of a file of claims names it as `spec`"))
}

fn has_field_of_specs(root: &Node) -> bool {
    OF_SPECS.iter().any(|field| root.get(field).is_some())
}

//! Whether a YAML file is an experiment spec or a file of published claims. A file of the other kind is refused
//! as such, in place of its first unknown field.

use super::error::SpecError;
use super::node::Node;

/// Fields that specs have, and files of claims have not.
const OF_SPECS: [&str; 5] = ["task", "data", "model", "arms", "seeds"];
/// Fields that files of claims have, and specs have not.
const OF_CLAIMS: [&str; 3] = ["about", "margins", "claims"];

/// Refuses a file of claims.
pub fn expect_spec(root: &Node) -> Result<(), SpecError> {
    if has_any(root, &OF_SPECS) || !has_any(root, &OF_CLAIMS) {
        return Ok(());
    }
    Err(SpecError::new("the file is not an experiment spec")
        .found("a file of published claims")
        .expected("a YAML experiment spec")
        .help("`vlora claims FILE` reads it"))
}

/// Refuses an experiment spec, and an empty file.
pub fn expect_claims(root: &Node) -> Result<(), SpecError> {
    let expected = "a YAML file of published claims, with `about`, `margins` and `claims`";
    let Some(fields) = root.entries().filter(|fields| !fields.is_empty()) else {
        return Err(SpecError::new("the file has no claims")
            .found(root.describe())
            .expected(expected));
    };
    let is_spec = fields.iter().all(|(field, _)| !OF_CLAIMS.contains(&field.as_str()));
    if !is_spec || !has_any(root, &OF_SPECS) {
        return Ok(());
    }
    Err(SpecError::new("the file is not one of published claims")
        .found("an experiment spec")
        .expected(expected)
        .help("`vlora plan FILE` shows what it would run. A check of a file of claims names it as `spec`"))
}

fn has_any(root: &Node, fields: &[&str]) -> bool {
    fields.iter().any(|field| root.get(field).is_some())
}

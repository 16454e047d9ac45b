//! The fields of specs as columns. A column has the field's own name. Its type depends on the field
//! alone, not on the values in one experiment.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::summary::Summary;
use crate::results::VariantRecord;
use crate::spec::RunSpec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A non-negative integer.
    Integer,
    Number,
    Boolean,
    /// Text as it is; lists as their JSON.
    Text,
}

/// A column of the tables of arms and runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// `spec.` and the dotted field.
    pub column: String,
    pub kind: Kind,
    /// One per variant; null where the variant does not have the field.
    pub values: Vec<Value>,
}

/// Every field that a variant of the summary has, sorted.
pub fn all(summary: &Summary) -> Vec<String> {
    let specs = summary.arms.iter().map(|arm| fields_of(&arm.variant.spec));
    specs.flat_map(BTreeMap::into_keys).collect::<BTreeSet<String>>().into_iter().collect()
}

/// Every field that was swept over, in the order of the sweep.
pub fn swept(summary: &Summary) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for (field, _) in summary.arms.iter().flat_map(|arm| &arm.variant.point) {
        if !fields.contains(field) {
            fields.push(field.clone());
        }
    }
    fields
}

/// The columns of these fields. A field that takes numbers or words, such as a rank, has two
/// columns: `spec.vlora.rank` with text, and `spec.vlora.rank.number` with the integers. Where a
/// spec does not have a swept field, the value comes from the arm's sweep point.
pub fn columns(summary: &Summary, fields: &[String]) -> Vec<Field> {
    let variants: Vec<&VariantRecord> = summary.arms.iter().map(|arm| &arm.variant).collect();
    let specs: Vec<BTreeMap<String, Value>> = variants.iter().map(|v| fields_of(&v.spec)).collect();
    let mut columns = Vec::new();
    for field in fields {
        let at_point = |variant: &VariantRecord| {
            let (_, value) = variant.point.iter().find(|(key, _)| key == field)?;
            Some(serde_json::from_str(value).unwrap_or_else(|_| value.as_str().into()))
        };
        let values: Vec<Value> = specs
            .iter()
            .zip(&variants)
            .map(|(spec, variant)| spec.get(field).cloned().or_else(|| at_point(variant)))
            .map(Option::unwrap_or_default)
            .collect();
        let having = variants.iter().zip(&specs).find(|(_, spec)| spec.contains_key(field));
        let kinds = having.map_or(vec![Kind::Text], |(variant, _)| kinds(&variant.spec, field));
        for kind in &kinds {
            let number = kinds.len() > 1 && *kind == Kind::Integer;
            columns.push(Field {
                column: format!("spec.{field}{}", if number { ".number" } else { "" }),
                kind: *kind,
                values: values.iter().map(|value| as_kind(value, *kind)).collect(),
            });
        }
    }
    columns
}

/// The value converted to the column's type; null where it does not fit.
fn as_kind(value: &Value, kind: Kind) -> Value {
    let fits = match kind {
        Kind::Integer => value.is_u64(),
        Kind::Number => value.is_number(),
        Kind::Boolean => value.is_boolean(),
        Kind::Text => value.is_string(),
    };
    match (fits, kind, value) {
        (true, Kind::Number, value) => value.as_f64().map_or(Value::Null, Value::from),
        (true, ..) => value.clone(),
        (false, Kind::Text, value) if !value.is_null() => value.to_string().into(),
        (false, ..) => Value::Null,
    }
}

/// Dotted field names with their values; a list is one value.
fn fields_of(spec: &RunSpec) -> BTreeMap<String, Value> {
    fn walk(value: Value, path: String, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    walk(value, path, out);
                }
            }
            value => {
                out.insert(path, value);
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(serde_json::to_value(spec).unwrap_or_default(), String::new(), &mut out);
    out
}

/// The types that a field of this spec accepts. They are found by replacing its value with one of
/// each type and trying to read the spec.
fn kinds(spec: &RunSpec, field: &str) -> Vec<Kind> {
    let spec = serde_json::to_value(spec).unwrap_or_default();
    let takes = |value: Value| {
        let mut spec = spec.clone();
        let at = spec.pointer_mut(&format!("/{}", field.replace('.', "/")));
        if let Some(at) = at {
            *at = value;
        }
        serde_json::from_value::<RunSpec>(spec).is_ok()
    };
    // Words that number fields may accept.
    let words = ["full", "auto", "exact"];
    if takes(json!(0.5)) {
        vec![Kind::Number]
    } else if takes(json!(1)) {
        match words.iter().any(|word| takes(json!(word))) {
            true => vec![Kind::Text, Kind::Integer],
            false => vec![Kind::Integer],
        }
    } else if takes(json!(true)) {
        vec![Kind::Boolean]
    } else {
        vec![Kind::Text]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(changes: Value) -> RunSpec {
        let mut spec = json!({
            "task": "image-classification",
            "method": "vlora",
            "data": {"embedded": "x"},
            "model": {"architecture": "vit", "image_size": 8, "patch_size": 4, "classes": 2,
                      "dim": 8, "depth": 2, "heads": 2},
            "vlora": {"compound_size": 2, "rank": 1},
        });
        for (field, value) in changes.as_object().unwrap() {
            spec.pointer_mut(field.rsplit_once('/').unwrap().0).unwrap()
                [field.rsplit('/').next().unwrap()] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    /// The types are the same for different values.
    #[test]
    fn types_do_not_depend_on_values() {
        let plain = spec(json!({}));
        let other = spec(json!({
            "/vlora/rank": "full", "/vlora/alpha": 2, "/training": {"clip_norm": null, "epochs": 3},
            "/vlora/targets": ["attn.qkv", {"target": "mlp.fc1", "rank": 3}],
        }));
        for (field, want) in [
            ("vlora.rank", vec![Kind::Text, Kind::Integer]),
            ("vlora.alpha", vec![Kind::Number]),
            ("vlora.detach", vec![Kind::Boolean]),
            ("vlora.reference", vec![Kind::Text]),
            ("vlora.targets", vec![Kind::Text]),
            ("training.clip_norm", vec![Kind::Number]),
            ("training.learning_rate", vec![Kind::Number]),
            ("training.epochs", vec![Kind::Integer]),
            ("data.embedded", vec![Kind::Text]),
            ("data.resize", vec![Kind::Text, Kind::Integer]),
            ("data.augment.horizontal_flip", vec![Kind::Boolean]),
            ("model.mlp_ratio", vec![Kind::Number]),
            ("precision", vec![Kind::Text]),
        ] {
            for spec in [&plain, &other] {
                assert!(fields_of(spec).contains_key(field), "{field}");
                assert_eq!(kinds(spec, field), want, "{field}");
            }
        }
    }

    #[test]
    fn values_are_converted_to_the_type_of_the_column() {
        for (value, kind, want) in [
            (json!(4), Kind::Text, json!("4")),
            (json!("full"), Kind::Text, json!("full")),
            (json!("full"), Kind::Integer, Value::Null),
            (json!(4), Kind::Integer, json!(4)),
            (json!(4), Kind::Number, json!(4.0)),
            (json!(["a", 1]), Kind::Text, json!("[\"a\",1]")),
            (Value::Null, Kind::Text, Value::Null),
        ] {
            assert_eq!(as_kind(&value, kind), want, "{value} as {kind:?}");
        }
    }
}

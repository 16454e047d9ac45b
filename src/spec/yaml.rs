//! YAML that is no spec (a dataset card's front matter), as JSON, so that nothing outside this
//! room knows the YAML crate.

use serde_json::{Map, Number, Value as Json};
use serde_yaml::Value as Yaml;

use super::position;

/// Nothing that a card says lies deeper.
const MAX_DEPTH: usize = 32;

/// The document's value. Keys that are no text become their text; numbers that JSON has not (NaN,
/// infinities) become null. The error is the reason, without a file's name.
pub fn yaml_to_json(text: &str) -> Result<Json, String> {
    let yaml: Yaml = serde_yaml::from_str(text).map_err(|e| {
        let at = e.location().map(|p| format!("line {}: ", p.line())).unwrap_or_default();
        format!("{at}{}", position::plain_reason(&e))
    })?;
    convert(yaml, 0)
}

fn convert(yaml: Yaml, depth: usize) -> Result<Json, String> {
    if depth > MAX_DEPTH {
        return Err(format!("values are nested more than {MAX_DEPTH} levels deep"));
    }
    Ok(match yaml {
        Yaml::Null => Json::Null,
        Yaml::Bool(b) => Json::Bool(b),
        Yaml::Number(n) => number(&n),
        Yaml::String(s) => Json::String(s),
        Yaml::Sequence(items) => {
            Json::Array(items.into_iter().map(|v| convert(v, depth + 1)).collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                map.insert(key_text(&key)?, convert(value, depth + 1)?);
            }
            Json::Object(map)
        }
        Yaml::Tagged(tagged) => convert(tagged.value, depth + 1)?,
    })
}

fn number(n: &serde_yaml::Number) -> Json {
    let whole = n.as_u64().map(Number::from).or_else(|| n.as_i64().map(Number::from));
    whole.or_else(|| n.as_f64().and_then(Number::from_f64)).map_or(Json::Null, Json::Number)
}

fn key_text(key: &Yaml) -> Result<String, String> {
    match key {
        Yaml::String(s) => Ok(s.clone()),
        Yaml::Number(n) => Ok(n.to_string()),
        Yaml::Bool(b) => Ok(b.to_string()),
        _ => Err("a mapping has a key that is no text".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_keys_keep_their_meaning() {
        let json = yaml_to_json("a: [1, -2, 1.5, true, null, x]\n0: zero\n'1': one\n").unwrap();
        let want = serde_json::json!({"a": [1, -2, 1.5, true, null, "x"], "0": "zero", "1": "one"});
        assert_eq!(json, want);
        assert!(yaml_to_json("a: [1\nb: 2").unwrap_err().contains("line"));
        assert!(yaml_to_json(&"[".repeat(200)).is_err());
        let deep = format!("{}1{}", "[".repeat(50), "]".repeat(50));
        assert!(yaml_to_json(&deep).unwrap_err().contains("nested"));
    }
}

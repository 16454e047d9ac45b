//! Converts YAML that is not a spec (the front matter of a dataset card) to JSON, so that only this
//! folder uses the YAML crate.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Map, Number, Value as Json};
use serde_yaml::Value as Yaml;

use super::syntax;
use super::wording::shorten;

/// The deepest nesting that is accepted; cards have less.
const MAX_DEPTH: usize = 32;

/// The most values and bytes of text. Aliases (`*a`) repeat the value of their anchor (`&a`), so a
/// few lines could expand to more than memory can hold. No real card has as many.
const MAX_VALUES: usize = 1_000_000;
const MAX_TEXT: usize = 16 << 20;

/// The value of the document. Keys that are not text are converted to text. Numbers that JSON does
/// not have (NaN, infinities) become null. The error is the reason, without a file name.
pub fn yaml_to_json(text: &str) -> Result<Json, String> {
    let reason = |e: serde_yaml::Error| {
        let at = e.location().map(|p| format!("line {}: ", p.line())).unwrap_or_default();
        format!("{at}{}", syntax::plain_reason(&e))
    };
    let count = Count { values: &Cell::new(0), text: &Cell::new(0) };
    count.deserialize(serde_yaml::Deserializer::from_str(text)).map_err(reason)?;
    convert(serde_yaml::from_str(text).map_err(reason)?, 0)
}

/// Counts the values and text of a document, with aliases expanded, without building it.
#[derive(Clone, Copy)]
struct Count<'a> {
    values: &'a Cell<usize>,
    text: &'a Cell<usize>,
}

impl Count<'_> {
    fn add<E: Error>(self, text: usize) -> Result<(), E> {
        self.values.set(self.values.get() + 1);
        self.text.set(self.text.get().saturating_add(text));
        if self.values.get() > MAX_VALUES {
            return Err(E::custom(format!(
                "more than {MAX_VALUES} values, with aliases written out"
            )));
        }
        if self.text.get() > MAX_TEXT {
            return Err(E::custom(format!(
                "more than {MAX_TEXT} bytes of text, with aliases written out"
            )));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.add(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.add(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.add(0)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.add(0)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.add(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.add(0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.add(text.len())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.add(0)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.add(0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.add(0)?;
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.add(0)?;
        while entries.next_key_seed(self)?.is_some() {
            entries.next_value_seed(self)?;
        }
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let ((), value) = tagged.variant_seed(self)?;
        value.newtype_variant_seed(self)
    }
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
                let key = key_text(&key)?;
                // In YAML, 1 and '1' are different keys.
                if map.contains_key(&key) {
                    return Err(format!("a mapping has two keys `{}`", shorten(&key)));
                }
                map.insert(key, convert(value, depth + 1)?);
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
        assert!(yaml_to_json("1: a\n'1': b").unwrap_err().contains("two keys `1`"));
    }

    #[test]
    fn aliases_and_tags_are_read() {
        let json = yaml_to_json("a: &a {x: [1, !t 2]}\nb: *a\nc: ~\n").unwrap();
        let x = serde_json::json!({"x": [1, 2]});
        assert_eq!(json, serde_json::json!({"a": x, "b": x, "c": null}));
    }

    #[test]
    fn aliases_do_not_fill_the_memory() {
        let many = |what: &str| format!("a: &a {what}\nb: [{}]\n", "*a, ".repeat(3000));
        let values = yaml_to_json(&many(&format!("[{}]", "0, ".repeat(3000)))).unwrap_err();
        assert!(values.contains("more than 1000000 values"), "{values}");
        let text = yaml_to_json(&many(&"x".repeat(10_000))).unwrap_err();
        assert!(text.contains("bytes of text"), "{text}");
    }
}

//! Reads JSON values, and finds fields that an object has twice.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Map, Value as Json};

/// The value of a text, and the first field that one of its objects has twice: of such a field the last value is
/// kept.
pub fn parse(text: &str) -> Result<(Json, Option<String>), Error> {
    let twice = RefCell::new(None);
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = ReadValue { twice: &twice }.deserialize(&mut parser)?;
    parser.end()?;
    Ok((value, twice.into_inner()))
}

#[derive(Clone, Copy)]
struct ReadValue<'a> {
    twice: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for ReadValue<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ReadValue<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut fields = Map::new();
        while let Some(field) = entries.next_key::<String>()? {
            if fields.contains_key(&field) {
                self.twice.borrow_mut().get_or_insert_with(|| field.clone());
            }
            fields.insert(field, entries.next_value_seed(self)?);
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_serde_json() {
        let text = r#"{"a": [1, -2, 3.5, 1e3, true, null, "é\\n"], "b": {"a": {}, "c": 18446744073709551615}}"#;
        let (value, twice) = parse(text).unwrap();
        assert_eq!((value, twice), (serde_json::from_str(text).unwrap(), None));
        for text in ["", "{", "{} x", "[1,]", &"[".repeat(1000)] {
            let (own, other) = (parse(text).unwrap_err(), serde_json::from_str::<Json>(text));
            assert_eq!(own.to_string(), other.unwrap_err().to_string());
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_found_at_any_depth() {
        let twice = |text: &str| parse(text).unwrap().1;
        assert_eq!(twice(r#"{"a": 1, "b": {"a": 1}}"#), None);
        assert_eq!(twice(r#"{"a": 1, "b": 2, "a": 3}"#).as_deref(), Some("a"));
        assert_eq!(twice(r#"{"t": [{"de": "x", "en": "y", "en": "z"}]}"#).as_deref(), Some("en"));
    }
}

//! Reads typed values from a [`Node`] tree through serde. Its errors keep what serde's own errors
//! drop: the field, the value found, and the valid names.

use std::fmt::Display;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::SpecError;
use super::node::{Node, Value};
use super::origin::Origin;
use super::schema::{Fields, FieldsSource, RunSpec, Task, read_run};
use super::wording::{one_of, shorten};
use super::yaml_traps;

/// Reads a `T` from `node`.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, SpecError> {
    T::deserialize(NodeDe { node }).map_err(|e| e.0.at(node.origin.clone()))
}

/// Reads a run. Task and architecture decide which fields it has. If they are missing, the first
/// task and its first architecture are assumed, so that the error names the missing field.
pub fn run_of(node: &Node) -> Result<RunSpec, SpecError> {
    let task = match node.get("task") {
        Some(task) => from_node(task)?,
        None => Task::ALL[0],
    };
    let given = node.get("model").and_then(|model| model.get("architecture"));
    let architecture = match given {
        Some(architecture) => from_node(architecture)?,
        None => task.architectures()[0],
    };
    let unfit = || {
        let names: Vec<&str> = task.architectures().iter().map(|a| a.name()).collect();
        SpecError::new(format!("an architecture that `task: {}` cannot train", task.name()))
            .found(format!("`{}`", architecture.name()))
            .expected(one_of(&names))
            .at(node.nearest("model.architecture").0.origin.clone())
    };
    read_run(task, architecture, node)?.ok_or_else(unfit)
}

impl FieldsSource for &Node {
    type Error = SpecError;

    fn read<D: DeserializeOwned, M: DeserializeOwned>(self) -> Result<Fields<D, M>, SpecError> {
        from_node(self)
    }
}

/// [`SpecError`] as serde's error type.
#[derive(Debug)]
struct DeError(SpecError);

impl Display for DeError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for DeError {}

impl de::Error for DeError {
    fn custom<T: Display>(message: T) -> Self {
        DeError(SpecError::new(message.to_string()))
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Self {
        let expected = plain_expectation(&expected.to_string());
        let error = SpecError::new("wrong type").found(describe(found)).expected(&*expected);
        if expected == SECTION {
            let value = match found {
                Unexpected::Str(text) => shorten(text),
                Unexpected::Unsigned(n) => n.to_string(),
                _ => String::new(),
            };
            return DeError(error.for_section(value));
        }
        DeError(match yaml_traps::help(found, &expected) {
            Some(help) => error.help(help),
            None => error,
        })
    }

    fn invalid_value(found: Unexpected, expected: &dyn Expected) -> Self {
        DeError(
            SpecError::new("value out of range")
                .found(describe(found))
                .expected(plain_expectation(&expected.to_string())),
        )
    }

    fn unknown_variant(found: &str, names: &'static [&'static str]) -> Self {
        DeError(
            SpecError::new("unknown name")
                .found(format!("`{}`", shorten(found)))
                .expected(one_of(names))
                .suggest(found, names.iter().copied())
                .unknown_value(found),
        )
    }

    fn unknown_field(found: &str, names: &'static [&'static str]) -> Self {
        DeError(SpecError::unknown(found, names))
    }

    fn missing_field(field: &'static str) -> Self {
        DeError(
            SpecError::new(format!("the field `{field}` is missing"))
                .expected(format!("a value for `{field}`"))
                .missing(field),
        )
    }
}

fn describe(found: Unexpected) -> String {
    match found {
        Unexpected::Bool(b) => format!("{b}"),
        Unexpected::Unsigned(n) => format!("{n}"),
        Unexpected::Signed(n) => format!("{n}"),
        Unexpected::Float(x) => format!("{x:?}"),
        Unexpected::Str(s) => {
            Node { value: Value::Text(s.into()), origin: Origin::Set(String::new()) }.describe()
        }
        Unexpected::Unit => "nothing (null)".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a mapping".into(),
        other => other.to_string(),
    }
}

/// What is expected where a section is.
const SECTION: &str = "a mapping of fields";

/// Translates serde's names of types into plain words.
fn plain_expectation(expected: &str) -> String {
    match expected {
        "usize" | "u64" | "u32" => "a whole number, 0 or more".into(),
        "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" => "text".into(),
        "a sequence" => "a list".into(),
        other => match other.strip_prefix("struct ") {
            Some(_) => SECTION.into(),
            None => other.into(),
        },
    }
}

#[derive(Clone, Copy)]
struct NodeDe<'a> {
    node: &'a Node,
}

impl<'de> de::Deserializer<'de> for NodeDe<'_> {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Unsigned(n) => visitor.visit_u64(*n),
            Value::Signed(n) => visitor.visit_i64(*n),
            Value::Float(x) => visitor.visit_f64(*x),
            Value::Huge(_) => Err(DeError(
                SpecError::new("the number is out of range")
                    .found(self.node.describe())
                    .expected(format!("a number up to {}", u64::MAX)),
            )),
            Value::Text(s) => visitor.visit_str(s),
            Value::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
        }
        .map_err(|e| DeError(e.0.at(self.node.origin.clone())))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        visitor.visit_newtype_struct(self)
    }

    /// A section is a mapping. serde would also take its fields from a list, in their order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        match &self.node.value {
            Value::List(_) => Err(DeError(
                SpecError::new("wrong type")
                    .found(self.node.describe())
                    .expected(SECTION)
                    .at(self.node.origin.clone()),
            )),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        let out = match &self.node.value {
            Value::Text(name) => visitor.visit_enum(Choice { name }),
            _ => Err(DeError(
                SpecError::new("wrong type").found(self.node.describe()).expected(one_of(names)),
            )),
        };
        out.map_err(|e| DeError(e.0.at(self.node.origin.clone())))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'a> {
    items: &'a [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DeError> {
        let Some(node) = self.items.get(self.next) else { return Ok(None) };
        self.next += 1;
        seed.deserialize(NodeDe { node }).map(Some)
    }
}

struct Entries<'a> {
    entries: &'a [(String, Node)],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = DeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DeError> {
        let Some((key, node)) = self.entries.get(self.next) else { return Ok(None) };
        let key: StrDeserializer<DeError> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|e| DeError(e.0.at(node.origin.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DeError> {
        let node = &self.entries[self.next].1;
        self.next += 1;
        seed.deserialize(NodeDe { node })
    }
}

/// A unit variant, given by name.
struct Choice<'a> {
    name: &'a str,
}

impl<'de> EnumAccess<'de> for Choice<'_> {
    type Error = DeError;
    type Variant = UnitOnly;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, UnitOnly), DeError> {
        let name: StrDeserializer<DeError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, UnitOnly))
    }
}

struct UnitOnly;

impl<'de> VariantAccess<'de> for UnitOnly {
    type Error = DeError;

    fn unit_variant(self) -> Result<(), DeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, DeError> {
        Err(de::Error::custom("a plain name is expected here"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, DeError> {
        Err(de::Error::custom("a plain name is expected here"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, DeError> {
        Err(de::Error::custom("a plain name is expected here"))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Sample {
        count: usize,
        #[serde(default)]
        rate: Option<f64>,
        #[serde(default)]
        list: Vec<Kind>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        ClassToken,
        Mean,
    }

    fn read(text: &str) -> Result<Sample, String> {
        let node = super::super::document::parse(text).map_err(|e| e.to_string())?;
        from_node(&node).map_err(|e| e.in_file("s.yaml", text).to_string())
    }

    #[test]
    fn reads_typed_values() {
        let want = Sample { count: 3, rate: Some(2.0), list: vec![Kind::Mean, Kind::ClassToken] };
        assert_eq!(read("count: 3\nrate: 2\nlist: [mean, class-token]"), Ok(want));
        assert_eq!(read("count: 3\nrate: null").map(|s| s.rate), Ok(None));
    }

    #[test]
    fn names_line_found_and_expected() {
        assert_eq!(
            read("count: 3\nlist: [mean,\n  maen]").unwrap_err(),
            "s.yaml:3:3: list[1]: unknown name\n  found:    `maen`\n  \
             expected: one of class-token, mean\n  help:     did you mean `mean`?"
        );
        assert_eq!(
            read("count: -1").unwrap_err(),
            "s.yaml:1:1: count: value out of range\n  found:    -1\n  \
             expected: a whole number, 0 or more"
        );
        assert!(
            read("list: [3]\ncount: true").unwrap_err().contains("expected: one of class-token")
        );
    }
}

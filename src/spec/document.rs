//! Parses a YAML text to a tree of [`Node`]s. Refuses what YAML allows but a spec does not:
//! duplicate keys, keys that are not text, tags, control characters, numbers beyond 64 bits.
//!
//! Merge keys (`<<: *anchor`) follow YAML 1.1: the mapping's own values take precedence over merged
//! ones, and in a list of mappings, earlier over later ones.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

use super::error::SpecError;
use super::node::{MAX_DEPTH, Node, Value};
use super::origin::{MERGE, Origin, Step};
use super::wording::shorten;
use super::{syntax, tags};

/// The most values of a document. Aliases (`*a`) repeat the value of their anchor (`&a`), so a few
/// lines could expand to more than memory can hold.
const MAX_VALUES: usize = 100_000;

/// Parses a whole spec file.
pub fn parse(text: &str) -> Result<Node, SpecError> {
    let read = read(text, Origin::File(Vec::new()));
    if let Err(Ok(fault)) = read {
        return Err(fault);
    }
    if let Some((tag, position)) = tags::first(text) {
        return Err(tagged(&tag).at_position(position));
    }
    read.map_err(|fault| fault.unwrap_or_else(|e| syntax::syntax_error(text, &e)))
}

/// The error for a tag. The YAML crate silently drops unknown tags and applies some known ones.
fn tagged(tag: &str) -> SpecError {
    SpecError::new("YAML tags are not used in specs")
        .found(shorten(tag))
        .expected("the value without a tag")
}

/// Parses the value of one `--set key=value` argument.
pub fn parse_argument(argument: &str, value: &str) -> Result<Node, SpecError> {
    let origin = Origin::Set(argument.to_string());
    if let Some((tag, _)) = tags::first(value) {
        return Err(tagged(&tag).at(origin));
    }
    read(value, origin.clone()).map_err(|fault| {
        fault.unwrap_or_else(|e| {
            SpecError::new("the value is not valid YAML")
                .found(value)
                .expected("a YAML value, as in --set training.epochs=3 or --set 'seeds=[0, 1]'")
                .help(syntax::plain_reason(&e))
                .at(origin)
        })
    })
}

/// Builds the tree. The error is a spec error found by this file, or else the parser's error.
fn read(text: &str, origin: Origin) -> Result<Node, Result<SpecError, serde_yaml::Error>> {
    let state = ReadState { fault: RefCell::new(None), values: Cell::new(0) };
    let build = NodeBuilder { origin, depth: 0, state: &state };
    build.deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| {
        match state.fault.take() {
            Some(fault) => Ok(fault),
            None => Err(error),
        }
    })
}

/// State shared by all values of a document while it is read.
struct ReadState {
    /// The error that stopped reading. It is kept here, since the YAML crate's errors only have a
    /// text.
    fault: RefCell<Option<SpecError>>,
    values: Cell<usize>,
}

/// Builds the node at `origin`.
struct NodeBuilder<'a> {
    origin: Origin,
    depth: usize,
    state: &'a ReadState,
}

impl NodeBuilder<'_> {
    fn refuse<E: Error>(&self, fault: SpecError) -> E {
        *self.state.fault.borrow_mut() = Some(fault.at(self.origin.clone()));
        E::custom("refused")
    }

    fn child(&self, step: Step) -> NodeBuilder<'_> {
        NodeBuilder { origin: self.origin.child(step), depth: self.depth + 1, state: self.state }
    }

    fn scalar<E: Error>(self, value: Value) -> Result<Node, E> {
        self.count()?;
        Ok(Node { value, origin: self.origin })
    }

    fn count<E: Error>(&self) -> Result<(), E> {
        self.state.values.set(self.state.values.get() + 1);
        if self.depth > MAX_DEPTH {
            return Err(self.refuse(
                SpecError::new("the document is nested too deeply")
                    .found(format!("more than {MAX_DEPTH} levels"))
                    .expected("an experiment spec")
                    .at(self.origin.above(3)),
            ));
        }
        if self.state.values.get() > MAX_VALUES {
            return Err(self.refuse(
                SpecError::new("the document is too large")
                    .found(format!("more than {MAX_VALUES} values, with aliases written out"))
                    .expected("an experiment spec"),
            ));
        }
        Ok(())
    }

    /// Whether a text has no control characters. Only `description` may have line breaks and tabs.
    fn is_plain(&self, text: &str) -> bool {
        let first = match &self.origin {
            Origin::File(steps) => match &steps[..] {
                [Step::Key(key)] => key.as_str(),
                _ => "",
            },
            Origin::Set(argument) => argument.split('=').next().unwrap_or_default(),
        };
        let lines = first == "description";
        !text.chars().any(|c| c.is_control() && !(lines && matches!(c, '\n' | '\t')))
    }
}

impl<'de> DeserializeSeed<'de> for NodeBuilder<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Node, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeBuilder<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        self.scalar(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        self.scalar(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        self.scalar(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        self.scalar(Value::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        self.scalar(match u64::try_from(value) {
            Ok(value) => Value::Unsigned(value),
            Err(_) => Value::Signed(value),
        })
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Node, E> {
        self.scalar(Value::Huge(value.to_string()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node, E> {
        self.scalar(Value::Huge(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        self.scalar(Value::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        match self.is_plain(text) {
            true => self.scalar(Value::Text(text.into())),
            false => Err(self.refuse(
                SpecError::new("the text has a control character or a line break")
                    .found(format!("`{}`", shorten(&text.escape_debug().to_string())))
                    .expected("one line of printable text; only `description` may have several"),
            )),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        self.count()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.child(Step::Index(list.len())))? {
            list.push(item);
        }
        Ok(Node { value: Value::List(list), origin: self.origin })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        self.count()?;
        let mut map: Vec<(String, Node)> = Vec::new();
        let mut keys = HashSet::new();
        let mut merged = None;
        while let Some(key) = entries.next_key::<serde_yaml::Value>()? {
            let serde_yaml::Value::String(key) = key else {
                return Err(self.refuse(
                    SpecError::new("a key is not text").found(syntax::describe_key(&key)).expected(
                        "a name; in quotes where it looks like something else, as in '7'",
                    ),
                ));
            };
            let child = self.child(Step::Key(key.clone()));
            if !keys.insert(key.clone()) {
                return Err(child.refuse(
                    SpecError::new("a field is given twice")
                        .found(format!("`{}` more than once in one mapping", shorten(&key)))
                        .expected("each field once")
                        .second(),
                ));
            }
            let node = entries.next_value_seed(child)?;
            match key == MERGE {
                true => merged = Some(node),
                false => map.push((key, node)),
            }
        }
        if let Some(merged) = merged {
            merge(&mut map, keys, merged).map_err(|fault| self.refuse::<A::Error>(fault))?;
        }
        Ok(Node { value: Value::Map(map), origin: self.origin })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let (name, _): (String, A::Variant) = tagged.variant()?;
        // A tag without a name is reported as `!`.
        Err(self.refuse(self::tagged(&format!("!{}", name.trim_start_matches('!')))))
    }
}

/// Adds the merged values whose keys the mapping does not have. `keys`: the mapping's own keys.
fn merge(
    map: &mut Vec<(String, Node)>,
    mut keys: HashSet<String>,
    merged: Node,
) -> Result<(), SpecError> {
    let mappings = match merged.value {
        Value::List(items) => items,
        _ => vec![merged],
    };
    for mapping in mappings {
        let Value::Map(entries) = mapping.value else {
            return Err(SpecError::new("a merge key merges mappings")
                .found(mapping.describe())
                .expected("`<<: *anchor` of a mapping, or a list of such")
                .help("an anchor is set with `&name` in front of the mapping")
                .at(mapping.origin));
        };
        for (key, node) in entries {
            if keys.insert(key.clone()) {
                map.push((key, node));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) {
        assert_eq!(parse(a).unwrap(), parse(b).unwrap(), "{a}");
    }

    fn fault(text: &str) -> String {
        parse(text).unwrap_err().in_file("s.yaml", text).to_string()
    }

    #[test]
    fn merge_keys_are_read_as_yaml_1_1_defines_them() {
        same("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n", "a: {x: 1, y: 2}\nb: {y: 3, x: 1}\n");
        same("a: &a {x: 1}\nb: {y: 3, <<: *a}\n", "a: {x: 1}\nb: {y: 3, x: 1}\n");
        same(
            "a: &a {x: 1}\nb: &b {x: 2, y: 4}\nc: {<<: [*a, *b]}\n",
            "a: {x: 1}\nb: {x: 2, y: 4}\nc: {x: 1, y: 4}\n",
        );
        same(
            "a: &a {x: {y: 1}}\nb: &b {<<: *a}\nc: {<<: *b}\n",
            "a: {x: {y: 1}}\nb: {x: {y: 1}}\nc: {x: {y: 1}}\n",
        );
        assert!(fault("a: {<<: 3}").contains("s.yaml:1:5: a.<<: a merge key merges mappings"));
        assert!(fault("a: {<<: [{x: 1}, 3]}").contains("a.<<[1]"));
        assert!(fault("a: &a {x: 1}\nb: {<<: *a, <<: *a}").contains("given twice"));
    }

    #[test]
    fn merged_values_know_where_they_were_written() {
        let node = parse("vlora: &v {rank: 2}\narms: {a: {vlora: {<<: *v}}}\n").unwrap();
        let rank = node.nearest("arms.a.vlora.rank").0;
        assert_eq!(rank.origin.run_path(), ["vlora", "rank"]);
        assert_eq!(rank.origin.section(), Some("vlora"));
    }

    #[test]
    fn a_key_given_twice_is_reported_where_it_stands_again() {
        assert!(fault("a: 1\nb:\n  c: 2\n  d: 3\n  c: 4\n").starts_with("s.yaml:5:3: b.c:"));
    }

    #[test]
    fn a_few_lines_of_aliases_do_not_fill_the_memory() {
        let text = format!("a: &a [{}]\nb: [{}]\n", "0, ".repeat(900), "*a, ".repeat(900));
        assert!(fault(&text).contains("more than 100000 values"), "{}", fault(&text));
    }
}

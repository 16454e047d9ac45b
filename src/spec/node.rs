//! A YAML document as a tree in which every value knows where it was written.
//!
//! Arms, sweeps and `--set` are merged in this tree. Origins survive the merge, so an error in a
//! merged run still names the line to change.

use std::collections::BTreeSet;

use serde::Serialize;

use super::error::SpecError;
use super::origin::{Origin, Step};
use super::wording::shorten;

/// The deepest nesting that is accepted. Real specs have a handful of levels.
pub const MAX_DEPTH: usize = 32;

/// A value and its origin.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// An integer beyond 64 bits, which no field accepts.
    Huge(String),
    Text(String),
    List(Vec<Node>),
    /// In the order written.
    Map(Vec<(String, Node)>),
}

impl PartialEq for Node {
    /// Compares values, not origins; `1` and `1.0` are equal.
    fn eq(&self, other: &Node) -> bool {
        match (self.number(), other.number()) {
            (Some(a), Some(b)) => a == b,
            _ => self.value == other.value,
        }
    }
}

impl Node {
    /// An empty map at `origin`.
    pub fn empty_map(origin: Origin) -> Node {
        Node { value: Value::Map(Vec::new()), origin }
    }

    /// Sets a value under `key`, as if it were written there.
    pub fn put(&mut self, key: &str, value: &impl Serialize) -> Result<(), SpecError> {
        let value = serde_yaml::to_value(value).map_err(|e| SpecError::new(e.to_string()))?;
        let node = Node::of(&value, self.origin.child(Step::Key(key.into())));
        self.set(key, node);
        Ok(())
    }

    /// A value at `origin`.
    fn of(value: &serde_yaml::Value, origin: Origin) -> Node {
        use serde_yaml::Value as Yaml;
        let value = match value {
            Yaml::Null => Value::Null,
            Yaml::Bool(b) => Value::Bool(*b),
            Yaml::Number(n) => match (n.as_u64(), n.as_i64()) {
                (Some(n), _) => Value::Unsigned(n),
                (None, Some(n)) => Value::Signed(n),
                (None, None) => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
            },
            Yaml::String(text) => Value::Text(text.clone()),
            Yaml::Sequence(items) => {
                let child = |i| origin.child(Step::Index(i));
                let items = items.iter().enumerate().map(|(i, item)| Node::of(item, child(i)));
                Value::List(items.collect())
            }
            Yaml::Mapping(entries) => {
                let entry = |(key, value): (&Yaml, &Yaml)| {
                    let key = key.as_str().unwrap_or_default().to_string();
                    let origin = origin.child(Step::Key(key.clone()));
                    (key, Node::of(value, origin))
                };
                Value::Map(entries.iter().map(entry).collect())
            }
            Yaml::Tagged(tagged) => return Node::of(&tagged.value, origin),
        };
        Node { value, origin }
    }

    fn number(&self) -> Option<f64> {
        match self.value {
            Value::Unsigned(n) => Some(n as f64),
            Value::Signed(n) => Some(n as f64),
            Value::Float(x) => Some(x),
            _ => None,
        }
    }

    pub fn entries(&self) -> Option<&[(String, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items of a list; empty for other values.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|(k, _)| k == key).map(|(_, node)| node)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Value::Map(entries) = &mut self.value else { return None };
        entries.iter_mut().find(|(k, _)| k == key).map(|(_, node)| node)
    }

    /// All values that are not non-empty mappings, with their dotted fields below `path`.
    pub fn leaves(&self, path: &str) -> Vec<(String, &Node)> {
        match self.entries() {
            Some(entries) if !entries.is_empty() => {
                let below = entries.iter().map(|(key, node)| (format!("{path}.{key}"), node));
                below.flat_map(|(path, node)| node.leaves(&path)).collect()
            }
            _ => vec![(path.to_string(), self)],
        }
    }

    /// Removes an entry from a map and returns it.
    pub fn take(&mut self, key: &str) -> Option<Node> {
        let Value::Map(entries) = &mut self.value else { return None };
        let at = entries.iter().position(|(k, _)| k == key)?;
        Some(entries.remove(at).1)
    }

    /// The node at `path` (`vlora.rank`), or else its nearest existing ancestor. The flag is true
    /// for the node itself.
    pub fn nearest(&self, path: &str) -> (&Node, bool) {
        let mut node = self;
        for key in path.split('.') {
            let (name, index) = match key.split_once('[') {
                Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
                None => (key, None),
            };
            match node.get(name) {
                Some(child) => node = child,
                None => return (node, false),
            }
            if let Some(index) = index {
                match &node.value {
                    Value::List(items) if index < items.len() => node = &items[index],
                    _ => return (node, false),
                }
            }
        }
        (node, true)
    }

    /// Sets `value` at a dotted path and creates the maps on the way. Everything after `sweep.`, also that
    /// of an arm, is one key. Other values on the path are replaced by maps.
    pub fn set(&mut self, path: &str, value: Node) {
        self.set_at(path, value, MAX_DEPTH);
    }

    fn set_at(&mut self, path: &str, value: Node, depth: usize) {
        let (head, rest) = match path.split_once('.') {
            // Deeper than any field: kept as one key, which no field has.
            Some((head, rest)) if depth > 0 => (head, Some(rest)),
            _ => (path, None),
        };
        if self.entries().is_none() {
            self.value = Value::Map(Vec::new());
            self.origin = value.origin.clone();
        }
        let Value::Map(entries) = &mut self.value else { return };
        let at = match entries.iter().position(|(k, _)| k == head) {
            Some(at) => at,
            None => {
                entries.push((head.to_string(), Node::empty_map(value.origin.clone())));
                entries.len() - 1
            }
        };
        match rest {
            // `sweep` and `arms.NAME.sweep`.
            Some(rest) if head == "sweep" && (depth == MAX_DEPTH || depth + 2 == MAX_DEPTH) => {
                entries[at].1.set_at(rest, value, 0);
            }
            Some(rest) => entries[at].1.set_at(rest, value, depth - 1),
            // A mapping is merged, as in arms; any other value replaces the old one.
            None => entries[at].1.overlay(&value),
        }
    }

    /// Merges `over` into this node: maps are merged key by key, other values are replaced.
    pub fn overlay(&mut self, over: &Node) {
        match (&mut self.value, &over.value) {
            (Value::Map(mine), Value::Map(theirs)) => {
                for (key, node) in theirs {
                    match mine.iter_mut().find(|(k, _)| k == key) {
                        Some((_, existing)) => existing.overlay(node),
                        None => mine.push((key.clone(), node.clone())),
                    }
                }
            }
            _ => *self = over.clone(),
        }
    }

    /// The value as a short line for messages.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing (null)".into(),
            Value::Bool(b) => format!("{b}"),
            Value::Unsigned(n) => format!("{n}"),
            Value::Signed(n) => format!("{n}"),
            Value::Float(x) => format!("{x:?}"),
            Value::Huge(n) => shorten(n),
            Value::Text(s) => format!("`{}`", shorten(s)),
            Value::List(items) if items.is_empty() => "an empty list".into(),
            Value::List(_) => shorten(&self.label()),
            Value::Map(entries) if entries.is_empty() => "an empty mapping".into(),
            Value::Map(entries) => {
                let keys: Vec<_> = entries.iter().map(|(k, _)| k.as_str()).collect();
                format!("a mapping with {}", shorten(&keys.join(", ")))
            }
        }
    }

    /// Collects the `--set` arguments that values of this tree come from.
    pub fn collect_arguments(&self, into: &mut BTreeSet<String>) {
        if let Origin::Set(argument) = &self.origin
            && !into.contains(argument)
        {
            into.insert(argument.clone());
        }
        match &self.value {
            Value::List(items) => items.iter().for_each(|item| item.collect_arguments(into)),
            Value::Map(entries) => entries.iter().for_each(|(_, n)| n.collect_arguments(into)),
            _ => {}
        }
    }

    /// The value as text for labels of sweep points (`8`, `true`, `0.001`, `mean`).
    pub fn label(&self) -> String {
        match &self.value {
            Value::Null => "null".into(),
            Value::Bool(b) => b.to_string(),
            Value::Unsigned(n) => n.to_string(),
            Value::Signed(n) => n.to_string(),
            Value::Float(x) if *x != 0.0 && !(1e-4..1e6).contains(&x.abs()) => format!("{x:e}"),
            Value::Float(x) => x.to_string(),
            Value::Huge(n) => n.clone(),
            Value::Text(s) => s.clone(),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(Node::label).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Map(entries) => {
                let items: Vec<_> =
                    entries.iter().map(|(k, v)| format!("{k}: {}", v.label())).collect();
                format!("{{{}}}", items.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::parse;
    use super::*;

    #[test]
    fn overlay_merges_maps_and_replaces_the_rest() {
        let mut base = parse("a: {x: 1, y: [1, 2]}\nb: 3\n").unwrap();
        base.overlay(&parse("a: {y: [9]}\nc: 4\n").unwrap());
        let want = parse("a: {x: 1, y: [9]}\nb: 3\nc: 4\n").unwrap();
        assert_eq!(base, want);
    }

    #[test]
    fn set_makes_the_maps_on_the_way() {
        let mut node = parse("a: 1\n").unwrap();
        node.set("b.c.d", parse("5").unwrap());
        assert_eq!(node, parse("a: 1\nb: {c: {d: 5}}\n").unwrap());
    }

    #[test]
    fn set_merges_mappings_and_keeps_a_swept_field_whole() {
        let mut node = parse("a: {x: 1, y: 2}\nsweep: {v.rank: [1]}\n").unwrap();
        node.set("a", parse("{y: 3}").unwrap());
        node.set("sweep.v.rank", parse("[2, 4]").unwrap());
        node.set("arms.b.sweep.v.rank", parse("[8]").unwrap());
        let want = "a: {x: 1, y: 3}\nsweep: {v.rank: [2, 4]}\narms: {b: {sweep: {v.rank: [8]}}}\n";
        let want = parse(want).unwrap();
        assert_eq!(node, want);
        // A very long path must not overflow the stack.
        node.set(&"k.".repeat(100_000), parse("1").unwrap());
    }

    #[test]
    fn nearest_falls_back_to_the_written_ancestor() {
        let node = parse("model: {dim: 64}\n").unwrap();
        assert!(node.nearest("model.dim").1);
        let (parent, exact) = node.nearest("model.heads");
        assert!(!exact);
        assert_eq!(parent.origin, Origin::File(vec![Step::Key("model".into())]));
    }
}

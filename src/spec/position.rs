//! Finds the line of a field.
//!
//! `serde_yaml` gives positions for errors, but not for values. So a visitor walks to the wanted
//! field and fails there on purpose; the position of that error is the field's position. This runs
//! only when an error is about to be printed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::origin::Step;

/// 1-based line and column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// The position of `steps` in `text`, or of the nearest enclosing field that is found. None for the
/// document itself. `second`: look for the second occurrence of the last key in its mapping.
pub fn locate(text: &str, steps: &[Step], second: bool) -> Option<Position> {
    (1..=steps.len()).rev().find_map(|n| {
        let walk = Walk { steps: &steps[..n], second: second && n == steps.len() };
        let error = walk.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
        if !error.to_string().contains(HERE) {
            return None;
        }
        error.location().map(|l| Position { line: l.line(), column: l.column() })
    })
}

const HERE: &str = "\u{1}here";

struct Walk<'a> {
    steps: &'a [Step],
    second: bool,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

/// At the end of the path every kind of value fails. Before that, scalars are skipped.
macro_rules! scalar {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E: Error>(self, _: $type) -> Result<(), E> {
            if self.steps.is_empty() { Err(E::custom(HERE)) } else { Ok(()) }
        })*
    };
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any value")
    }

    scalar!(
        visit_bool: bool,
        visit_i64: i64,
        visit_u64: u64,
        visit_i128: i128,
        visit_u128: u128,
        visit_f64: f64,
        visit_str: &str
    );

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.steps.is_empty() { Err(E::custom(HERE)) } else { Ok(()) }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.steps.split_first() else {
            return Err(A::Error::custom(HERE));
        };
        let key = match first {
            Step::Key(key) => key.as_str(),
            Step::Index(_) => "",
        };
        let mut skip = self.second && rest.is_empty();
        while let Some(found) =
            map.next_key_seed(Key { name: key, last: rest.is_empty() && !skip })?
        {
            if found && skip {
                skip = false;
                map.next_value::<IgnoredAny>()?;
            } else if found {
                map.next_value_seed(Walk { steps: rest, second: self.second })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.steps.split_first() else {
            return Err(A::Error::custom(HERE));
        };
        let wanted = match first {
            Step::Index(index) => *index,
            Step::Key(_) => usize::MAX,
        };
        let mut index = 0;
        loop {
            let more = if index == wanted {
                seq.next_element_seed(Walk { steps: rest, second: self.second })?.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }
}

struct Key<'a> {
    name: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
        d.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match key == self.name {
            true if self.last => Err(E::custom(HERE)),
            same => Ok(same),
        }
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nb:\n  c: [x, y,\n    z]\n  d: {e: 5}\nlist:\n  - k: 1\n  - k: 2\n";

    fn line(steps: &[Step]) -> Option<(usize, usize)> {
        locate(TEXT, steps, false).map(|p| (p.line, p.column))
    }

    fn key(k: &str) -> Step {
        Step::Key(k.into())
    }

    #[test]
    fn finds_keys_and_elements() {
        assert_eq!(line(&[key("a")]), Some((1, 1)));
        assert_eq!(line(&[key("b"), key("c")]), Some((3, 3)));
        assert_eq!(line(&[key("b"), key("c"), Step::Index(2)]), Some((4, 5)));
        assert_eq!(line(&[key("b"), key("d"), key("e")]), Some((5, 7)));
        assert_eq!(line(&[key("list"), Step::Index(1), key("k")]), Some((8, 5)));
    }

    #[test]
    fn falls_back_to_the_enclosing_field() {
        assert_eq!(line(&[key("b"), key("missing")]), Some((2, 1)));
        assert_eq!(line(&[key("missing")]), None);
    }
}

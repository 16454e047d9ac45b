//! A split of a dataset. YAML has two forms: the name of the split, or the fraction of the training
//! split that is taken for it.

use std::fmt;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::schema::{PartSpec, SplitSpec};

impl Serialize for SplitSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            SplitSpec::Named(name) => serializer.serialize_str(name),
            SplitSpec::Part(part) => part.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SplitSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SplitSpec, D::Error> {
        struct SplitVisitor;
        impl<'de> Visitor<'de> for SplitVisitor {
            type Value = SplitSpec;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a split's name, or a mapping with fraction and seed")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<SplitSpec, E> {
                Ok(SplitSpec::Named(name.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SplitSpec, A::Error> {
                PartSpec::deserialize(MapAccessDeserializer::new(map)).map(SplitSpec::Part)
            }
        }
        deserializer.deserialize_any(SplitVisitor)
    }
}

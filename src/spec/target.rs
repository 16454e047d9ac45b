//! Fields with two forms in YAML: a rank is a number or `full`, a size is a number or `exact`, a
//! target is its name or a mapping with its own rank and alpha.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer, value::StrDeserializer};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::schema::{Rank, Resize, Target, TargetSpec};

const FULL: &str = "full";

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Rank::Of(rank) => rank.fmt(f),
            Rank::Full => f.write_str(FULL),
        }
    }
}

impl FromStr for Rank {
    type Err = String;

    fn from_str(text: &str) -> Result<Rank, String> {
        match (text, text.parse()) {
            (FULL, _) => Ok(Rank::Full),
            (_, Ok(rank)) => Ok(Rank::Of(rank)),
            _ => Err("expected a whole number, 0 or more, or `full`".into()),
        }
    }
}

impl Serialize for Rank {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Rank::Of(rank) => serializer.serialize_u64(*rank as u64),
            Rank::Full => serializer.serialize_str(FULL),
        }
    }
}

impl<'de> Deserialize<'de> for Rank {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rank, D::Error> {
        struct RankVisitor;
        impl Visitor<'_> for RankVisitor {
            type Value = Rank;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a whole number, 0 or more, or `full`")
            }

            fn visit_u64<E: de::Error>(self, rank: u64) -> Result<Rank, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Unsigned(rank), &self);
                usize::try_from(rank).map(Rank::Of).map_err(wrong)
            }

            fn visit_i64<E: de::Error>(self, rank: i64) -> Result<Rank, E> {
                match u64::try_from(rank) {
                    Ok(rank) => self.visit_u64(rank),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(rank), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rank, E> {
                match text {
                    FULL => Ok(Rank::Full),
                    _ => Err(E::invalid_type(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(RankVisitor)
    }
}

const EXACT: &str = "exact";

impl Serialize for Resize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Resize::ShorterSide(pixels) => serializer.serialize_u64(*pixels as u64),
            Resize::Exact => serializer.serialize_str(EXACT),
        }
    }
}

impl<'de> Deserialize<'de> for Resize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Resize, D::Error> {
        struct ResizeVisitor;
        impl Visitor<'_> for ResizeVisitor {
            type Value = Resize;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a whole number of pixels for the shorter side, or `exact`")
            }

            fn visit_u64<E: de::Error>(self, pixels: u64) -> Result<Resize, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Unsigned(pixels), &self);
                usize::try_from(pixels).map(Resize::ShorterSide).map_err(wrong)
            }

            fn visit_i64<E: de::Error>(self, pixels: i64) -> Result<Resize, E> {
                match u64::try_from(pixels) {
                    Ok(pixels) => self.visit_u64(pixels),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(pixels), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Resize, E> {
                match text {
                    EXACT => Ok(Resize::Exact),
                    _ => Err(E::invalid_type(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(ResizeVisitor)
    }
}

impl Serialize for TargetSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.rank.is_none() && self.alpha.is_none() {
            return self.target.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("target", &self.target)?;
        if let Some(rank) = self.rank {
            map.serialize_entry("rank", &rank)?;
        }
        if let Some(alpha) = self.alpha {
            map.serialize_entry("alpha", &alpha)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for TargetSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TargetSpec, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            target: Target,
            #[serde(default)]
            rank: Option<Rank>,
            #[serde(default)]
            alpha: Option<f64>,
        }
        struct TargetVisitor;
        impl<'de> Visitor<'de> for TargetVisitor {
            type Value = TargetSpec;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a target's name, or a mapping with target, rank and alpha")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<TargetSpec, E> {
                Target::deserialize(StrDeserializer::new(name)).map(TargetSpec::plain)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TargetSpec, A::Error> {
                let Fields { target, rank, alpha } =
                    Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TargetSpec { target, rank, alpha })
            }
        }
        deserializer.deserialize_any(TargetVisitor)
    }
}
